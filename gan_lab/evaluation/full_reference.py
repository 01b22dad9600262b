"""Scores of images that belong together in pairs, such as super-resolutions and their originals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from gan_lab.building.tasks.super_resolution import build_full_reference_metrics
from gan_lab.data.image_decoding import GRAY_MODES, decode_whole
from gan_lab.data.raw_images import RawImages
from gan_lab.evaluation import records
from gan_lab.evaluation.folders import headers, list_images
from gan_lab.utils.terminal import STDOUT, progress_bar


def evaluate_full_reference(cfg: DictConfig) -> None:
    """Each fake with the real of its name; a pair may have any size, the score is the mean over pairs."""
    if cfg.out:
        records.check_writable(Path(cfg.out).expanduser())
    fakes, reals = (list_images(name, cfg[name]) for name in ("fakes", "reals"))
    if len(fakes) != len(reals):
        raise ValueError(f"fakes={cfg.fakes} has {len(fakes)} images and reals={cfg.reals} {len(reals)}: pairs need as many")
    matches = pairing(_stems(fakes), _stems(reals))
    border = cfg.evaluation.border or 0
    smallest = min(min(size) for size, _ in headers(reals))
    metrics = build_full_reference_metrics(cfg, border, smallest)
    found: dict[str, list[float]] = {}
    with progress_bar("pairs", "images") as progress:
        for number, (fake, real) in enumerate(_pairs(fakes, reals, matches)):
            for metric in metrics.values():
                for name, value in metric(fake, real).items():
                    found.setdefault(name, []).append(value)
            progress(number + 1, len(fakes))
    scores = {name: float(np.mean(values)) for name, values in found.items()}
    names = [f"{fakes.name(a)} | {reals.name(b)}" for a, b in matches]
    details = {pair: {name: values[n] for name, values in found.items()} for n, pair in enumerate(names)}
    protocol = {"protocol": "pairs", "pairs": len(fakes), "border": border, "mean": "over the pairs' scores"}
    results = {"pairs": {"protocol": protocol, "scores": scores, "details": details}}
    STDOUT.print(f"\n{len(fakes)} pairs, {border} pixels left out along each edge")
    STDOUT.print(records.table({"mean": scores}))
    if cfg.out:
        records.append(
            Path(cfg.out).expanduser(),
            [records.with_time({"fakes": str(cfg.fakes), "reals": str(cfg.reals), "results": results})],
        )


def pairing(fakes: Sequence[str], reals: Sequence[str]) -> list[tuple[int, int]]:
    """Which fake belongs to which real: of the same name, or of the same but for an ending that all of one side have in common.

    Args:
        fakes, reals: names without folders and suffixes, such as ``baby_x4`` and ``baby``.

    Raises:
        ValueError: some image has no partner, or several.
    """
    for longer, shorter in ((fakes, reals), (reals, fakes)):
        ending = longer[0][len(_common(longer[0], shorter)) :]
        places = {name.removesuffix(ending): n for n, name in enumerate(longer) if name.endswith(ending)}
        if len(places) == len(longer) and places.keys() == set(shorter) and len(longer) == len(shorter):
            found = [(places[name], n) for n, name in enumerate(shorter)]
            return found if longer is fakes else [(b, a) for a, b in found]
    alone = sorted(set(fakes) ^ set(reals))
    raise ValueError(f"pairs are found by their names, and {', '.join(alone[:4]) or 'some'} has no partner, or several")


def _common(name: str, among: Sequence[str]) -> str:
    """The longest of the names that ``name`` begins with, or nothing."""
    return max((other for other in among if name.startswith(other)), key=len, default="")


def _pairs(fakes: RawImages, reals: RawImages, matches: Sequence[tuple[int, int]]) -> Iterator[tuple[Tensor, Tensor]]:
    """``[1, C, H, W]`` uint8 each, C = 1 where both are grey, else 3."""
    for a, b in matches:
        with fakes.open(a) as fake, reals.open(b) as real:
            channels = 1 if fake.mode in GRAY_MODES and real.mode in GRAY_MODES else 3
            pair = decode_whole(fake, channels), decode_whole(real, channels)
        if pair[0].shape != pair[1].shape:
            sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in pair]
            raise ValueError(f"{fakes.name(a)} has {sizes[0]} pixels and {reals.name(b)}, its pair by its name, {sizes[1]}")
        first, second = (torch.from_numpy(image.copy()).permute(2, 0, 1)[None] for image in pair)
        yield first, second


def _stems(pictures: RawImages) -> list[str]:
    return [PurePath(pictures.name(number)).stem for number in range(len(pictures))]
