"""A resume recognizes the data that the run was trained on, and classes keep their numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import make_job, picture
from omegaconf import OmegaConf

from gan_lab.building.resumed_data import class_order, match_data
from gan_lab.building.trainer import build_trainer, resume
from gan_lab.data.image_dataset import ImageDataset

PIXELS = np.arange(6 * 4 * 4, dtype=np.uint8).reshape(6, 4, 4, 1)
DATA = ImageDataset.from_arrays(PIXELS, np.array([0, 0, 1, 1, 2, 2]), ["apple", "pear", "plum"])


def checkpoint_of(data: ImageDataset, conditional: bool = True) -> dict[str, Any]:
    labels = {"names": list(data.classes)} if conditional else {}
    return {"num_images": len(data), "data": data.identity(), "labels": labels}


def match(data: ImageDataset, state: dict[str, Any], mode: str = "same") -> list[str] | None:
    return match_data(OmegaConf.create({"resume_data": mode, "dataset": {"classes": None}}), data, state)


def test_the_same_data_are_recognized_wherever_they_are_stored() -> None:
    assert match(ImageDataset.from_arrays(PIXELS.copy(), DATA.labels, DATA.classes), checkpoint_of(DATA)) is None


def test_classes_in_another_order_keep_the_numbers_of_the_checkpoint() -> None:
    moved = ImageDataset.from_arrays(PIXELS, np.array([2, 2, 0, 0, 1, 1]), ["pear", "plum", "apple"])
    assert match(moved, checkpoint_of(DATA)) == ["apple", "pear", "plum"]
    swapped = ImageDataset.from_arrays(PIXELS, DATA.labels, ["pear", "apple", "plum"])
    with pytest.raises(ValueError, match="some have other labels than the run was trained with"):
        match(swapped, checkpoint_of(DATA))


@pytest.mark.parametrize(
    ("now", "message"),
    [
        (replace(DATA, classes=("pear", "plum", "zapple")), "there is no class apple any more, and zapple is new"),
        (ImageDataset.from_arrays(PIXELS[::-1], DATA.labels, DATA.classes), "the images, or their order, are not those"),
        (DATA.subset(np.arange(5)), "the data set has 5 images now and had 6"),
        (replace(DATA, labels=np.array([0, 1, 1, 1, 2, 2])), "the images are the same, but some have other labels"),
    ],
)
def test_other_data_are_refused_unless_they_are_asked_for(now: ImageDataset, message: str) -> None:
    with pytest.raises(ValueError, match=f"resume: {message}.*resume_data=changed accepts others"):
        match(now, checkpoint_of(DATA))
    match(now, checkpoint_of(DATA), "changed")


def test_labels_do_not_matter_without_conditioning() -> None:
    renamed = replace(DATA, classes=("a", "b", "c"), labels=np.zeros(6, dtype=np.int64))
    assert match(renamed, checkpoint_of(DATA, conditional=False)) is None


def test_a_checkpoint_without_fingerprints_is_accepted() -> None:
    old = checkpoint_of(DATA)
    del old["data"]
    assert match(DATA, old) is None
    with pytest.raises(ValueError, match="there is no class apple any more"):
        match(replace(DATA, classes=("zapple", "pear", "plum")), old)


def test_new_classes_take_the_places_of_missing_ones() -> None:
    assert class_order(["apple", "pear", "plum"], ["pear", "plum", "quince"]) == ["quince", "pear", "plum"]
    with pytest.raises(ValueError, match="has 2 classes now, and the networks were built for 3"):
        match(ImageDataset.from_arrays(PIXELS, np.zeros(6, np.int64), ["apple", "pear"]), checkpoint_of(DATA), "changed")


def test_a_renamed_class_does_not_get_another_ones_images(tmp_path: Path) -> None:
    for name in ("apple", "pear"):
        for number in range(8):
            picture(tmp_path / "pictures" / name / f"{number}.png", 16, 16)
    arguments = ["dataset=folder", f"dataset.path={tmp_path / 'pictures'}", "dataset.size=16", "dataset.limit=null"]
    arguments += ["conditioning=projection", "batch_size=4", "evaluation=none", f"paths.data={tmp_path}"]
    first = build_trainer(make_job(tmp_path / "run", *arguments))
    state = first.checkpointer.state()
    (tmp_path / "pictures" / "apple").rename(tmp_path / "pictures" / "zapple")
    with pytest.raises(ValueError, match="there is no class apple any more, and zapple is new"):
        build_trainer(make_job(tmp_path / "run", *arguments), state=state)

    job = make_job(tmp_path / "run", *arguments, "resume_data=changed")
    second = build_trainer(job, state=state)
    resume(second, tmp_path / "run", state)
    assert second.updater.gan.labels.names == ("zapple", "pear") and job.cfg.dataset.classes is None
    known, now = (trainer.loader.data for trainer in (first, second))
    for number in range(len(now)):  # the same picture has the same class number as before
        (same,) = (n for n in range(len(known)) if torch.equal(known.image(n), now.image(number)))
        assert known.labels_of(slice(same, same + 1)) == now.labels_of(slice(number, number + 1))
