"""Path length regularization against Jacobians computed by hand, in float64."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from helpers import make_job
from torch import Tensor, nn

from gan_lab.building.trainer import build_trainer
from gan_lab.iteration.gan import GAN
from gan_lab.iteration.step_context import StepContext
from gan_lab.losses.path_length import PathLengthPenalty
from gan_lab.models import base, stylegan2
from gan_lab.models.conditioning import GeneratorCondition
from gan_lab.models.latents import NormalLatents


class Linear(base.Generator):
    """Images ``A z`` of 1x2x4 pixels."""

    def __init__(self) -> None:
        super().__init__(GeneratorCondition())
        self.matrix = nn.Parameter(torch.randn(8, 3, dtype=torch.float64))

    def synthesize(self, inputs: Tensor, labels: Tensor | None) -> Tensor:
        return (inputs @ self.matrix.T).view(-1, 1, 2, 4)


def make_context(generator: base.Generator, latents: Tensor, size: tuple[int, ...]) -> StepContext:
    gan = GAN(generator, nn.Identity(), NormalLatents(latents.shape[1]))
    return StepContext(gan, torch.zeros(len(latents), *size, dtype=torch.float64), latents, generator_step=True)


def test_a_linear_generator_has_the_length_of_its_matrix() -> None:
    generator, latents = Linear(), torch.randn(6, 3, dtype=torch.float64)
    term = PathLengthPenalty(decay=0.01, batch_fraction=0.5)
    torch.manual_seed(3)
    value = term(make_context(generator, latents, (1, 2, 4)))
    torch.manual_seed(3)
    noise = torch.randn(3, 1, 2, 4).double().flatten(1) / math.sqrt(8)  # half of the batch
    lengths = (noise @ generator.matrix).norm(dim=1)
    mean = 0.01 * lengths.mean()
    torch.testing.assert_close(value, (lengths - mean).square().mean())
    torch.testing.assert_close(term.mean_length.double(), mean.detach())
    expected = torch.autograd.grad((lengths - mean).square().mean(), generator.matrix)[0]
    torch.testing.assert_close(torch.autograd.grad(value, generator.matrix)[0], expected)


def test_a_style_generator_has_the_mean_length_over_its_layers() -> None:
    generator = stylegan2.Generator(8, 1, width=4, latent_size=3, style_size=2, mapping_layers=1).double()
    term = PathLengthPenalty(decay=1.0, batch_fraction=1.0)
    context = make_context(generator, torch.randn(2, 3, dtype=torch.float64), (1, 8, 8))
    images, styles = context.generate_from_styles(2)
    torch.manual_seed(3)
    lengths = term.lengths(context, images, styles)
    torch.manual_seed(3)
    noise = torch.randn(2, 1, 8, 8).double() / 8
    for number in range(2):
        jacobian = torch.autograd.functional.jacobian(lambda one: generator.render(one[None])[0], styles[number].detach())
        pulled = torch.tensordot(noise[number], jacobian, 3)
        assert isinstance(pulled, Tensor) and pulled.shape == (4, 2)
        torch.testing.assert_close(lengths[number], pulled.square().sum(1).mean().sqrt())


def test_the_running_mean_is_part_of_a_checkpoint(tmp_path: Path) -> None:
    overrides = ["model=dcgan", "dataset.size=16", "penalty=path_length", "evaluation=none", "batch_size=8"]
    trainer, resumed = (build_trainer(make_job(tmp_path / name, *overrides)) for name in ("one", "other"))
    for batch in trainer.loader.batches(0, lambda _: 8):
        trainer.step(batch)
        if trainer.progress.iteration == 6:
            break
    state = copy.deepcopy(trainer.checkpointer.state())
    mean = state["phases"]["g"]["terms"]["path_length"]["mean_length"]
    assert mean > 0
    resumed.checkpointer.restore(state)
    term = resumed.updater.phases[1].terms["path_length"]
    assert isinstance(term, PathLengthPenalty) and torch.equal(term.mean_length, mean)
    del state["phases"]["g"]["terms"]
    resumed.checkpointer.restore(state)  # of a run without the term


def test_fractions_out_of_range_are_refused() -> None:
    for decay, fraction in ((0.0, 0.5), (0.01, 1.5)):
        with pytest.raises(ValueError, match=r"path_length: .* must lie in \(0, 1\]"):
            PathLengthPenalty(decay, fraction)
