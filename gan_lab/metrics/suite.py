"""One pass over the fakes, and everything that is measured of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from gan_lab.data.image_dataset import ImageDataset
from gan_lab.metrics.base import PIXEL_BYTES, FeatureStats, Metric
from gan_lab.metrics.mean_covariance import MeanCovariance
from gan_lab.metrics.networks import FeatureDomain, FeatureNetwork, NetworkOutput, extract_batch
from gan_lab.metrics.protocol import Protocol
from gan_lab.metrics.reference_stats import ReferenceStatsCache
from gan_lab.runtime.distributed import SINGLE_PROCESS, SingleProcess
from gan_lab.utils.progress import Progress, silent

log = logging.getLogger(__name__)

Generate = Callable[[int, torch.Generator], tuple[Tensor, Tensor | None]]
"""``(count, generator)`` to uint8 images ``[count, C, H, W]`` from latents drawn with ``generator``, and the class numbers they
were made under, ``[count]`` int64, or None."""


@dataclass(frozen=True)
class Result:
    """What one protocol has found.

    Attributes:
        name: of the protocol.
        scores: by name.
        protocol: the record of how they were taken; see :func:`gan_lab.metrics.protocol.differences`.
        details: tables behind the scores.
        fakes: what the scores were computed of, where it is kept.
    """

    name: str
    scores: dict[str, float]
    protocol: dict[str, Any]
    details: dict[str, dict[str, float]]
    fakes: FeatureStats | None


class ProtocolEvaluation:
    """A protocol at work: a network, the metrics taken in its features, and the reals they compare with.

    Args:
        name: of the protocol.
        protocol: see there.
        network: its features'.
        metrics: by name.
        domain: what the images are.
        reals: all images of the protocol's split.
        seed: of the choice among them.
    """

    def __init__(
        self,
        name: str,
        protocol: Protocol,
        network: FeatureNetwork,
        metrics: Mapping[str, Metric],
        domain: FeatureDomain,
        reals: ImageDataset,
        seed: int,
    ) -> None:
        wanted = list(metrics) if protocol.metrics is None else protocol.metrics
        if missing := [metric for metric in wanted if metric not in metrics]:
            log.warning("protocol %s: %s is not measured; evaluation=full has it", name, " and ".join(missing))
        self.name, self.protocol, self.network = name, protocol, network
        self.metrics = {metric: metrics[metric] for metric in wanted if metric in metrics}
        if not self.metrics:
            raise ValueError(
                f"protocol.{name}: this evaluation has none of its metrics ({', '.join(wanted)}); evaluation=full has"
            )
        self.needs: frozenset[str] = frozenset().union(*(metric.needs for metric in self.metrics.values()))
        self.data = reals if protocol.num_reals is None else reals.random_subset(protocol.num_reals, seed)
        self._domain, self._whole = domain, len(reals)
        if len(self.data) < 2:
            raise ValueError("evaluation: scores need at least 2 real images; evaluation=none goes without")
        self.reals: FeatureStats | None = None

    @property
    def primary_score(self) -> str | None:
        """The score that stands for all: the first metric's that has one, lower being better."""
        headlines = (metric.primary_score for metric in self.metrics.values() if metric.primary_score)
        return next((self.network.score(name) for name in headlines), None)

    def prepare(self, references: ReferenceStatsCache, device: torch.device, batch_size: int, progress: Progress) -> None:
        """Take, or fetch, the sample of the reals."""
        self.reals = references.feature_stats(self.data, self.network, self.needs, batch_size, self.protocol.ddof, progress)

    def finish(self, fakes: FeatureStats, batch_size: int, seed: int, details: bool) -> Result:
        assert self.reals is not None, "prepare() comes first"
        scores: dict[str, float] = {}
        tables: dict[str, dict[str, float]] = {}
        for metric in self.metrics.values():
            scores |= metric(fakes, self.reals, self.network)
            if details:
                tables |= metric.details(fakes, self.reals, self.network)
        return Result(self.name, scores, self.record(len(fakes), batch_size, seed), tables, fakes)

    def record(self, num_fakes: int, batch_size: int, seed: int) -> dict[str, Any]:
        """How the scores are taken, as it is kept with them."""
        split = self.protocol.split or "training"
        chosen = "all" if len(self.data) == self._whole else f"{len(self.data)} of"
        return {
            "protocol": self.name,
            "data": f"{self._domain.name or 'pictures'} {self._domain.channels}x{self._domain.size}x{self._domain.size}",
            "features": self.network.description,
            "features_hash": self.network.fingerprint,
            "fakes": num_fakes,
            "reals": f"{chosen} {self._whole} {split} images",
            "reals_hash": ReferenceStatsCache.key(self.data, self.network),
            "covariance": self.protocol.covariance,
            "batch_norm": self.protocol.batch_norm,
            "latents": f"seed {seed} and number of each batch of {batch_size}",  # other batches draw other latents
            **({"labels_hash": self.data.labels_fingerprint()} if "labels" in self.needs else {}),
            **{f"metric {name}": metric.settings() for name, metric in self.metrics.items()},
        }


