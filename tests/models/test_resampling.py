"""The resampling filters against a closed form: zero insertion, convolution by the definition, and decimation in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gan_lab.models.resampling import Downsample2x, Upsample2x


def filter_rows(rows: np.ndarray) -> np.ndarray:
    """Convolve the last axis with [1, 3, 3, 1] / 8; the result has 3 more values."""
    return np.apply_along_axis(np.convolve, -1, rows, np.array([1.0, 3.0, 3.0, 1.0]) / 8)


def filter_both(images: np.ndarray) -> np.ndarray:
    return filter_rows(filter_rows(images).swapaxes(-1, -2)).swapaxes(-1, -2)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_both_directions_equal_their_definition(layout: torch.memory_format) -> None:
    maps = torch.randn(2, 3, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    zeros = np.zeros((2, 3, 12, 8))
    zeros[..., ::2, ::2] = maps.numpy()
    up = 4 * filter_both(zeros)[..., 1:13, 1:9]  # the filter's center lies between its second and third value
    down = filter_both(maps.numpy())[..., 2:8:2, 2:6:2]
    given = maps.to(memory_format=layout)
    np.testing.assert_allclose(Upsample2x().double()(given), up, atol=1e-7)
    np.testing.assert_allclose(Downsample2x().double()(given), down, atol=1e-7)


def test_downsampling_is_the_transpose_of_upsampling_and_a_constant_stays_inside() -> None:
    a, b = torch.randn(1, 2, 4, 4, dtype=torch.float64), torch.randn(1, 2, 8, 8, dtype=torch.float64)
    up, down = Upsample2x().double(), Downsample2x().double()
    torch.testing.assert_close((up(a) * b).sum(), 4 * (a * down(b)).sum())
    torch.testing.assert_close(up(torch.ones(1, 1, 4, 4).double())[..., 1:-1, 1:-1], torch.ones(1, 1, 6, 6).double())
    assert not up.state_dict()
