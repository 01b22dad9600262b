"""A data set of the Hugging Face hub, by name; an optional extra."""

from __future__ import annotations

from typing import Any

import numpy as np

from gan_lab.data.datasets.base import DatasetBuilder
from gan_lab.data.raw_images import GeneratedImages


class HuggingFace(DatasetBuilder):
    """Any data set with an image column.

    Args:
        path: its name on the hub, or a folder that ``datasets.load_dataset`` understands.
        image: the image column.
        label: the label column, or None.
        split: as the data set calls it; any name is passed on.
        shared: the rest are :class:`DatasetBuilder`'s.
    """

    def __init__(self, *, path: str, image: str, label: str | None, split: str = "train", **shared: Any) -> None:
        self.splits = (split,)
        super().__init__(split=split, **shared)
        self._path, self._image, self._label = path, image, label

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "path": self._path, "image": self._image, "label": self._label}

    @property
    def domain(self) -> str:
        return "".join(c if c.isalnum() else "_" for c in f"{self._path}_{self._label}")

    def raw_images(self) -> GeneratedImages:
        try:
            import datasets
        except ModuleNotFoundError as error:
            raise ValueError("dataset=huggingface needs the package datasets: pip install 'gan_lab[huggingface]'") from error
        try:
            here = {} if self.download else {"download_config": datasets.DownloadConfig(local_files_only=True)}
            stored = datasets.load_dataset(self._path, split=self.split, **here)
        except Exception as error:  # the hub's client raises many kinds: offline, no such name, no such split
            raise ValueError(f"dataset.path={self._path} could not be loaded from the hub ({error})") from error
        for column in filter(None, (self._image, self._label)):
            if column not in stored.column_names:
                raise ValueError(f"dataset: {self._path} has no column {column}; it has {', '.join(stored.column_names)}")
        labels, classes = None, ()
        if self._label is not None:
            labels = np.asarray(stored[self._label], dtype=np.int64)
            named = getattr(stored.features[self._label], "names", None)
            classes = named or tuple(str(n) for n in range(int(labels.max()) + 1))
        return GeneratedImages(len(stored), lambda number: stored[number][self._image], (), labels, classes)
