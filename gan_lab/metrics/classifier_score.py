"""What a classifier makes of the fakes: the Inception score and its kin, and the modes it finds among them."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor

from gan_lab.metrics.base import FeatureStats, Metric
from gan_lab.metrics.networks import FeatureNetwork


class ClassifierScore(Metric):
    """The Inception score, ``exp E KL(p(y|x) | p(y))``, averaged over splits (Salimans et al. 2016).

    Logged as ``classifier_score``, with Inception's published weights as ``is``. ``classifier_score_std`` is the standard
    deviation over the splits, usually given after the plus-minus sign. The score is at most the number of classes: scores of
    different classifiers can't be compared.

    Args:
        splits: of the fakes; 10 in the paper.
        seed: of their order, by NumPy's ``RandomState`` as torch-fidelity shuffles them.
    """

    needs = frozenset(["logits"])

    def __init__(self, splits: int, seed: int) -> None:
        if splits < 1:
            raise ValueError(f"evaluation.metrics.classifier_score: {splits=} must be at least 1")
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
    """``modes``, the classes the classifier finds among the fakes, and ``mode_kl``, how far their shares are from the data's.

    On Stacked-MNIST the protocol of PacGAN (Lin et al. 2018, section 4.1): of 26,000 fakes, the number of its 1,000 modes and
    the Kullback-Leibler divergence of their shares from the data's, in nats. Nothing where the classifier has other classes.
    """

    needs = frozenset(["logits", "labels"])

    def __call__(self, fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> dict[str, float]:
        if fakes.logits is None or not network.classes or tuple(reals.classes) != network.classes:
            return {}
        found, wanted = self._shares(fakes, reals, network)
        seen = found > 0
        divergence = (found[seen] * (found[seen] / wanted[seen]).log()).sum().item()
        return {network.score("modes"): float(seen.sum()), network.score("mode_kl"): divergence}

    def details(self, fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> dict[str, dict[str, float]]:
        if fakes.logits is None or not network.classes or tuple(reals.classes) != network.classes:
            return {}
        found, wanted = self._shares(fakes, reals, network)
        return {
            f"share of fakes by class, told by {network.name}": dict(zip(reals.classes, found.tolist(), strict=True)),
            "share of reals by class": dict(zip(reals.classes, wanted.tolist(), strict=True)),
        }

    @staticmethod
    def _shares(fakes: FeatureStats, reals: FeatureStats, network: FeatureNetwork) -> tuple[Tensor, Tensor]:
        """Of each class among the fakes and among the reals; a class that no real has counts as if one had it."""
        assert fakes.logits is not None
        count = network.num_classes
        found = torch.bincount(fakes.logits.argmax(1), minlength=count).double() / len(fakes)
        labels = torch.tensor([], dtype=torch.long) if reals.labels is None else reals.labels[reals.labels >= 0]
        wanted = torch.bincount(labels, minlength=count).double().clamp_min(1)
        return found, wanted / wanted.sum()


def _score(logits: Tensor) -> float:
    probabilities, logarithms = logits.softmax(1), logits.log_softmax(1)
    marginal = probabilities.mean(0, keepdim=True)
    return (probabilities * (logarithms - marginal.log())).sum(1).mean().exp().item()
