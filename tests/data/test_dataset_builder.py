"""What all datasets have in common: arguments, downloads, configuration files and the prepare command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import compose_config, picture, run_module
from PIL import Image

from gan_lab.config import CONF_DIR, instantiate
from gan_lab.data.datasets import DatasetBuilder
from gan_lab.data.datasets.cifar import Cifar
from gan_lab.data.datasets.idx import Idx


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 0}, "dataset.size=0"),
        ({"channels": 2}, "dataset.channels=2"),
        ({"resize_mode": "squash"}, "dataset.resize_mode=squash: must be one of pad, resize, crop"),
        ({"limit": 0}, "dataset.limit=0"),
        ({"split": "valid"}, "dataset.split=valid: the splits of test are train, test, all"),
        ({"max_corrupt_fraction": 2.0}, "dataset.max_corrupt_fraction=2.0"),
        ({"num_workers": 0}, "dataset.num_workers=0"),
    ],
)
def test_an_invalid_argument_is_rejected(shared: dict[str, Any], wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Idx(kind="MNIST", **{**shared, **wrong})


def offline(*arguments: object, **more: object) -> None:
    raise OSError("no route to host")


@pytest.mark.parametrize(("kind", "make"), [("MNIST", Idx), ("CIFAR10", Cifar)])
def test_a_failed_download_is_reported_with_path_and_checksum(
    shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch, kind: str, make: type[DatasetBuilder]
) -> None:
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(ValueError, match=r"dataset=test needs .*data.*no route to host.*MD5 [0-9a-f]{32}.*paths\.data"):
        make(kind=kind, **shared).load()  # type: ignore[call-arg]


def test_every_dataset_option_instantiates_a_builder(tmp_path: Path) -> None:
    for path in sorted((CONF_DIR / "dataset").glob("*.yaml")):
        extra = ["dataset.path=x"] if path.stem in ("folder", "huggingface") else []
        source = instantiate(compose_config(f"dataset={path.stem}", f"paths.data={tmp_path}", *extra).dataset, "dataset")
        assert isinstance(source, DatasetBuilder) and source.name == path.stem


def test_prepare_packs_verifies_and_shows_statistics(folder: Path, tmp_path: Path) -> None:
    arguments = ["dataset=folder", f"dataset.path={folder}", "paths.data=data", "dataset.size=16"]
    picture(folder / "cats" / "twin.png").write_bytes((folder / "cats" / "1.png").read_bytes())
    done = run_module("prepare", *arguments, "show=true", "sheet=sheet.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for expected in ("7 images", "checksum correct", "cats", "40 x 30", "1 duplicates", "0 unreadable", "sheet.png"):
        assert expected in done.stdout, done.stdout
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 100
    (path,) = (tmp_path / "data" / "packed").glob("*.pack")
    data = bytearray(path.read_bytes())
    data[0] ^= 1
    path.write_bytes(data)
    done = run_module("prepare", *arguments, cwd=tmp_path)
    assert done.returncode == 1 and "is damaged: its pixels have changed; delete it" in done.stderr
