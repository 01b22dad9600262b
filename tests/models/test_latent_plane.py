"""The plane through the latents of seeds, and the sheet of its images that pages show."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import untrained_run
from PIL import Image

from gan_lab.models.draws import draw_seeds
from gan_lab.models.labels import Labels, NoLabels
from gan_lab.models.latent_plane import LatentPlane, slerp, square_points
from gan_lab.models.latents import NormalLatents
from gan_lab.training.explorer import MAX_PIXELS, SIDES, write_explorer

CLASSES = Labels.from_dataset(["a", "b"], torch.tensor([0, 1, 1]))
ATTRIBUTES = Labels.from_dataset(["hat", "beard"], (torch.arange(400)[:, None] // torch.tensor([1, 2]) % 2).to(torch.uint8))


def test_slerp_goes_along_the_great_circle() -> None:
    one, other = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    for fraction in (0.0, 0.25, 0.5, 1.0):
        angle, length = fraction * math.pi / 2, 2 + 2 * fraction
        expected = length * torch.tensor([[math.cos(angle), math.sin(angle)]])
        torch.testing.assert_close(slerp(one, other, fraction), expected)
        torch.testing.assert_close(slerp(one, other, torch.tensor([[fraction]])), expected)
    torch.testing.assert_close(slerp(one, 2 * one, 0.5), 1.5 * one)


@pytest.mark.parametrize("side", [2, 3])
@pytest.mark.parametrize(("labels", "classes"), [(NoLabels(), []), (CLASSES, ["b"]), (ATTRIBUTES, ["beard"])])
def test_the_corners_of_a_plane_are_the_latents_of_its_seeds(side: int, labels: Labels | NoLabels, classes: list[str]) -> None:
    seeds = list(range(10, 10 + side**2))
    plane = LatentPlane.through(NormalLatents(32), labels, seeds, classes)
    latents, encoded = plane.at(square_points(side))
    expected, expected_labels = draw_seeds(NormalLatents(32), labels, 1, seeds, classes=classes)
    torch.testing.assert_close(latents, expected)
    if expected_labels is not None:
        torch.testing.assert_close(encoded, expected_labels)


def test_points_between_seeds_are_as_long_as_latents_and_change_gradually() -> None:
    plane = LatentPlane.through(NormalLatents(512), NoLabels(), range(9))
    row, _ = plane.at(torch.stack([torch.linspace(0, 1, 101), torch.full((101,), 0.3)], 1))
    assert ((row.norm(dim=1) / math.sqrt(512) - 1).abs() < 0.1).all()
    assert (row[1:] - row[:-1]).norm(dim=1).max() < 1.2
    middle, _ = plane.at(torch.tensor([[0.25, 0.0]]))
    torch.testing.assert_close(middle, slerp(plane.latents[0, :1], plane.latents[0, 1:2], 0.5))


def test_another_number_of_seeds_or_several_classes_are_an_error() -> None:
    for count in (0, 1, 5, 8):
        with pytest.raises(ValueError, match=f"not {count}$"):
            LatentPlane.through(NormalLatents(4), NoLabels(), range(count))
    with pytest.raises(ValueError, match="at most one"):
        LatentPlane.through(NormalLatents(4), CLASSES, range(4), ["a", "b"])


def test_the_sheet_shows_the_images_of_the_seeds(tmp_path: Path) -> None:
    run = untrained_run(tmp_path / "run")
    write_explorer(run.directory, run.generator, run.latents, run.labels, run.device, 7)
    plan = json.loads(run.directory.explorer_plan.read_text())
    side = plan["side"]
    assert side == SIDES[0] and plan["images"] == 7 and plan["planes"] == []
    with Image.open(run.directory.explorer) as image:
        sheet = np.asarray(image.convert("L")).astype(int)
    assert sheet.shape == (32 * side, 32 * side) and sheet.size <= MAX_PIXELS
    for seed in plan["seeds"]:
        row, column = (32 * (side - 1) // 2 * place for place in divmod(seed, 3))
        expected = run.sample(1, seed=seed)[0, 0].numpy()
        assert np.abs(sheet[row : row + 32, column : column + 32] - expected).mean() < 4, "apart from WebP's loss"


def test_a_slow_generator_has_fewer_images_and_an_upscaler_no_sheet(tmp_path: Path) -> None:
    run = untrained_run(tmp_path / "run")
    write_explorer(run.directory, run.generator, run.latents, run.labels, run.device, 0, max_seconds=0)
    assert json.loads(run.directory.explorer_plan.read_text())["side"] == SIDES[-1]
