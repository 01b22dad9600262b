"""Scores of images that belong together in pairs, such as super-resolutions and their originals."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from gan_lab.config import instantiate
from gan_lab.data.pictures import Pictures
from gan_lab.evaluations import records
from gan_lab.evaluations.of_folders import list_pictures
from gan_lab.metrics.pairs import PairMetric
from gan_lab.tracking.console import STDOUT, progress_of

log = logging.getLogger(__name__)


def evaluate_pairs(cfg: DictConfig) -> None:
    """Each fake with the real at its place among the names; a pair may have any size, the score is the mean over pairs."""
    fakes, reals = (list_pictures(name, cfg[name]) for name in ("fakes", "reals"))
    if len(fakes) != len(reals):
        raise ValueError(f"fakes={cfg.fakes} has {len(fakes)} images and reals={cfg.reals} {len(reals)}: pairs need as many")
    metrics = _metrics(cfg)
    found: dict[str, list[float]] = {}
    with progress_of("pairs", "images") as progress:
        for number, (fake, real) in enumerate(_pairs(fakes, reals)):
            for metric in metrics.values():
                for name, value in metric(fake, real).items():
                    found.setdefault(name, []).append(value)
            progress(number + 1, len(fakes))
    scores = {name: float(np.mean(values)) for name, values in found.items()}
    details = {fakes.name(n): {name: values[n] for name, values in found.items()} for n in range(len(fakes))}
    protocol = {"protocol": "pairs", "pairs": len(fakes), "border": cfg.evaluation.border, "mean": "over the pairs' scores"}
    results = {"pairs": {"protocol": protocol, "scores": scores, "details": details}}
    STDOUT.print(f"\n{len(fakes)} pairs, {cfg.evaluation.border} pixels left out along each edge")
    STDOUT.print(records.table({"mean": scores}))
    if cfg.out:
        records.append(
            Path(cfg.out).expanduser(),
            [records.stamped({"fakes": str(cfg.fakes), "reals": str(cfg.reals), "results": results})],
        )


def _metrics(cfg: DictConfig) -> dict[str, PairMetric]:
    metrics = {}
    for name, node in cfg.evaluation.pairs.items():
        if node is None:
            continue
        try:
            metrics[str(name)] = instantiate(node, f"evaluation.pairs.{name}")
        except ValueError as error:
            if name != "lpips":
                raise
            log.warning("%s is left out: %s", name, error)
    return metrics


def _pairs(fakes: Pictures, reals: Pictures) -> Iterator[tuple[Tensor, Tensor]]:
    """``[1, C, H, W]`` uint8 each, C = 1 where both are grey, else 3."""
    for number in range(len(fakes)):
        with fakes.open(number) as fake, reals.open(number) as real:
            if fake.size != real.size:
                raise ValueError(
                    f"{fakes.name(number)} has {fake.width}x{fake.height} pixels and {reals.name(number)}, its pair by the "
                    f"order of names, {real.width}x{real.height}"
                )
            mode = "L" if fake.mode == real.mode == "L" else "RGB"
            yield _tensor(fake, mode), _tensor(real, mode)


def _tensor(picture: Image.Image, mode: str) -> Tensor:
    array: Any = np.asarray(picture.convert(mode))
    return torch.from_numpy(array.reshape(1, picture.height, picture.width, -1).copy()).permute(0, 3, 1, 2)
