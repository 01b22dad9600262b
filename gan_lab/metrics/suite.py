"""Computes the metrics of one or several protocols from a single set of generated images."""

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
from gan_lab.runtime.device import without_tf32
from gan_lab.runtime.distributed import SINGLE_PROCESS, SingleProcess
from gan_lab.utils.progress import Progress, silent

log = logging.getLogger(__name__)

Generate = Callable[[int, torch.Generator], tuple[Tensor, Tensor | None]]
"""Maps ``(count, generator)`` to uint8 images ``[count, C, H, W]``, whose latents are drawn from ``generator``, and their int64
class indices ``[count]``, or None without classes."""


@dataclass(frozen=True)
class Result:
    """The scores of one protocol.

    Attributes:
        name: of the protocol.
        scores: by name.
        protocol: record of how they were measured; :func:`gan_lab.metrics.protocol.differences` compares two records.
        details: further tables by title, such as scores of each class.
        fakes: statistics of the generated images; None if the metrics don't keep any.
    """

    name: str
    scores: dict[str, float]
    protocol: dict[str, Any]
    details: dict[str, dict[str, float]]
    fakes: FeatureStats | None


def flatten_scores(results: Sequence[Result]) -> dict[str, float]:
    """All scores in one dictionary; those of every protocol but the first are named ``<protocol>/<score>``."""
    return {
        f"{result.name}/{name}" if number else name: value
        for number, result in enumerate(results)
        for name, value in result.scores.items()
    }


