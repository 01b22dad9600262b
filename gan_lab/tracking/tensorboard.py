"""Logs to TensorBoard with ``torch.utils.tensorboard``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from gan_lab.tracking.base import Row, RunInfo, Tracker


class TensorBoard(Tracker):
    """Event files with scalars, image grids, alarms and configuration in ``<run>/tensorboard``.

    The step is the number of real images seen.

    Raises:
        ValueError: the ``tensorboard`` package is not installed.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ValueError("tracker=tensorboard needs the tensorboard package: pip install 'gan_lab[tensorboard]'") from error
        self._writer_class = SummaryWriter

    def start(self, info: RunInfo) -> None:
        purge_step = info.first_image + 1 if info.first_image else 0  # what a resumed run will train again
        self._writer = self._writer_class(str(info.directory / "tensorboard"), purge_step=purge_step)
        self._writer.add_text("config", "\n".join(f"    {key}: {value}" for key, value in info.config.items()))

    def metrics(self, row: Row) -> None:
        for name, value in row.items():
            if name != "images":
                self._writer.add_scalar(name, value, row["images"])

    def image_grid(self, name: str, path: Path, images: int) -> None:
        with Image.open(path) as image:
            self._writer.add_image(name, np.asarray(image.convert("RGB")), images, dataformats="HWC")

    def alarm(self, name: str, text: str, images: int) -> None:
        self._writer.add_text(f"alarm/{name}", text, images)

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._writer.close()
