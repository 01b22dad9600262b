"""Conversion of images and image grids."""

from __future__ import annotations

import numpy as np
import torch

from gan_lab.utils.image_ops import image_grid, normalize, to_uint8


def test_every_gray_level_survives_normalization_and_back() -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    floats = normalize(levels)
    assert (floats.min(), floats.max()) == (-1, 1)
    assert torch.equal(to_uint8(floats), levels)
    assert torch.equal(to_uint8(torch.tensor([-3.0, 3.0])), torch.tensor([0, 255], dtype=torch.uint8))


def test_a_grid_places_images_row_by_row() -> None:
    images = torch.stack([torch.full((1, 2, 2), 10 * n, dtype=torch.uint8) for n in range(1, 6)])
    image = np.asarray(image_grid(images, columns=3, scale=2, gap=1))
    assert image.shape == (10, 16)
    assert [image[0, x] for x in (0, 6, 12)] == [10, 20, 30]
    assert [image[6, x] for x in (0, 6, 12)] == [40, 50, 0]
    assert image[0, 4] == 0
    assert image_grid(images.expand(-1, 3, -1, -1)).size == (10, 6)


def test_names_of_any_kind_can_be_drawn() -> None:
    images = torch.zeros(4, 1, 16, 16, dtype=torch.uint8)
    names = ["two\nlines", "\x1b[31m", "[red]", ""]
    grid = image_grid(images, 1, 2, row_names=names, column_names=["a\tb"])
    assert grid.height > 4 * 2 * 16 and grid.width > 2 * 16
