"""Builds the evaluation of a generator: metrics, protocols and feature networks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from gan_lab.building.networks import discriminator_section
from gan_lab.config import instantiate
from gan_lab.data.image_dataset import ImageDataset
from gan_lab.metrics.base import Metric
from gan_lab.metrics.networks import FeatureDomain, FeatureNetwork, FeatureSource
from gan_lab.metrics.protocol import Protocol
from gan_lab.metrics.reference_stats import ReferenceStatsCache
from gan_lab.metrics.suite import MetricSuite, ProtocolEvaluation

log = logging.getLogger(__name__)

AUTO = "auto"


def build_suite(
    cfg: DictConfig,
    domain: FeatureDomain,
    reals: ImageDataset,
    split: Callable[[str], ImageDataset],
    origin: str | None = None,
) -> MetricSuite:
    """The metrics of ``cfg.evaluation`` under every protocol of ``cfg.protocol``.

    Args:
        cfg: with ``evaluation``, ``protocol``, ``features`` and ``paths``.
        domain: name, channels and size of the images, from which feature networks are chosen.
        reals: the real images of protocols without a split.
        split: loads another split of the dataset, by name.
        origin: what ``reals`` are, for the record of the scores; None: the training images, or the protocol's split.

    Raises:
        ValueError: a feature network, a split or a metric is not available.
    """
    evaluation = cfg.evaluation
    metrics: dict[str, Metric] = {
        name: instantiate(node, f"evaluation.metrics.{name}")
        for name, node in (evaluation.metrics or {}).items()
        if node is not None
    }
    networks: dict[str, FeatureNetwork] = {}
    evaluations = []
    for name, node in cfg.protocol.items() if metrics else ():
        protocol: Protocol = instantiate(node, f"protocol.{name}")
        data = reals if protocol.split is None else split(protocol.split)
        features = choose_features(cfg, domain) if protocol.features == AUTO else protocol.features
        network = load_features(cfg, features, domain, protocol.settings)
        caution = _caution(cfg, features)
        network = networks.setdefault(network.fingerprint, network)  # protocols share networks
        evaluations.append(
            ProtocolEvaluation(str(name), protocol, network, metrics, domain, data, evaluation.seed, origin, caution)
        )
    cache = ReferenceStatsCache(Path(cfg.paths.data).expanduser() / "references")
    return MetricSuite(evaluations, cache, evaluation.batch_size, evaluation.seed)


def choose_features(cfg: DictConfig, domain: FeatureDomain) -> str:
    """The name of the first network in ``cfg.features`` that is available for images of ``domain`` without a download.

    Networks that training learns from are passed by: a score in them would measure what has been optimized.

    Raises:
        ValueError: none is available.
    """
    sources = ((str(name), _build_source(cfg, name, {})) for name in cfg.features)
    learned = networks_learned_from(cfg)
    found = next((name for name, s in sources if s.backbone not in learned and s.is_available(domain)), None)
    if found is None:
        raise ValueError(
            f"evaluation.features={AUTO}: none of {', '.join(cfg.features)} is available for images of {domain.size} pixels; "
            "features=[...,random] works for all from 8 pixels on, and evaluation.features=NAME downloads a network if needed"
        )
    return found


def networks_learned_from(cfg: DictConfig) -> frozenset[str]:
    """Names of the pretrained networks that the training learns from: the discriminator's and that of perceptual losses."""
    section = discriminator_section(cfg) if "model" in cfg else None
    perceptual = "perceptual" in ((cfg.get("loss") or {}).get("generator") or {})
    nodes = [section, cfg.perception if perceptual else None]
    return frozenset(str(node.network) for node in nodes if node is not None and "network" in node)


def _caution(cfg: DictConfig, features: str) -> str:
    """Why scores in these features are to be doubted; also logged. Empty if they are not."""
    if _build_source(cfg, features, {}).backbone not in networks_learned_from(cfg):
        return ""
    log.warning(
        "evaluation.features=%s: training learns from the same network, so the score flatters this run and can't be compared "
        "with others; evaluation.features=%s chooses another network",
        features,
        AUTO,
    )
    return "CAUTION: training learns from the same network"


def load_features(cfg: DictConfig, name: str, domain: FeatureDomain, settings: dict[str, Any]) -> FeatureNetwork:
    """The network called ``name`` in ``cfg.features``; ``settings`` replaces some of its arguments.

    Raises:
        ValueError: there is no such network, or it is not available.
    """
    if name not in cfg.features:
        raise ValueError(f"evaluation.features={name}: must be {AUTO} or one of {', '.join(cfg.features)}")
    with torch.random.fork_rng(devices=[]):
        return _build_source(cfg, name, settings).load(domain)


def _build_source(cfg: DictConfig, name: str, settings: dict[str, Any]) -> FeatureSource:
    source: FeatureSource = instantiate(OmegaConf.merge(cfg.features[name], settings), f"features.{name}")
    return source
