"""``train.log`` on a full disk."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from gan_lab.tracking.log_file import LogFile


def test_a_full_disk_ends_the_log_file_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = logging.LogRecord("a test", logging.INFO, __file__, 1, "müller %s", ("\udc80",), None)
    for path in (tmp_path / "train.log", Path("/dev/full"), tmp_path / "missing" / "train.log"):
        handler = LogFile(str(path))
        handler.emit(record)
        handler.emit(record)
        handler.close()
    assert (tmp_path / "train.log").read_text() == "müller \\udc80\n" * 2
    assert caplog.text.count("can't be written") == 2 and "No space left on device" in caplog.text
