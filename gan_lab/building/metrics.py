"""From a configuration to what is measured of a generator."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

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
    cfg: DictConfig, domain: FeatureDomain, reals: ImageDataset, split: Callable[[str], ImageDataset]
) -> MetricSuite:
    """The suite of ``cfg.evaluation`` under every protocol of ``cfg.protocol``.

    Args:
        cfg: with ``evaluation``, ``protocol``, ``features`` and ``paths``.
        domain: what the images are.
        reals: those trained on.
        split: another part of the data set, by its name.

    Raises:
        ValueError: a feature network, a split or a metric that can't be had.
    """
    evaluation = cfg.evaluation
    metrics: dict[str, Metric] = {
        name: instantiate(node, f"evaluation.metrics.{name}")
        for name, node in (evaluation.metrics or {}).items()
        if node is not None
    }
    networks: dict[str, FeatureNetwork] = {}
    measures = []
    for name, node in cfg.protocol.items() if metrics else ():
        protocol: Protocol = instantiate(node, f"protocol.{name}")
        data = reals if protocol.split is None else split(protocol.split)
        features = choose_features(cfg, domain) if protocol.features == AUTO else protocol.features
        network = load_features(cfg, features, domain, protocol.settings)
        network = networks.setdefault(network.fingerprint, network)  # one network for all protocols that share it
        measures.append(ProtocolEvaluation(str(name), protocol, network, metrics, domain, data, evaluation.seed))
    references = ReferenceStatsCache(Path(cfg.paths.data).expanduser() / "references")
    return MetricSuite(measures, references, evaluation.batch_size, evaluation.seed)


def choose_features(cfg: DictConfig, domain: FeatureDomain) -> str:
    """The first of ``cfg.features`` that can be had for such images without a download."""
    found = next((str(name) for name in cfg.features if _source(cfg, name, {}).is_available(domain)), None)
    if found is None:
        raise ValueError(
            f"evaluation.features={AUTO}: none of {', '.join(cfg.features)} is at hand for these images; features=[...,random] "
            "is for any, evaluation.features=... names one that may be downloaded"
        )
    return found


def load_features(cfg: DictConfig, name: str, domain: FeatureDomain, settings: dict[str, Any]) -> FeatureNetwork:
    """The network called ``name`` in ``cfg.features``, some of its settings exchanged."""
    if name not in cfg.features:
        raise ValueError(f"evaluation.features={name}: must be {AUTO} or one of {', '.join(cfg.features)}")
    with torch.random.fork_rng(devices=[]):
        return _source(cfg, name, settings).load(domain)


def _source(cfg: DictConfig, name: str, settings: dict[str, Any]) -> FeatureSource:
    node = OmegaConf.merge(cfg.features[name], settings)
    source: FeatureSource = instantiate(node, f"features.{name}")
    return source
