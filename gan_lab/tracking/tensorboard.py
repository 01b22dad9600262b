"""Logs to TensorBoard with ``torch.utils.tensorboard``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gan_lab.tracking.base import Row, RunInfo, Tracker
from gan_lab.utils.image_ops import open_grid

NOT_HYPERPARAMETERS = (
    "paths",
    "study",
    "tracker",
    "log",
    "sample",
    "checkpoint",
    "health",
    "protocol",
    "features",
    "evaluation",
)
"""Sections that don't affect what is trained."""


class TensorBoard(Tracker):
    """Event files with scalars, image grids, alarms, configuration and hyperparameters in ``<run>/tensorboard``.

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
        from torch.utils.tensorboard.summary import hparams

        purge_step = info.first_image + 1 if info.first_image else 0  # what a resumed run will train again
        self._writer = self._writer_class(str(info.directory / "tensorboard"), purge_step=purge_step)
        self._writer.add_text("config", "\n".join(f"    {key}: {value}" for key, value in info.config.items()))
        columns = dict.fromkeys(filter(None, [info.score, "d/loss", "g/loss"]), 0.0)
        *beginning, self._end = hparams(hyperparameters(info), columns)
        self._add_summaries(*beginning)

    def metrics(self, row: Row) -> None:
        for name, value in row.items():
            if name != "images":
                self._writer.add_scalar(name, value, row["images"])

    def image_grid(self, name: str, path: Path, images: int) -> None:
        self._writer.add_image(name, np.asarray(open_grid(path)), images, dataformats="HWC")

    def alarm(self, name: str, text: str, images: int) -> None:
        self._writer.add_text(f"alarm/{name}", text, images)

    def finish(self, summary: Mapping[str, Any]) -> None:
        self._add_summaries(self._end)
        self._writer.close()

    def _add_summaries(self, *summaries: Any) -> None:
        """Write what ``SummaryWriter.add_hparams`` would write to a folder of its own."""
        writer = self._writer.file_writer
        assert writer is not None
        for summary in summaries:
            writer.add_summary(summary)


def hyperparameters(info: RunInfo) -> dict[str, str | float]:
    """The chosen options, and the single values of the configuration's top level and of the sections below it."""
    found: dict[str, Any] = {}
    for name, value in info.config.items():
        if name not in NOT_HYPERPARAMETERS:
            found |= {f"{name}.{key}": v for key, v in value.items()} if isinstance(value, Mapping) else {name: value}
    single = {key: value for key, value in found.items() if isinstance(value, str | float | int) and not key.endswith("_")}
    return {**info.choices, **single}
