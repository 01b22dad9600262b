"""``train.log``, the log of a command."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from gan_lab.utils.formatting import printable_lines

log = logging.getLogger(__name__)


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
            self._file.write(printable_lines(self.format(record)) + "\n")
            self._file.flush()
        except OSError as error:
            self._failed = True
            log.warning("%s can't be written (%s): the log ends here", self._path, error.strerror or error)

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # a line that could not be written is still buffered
                self._file.close()
        super().close()
