"""Image n of a seed is image n, whatever is drawn with it."""

from __future__ import annotations

import pytest
import torch

from gan_lab.models.draws import BLOCK, draw, draw_seeds, parse_seeds
from gan_lab.models.labels import Labels, NoLabels
from gan_lab.models.latents import NormalLatents
from gan_lab.runs.run import Run
from gan_lab.storage.run_directory import RunDirectory

CLASSES = Labels.from_dataset(["a", "b", "c"], torch.arange(300) % 3)
ATTRIBUTES = Labels.from_dataset(["hat", "beard"], (torch.arange(400)[:, None] // torch.tensor([1, 2]) % 2).to(torch.uint8))


@pytest.mark.parametrize("labels", [NoLabels(), CLASSES, ATTRIBUTES])
@pytest.mark.parametrize("size", [3, 64])  # PyTorch draws fewer than 16 values by another algorithm
@pytest.mark.parametrize("bound", [None, 0.7])
def test_a_draw_begins_with_every_smaller_one(labels: Labels | NoLabels, size: int, bound: float | None) -> None:
    latents = NormalLatents(size)
    many, many_labels = draw(latents, labels, 2 * BLOCK + 7, seed=3, bound=bound)
    assert len(many) == 2 * BLOCK + 7 and len(many.unique(dim=0)) == len(many)
    for count in (1, 2, BLOCK - 1, BLOCK, BLOCK + 1):
        few, few_labels = draw(latents, labels, count, seed=3, bound=bound)
        assert torch.equal(few, many[:count])
        assert (few_labels is None) == (many_labels is None)
        if many_labels is not None and few_labels is not None:
            assert torch.equal(few_labels, many_labels[:count])
    assert not torch.equal(draw(latents, labels, 1, seed=4, bound=bound)[0], many[:1])


@pytest.mark.parametrize(("labels", "names"), [(CLASSES, ["c", "a"]), (ATTRIBUTES, ["-hat", "beard"])])
def test_a_class_has_the_same_images_beside_any_others(labels: Labels, names: list[str]) -> None:
    both, both_labels = draw(NormalLatents(8), labels, 70, seed=1, classes=names)
    for n, name in enumerate(names):
        alone, alone_labels = draw(NormalLatents(8), labels, 5, seed=1, classes=[name])
        assert torch.equal(alone, both[70 * n :][:5])
        assert alone_labels is not None and both_labels is not None and torch.equal(alone_labels, both_labels[70 * n :][:5])
    assert len(both.unique(dim=0)) == 140
    reverse, _ = draw(NormalLatents(8), labels, 70, seed=1, classes=names[::-1])
    assert torch.equal(reverse, both.roll(70, 0))


def test_latents_are_normal_and_labels_have_the_frequencies_of_the_data() -> None:
    latents, labels = draw(NormalLatents(16), Labels.from_dataset(["a", "b"], torch.tensor([0, 1, 1, 1])), 4000, seed=0)
    assert abs(latents.mean()) < 0.02 and abs(latents.std() - 1) < 0.02
    assert labels is not None
    torch.testing.assert_close(labels.mean(0), torch.tensor([0.25, 0.75]), atol=0.03, rtol=0)


def test_images_of_a_run_do_not_depend_on_count_and_batch_size(finished: RunDirectory) -> None:
    run = Run.open(finished.path)
    many = run.sample(70, seed=3).int()
    for count, batch_size in ((10, 64), (10, 3), (1, 1)):
        difference = (run.sample(count, seed=3, batch_size=batch_size).int() - many[:count]).abs()
        assert difference.max() <= 1  # batches of other sizes may round differently


def test_a_class_that_no_image_had_is_refused() -> None:
    labels = Labels.from_dataset(["apple", "pear", "plum"], torch.tensor([0, 2, 2]))
    for wanted in ("pear", 1):
        with pytest.raises(ValueError, match=r"none of the training images had (pear|1), so the .* they had apple, plum"):
            draw(NormalLatents(4), labels, 1, seed=0, classes=[wanted])
    with pytest.raises(ValueError, match="one is named twice"):
        draw(NormalLatents(4), labels, 1, seed=0, classes=["plum", 2])


@pytest.mark.parametrize(("text", "seeds"), [("7", [7]), ("0-3,100", [0, 1, 2, 3, 100]), ("5, 2-2", [5, 2])])
def test_seeds_are_numbers_and_ranges(text: str, seeds: list[int]) -> None:
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "3-1", "-1", "1-", "1,,2", "1.5"])
def test_other_seeds_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be numbers and ranges of them"):
        parse_seeds(text)


def test_of_each_seed_the_first_image_is_drawn() -> None:
    latents, labels = draw_seeds(NormalLatents(8), CLASSES, 1, [4, 9], classes=["c", "a"])
    assert labels is not None and labels.argmax(1).tolist() == [2, 2, 0, 0]
    assert torch.equal(latents[1:2], draw(NormalLatents(8), CLASSES, 1, 9, classes=["c"])[0])
    alone, _ = draw_seeds(NormalLatents(8), NoLabels(), 1, [9])
    assert torch.equal(alone, draw(NormalLatents(8), NoLabels(), 1, 9)[0])
