"""What is known of the reals, kept between runs."""

from __future__ import annotations

import hashlib
import logging
import math
from pathlib import Path
from typing import Any

import torch

from gan_lab.data.image_dataset import ImageDataset
from gan_lab.metrics.base import PIXEL_BYTES, FeatureStats
from gan_lab.metrics.mean_covariance import MeanCovariance
from gan_lab.metrics.networks import FeatureNetwork, extract_batch
from gan_lab.storage.files import atomic_file, file_lock
from gan_lab.storage.safe_load import load_tensors
from gan_lab.utils.progress import Progress

log = logging.getLogger(__name__)

FORMAT = 1
KEPT = frozenset(["features", "logits"])
"""Of what metrics may need, what is worth keeping: pixels and labels are in the data set."""


class ReferenceStatsCache:
    """A folder of samples of reals, by the images and the network. Processes that need the same one wait for the first.

    Args:
        folder: made when the first is stored; where it can't be, samples are taken anew each time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @staticmethod
    def key(data: ImageDataset, network: FeatureNetwork) -> str:
        """12 hexadecimal digits: the same images in the same features."""
        return hashlib.sha256(f"{FORMAT} {data.fingerprint()} {network.fingerprint}".encode()).hexdigest()[:12]

    def feature_stats(
        self, data: ImageDataset, network: FeatureNetwork, needs: frozenset[str], batch_size: int, ddof: int, progress: Progress
    ) -> FeatureStats:
        """The sample of ``data``, taken unless it is kept already. The network is on its device."""
        path = self._folder / f"{network.name}-{self.key(data, network)}.pt"
        kept = _read(path)
        if not _holds(kept, needs):
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                with file_lock(path.with_suffix(".lock"), "another process is measuring the same real images; waiting for it"):
                    kept = _read(path)
                    if not _holds(kept, needs):
                        kept = _take(data, network, needs | frozenset(kept["holds"] if kept else ()), batch_size, progress)
                        _write(path, kept)
            except OSError as error:
                log.warning("the statistics of the real images can't be kept in %s (%s)", self._folder, error.strerror or error)
                kept = kept if _holds(kept, needs) else _take(data, network, needs, batch_size, progress)
        assert kept is not None
        places = torch.linspace(0, len(data) - 1, min(len(data), PIXEL_BYTES // math.prod(data.shape))).long()
        return FeatureStats(
            MeanCovariance.from_state(kept["statistics"], ddof),
            kept["features"] if "features" in needs else None,
            kept["logits"] if "logits" in needs else None,
            pixels=data.images(places) if "pixels" in needs else None,
            pixel_index=places,
            labels=None if data.multi_label else data.labels_of(slice(None)),
            classes=() if data.multi_label else data.classes,
        )


@torch.no_grad()
def _take(
    data: ImageDataset, network: FeatureNetwork, needs: frozenset[str], batch_size: int, progress: Progress
) -> dict[str, Any]:
    device = next(network.parameters()).device
    statistics = MeanCovariance(network.num_features)
    features, logits = [], []
    for start in range(0, len(data), batch_size):
        seen = extract_batch(network, data.images(slice(start, start + batch_size)).to(device))
        statistics.add(seen.features)
        if "features" in needs:
            features.append(seen.features.cpu())
        if "logits" in needs and seen.logits is not None:
            logits.append(seen.logits.cpu())
        progress(min(start + batch_size, len(data)), len(data))
    return {
        "format": FORMAT,
        "holds": sorted(needs & KEPT),
        "statistics": statistics.state_dict(),
        "features": torch.cat(features) if features else None,
        "logits": torch.cat(logits) if logits else None,
    }


def _holds(kept: dict[str, Any] | None, needs: frozenset[str]) -> bool:
    return kept is not None and needs & KEPT <= set(kept["holds"])


def _read(path: Path) -> dict[str, Any] | None:
    """What is stored, if it is whole."""
    if not path.is_file():
        return None
    try:
        kept = load_tensors(path, "holds no statistics")
    except ValueError as error:
        log.warning("%s; they are computed again", error)
        return None
    return kept if isinstance(kept, dict) and kept.get("format") == FORMAT else None


def _write(path: Path, kept: dict[str, Any]) -> None:
    with atomic_file(path) as handle:
        torch.save(kept, handle)
