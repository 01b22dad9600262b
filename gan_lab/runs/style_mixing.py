"""Images that combine the styles of two (Karras et al. 2019, figure 3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gan_lab.models.draws import draw
from gan_lab.runs.run import Run
from gan_lab.utils.suggestions import Typed


def mix_styles(
    run: Run,
    layers: Sequence[int],
    rows: int,
    columns: int,
    seed: int = 0,
    batch_size: int = 64,
    *,
    name: Typed = None,
    truncation: float | None = None,
) -> Tensor:
    """Images for a grid of ``rows + 1`` times ``columns + 1``, uint8 ``[N, C, H, W]`` on the CPU.

    The rows' sources are the images 0, 2, 4, ... of the seed and the columns' 1, 3, 5, ..., so that a larger grid continues a
    smaller one.

    The first row and the first column are the sources; the corner is black. Every other image has the styles of its row's
    source, but in ``layers`` those of its column's.

    Args:
        run: with a generator of styles.
        layers: numbers of layers, from 0 at the smallest map.
        rows, columns: number of sources.
        seed: of latents and labels.
        batch_size: images per forward pass.
        name: class of all sources, of a conditional run; None: random classes, which affect an image through its styles alone.
        truncation: factor of the styles' distance from their average.

    Raises:
        ValueError: the generator has no styles or no such layers, or ``rows``, ``columns`` or ``batch_size`` is below 1.
    """
    if min(rows, columns, batch_size) < 1:
        raise ValueError(f"{rows=}, {columns=} and {batch_size=} must be at least 1")
    run.check_truncation(truncation)
    drawn = _sources(run, 2 * max(rows, columns), seed, name, truncation)
    sources = torch.cat([drawn[::2][:rows], drawn[1::2][:columns]])
    if wrong := [layer for layer in layers if not 0 <= layer < sources.shape[1]]:
        raise ValueError(f"style_mixing: there is no layer {wrong[0]}; this generator has layers 0 to {sources.shape[1] - 1}")
    mixed = sources[:rows, None].repeat(1, columns, 1, 1)
    mixed[:, :, list(layers)] = sources[None, rows:, list(layers)]
    everything = torch.cat([sources, mixed.flatten(0, 1)])
    images = torch.cat([run.render(part) for part in everything.split(batch_size)])
    first, top, inner = images.split([rows, columns, rows * columns])
    lines = torch.cat([first[:, None], inner.unflatten(0, (rows, columns))], 1)
    return torch.cat([torch.zeros_like(top[:1]), top, lines.flatten(0, 1)])


def _sources(run: Run, count: int, seed: int, name: Typed, truncation: float | None) -> Tensor:
    """Styles ``[count, L, F]`` of random latents."""
    if not run.generator.truncates_styles:
        raise ValueError(f"style_mixing: the generator of {run.directory.path} has no styles to mix; model=stylegan2 has")
    latents, labels = draw(run.latents, run.labels, count, seed, classes=() if name is None else [name])
    return run.styles(latents.to(run.device), None if labels is None else labels.to(run.device), truncation)
