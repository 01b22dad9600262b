"""Commands that are printed, so that they work when they are pasted into a shell."""

from __future__ import annotations

import shlex


def format_command(module: str, *arguments: str) -> str:
    """``python -m gan_lab.<module> <arguments>``, quoted for the shell where needed.

    Paths among the arguments need no other quotes: the commands take them literally.
    """
    return shlex.join(["python", "-m", f"gan_lab.{module}", *arguments])
