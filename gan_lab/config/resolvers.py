"""Functions that configurations call, such as ``${gan_lab.times:4,${optimizer.lr}}``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path

from gan_lab.config.hydra_versions import register_resolver
from gan_lab.storage.files import claim_folder
from gan_lab.storage.run_directory import RunDirectory


def _run_dir(resume: str | None) -> str:
    """The job's directory: that of the run to resume, or a new one."""
    global _claimed
    if resume is not None:
        return str(RunDirectory.find(resume).path)
    folder = _new_dir(f"outputs/{datetime.now():%Y-%m-%d/%H-%M-%S}")
    _claimed = Path(folder) if _claims.get() else None
    return folder


_claimed: Path | None = None
"""The run directory that this process has claimed. Hydra composes several times, and may replace the value by another."""

_claims = ContextVar("claims", default=False)


@contextmanager
def claiming_folders() -> Iterator[None]:
    """Within the block, a default folder is created when the configuration is asked for it; else it is only named."""
    token = _claims.set(True)
    try:
        yield
    finally:
        _claims.reset(token)


def _new_dir(folder: str) -> str:
    """The folder, or another name if it exists: several commands may start in the same second."""
    if not _claims.get():
        return folder
    _release()
    return str(claim_folder(Path(folder)))


def _release() -> None:
    """Remove the claimed run directory if it is still empty."""
    global _claimed
    if _claimed is not None:
        with suppress(OSError):
            _claimed.rmdir()
            _claimed.parent.rmdir()
    _claimed = None


register_resolver("gan_lab.run_dir", _run_dir, use_cache=True)
register_resolver("gan_lab.new_dir", _new_dir, use_cache=True)
register_resolver("gan_lab.times", lambda factor, number: factor * number)
register_resolver("gan_lab.r1_gamma", lambda size, batch: 2e-4 * size**2 / batch)
