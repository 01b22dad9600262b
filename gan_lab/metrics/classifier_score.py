"""Metrics from the predictions of a classifier: Inception score and mode coverage."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from gan_lab.metrics.base import FeatureStats, Metric
from gan_lab.metrics.networks import FeatureNetwork


class ClassifierScore(Metric):
    """The Inception score, ``exp E KL(p(y|x) || p(y))``, averaged over splits of the fakes (Salimans et al. 2016).

    The score is called ``classifier_score``, or ``is`` with Inception's published weights; ``classifier_score_std`` is the
    standard deviation over the splits, which papers report after the plus-minus sign. It lies between 1 and the number of
    classes, so scores of different classifiers are not comparable. Empty if there are fewer fakes than splits.

    Args:
        splits: number of splits; 10 in the paper.
        seed: of the shuffling, which uses NumPy's ``RandomState`` like torch-fidelity.
    """

    needs = frozenset(["logits"])

    def __init__(self, splits: int, seed: int) -> None:
        if splits < 1:
            raise ValueError(f"evaluation.metrics.classifier_score: {splits=}: must be at least 1")
        self._splits, self._seed = splits, seed

    def __call__(self, fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> dict[str, float]:
        if fakes.logits is None or len(fakes) < self._splits:
            return {}
        order = np.random.RandomState(self._seed).permutation(len(fakes))
        logits = fakes.logits[torch.from_numpy(order)]
        bounds = [n * len(fakes) // self._splits for n in range(self._splits + 1)]
        scores = [_score(logits[start:end].double()) for start, end in itertools.pairwise(bounds)]
        name = network.score("classifier_score")
        return {name: float(np.mean(scores)), f"{name}_std": float(np.std(scores))}


class ModeCoverage(Metric):
    """``modes``: the number of classes predicted for the fakes; ``mode_kl``: how their frequencies differ from the data's.

    ``mode_kl`` is the Kullback-Leibler divergence ``KL(fakes || reals)`` of the class frequencies, in nats. On Stacked-MNIST
    with 26,000 fakes and 1,000 modes this is the protocol of PacGAN (Lin et al. 2018, section 4.1). Empty if the classifier's
    classes are not those of the dataset.
    """

    needs = frozenset(["logits", "labels"])

    def __call__(self, fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> dict[str, float]:
        if fakes.logits is None or not network.classes or tuple(reals.classes) != network.classes:
            return {}
        generated, expected = self._frequencies(fakes, reals, network)
        present = generated > 0
        divergence = (generated[present] * (generated[present] / expected[present]).log()).sum().item()
        return {network.score("modes"): float(present.sum()), network.score("mode_kl"): divergence}

    def details(self, fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> dict[str, dict[str, float]]:
        if fakes.logits is None or not network.classes or tuple(reals.classes) != network.classes:
            return {}
        generated, expected = self._frequencies(fakes, reals, network)
        return {  # titles are stored with scores: do not change
            f"share of fakes by class, told by {network.name}": dict(zip(reals.classes, generated.tolist(), strict=True)),
            "share of reals by class": dict(zip(reals.classes, expected.tolist(), strict=True)),
        }

    @staticmethod
    def _frequencies(fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> tuple[Tensor, Tensor]:
        """Class frequencies ``[num_classes]`` of fakes and reals; classes without reals count as one, so no log is infinite."""
        assert fakes.logits is not None
        count = network.num_classes
        generated = torch.bincount(fakes.logits.argmax(1), minlength=count).double() / len(fakes)
        labels = torch.tensor([], dtype=torch.long) if reals.labels is None else reals.labels[reals.labels >= 0]
        expected = torch.bincount(labels, minlength=count).double().clamp_min(1)
        return generated, expected / expected.sum()


def _score(logits: Tensor) -> float:
    """The score of one split from logits ``[N, num_classes]``."""
    probabilities, log_probabilities = logits.softmax(1), logits.log_softmax(1)
    marginal = probabilities.mean(0, keepdim=True)
    return (probabilities * (log_probabilities - marginal.log())).sum(1).mean().exp().item()
