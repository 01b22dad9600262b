"""Sliced Wasserstein distance of image patches, at each level of a Laplacian pyramid (Karras et al. 2018, section 5)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from gan_lab.metrics.base import FeatureStats, Metric
from gan_lab.metrics.networks import FeatureNetwork

COARSEST = 16
"""Smallest size of a pyramid level in pixels."""
BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
"""The pyramid's separable filter (Burt & Adelson 1983)."""
SCALE = 1e3
"""Factor of the reported distances, as in the paper."""
BLOCK_VALUES = 2**22
"""Pixel values of which pyramids are computed at a time."""
BLOCK_DIRECTIONS = 16
"""Directions that patches are projected on at a time."""


class SlicedWasserstein(Metric):
    """``swd_<size>``: distance between the patch distributions of fakes and reals at one pyramid level; ``swd``: their mean.

    Distances are multiplied by 1,000; 0 is best. The largest size measures sharpness and noise, the smallest large-scale
    structure. Each level has half the size of the one before, down to 16 pixels and as long as sizes are even: images of 28
    pixels have one level, of 48 pixels two. Empty for images smaller than a patch.

    As in the authors' code, pixels are in [0, 255] and reflected at the edges, patches lie at random positions and are
    normalized to mean 0 and standard deviation 1 in each channel, separately for fakes and reals; directions are uniform on the
    sphere, and the distance along a direction is the mean absolute difference of the sorted projections. Differences:

    - The authors use 16,384 images, whose patches take 0.4 GB of memory per set and channel. With fewer images the distance of
      equal distributions is larger, so only scores from the same number of images are comparable.
    - If a set has more images, a random subset is used; if one has fewer, as many images of the other.
    - Patches of fakes and reals lie at the same positions, so that a set has distance 0 from itself.
    - Gray images keep one channel. Channels without variance stay 0.

    Args:
        images: number of fakes, and of reals.
        patches: number of patches per image.
        patch: height and width of a patch in pixels.
        repeats, directions: their product is the number of directions.
        seed: of the image subsets, patch positions and directions; positions and directions differ between levels.
    """

    needs = frozenset(["pixels"])

    def __init__(self, images: int, patches: int, patch: int, repeats: int, directions: int, seed: int) -> None:
        given = {"images": images, "patches": patches, "patch": patch, "repeats": repeats, "directions": directions}
        wrong = [f"{name}={value}" for name, value in given.items() if value < 1]
        if wrong:
            raise ValueError(f"evaluation.metrics.sliced: {', '.join(wrong)}: must be at least 1")
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
        sides = [_random_subset(pixels, count, self._seed) for pixels in (fakes.pixels, reals.pixels)]
        scores: dict[str, float] = {}
        sizes = level_sizes(height, width)
        for level, size in enumerate(sizes):
            random = torch.Generator().manual_seed(self._seed + level)
            rows, columns = (
                torch.randint((extent >> level) - self._patch + 1, (count, self._patches), generator=random)
                for extent in (height, width)
            )
            directions = random_directions(self._patch**2 * fakes.pixels.shape[1], self._directions, random)
            a, b = (normalize_patches(_patches(side, level, len(sizes), (rows, columns), self._patch)) for side in sides)
            scores[f"swd_{size}"] = SCALE * sliced_wasserstein(a, b, directions)
        return {**scores, "swd": sum(scores.values()) / len(scores)}


def level_sizes(height: int, width: int) -> list[int]:
    """Sizes of the pyramid levels of an image, of its shorter side, in descending order."""
    sizes = [min(height, width)]
    while height % 2 == width % 2 == 0 and sizes[-1] // 2 >= COARSEST:
        height, width = height // 2, width // 2
        sizes.append(min(height, width))
    return sizes