class ProtocolEvaluation:
    """A protocol with its feature network, its metrics and its real images.

    Args:
        name: of the protocol.
        protocol: how to measure.
        network: the feature network.
        metrics: all configured metrics by name; those that the protocol names are used.
        domain: the kind of images.
        reals: all images of the protocol's split.
        seed: of the random subset of ``reals``, if the protocol limits their number.
        origin: what ``reals`` are, for the record of the scores; None: the images of the protocol's split.
        caution: a reason to doubt scores in these features, which is shown wherever the features are described.

    Raises:
        ValueError: none of the protocol's metrics is configured, or there are fewer than 2 real images.
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
        origin: str | None = None,
        caution: str = "",
    ) -> None:
        wanted = list(metrics) if protocol.metrics is None else protocol.metrics
        if missing := [metric for metric in wanted if metric not in metrics]:
            log.warning("protocol %s: %s is not measured; evaluation=full has it", name, " and ".join(missing))
        self.name, self.protocol, self.network = name, protocol, network
        self.metrics = {metric: metrics[metric] for metric in wanted if metric in metrics}
        if not self.metrics:
            raise ValueError(
                f"protocol.{name}: the evaluation has none of its metrics ({', '.join(wanted)}); evaluation=full has them"
            )
        self.needs: frozenset[str] = frozenset().union(*(metric.needs for metric in self.metrics.values()))
        self.data = reals if protocol.num_reals is None else reals.random_subset(protocol.num_reals, seed)
        self._domain, self._num_available = domain, len(reals)
        self._origin = origin or f"{protocol.split or 'training'} images"
        self._caution = f"; {caution}" if caution else ""
        if len(self.data) < 2:
            raise ValueError("evaluation: scores need at least 2 real images; evaluation=none measures no scores")
        self.reals: FeatureStats | None = None

    @property
    def primary_score(self) -> str | None:
        """Name of the score that represents a run (lower is better), from the first metric that has one."""
        names = (metric.primary_score for metric in self.metrics.values() if metric.primary_score)
        return next((self.network.score(name) for name in names), None)

    def prepare(self, references: ReferenceStatsCache, device: torch.device, batch_size: int, progress: Progress) -> None:
        """Compute the statistics of the real images, or read them from the cache."""
        self.reals = references.feature_stats(self.data, self.network, self.needs, batch_size, self.protocol.ddof, progress)

    def finish(self, fakes: FeatureStats, batch_size: int, seed: int, details: bool) -> Result:
        """Compute all metrics from the statistics of the generated images; ``details``: also the tables."""
        assert self.reals is not None, "prepare() comes first"
        scores: dict[str, float] = {}
        tables: dict[str, dict[str, float]] = {}
        for metric in self.metrics.values():
            scores |= metric(fakes, self.reals, self.network)
            if details:
                tables |= metric.details(fakes, self.reals, self.network)
        return Result(self.name, scores, self.record(len(fakes), batch_size, seed), tables, fakes)

    def record(self, num_fakes: int, batch_size: int, seed: int) -> dict[str, Any]:
        """Everything the scores depend on, as stored with them. Scores with equal records are comparable."""
        chosen = "all" if len(self.data) == self._num_available else f"{len(self.data)} of"
        return {
            "protocol": self.name,
            "data": f"{self._domain.name or 'images'} {self._domain.channels}x{self._domain.size}x{self._domain.size}",
            "features": self.network.description + self._caution,
            "features_hash": self.network.fingerprint,
            "fakes": num_fakes,
            "reals": f"{chosen} {self._num_available} {self._origin}",
            "reals_hash": ReferenceStatsCache.key(self.data, self.network),
            "covariance": self.protocol.covariance,
            "batch_norm": self.protocol.batch_norm,
            "latents": f"seed {seed} and number of each batch of {batch_size}",  # the batch size determines the latents
            **({"labels_hash": self.data.labels_fingerprint()} if "labels" in self.needs else {}),
            **{f"metric {name}": metric.settings() for name, metric in self.metrics.items()},
        }


@dataclass
class _StatsCollector:
    """Accumulates the :class:`FeatureStats` of the generated images batch by batch."""

    evaluation: ProtocolEvaluation
    statistics: MeanCovariance
    parts: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, images: Tensor, labels: Tensor | None, output: NetworkOutput, max_pixel_bytes: int) -> None:
        """Add one batch. Its pixels are kept unless ``max_pixel_bytes`` are kept already."""
        self.statistics.add(output.features)
        keeps_pixels = sum(part.numel() for part in self.parts.get("pixels", ())) < max_pixel_bytes
        batch = {
            "features": output.features,
            "logits": output.logits,
            "labels": labels,
            "pixels": images if keeps_pixels else None,
        }
        for name, tensor in batch.items():
            if name in self.evaluation.needs and tensor is not None:
                self.parts.setdefault(name, []).append(tensor.cpu())

    def gather(self, processes: SingleProcess) -> None:
        """Add the batches of the other processes, in the order of their batch numbers."""
        gathered = processes.all_gather_object((self.statistics.state_dict(), self.parts))
        for rank, (statistics, _) in enumerate(gathered):
            if rank != processes.rank and statistics["count"]:
                self.statistics.merge(MeanCovariance.from_state(statistics, self.statistics.ddof))
        for name in {name for _, parts in gathered for name in parts}:
            rounds = zip_longest(*(parts.get(name, ()) for _, parts in gathered))
            self.parts[name] = [part for batches in rounds for part in batches if part is not None]

    def feature_stats(self) -> FeatureStats:
        assert self.evaluation.reals is not None
        tensors: dict[str, Any] = {name: torch.cat(parts) for name, parts in self.parts.items()}
        pixel_index = torch.arange(len(tensors["pixels"])) if "pixels" in tensors else None
        return FeatureStats(self.statistics, classes=self.evaluation.reals.classes, pixel_index=pixel_index, **tensors)


class MetricSuite:
    """Measures all protocols on the same generated images.

    Each protocol uses the first ``num_fakes`` of the images. Features are computed once for all protocols that have the same
    network.

    Args:
        evaluations: the first one's primary score is the run's score. With none, nothing is measured and the run has no best
            checkpoint.
        references: caches the statistics of real images.
        batch_size: images generated, and passed to the feature network, at a time.
        seed: of the latents, which are the same in every evaluation.
    """

    def __init__(
        self, evaluations: Sequence[ProtocolEvaluation], references: ReferenceStatsCache, batch_size: int, seed: int
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"evaluation.batch_size={batch_size}: must be at least 1")
        self.evaluations = [evaluation for evaluation in evaluations if evaluation.metrics]
        self.batch_size = batch_size
        self._references, self._seed = references, seed

    def with_batch_norm(self, batch_norm: str) -> MetricSuite:
        """The suite of the protocols with these batch-norm statistics, ``running`` or ``standing``."""
        chosen = [evaluation for evaluation in self.evaluations if evaluation.protocol.batch_norm == batch_norm]
        return MetricSuite(chosen, self._references, self.batch_size, self._seed)

    @property
    def score_name(self) -> str | None:
        """Name of the score that represents the run (lower is better); None without one."""
        return self.evaluations[0].primary_score if self.evaluations else None

    @without_tf32()
    def prepare(self, device: torch.device, progress: Progress = silent, reals: bool = True) -> None:
        """Move the feature networks to ``device`` and compute the statistics of the real images.

        ``reals=False`` skips the statistics, which only the main process needs.
        """
        for evaluation in self.evaluations:
            evaluation.network.to(device)
        for evaluation in self.evaluations if reals else ():
            evaluation.prepare(self._references, device, self.batch_size, progress)
            _warn_of_bias(evaluation)

    @without_tf32()
    @torch.no_grad()
    def __call__(
        self,
        generate: Generate,
        progress: Progress = silent,
        details: bool = False,
        processes: SingleProcess = SINGLE_PROCESS,
    ) -> list[Result]:
        """Generate images and measure them, with ``details`` including the tables.

        Every batch has its own random generator, seeded by the batch number, so the images do not depend on the number of
        processes. Each process generates every ``world_size``-th batch; the main process computes the metrics and the others
        return an empty list.
        """
        total = max((evaluation.protocol.num_fakes for evaluation in self.evaluations), default=0)
        collectors = [_StatsCollector(e, MeanCovariance(e.network.num_features, e.protocol.ddof)) for e in self.evaluations]
        max_pixel_bytes = PIXEL_BYTES // processes.world_size
        for number in range(processes.rank, -(-total // self.batch_size), processes.world_size):
            start, random = number * self.batch_size, torch.Generator().manual_seed(self._seed * 1_000_003 + number)
            images, labels = generate(min(self.batch_size, total - start), random)
            outputs: dict[str, NetworkOutput] = {}
            for collector in collectors:
                left = collector.evaluation.protocol.num_fakes - start
                if left <= 0:
                    continue
                network = collector.evaluation.network
                if network.fingerprint not in outputs:
                    outputs[network.fingerprint] = extract_batch(network, images)
                features, logits = outputs[network.fingerprint]
                output = NetworkOutput(features[:left], None if logits is None else logits[:left])
                collector.add(images[:left], None if labels is None else labels[:left], output, max_pixel_bytes)
            progress(start + len(images), total)
        for collector in collectors:
            collector.gather(processes)
        if not processes.is_main_process:
            return []
        return [c.evaluation.finish(c.feature_stats(), self.batch_size, self._seed, details) for c in collectors]

    def evaluate(self, sampler: Any, progress: Progress = silent, processes: SingleProcess = SINGLE_PROCESS) -> list[Result]:
        """Measure an object whose method ``sample`` is a :data:`Generate`, such as an image sampler."""
        return self(sampler.sample, progress, processes=processes)

    def record(self) -> dict[str, Any]:
        """How the run's score is measured, see :meth:`ProtocolEvaluation.record`; empty without a score."""
        first = self.evaluations[0] if self.evaluations else None
        return {} if first is None else first.record(first.protocol.num_fakes, self.batch_size, self._seed)

    def describe(self) -> str:
        """The run's score and how it is measured, in one line."""
        record = self.record()
        return f"{self.score_name}: {record['fakes']:,} fakes against {record['reals']}, {record['features']}"


def _warn_of_bias(evaluation: ProtocolEvaluation) -> None:
    """Warn if a covariance is estimated from no more images than there are features."""
    num_features, num_fakes = evaluation.network.num_features, evaluation.protocol.num_fakes
    few = [f"{n:,} {name}" for n, name in ((num_fakes, "fakes"), (len(evaluation.data), "reals")) if n <= num_features]
    if few and evaluation.primary_score is not None:
        log.warning(
            "%s: %s for %d features: the score is biased and comparable only with scores from as many images",
            evaluation.primary_score,
            " and ".join(few),
            num_features,
        )
