"""Standard output and standard error that take any text and never end a command."""

from __future__ import annotations

import codecs
import io
import os
import sys
from contextlib import suppress
from typing import Any

PLAIN = {"±": "+-", "↑": "^", "↓": "v", "é": "e"}
"""What our own texts show instead of characters that a console can't encode."""


def encode_anything() -> None:
    """Let standard output and standard error replace characters that they can't encode, such as under ``LANG=C``."""
    codecs.register_error("gan_lab.plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="gan_lab.plain")


def _plain(error: UnicodeError) -> tuple[str | bytes, int]:
    assert isinstance(error, UnicodeEncodeError)
    if (plain := PLAIN.get(error.object[error.start])) is not None:
        return plain, error.start + 1
    return codecs.backslashreplace_errors(error)


def in_notebook() -> bool:
    """Whether the process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class Output:
    """Standard output, which never raises: a closed terminal or pipe, or a full disk, must not end a training.

    After the first error further output is discarded. Looks up ``sys.stdout`` anew on every use, as it may be replaced.
    """

    def __init__(self) -> None:
        self._failed = False

    @property
    def _stream(self) -> Any:
        stream = None if self._failed else sys.stdout  # None if it was closed before the process started
        return getattr(stream, "rich_proxied_file", stream)

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        with suppress(OSError, ValueError):
            return self._stream is not None and self._stream.isatty()
        return False

    def fileno(self) -> int:
        return self._stream.fileno()

    def write(self, text: str) -> int:
        self._try("write", text)
        return len(text)

    def flush(self) -> None:
        self._try("flush")

    def _try(self, method: str, *arguments: str) -> None:
        if (stream := self._stream) is None:
            return
        try:
            getattr(stream, method)(*arguments)
        except UnicodeEncodeError:
            self._try(method, arguments[0].encode("ascii", "backslashreplace").decode())
        except (OSError, ValueError) as error:
            self._give_up(stream, error)

    def _give_up(self, stream: Any, error: Exception) -> None:
        self._failed = True
        with suppress(OSError, ValueError):  # what is still buffered would raise again when the process ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if isinstance(error, BrokenPipeError) or sys.stderr is None:
            return  # the reader has seen enough, as with | head
        with suppress(OSError, ValueError):
            sys.stderr.write(f"the console can't be written ({error}); further output is discarded\n")
