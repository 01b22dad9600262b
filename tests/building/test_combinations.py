"""Any family x loss x penalty x conditioning x channels x precision takes two finite steps or is an error with a reason.

By default rows that hold every option; ``make test-slow`` runs rows that hold every pair of options, and the whole product.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import make_job

from gan_lab.building.gan import build_gan
from gan_lab.building.phases import build_phases
from gan_lab.building.precision import build_precision
from gan_lab.building.tasks import build_task
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.data.loader import Batch
from gan_lab.models.base import ProgressiveNetwork
from gan_lab.runtime.distributed import SingleProcess
from gan_lab.utils.image_ops import normalize

CHOICES = (resources.files("gan_lab") / "docs" / "choices.md").read_text(encoding="utf-8")

AXES: dict[str, list[str]] = {
    "model": ["dcgan", "dcgan_cifar", "sngan", "sagan", "progan", "r3gan_small", "stylegan2_small", "fastgan_projected_small"],
    "loss": ["bce", "minimax", "hinge", "lsgan", "wasserstein", "relativistic", "relativistic_average"],
    "penalty": ["none", "weight_clipping", "gradient_penalty", "r1", "r2", "r1_r2", "dragan", "path_length"],
    "conditioning": ["none", "concatenation", "embedding", "conditional_batch_norm", "projection", "auxiliary_classifier"],
    "dataset.channels": ["1", "3"],
    "precision": ["fp32", "bf16", "fp16"],
}
BESIDE = {
    "augment": ["none", "diffaugment", "ada", "instance_noise", "blur"],
    "attributes": ["no", "yes"],
    "discriminator": ["model", "projected"],
}
"""Further axes of the pairs; in the whole product they vary along with the others."""

PAIRED = AXES | BESIDE | {"precision": [*AXES["precision"], "int16", "fp64"]}
"""The axes of the pairs, with the precisions that are too slow for the whole product."""

MOST = 20
"""Iterations in which each network must have made two steps."""

REFUSED = {
    (model, "weight_clipping"): "would erase this discriminator, whose initial weights"
    for model in ("progan", "stylegan2_small")
}
"""Combinations that are an error, with a part of the message."""

SMALLER = {
    "sagan": ["model.attention=8"],
    "fastgan_projected_small": ["model.width=4", "model.discriminator.width=4", "model.discriminator.resize=32"],
    "projected": ["discriminator.width=4", "discriminator.resize=32"],
}
"""Overrides that fit a model or discriminator to images of 16 pixels."""

CPU = torch.device("cpu")
Combination = tuple[tuple[str, str], ...]


def pairs_of(row: Combination) -> set[frozenset[tuple[str, str]]]:
    return {frozenset(pair) for pair in itertools.combinations(row, 2)}


def pairwise(axes: dict[str, list[str]]) -> Iterator[Combination]:
    """Rows that together hold every pair of values of two axes; each takes as many new pairs as it can, axis by axis."""
    values = [[(axis, value) for value in options] for axis, options in axes.items()]
    left = {frozenset(pair) for a, b in itertools.combinations(values, 2) for pair in itertools.product(a, b)}
    while left:
        row = dict(sorted(min(left, key=lambda pair: sorted(pair))))
        for options in values:
            if options[0][0] not in row:
                best = max(options, key=lambda item: sum(frozenset((item, other)) in left for other in row.items()))
                row[best[0]] = best[1]
        chosen = tuple((axis, row[axis]) for axis in axes)
        left -= pairs_of(chosen)
        yield chosen


def train_two_steps(path: Path, combination: Combination) -> None:
    """Two updates of both networks on random images."""
    chosen = dict(combination)
    attributes = chosen.pop("attributes") == "yes"
    more = ["dataset.size=16", "n_critic=1", *SMALLER.get(chosen["model"], []), *SMALLER.get(chosen["discriminator"], [])]
    job = make_job(path, *(f"{axis}={value}" for axis, value in chosen.items()), *more)
    channels = int(chosen["dataset.channels"])
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (8, 16, 16, channels), dtype=torch.uint8, generator=random)
    labels = torch.randint(0, 2, (8, 3), generator=random, dtype=torch.uint8) if attributes else torch.arange(8) % 3
    data = ImageDataset.from_arrays(pixels.numpy(), labels.numpy(), ("a", "b", "c"))
    torch.manual_seed(0)
    precision = build_precision(job, CPU)
    gan = build_gan(job.cfg, data, precision, SingleProcess(), build_task(job.cfg).latents())
    if (chosen["model"], chosen["penalty"]) in REFUSED and chosen["discriminator"] == "model":
        with pytest.raises(ValueError, match=REFUSED[chosen["model"], chosen["penalty"]]):
            build_phases(job.cfg, gan, precision)
        return
    phases = build_phases(job.cfg, gan, precision)
    batch = Batch(normalize(data.images(slice(None)), precision.param_dtype), data.labels_of(np.arange(8)))
    for network in (gan.generator, gan.discriminator):
        if isinstance(network, ProgressiveNetwork):
            network.set_resolution(16, 0.5)
    made = dict.fromkeys((phase.name for phase in phases), 0)
    for phase in phases * MOST:  # a scaler starts with a scale that overflows, and skips steps until it is small enough
        before = [parameter.clone() for parameter in phase.network.parameters()]
        metrics = phase.step(gan, batch)
        phase.advance()
        assert all(value.isfinite() for value in metrics.values()), metrics
        after = list(phase.network.parameters())
        assert all(parameter.isfinite().all() for parameter in after)
        if not metrics.get(f"{phase.name}/skipped_steps", 0):
            assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)), f"no weight changed: {metrics}"
            made[phase.name] += 1
        if min(made.values()) >= 2:
            return
    raise AssertionError(f"steps made: {made}")


def is_heavy(row: Combination) -> bool:
    """Penalties differentiate twice through the frozen network: seconds, in half precision on a CPU half a minute."""
    chosen = dict(row)
    projected = "projected" in f"{chosen['model']} {chosen['discriminator']}"
    return projected and chosen["penalty"] in ("gradient_penalty", "r1_r2", "dragan")


def representative(rows: Iterable[Combination]) -> list[Combination]:
    """Each row that holds an option which the ones before do not."""
    seen: set[tuple[str, str]] = set()
    chosen = []
    for row in rows:
        if not is_heavy(row) and not seen.issuperset(row):
            seen.update(row)
            chosen.append(row)
    return chosen


ROWS = list(pairwise(PAIRED))
DEFAULT = representative(ROWS)


@pytest.mark.parametrize(
    "combination",
    [row if row in DEFAULT else pytest.param(row, marks=pytest.mark.slow) for row in ROWS],
    ids=lambda row: "-".join(value for _, value in row),
)
@pytest.mark.filterwarnings("ignore:lr_scheduler")
def test_every_pair_of_options_trains(combination: Combination, tmp_path: Path) -> None:
    train_two_steps(tmp_path, combination)


@pytest.mark.slow
@pytest.mark.parametrize("model", AXES["model"])
@pytest.mark.parametrize("loss", AXES["loss"])
@pytest.mark.parametrize("penalty", AXES["penalty"])
def test_all_combinations_train(model: str, loss: str, penalty: str, tmp_path: Path) -> None:
    head = (("model", model), ("loss", loss), ("penalty", penalty))
    rest = [[(axis, value) for value in AXES[axis]] for axis in ("conditioning", "dataset.channels", "precision")]
    beside = itertools.cycle(itertools.product(*([(axis, value) for value in options] for axis, options in BESIDE.items())))
    for tail, more in zip(itertools.product(*rest), beside, strict=False):
        train_two_steps(tmp_path, (*head, *tail, *more))


def test_pairs_cover_every_pair() -> None:
    covered = set().union(*map(pairs_of, ROWS))
    values = [[(axis, value) for value in options] for axis, options in PAIRED.items()]
    wanted = {frozenset(pair) for a, b in itertools.combinations(values, 2) for pair in itertools.product(a, b)}
    assert covered == wanted and len(ROWS) < 90


def test_every_option_is_in_a_default_row() -> None:
    assert set().union(*DEFAULT) == {(axis, value) for axis, options in PAIRED.items() for value in options}


def test_the_docs_tell_how_many_combinations_there_are() -> None:
    shown = re.search(r"all ([\d,]+) combinations of ([^.]+?) and\s", CHOICES)
    assert shown and int(shown[1].replace(",", "")) == math.prod(map(len, AXES.values()))
    assert set(re.findall(r"`(\w+)`", shown[2])) == AXES.keys() - {"dataset.channels"}