@dataclass
class _Collector:
    """A :class:`FeatureStats` in the making."""

    measure: ProtocolEvaluation
    statistics: MeanCovariance
    parts: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, images: Tensor, labels: Tensor | None, extracted: NetworkOutput, room: int) -> None:
        """Those of one batch; ``room``: bytes of pixels to be kept."""
        self.statistics.add(extracted.features)
        has_room = sum(part.numel() for part in self.parts.get("pixels", ())) < room
        there = {
            "features": extracted.features,
            "logits": extracted.logits,
            "labels": labels,
            "pixels": images if has_room else None,
        }
        for name, tensor in there.items():
            if name in self.measure.needs and tensor is not None:
                self.parts.setdefault(name, []).append(tensor.cpu())

    def together(self, processes: SingleProcess) -> None:
        """Take in what the others have of the same fakes, whose batches went round among the processes."""
        found = processes.all_gather_object((self.statistics.state_dict(), self.parts))
        for n, (statistics, _) in enumerate(found):
            if n != processes.rank and statistics["count"]:
                self.statistics.merge(MeanCovariance.from_state(statistics, self.statistics.ddof))
        for name in {name for _, parts in found for name in parts}:
            turns = zip_longest(*(parts.get(name, ()) for _, parts in found))
            self.parts[name] = [part for turn in turns for part in turn if part is not None]

    def sample(self) -> FeatureStats:
        assert self.measure.reals is not None
        found: dict[str, Any] = {name: torch.cat(parts) for name, parts in self.parts.items()}
        places = torch.arange(len(found["pixels"])) if "pixels" in found else None
        return FeatureStats(self.statistics, classes=self.measure.reals.classes, pixel_index=places, **found)


class MetricSuite:
    """Generates once, whatever is measured: every protocol takes the first of the same fakes, and those that have a network in
    common share its features.

    Args:
        measures: the first one's headline is the run's score. None at all measure nothing, and the run has no best checkpoint.
        references: where samples of reals are kept.
        batch_size: images at a time.
        seed: of the latents, the same for every score.
    """

    def __init__(
        self, measures: Sequence[ProtocolEvaluation], references: ReferenceStatsCache, batch_size: int, seed: int
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"evaluation.batch_size={batch_size}: must be at least 1")
        self.evaluations = [measure for measure in measures if measure.metrics]
        self.batch_size = batch_size
        self._references, self._seed = references, seed

    def with_batch_norm(self, batch_norm: str) -> MetricSuite:
        """The measures whose protocols want such statistics."""
        chosen = [measure for measure in self.evaluations if measure.protocol.batch_norm == batch_norm]
        return MetricSuite(chosen, self._references, self.batch_size, self._seed)

    @property
    def score_name(self) -> str | None:
        return self.evaluations[0].primary_score if self.evaluations else None

    def prepare(self, device: torch.device, progress: Progress = silent, reals: bool = True) -> None:
        """Take the samples of reals, once for each network and choice of images; a process that measures nothing needs none."""
        for measure in self.evaluations:
            measure.network.to(device)
        for measure in self.evaluations if reals else ():
            measure.prepare(self._references, device, self.batch_size, progress)
            _warn_of_bias(measure)

    @torch.no_grad()
    def __call__(
        self,
        generate: Generate,
        progress: Progress = silent,
        details: bool = False,
        ranks: SingleProcess = SINGLE_PROCESS,
    ) -> list[Result]:
        """Generate and measure, and with ``details`` fill in the tables too.

        Each batch has random numbers of its own, a function of its number, so that several processes can take turns: each
        makes its share of the fakes, and the leader measures all of them; the others get no results.
        """
        total = max((measure.protocol.num_fakes for measure in self.evaluations), default=0)
        collectors = [_Collector(m, MeanCovariance(m.network.num_features, m.protocol.ddof)) for m in self.evaluations]
        for number in range(ranks.rank, -(-total // self.batch_size), ranks.world_size):
            start, random = number * self.batch_size, torch.Generator().manual_seed(self._seed * 1_000_003 + number)
            images, labels = generate(min(self.batch_size, total - start), random)
            seen: dict[str, NetworkOutput] = {}
            for collector in collectors:
                left = collector.measure.protocol.num_fakes - start
                if left <= 0:
                    continue
                network = collector.measure.network
                if network.fingerprint not in seen:
                    seen[network.fingerprint] = extract_batch(network, images)
                features, logits = seen[network.fingerprint]
                part = NetworkOutput(features[:left], None if logits is None else logits[:left])
                collector.add(images[:left], None if labels is None else labels[:left], part, PIXEL_BYTES // ranks.world_size)
            progress(start + len(images), total)
        for collector in collectors:
            collector.together(ranks)
        if not ranks.is_main_process:
            return []
        return [c.measure.finish(c.sample(), self.batch_size, self._seed, details) for c in collectors]

    def evaluate(self, sampler: Any, progress: Progress = silent, ranks: SingleProcess = SINGLE_PROCESS) -> list[Result]:
        """The results of anything with a method ``sample``, such as a sampler or a run."""
        return self(sampler.sample, progress, ranks=ranks)

    def record(self) -> dict[str, Any]:
        """How the run's score is taken; empty if there is none."""
        first = self.evaluations[0] if self.evaluations else None
        return {} if first is None else first.record(first.protocol.num_fakes, self.batch_size, self._seed)

    def describe(self) -> str:
        """The score and how it is taken, in words."""
        taken = self.record()
        return f"{self.score_name}: {taken['fakes']:,} fakes against {taken['reals']}, {taken['features']}"

    def flatten(self, results: Sequence[Result]) -> dict[str, float]:
        """All scores in one dictionary; those of further protocols are called ``<protocol>/<score>``."""
        named = {(r.name if n else "", name): value for n, r in enumerate(results) for name, value in r.scores.items()}
        return {f"{protocol}/{name}".lstrip("/"): value for (protocol, name), value in named.items()}


def _warn_of_bias(measure: ProtocolEvaluation) -> None:
    """Say so where a covariance has fewer images than it has features."""
    width, fakes = measure.network.num_features, measure.protocol.num_fakes
    few = [f"{n:,} {name}" for n, name in ((fakes, "fakes"), (len(measure.data), "reals")) if n <= width]
    if few and measure.primary_score is not None:
        log.warning(
            "%s: %s against %d features: the score is biased and compares only with others of the same numbers",
            measure.primary_score,
            " and ".join(few),
            width,
        )
