"""``train.log``, the log of a command, and how its lines are written."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from gan_lab.utils.formatting import hide_passwords, printable_lines

log = logging.getLogger(__name__)


class PlainFormatter(logging.Formatter):
    """Formats log lines without control characters, which names of others may contain, and without passwords of URLs."""

    def format(self, record: logging.LogRecord) -> str:
        return str(hide_passwords(printable_lines(super().format(record))))


class LogFile(logging.Handler):
    """Appends log lines to a file, which is created with the first one. An error, such as a full disk, ends the file only.

    Args:
        filename: the file.
    """

    def __init__(self, filename: str) -> None:
        super().__init__()
        self._path = Path(filename)
        self._file: TextIO | None = None
        self._failed = False

    def emit(self, record: logging.LogRecord) -> None:
        if self._failed:
            return
        try:
            self._file = self._file or self._path.open("a", encoding="utf-8", errors="backslashreplace")
            self._file.write(self.format(record) + "\n")
            self._file.flush()
        except OSError as error:
            self._failed = True
            log.warning("%s can't be written (%s): the log ends here", self._path, error.strerror or error)

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # a line that could not be written is still buffered
                self._file.close()
        super().close()
