"""Pictures in half-block characters, read back from the escape sequences, and the part of a grid that fits."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from escape_sequences import from_blocks
from PIL import Image
from rich.console import Console

from gan_lab.utils.half_blocks import HalfBlocks, can_show_blocks, fit_grid
from gan_lab.utils.image_ops import image_grid

RNG = np.random.default_rng(0)


def terminal(color_system: str | None = "truecolor", is_terminal: bool = True, encoding: str = "utf-8") -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return Console(file=file, force_terminal=is_terminal, color_system=color_system, width=80, height=24)  # type: ignore[arg-type]


def printed(image: Image.Image) -> str:
    console = terminal()
    console.print(HalfBlocks(image), end="")
    console.file.seek(0)
    return console.file.read()


@pytest.mark.parametrize("height", [6, 7])
def test_the_characters_are_the_pixels(height: int) -> None:
    pixels = RNG.integers(0, 256, (height, 9, 3), dtype=np.uint8)
    pixels[2:4, 3:7] = 200  # equal neighbors
    text = printed(Image.fromarray(pixels))
    assert np.array_equal(from_blocks(text), pixels)
    assert text.count("\n") == (height + 1) // 2 and text.count("▀") == 9 * ((height + 1) // 2)


def test_a_gray_picture_is_gray() -> None:
    pixels = RNG.integers(0, 256, (4, 5), dtype=np.uint8)
    assert np.array_equal(from_blocks(printed(Image.fromarray(pixels))), np.repeat(pixels[:, :, None], 3, 2))


def test_only_a_terminal_with_many_colors_can_show_blocks() -> None:
    assert can_show_blocks(terminal()) and can_show_blocks(terminal("256"))
    for other in (terminal("standard"), terminal(None), terminal(is_terminal=False), terminal(encoding="ascii")):
        assert not can_show_blocks(other)


def images(count: int, size: int) -> torch.Tensor:
    return torch.from_numpy(RNG.integers(0, 256, (count, 3, size, size), dtype=np.uint8))


def test_a_grid_that_fits_is_shown_as_it_is() -> None:
    grid = image_grid(images(4, 32))
    assert fit_grid(grid, 32, 2, 66, 66).tobytes() == grid.tobytes()


def test_a_grid_is_reduced_by_averaging() -> None:
    grid = image_grid(images(1, 32))
    reduced = np.asarray(fit_grid(grid, 32, 2, 20, 20)).astype(float)
    means = np.asarray(grid).astype(float).reshape(16, 2, 16, 2, 3).mean((1, 3))
    assert reduced.shape == (16, 16, 3) and np.abs(reduced - means).max() <= 0.5


def test_whole_images_are_left_out_rather_than_reduced_too_far() -> None:
    batch = images(64, 32)
    grid = image_grid(batch, row_names=["a long name"] * 8)
    part = fit_grid(grid, 32, 2, 60, 36)
    assert part is not None and part.size == (50, 33), "three columns and two rows at half their size"
    first = image_grid(torch.cat([batch[row * 8 + 5 : row * 8 + 8] for row in range(2)]), columns=3)
    assert part.tobytes() == first.reduce(2).tobytes(), "without the names"


def test_nothing_is_shown_where_no_image_fits() -> None:
    grid = image_grid(images(4, 32))
    assert fit_grid(grid, 32, 2, 15, 40) is None and fit_grid(grid, 32, 2, 40, 15) is None