def laplacian_pyramid(images: Tensor, levels: int) -> list[Tensor]:
    """Laplacian pyramid of float images ``[N, C, H, W]``: each level has half the size of the one before.

    A level is the difference between the image at its size and the upsampled next smaller one; the last is the smallest image.
    """
    pyramid = [images]
    for _ in range(levels - 1):
        smaller = pyramid_down(pyramid[-1])
        pyramid[-1:] = [pyramid[-1] - pyramid_up(smaller), smaller]
    return pyramid


def pyramid_down(images: Tensor) -> Tensor:
    """Filter and drop every second row and column."""
    return _filter(images)[:, :, ::2, ::2]


def pyramid_up(images: Tensor) -> Tensor:
    """Double the size: insert zeros between the pixels and filter, times 4 to keep the mean."""
    count, channels, height, width = images.shape
    upsampled = images.new_zeros(count, channels, 2 * height, 2 * width)
    upsampled[:, :, ::2, ::2] = images
    return 4 * _filter(upsampled)


def normalize_patches(patches: Tensor) -> Tensor:
    """``[P, C, h, w]`` to ``[P, C * h * w]`` with mean 0 and standard deviation 1 in each channel; in place."""
    variance, mean = torch.var_mean(patches, (0, 2, 3), correction=0, keepdim=True)
    std = variance.sqrt()
    return patches.sub_(mean).div_(torch.where(std > 0, std, 1.0)).flatten(1)


def random_directions(size: int, count: int, generator: torch.Generator) -> Tensor:
    """Unit vectors ``[count, size]``, uniform on the sphere."""
    directions = torch.randn(count, size, generator=generator, dtype=torch.float64)
    return (directions / directions.norm(dim=1, keepdim=True)).float()


def sliced_wasserstein(a: Tensor, b: Tensor, directions: Tensor) -> float:
    """Mean Wasserstein-1 distance of ``a`` and ``b``, ``[P, D]``, projected on each of ``directions``, ``[M, D]``."""

    def distance(projections: tuple[np.ndarray, np.ndarray]) -> float:
        x, y = (np.sort(side) for side in projections)  # three times as fast as torch.sort, and releases the GIL
        return float(np.abs(x - y).mean(dtype=np.float64))

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        distances: list[float] = []
        for part in directions.split(BLOCK_DIRECTIONS):
            distances += pool.map(distance, zip(*((part @ side.T).numpy() for side in (a, b)), strict=True))
    return sum(distances) / len(distances)


def _random_subset(pixels: Tensor, count: int, seed: int) -> Tensor:
    if len(pixels) == count:
        return pixels
    return pixels[torch.randperm(len(pixels), generator=torch.Generator().manual_seed(seed))[:count]]


def _patches(pixels: Tensor, level: int, levels: int, positions: tuple[Tensor, Tensor], patch: int) -> Tensor:
    """Patches ``[N * P, C, patch, patch]`` of one pyramid level of uint8 images ``[N, C, H, W]``.

    Args:
        pixels: the images.
        level: 0 is the level of full size.
        levels: number of levels of the pyramid.
        positions: rows and columns of the top left corners, ``[N, P]`` each.
        patch: size of a patch.
    """
    rows, columns = positions
    patches = torch.empty(*rows.shape, pixels.shape[1], patch, patch)
    for block in torch.arange(len(pixels)).split(max(1, BLOCK_VALUES // pixels[0].numel())):
        image = laplacian_pyramid(pixels[block].float(), min(level + 2, levels))[level]
        windows = image.unfold(2, patch, 1).unfold(3, patch, 1)
        patches[block] = windows[torch.arange(len(block))[:, None], :, rows[block], columns[block]]
    return patches.flatten(0, 1)


def _filter(images: Tensor) -> Tensor:
    """Convolve with :data:`BINOMIAL` in both directions; images are reflected about their edge pixels."""
    for dim, margins in ((2, (0, 0, 2, 2)), (3, (2, 2, 0, 0))):
        padded, size = pad(images, margins, mode="reflect"), images.shape[dim]
        images = torch.zeros_like(images)
        for start, weight in enumerate(BINOMIAL):
            images.add_(padded.narrow(dim, start, size), alpha=weight)
    return images
