"""Full-reference scores of images in files, such as super-resolved images and their originals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from gan_lab.building.full_reference import build_full_reference_metrics
from gan_lab.data.image_decoding import GRAY_MODES, decode_whole
from gan_lab.data.raw_images import RawImages
from gan_lab.evaluation import records
from gan_lab.evaluation.folders import headers, list_images
from gan_lab.metrics.full_reference_suite import PROTOCOL_NAME, describe_metrics, mean_scores, scores_of_pair
from gan_lab.utils.formatting import format_count
from gan_lab.utils.terminal import STDOUT, progress_bar


def evaluate_full_reference(cfg: DictConfig) -> None:
    """Score each fake against the real image of its name and print the means over the images, which may differ in size.

    Raises:
        ValueError: an image has no original or several, or another size than its original.
    """
    if cfg.out:
        records.check_writable(Path(cfg.out).expanduser())
    fakes, reals = (list_images(name, cfg[name]) for name in ("fakes", "reals"))
    if len(fakes) != len(reals):
        raise ValueError(
            f"evaluation=pairs needs as many fakes as reals, not {len(fakes)} in {cfg.fakes} and {len(reals)} in {cfg.reals}"
        )
    matches = match_names(_stems(fakes), _stems(reals))
    border = cfg.evaluation.border or 0
    sides = [min(size) for size, _ in headers(reals)]
    metrics = build_full_reference_metrics(cfg, border, sides, reals.name)
    if not metrics:
        raise ValueError("evaluation=pairs: no metric can be measured on these images; the lines above say why")
    rows: list[dict[str, float]] = []
    with progress_bar("evaluating", "images") as progress:
        for number, (fake, real) in enumerate(_load_matches(fakes, reals, matches)):
            rows.append(scores_of_pair(metrics, fake, real))
            progress(number + 1, len(fakes))
    scores = mean_scores(rows)
    titles = [f"{fakes.name(a)} | {reals.name(b)}" for a, b in matches]
    details = dict(zip(titles, rows, strict=True))
    protocol = {
        "protocol": PROTOCOL_NAME,
        "pairs": len(fakes),
        "border": border,
        "mean": "over the pairs' scores",
        **describe_metrics(metrics),
    }
    results = {PROTOCOL_NAME: {"protocol": protocol, "scores": scores, "details": details}}
    without_border = f", {format_count(border, 'pixel')} left out along each edge" if border else ""
    STDOUT.print(f"\nmeans over {format_count(len(fakes), 'image')}{without_border}")
    records.print_columns({"mean": scores})
    if cfg.out:
        records.append(
            Path(cfg.out).expanduser(),
            [records.with_time({"fakes": str(cfg.fakes), "reals": str(cfg.reals), "results": results})],
        )


def match_names(fakes: Sequence[str], reals: Sequence[str]) -> list[tuple[int, int]]:
    """Indices ``(fake, real)`` of equal names; all names of one side may have the same additional ending.

    Args:
        fakes, reals: names without folders and extensions, such as ``baby_x4`` and ``baby``.

    Raises:
        ValueError: a name has no counterpart or several.
    """
    for longer, shorter in ((fakes, reals), (reals, fakes)):
        ending = longer[0][len(_longest_prefix(longer[0], shorter)) :]
        index = {name.removesuffix(ending): n for n, name in enumerate(longer) if name.endswith(ending)}
        if len(index) == len(longer) and index.keys() == set(shorter) and len(longer) == len(shorter):
            matches = [(index[name], n) for n, name in enumerate(shorter)]
            return matches if longer is fakes else [(b, a) for a, b in matches]
    unmatched = sorted(set(fakes) ^ set(reals))
    raise ValueError(
        "evaluation=pairs matches fakes and reals by file name, but some have no counterpart or several: "
        f"{', '.join(unmatched[:4]) or 'names repeat'}"
    )


def _longest_prefix(name: str, candidates: Sequence[str]) -> str:
    """The longest candidate that ``name`` starts with, or an empty string."""
    return max((candidate for candidate in candidates if name.startswith(candidate)), key=len, default="")


def _load_matches(fakes: RawImages, reals: RawImages, matches: Sequence[tuple[int, int]]) -> Iterator[tuple[Tensor, Tensor]]:
    """Each fake with its original, uint8 ``[1, C, H, W]``; C = 1 if both are gray, else 3."""
    for a, b in matches:
        with fakes.open(a) as fake, reals.open(b) as real:
            channels = 1 if fake.mode in GRAY_MODES and real.mode in GRAY_MODES else 3
        arrays = _decode(fakes, a, channels), _decode(reals, b, channels)
        if arrays[0].shape != arrays[1].shape:
            sizes = [f"{array.shape[1]}x{array.shape[0]}" for array in arrays]
            raise ValueError(f"{fakes.name(a)} has {sizes[0]} pixels, but its original {reals.name(b)} has {sizes[1]}")
        first, second = (torch.from_numpy(array.copy()).permute(2, 0, 1)[None] for array in arrays)
        yield first, second


def _decode(images: RawImages, number: int, channels: int) -> np.ndarray:
    try:
        with images.open(number) as image:
            return decode_whole(image, channels)
    except Exception as error:  # decoders raise many types for damaged files
        raise ValueError(f"{images.name(number)} can't be read ({error})") from error


def _stems(images: RawImages) -> list[str]:
    return [PurePath(images.name(number)).stem for number in range(len(images))]
