"""What has to be the same before two scores may be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BATCH_NORMS = ("running", "standing")
COVARIANCES = {"n-1": 1, "n": 0}


@dataclass(frozen=True)
class Protocol:
    """How a score is taken, but for the metrics themselves. Images are always uint8, rounded, whatever made them.

    Attributes:
        features: name of the feature network.
        num_fakes: images generated; fewer where a folder has fewer.
        num_reals: a random choice by the evaluation's seed among more; None takes all.
        split: the part of the data set they are from; None: the images trained on. They are never mirrored.
        covariance: denominator ``n-1`` or ``n``.
        batch_norm: statistics the generator's batch normalisation uses: ``running`` ones of the training, or ``standing`` ones,
            measured anew by generating (Brock et al. 2019, section 3.1).
        settings: of the feature network, such as how it resizes.
        metrics: the names of those it is about; None: all that are configured.
    """

    features: str
    num_fakes: int
    num_reals: int | None
    split: str | None
    covariance: str
    batch_norm: str
    settings: dict[str, Any]
    metrics: list[str] | None = None

    def __post_init__(self) -> None:
        for key in ("num_fakes", "num_reals"):
            count = getattr(self, key)
            if count is not None and count < 2:
                raise ValueError(f"protocol: {key}={count}: a covariance needs at least 2 images")
        if self.covariance not in COVARIANCES:
            raise ValueError(f"protocol: covariance={self.covariance}: must be {' or '.join(COVARIANCES)}")
        if self.batch_norm not in BATCH_NORMS:
            raise ValueError(f"protocol: batch_norm={self.batch_norm}: must be {' or '.join(BATCH_NORMS)}")

    @property
    def ddof(self) -> int:
        return COVARIANCES[self.covariance]


def differences(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The entries in which recorded protocols differ, with the value of each: none if their scores may be compared."""
    keys = dict.fromkeys(key for record in records for key in record)
    found = {key: [record.get(key) for record in records] for key in keys}
    return {key: values for key, values in found.items() if any(value != values[0] for value in values)}
