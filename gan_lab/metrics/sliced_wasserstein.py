"""The sliced Wasserstein distance between patches, one for each size of detail (Karras et al. 2018, section 5)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from gan_lab.metrics.base import FeatureStats, Metric
from gan_lab.metrics.networks import FeatureNetwork

COARSEST = 16
"""Pixels across of the last level of a pyramid."""
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""The pyramid's filter in each direction (Burt & Adelson 1983)."""
SCALE = 1e3
"""What distances are given in multiples of."""
BLOCK_VALUES = 2**22
"""Pixels of which a pyramid is held at a time."""
BLOCK_DIRECTIONS = 16
"""Along which all patches are projected at a time."""


class SlicedWasserstein(Metric):
    """``swd_<size>``, how differently the patches of fakes and reals are distributed at one level of a Laplacian pyramid, and
    ``swd``, the mean over levels; times 1,000, 0 being the best.

    The largest size tells of sharpness and noise, the smallest of large-scale structure. Levels halve down to 16 pixels as far
    as sizes are even; images of 28 have one level, of 48 two. Nothing for images smaller than a patch.

    As the authors' code: the first level's images in [0, 255], mirrored at their edges; patches at random places; both sides'
    patches brought to mean 0 and deviation 1 in each channel; directions uniform on the sphere; L1 between the sorted
    projections. What differs:

    - they take 16,384 images, whose patches fill 0.4 GB of memory a side and channel. 2,048 fill an eighth of that, but even
      equal distributions are farther apart then: only scores of equally many images compare;
    - a random choice where a side has more, and equally many of both where one has fewer;
    - both sides' patches lie at the same places, so that equal sets are at distance 0;
    - grey images remain of one channel. A channel without any variance remains 0.

    Args:
        images: of each side.
        patches: of each image.
        patch: pixels across, odd or even.
        repeats, directions: their product is the number of directions projected along.
        seed: of the choice of images, of the places and of the directions, which differ from level to level.
    """

    needs = frozenset(["pixels"])

    def __init__(self, images: int, patches: int, patch: int, repeats: int, directions: int, seed: int) -> None:
        given = {"images": images, "patches": patches, "patch": patch, "repeats": repeats, "directions": directions}
        wrong = [f"{name}={value}" for name, value in given.items() if value < 1]
        if wrong:
            raise ValueError(f"evaluation.metrics.sliced: {', '.join(wrong)} must be at least 1")
        self._images, self._patches, self._patch = images, patches, patch
        self._directions, self._seed = repeats * directions, seed

    def __call__(self, fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> dict[str, float]:
        assert fakes.pixels is not None and reals.pixels is not None
        if fakes.pixels.shape[1:] != reals.pixels.shape[1:]:
            shapes = [list(pixels.shape[1:]) for pixels in (fakes.pixels, reals.pixels)]
            raise ValueError("evaluation.metrics.sliced: fakes of {} can't be compared with reals of {}".format(*shapes))
        height, width = fakes.pixels.shape[2:]
        count = min(self._images, len(fakes.pixels), len(reals.pixels))
        if min(height, width) < self._patch or count == 0:
            return {}
        sides = [_chosen(pixels, count, self._seed) for pixels in (fakes.pixels, reals.pixels)]
        scores: dict[str, float] = {}
        sizes = level_sizes(height, width)
        for level, size in enumerate(sizes):
            random = torch.Generator().manual_seed(self._seed + level)
            rows, columns = (
                torch.randint((extent >> level) - self._patch + 1, (count, self._patches), generator=random)
                for extent in (height, width)
            )
            directions = random_directions(self._patch**2 * fakes.pixels.shape[1], self._directions, random)
            a, b = (normalised(_patches(side, level, len(sizes), (rows, columns), self._patch)) for side in sides)
            scores[f"swd_{size}"] = SCALE * sliced_wasserstein(a, b, directions)
        return {**scores, "swd": sum(scores.values()) / len(scores)}


def level_sizes(height: int, width: int) -> list[int]:
    """Smaller sides of the levels of a pyramid, the largest first."""
    sizes = [min(height, width)]
    while height % 2 == width % 2 == 0 and sizes[-1] // 2 >= COARSEST:
        height, width = height // 2, width // 2
        sizes.append(min(height, width))
    return sizes


def laplacian_pyramid(images: Tensor, levels: int) -> list[Tensor]:
    """``[N, C, H, W]`` float to what each level has that the next has not, the last being the remainder; each half as large."""
    pyramid = [images]
    for _ in range(levels - 1):
        smaller = pyramid_down(pyramid[-1])
        pyramid[-1:] = [pyramid[-1] - pyramid_up(smaller), smaller]
    return pyramid


def pyramid_down(images: Tensor) -> Tensor:
    """Filtered, and every second row and column left out."""
    return _filtered(images)[:, :, ::2, ::2]


def pyramid_up(images: Tensor) -> Tensor:
    """Zeros put between the pixels, and filtered to four times the sum."""
    count, channels, height, width = images.shape
    wide = images.new_zeros(count, channels, 2 * height, 2 * width)
    wide[:, :, ::2, ::2] = images
    return 4 * _filtered(wide)


def normalised(patches: Tensor) -> Tensor:
    """``[P, C, h, w]`` to ``[P, C h w]`` with mean 0 and deviation 1 in each channel. In place."""
    variance, mean = torch.var_mean(patches, (0, 2, 3), correction=0, keepdim=True)
    deviation = variance.sqrt()
    return patches.sub_(mean).div_(torch.where(deviation > 0, deviation, 1.0)).flatten(1)


def random_directions(size: int, count: int, generator: torch.Generator) -> Tensor:
    """``[count, size]`` of length 1."""
    directions = torch.randn(count, size, generator=generator, dtype=torch.float64)
    return (directions / directions.norm(dim=1, keepdim=True)).float()


def sliced_wasserstein(a: Tensor, b: Tensor, directions: Tensor) -> float:
    """Mean over ``directions``, ``[M, D]``, of the Wasserstein-1 distance of ``a`` and ``b``, ``[P, D]``, along each."""

    def distance(projections: tuple[np.ndarray, np.ndarray]) -> float:
        x, y = (np.sort(side) for side in projections)  # NumPy's is three times as fast as torch's, and lets threads run
        return float(np.abs(x - y).mean(dtype=np.float64))

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        distances: list[float] = []
        for part in directions.split(BLOCK_DIRECTIONS):
            distances += pool.map(distance, zip(*((part @ side.T).numpy() for side in (a, b)), strict=True))
    return sum(distances) / len(distances)


def _chosen(pixels: Tensor, count: int, seed: int) -> Tensor:
    if len(pixels) == count:
        return pixels
    return pixels[torch.randperm(len(pixels), generator=torch.Generator().manual_seed(seed))[:count]]


def _patches(pixels: Tensor, level: int, levels: int, places: tuple[Tensor, Tensor], patch: int) -> Tensor:
    """``[N * P, C, patch, patch]`` of one of the levels of uint8 images at ``places``: rows and columns, ``[N, P]`` each."""
    rows, columns = places
    found = torch.empty(*rows.shape, pixels.shape[1], patch, patch)
    for block in torch.arange(len(pixels)).split(max(1, BLOCK_VALUES // pixels[0].numel())):
        image = laplacian_pyramid(pixels[block].float(), min(level + 2, levels))[level]
        windows = image.unfold(2, patch, 1).unfold(3, patch, 1)
        found[block] = windows[torch.arange(len(block))[:, None], :, rows[block], columns[block]]
    return found.flatten(0, 1)


def _filtered(images: Tensor) -> Tensor:
    """Mirrored about its edge pixels."""
    for dim, margins in ((2, (0, 0, 2, 2)), (3, (2, 2, 0, 0))):
        wide, size = pad(images, margins, mode="reflect"), images.shape[dim]
        images = torch.zeros_like(images)
        for start, weight in enumerate(BINOMIAL):
            images.add_(wide.narrow(dim, start, size), alpha=weight)
    return images
