"""Evaluation protocols: everything that has to be equal for two scores to be comparable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BATCH_NORMS = ("running", "standing")
"""Batch-norm statistics, in the order of evaluation: computing standing ones overwrites the running ones."""
COVARIANCES = {"n-1": 1, "n": 0}
"""Denominator of the covariance, and its ``ddof``."""


@dataclass(frozen=True)
class Protocol:
    """How scores are measured. Images are always rounded to uint8 before features are computed.

    Attributes:
        features: name of the feature network, an option of ``conf/features``, or ``auto``.
        num_fakes: number of generated images; of a folder of fakes, all images are used instead.
        num_reals: number of real images, a random subset; None: all.
        split: the split of the dataset with the real images; None: the training images. They are never mirrored.
        covariance: its denominator, ``n-1`` or ``n``.
        batch_norm: statistics of the generator's batch normalization: ``running``, from training, or ``standing``, recomputed
            from generated batches (Brock et al. 2019, section 3.1).
        settings: arguments of the feature network to replace, such as ``resize``.
        metrics: names of the metrics to compute; None: all configured ones.

    Raises:
        ValueError: a count is below 2, or ``covariance`` or ``batch_norm`` has another value.
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
                raise ValueError(f"protocol: {key}={count}: must be at least 2, for a covariance")
        if self.covariance not in COVARIANCES:
            raise ValueError(f"protocol: covariance={self.covariance}: must be {' or '.join(COVARIANCES)}")
        if self.batch_norm not in BATCH_NORMS:
            raise ValueError(f"protocol: batch_norm={self.batch_norm}: must be {' or '.join(BATCH_NORMS)}")

    @property
    def ddof(self) -> int:
        return COVARIANCES[self.covariance]


def differences(records: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The entries that are not equal in all records, each with its values in order. Empty: the scores are comparable."""
    keys = dict.fromkeys(key for record in records for key in record)
    values_by_key = {key: [record.get(key) for record in records] for key in keys}
    return {key: values for key, values in values_by_key.items() if any(value != values[0] for value in values)}
