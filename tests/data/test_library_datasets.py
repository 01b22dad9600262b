"""Datasets read by torchvision and by Hugging Face datasets, both replaced by mocks."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import numpy as np
import pytest
from helpers import compose_config
from PIL import Image

from gan_lab.config import instantiate
from gan_lab.data.datasets.huggingface import HuggingFace

RNG = np.random.default_rng(0)


def test_torchvision_datasets_are_concatenated_and_errors_reported(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = RNG.integers(0, 256, (6, 3, 96, 96), dtype=np.uint8)
    halves = [(images[:2], [0, 1]), (images[2:], [-1, -1, 2, 0])]
    parts = [SimpleNamespace(data=pixels, labels=np.array(labels), classes=["a", "b", "c"]) for pixels, labels in halves]
    reader = mock.Mock(side_effect=parts)
    reader.__name__ = "STL10"
    monkeypatch.setattr("torchvision.datasets.STL10", reader)
    cfg = compose_config("dataset=stl10", "dataset.size=96", f"paths.data={shared['root']}", "dataset.split=train+unlabeled")
    data = instantiate(cfg.dataset, "dataset").load()
    assert np.array_equal(data.pixels, images.transpose(0, 2, 3, 1)) and data.counts() == {
        "a": 2,
        "b": 1,
        "c": 1,
        "(unlabeled)": 2,
    }
    assert [len(data.only_classes([name])) for name in "abc"] == [2, 1, 1], "unlabeled images belong to no class"
    assert [call.kwargs["split"] for call in reader.call_args_list] == ["train", "unlabeled"]
    reader.side_effect = RuntimeError("File not found or corrupted.")
    cfg.dataset.split = "test"
    with pytest.raises(ValueError, match=r"dataset=stl10 is incomplete in .*corrupted.*torchvision\.datasets\.STL10"):
        instantiate(cfg.dataset, "dataset").load()


def test_a_hub_dataset_is_read_by_its_columns(shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    class Table(list):  # type: ignore[type-arg]
        column_names: ClassVar = ["image", "label"]
        features: ClassVar = {"label": SimpleNamespace(names=["cat", "dog"])}

        def __getitem__(self, key: Any) -> Any:
            return [row[key] for row in self] if isinstance(key, str) else list.__getitem__(self, key)

    table = Table({"image": Image.new("L", (16, 16), n), "label": n % 2} for n in range(5))
    hub = SimpleNamespace(load_dataset=mock.Mock(return_value=table))
    monkeypatch.setitem(sys.modules, "datasets", hub)
    arguments = {**shared, "size": 16, "path": "somebody/pets", "image": "image", "split": "validation"}
    data = HuggingFace(label="label", **arguments).load()
    assert data.pixels[:, 0, 0, 0].tolist() == list(range(5)) and data.counts() == {"cat": 3, "dog": 2}
    hub.load_dataset.assert_called_once_with("somebody/pets", split="validation")
    with pytest.raises(ValueError, match=r"dataset\.label=breed: somebody/pets has no such column; it has image, label"):
        HuggingFace(label="breed", **arguments).load()
    hub.load_dataset.side_effect = ConnectionError("offline")
    with pytest.raises(ValueError, match=r"dataset\.path=somebody/pets could not be loaded .* \(offline\)"):
        HuggingFace(label=None, **arguments).load()


def test_a_missing_datasets_package_is_reported(shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install 'gan_lab\[huggingface\]'"):
        HuggingFace(path="somebody/something", image="image", label=None, **shared).load()
