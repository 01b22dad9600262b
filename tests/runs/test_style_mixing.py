"""Sampling of a generator with styles: truncation toward their average, and grids of mixed styles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SMALL, run_module
from PIL import Image

from gan_lab import Run
from gan_lab.runs.style_mixing import mix_styles

ARGUMENTS = ["model=stylegan2_small", "dataset.size=16", "conditioning=projection", "epochs=1", "evaluation=none"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cwd = tmp_path_factory.mktemp("styles")
    done = run_module("train", *SMALL, *ARGUMENTS, "hydra.run.dir=run", cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return cwd


@pytest.mark.slow
def test_truncation_moves_styles_toward_their_average(trained: Path) -> None:
    run = Run.open(trained / "run")
    assert torch.equal(run.sample(4), run.sample(4, truncation=1.0))
    average = run.generator.style_average
    latents, labels = run.latents.sample(3, run.device), torch.eye(10)[:3]
    styles = run.styles(latents, labels)
    torch.testing.assert_close(run.styles(latents, labels, 0.5), (styles + average) / 2)
    done = run_module("sample", "run=run", "truncation=0.5", "count=4", cwd=trained)
    assert done.returncode == 0 and "truncation-0.5" in done.stdout, done.stderr
    with pytest.raises(ValueError, match=r"truncation=1.5: of a generator with styles it must lie in \(0, 1\]"):
        run.sample(1, truncation=1.5)


def test_a_grid_of_mixed_styles_has_its_sources_in_the_first_row_and_column(trained: Path) -> None:
    run = Run.open(trained / "run")
    images = mix_styles(run, [0, 1], rows=2, columns=3, batch_size=4).unflatten(0, (3, 4))
    assert images.shape == (3, 4, 1, 16, 16) and not images[0, 0].any()
    own, theirs = (mix_styles(run, layers, 2, 3).unflatten(0, (3, 4)) for layers in ([], range(run.generator.num_styles)))
    for row in range(2):
        for column in range(3):
            assert torch.equal(own[1 + row, 1 + column], images[1 + row, 0])
            assert torch.equal(theirs[1 + row, 1 + column], images[0, 1 + column])


def test_a_larger_grid_of_mixed_styles_continues_a_smaller_one(trained: Path) -> None:
    run = Run.open(trained / "run")
    small, large = (mix_styles(run, [0, 1], *size).unflatten(0, (size[0] + 1, size[1] + 1)) for size in ((2, 2), (3, 4)))
    assert (small.int() - large[:3, :3].int()).abs().max() <= 1


def test_the_command_writes_the_grid(trained: Path) -> None:
    done = run_module("sample", "run=run", "style_mixing=[0,1]", "count=6", "columns=3", "classes=bag", "scale=1", cwd=trained)
    assert done.returncode == 0, done.stderr
    grid = np.asarray(Image.open(trained / "run" / "samples" / "last-seed-0-bag-styles-0-1.png"))
    assert grid.shape == (3 * 18 - 2, 4 * 18 - 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["style_mixing=[0,9]"], "there is no layer 9; this generator has layers 0 to 5"),
        pytest.param(["style_mixing=[0]", "classes=[bag,coat]"], "at most one class", marks=pytest.mark.slow),
        pytest.param(
            ["style_mixing=[0]", "standing_statistics=2"], "this generator has no batch normalization", marks=pytest.mark.slow
        ),
    ],
)
def test_impossible_grids_are_refused(trained: Path, arguments: list[str], message: str) -> None:
    done = run_module("sample", "run=run", *arguments, cwd=trained)
    assert done.returncode != 0 and message in done.stderr + done.stdout
