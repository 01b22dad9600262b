"""Projection finds the latent of a picture that the generator has made."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import untrained_run
from torch import nn

from gan_lab import Run
from gan_lab.metrics.perceptual_networks import RandomPerceptual
from gan_lab.runs.projection import ProjectionOptions, load_found, project
from gan_lab.training.trainer import Trainer

FAMILIES = {
    "latents": ["model=dcgan", "conditioning=concatenation"],
    "styles": ["model=stylegan2_small", "conditioning=projection"],
}


@pytest.fixture(scope="module", params=FAMILIES)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An untrained conditional generator, whose images have a high contrast."""

    def raise_contrast(trainer: Trainer) -> None:
        for layer in trainer.updater.ema.network.modules():
            if isinstance(layer, nn.ConvTranspose2d):
                layer.weight.data.mul_(2)

    folder = tmp_path_factory.mktemp("run")
    return untrained_run(folder, "dataset.size=16", *FAMILIES[request.param], change=raise_contrast)


def test_an_image_of_the_generator_is_found_again(run: Run, tmp_path: Path) -> None:
    target = run.sample(1, seed=7, classes=["coat"])[0]
    steps: list[int] = []
    options = ProjectionOptions(60, 0.1, candidates=16, starts=2, pixel_weight=10, classes=["coat"])
    found = project(run, target, RandomPerceptual(4, 0), options, lambda done, total: steps.append(done))
    assert steps == list(range(1, 61))
    assert found.distance < 0.75 * found.start
    found.save(tmp_path / "latent.safetensors")
    styles, labels = load_found(tmp_path / "latent.safetensors", run)
    assert torch.equal(run.render(styles, labels), run.render(found.styles, found.labels))
    if not run.generator.truncates_styles:
        torch.testing.assert_close(found.styles.norm(), torch.tensor(run.latents.size**0.5))


def test_without_steps_it_is_the_best_random_latent(run: Run) -> None:
    target = run.sample(5, seed=3)[4]
    found = project(run, target, RandomPerceptual(4, 0), ProjectionOptions(0, 0.1, 8, 1, 10, seed=3))
    assert found.distance == found.start < 0.5, "image 4 of the seed is among them, but for its rounding"
    assert (run.render(found.styles, found.labels)[0].int() - target.int()).abs().max() <= 1


def test_latents_of_other_generators_are_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no file of a projection"):
        load_found(tmp_path / "none.safetensors", run)
    found = project(run, run.sample(1)[0], RandomPerceptual(4, 0), ProjectionOptions(0, 0.1, 1, 1, 0))
    found.__class__(found.styles[..., :3], found.labels, 0.0, 0.0).save(tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="a latent belongs to the generator that it was found with"):
        load_found(tmp_path / "other.safetensors", run)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"candidates": 0}, "candidates=0 and starts=1 must be at least 1"),
        ({"lr": 0.0}, "lr=0 positive"),
        ({"classes": ["bag", "coat"]}, "into one class at most"),
    ],
)
def test_wrong_options_are_refused(changed: dict[str, object], message: str) -> None:
    values: dict[str, object] = {"steps": 1, "lr": 0.1, "candidates": 1, "starts": 1, "pixel_weight": 1, **changed}
    with pytest.raises(ValueError, match=message):
        ProjectionOptions(**values)  # type: ignore[arg-type]
