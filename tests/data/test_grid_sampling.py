"""The deterministic transpose of bilinear sampling, compared with PyTorch's own gradient."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import grid_sample

from gan_lab.data.grid_sampling import sample_bilinear, scatter_deterministic


@pytest.mark.parametrize("shape", [(3, 2, 8, 8), (2, 3, 5, 7), (2, 1, 1, 4), (1, 1, 1, 1)])
def test_the_deterministic_gradient_equals_pytorchs(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    images = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    grid = torch.randn(shape[0], 6, 9, 2, dtype=torch.float64) * 2  # half of the positions lie beyond the borders
    grid[0, 0, :3] = torch.tensor([[-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]], dtype=torch.float64)
    samples = grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=True)
    values = torch.randn_like(samples)
    (expected,) = torch.autograd.grad(samples, images, values)
    torch.testing.assert_close(scatter_deterministic(values, grid, images.shape), expected)


def test_on_cuda_it_takes_the_place_of_the_other_in_deterministic_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    monkeypatch.setattr(torch.ops.aten, "grid_sampler_2d_backward", None)
    images = torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    grid = torch.randn(2, 4, 4, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda images: sample_bilinear(images, grid), images)
    assert torch.autograd.gradgradcheck(lambda images: sample_bilinear(images, grid), images)
