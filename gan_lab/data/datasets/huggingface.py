"""Datasets of the Hugging Face Hub; needs the optional dependency ``gan_lab[huggingface]``."""

from __future__ import annotations

from typing import Any

import numpy as np

from gan_lab.data.datasets.base import DatasetBuilder
from gan_lab.data.labels import number_classes
from gan_lab.data.raw_images import GeneratedImages


class HuggingFace(DatasetBuilder):
    """A dataset with an image column, loaded with ``datasets.load_dataset``.

    Args:
        path: name on the Hub, or a local directory that ``load_dataset`` accepts.
        image: name of the image column.
        label: name of a column of integer class labels, or None.
        split: name of the split, passed to ``load_dataset``.
        shared: arguments of :class:`DatasetBuilder`.
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
            options = {} if self.download else {"download_config": datasets.DownloadConfig(local_files_only=True)}
            table = datasets.load_dataset(self._path, split=self.split, **options)
        except Exception as error:  # no network, unknown name, unknown split, ...: each raises another type
            raise ValueError(f"dataset.path={self._path} could not be loaded from the Hugging Face Hub ({error})") from error
        for key, column in (("image", self._image), ("label", self._label)):
            if column is not None and column not in table.column_names:
                raise ValueError(
                    f"dataset.{key}={column}: {self._path} has no such column; it has {', '.join(table.column_names)}"
                )
        labels: np.ndarray | None = None
        classes: tuple[str, ...] = ()
        if self._label is not None:
            where = f"dataset.label={self._label}: the labels of {self._path}"
            labels, classes = number_classes(list(table[self._label]), where)
            classes = getattr(table.features[self._label], "names", None) or classes
        return GeneratedImages(len(table), lambda index: table[index][self._image], (), labels, classes)
