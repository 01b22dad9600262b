"""Statistics of real images, cached on disk for all runs."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
STORED = frozenset(["features", "logits"])
"""Fields that are stored in the cache; pixels and labels are read from the dataset."""


class ReferenceStatsCache:
    """A folder with the statistics of sets of real images, one file for each set and feature network.

    A lock ensures that processes that need the same statistics compute them only once.

    Args:
        folder: created on first use; if it is not writable, statistics are computed each time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @staticmethod
    def key(data: ImageDataset, network: FeatureNetwork) -> str:
        """Hash of the images and the network, 12 hexadecimal digits."""
        return hashlib.sha256(f"{FORMAT} {data.fingerprint()} {network.fingerprint}".encode()).hexdigest()[:12]

    def feature_stats(
        self, data: ImageDataset, network: FeatureNetwork, needs: frozenset[str], batch_size: int, ddof: int, progress: Progress
    ) -> FeatureStats:
        """The statistics of ``data``, from the cache if possible.

        Args:
            data: the real images.
            network: the feature network, already on its device.
            needs: fields of :class:`FeatureStats` to provide.
            batch_size: images passed to the network at a time.
            ddof: of the covariance.
            progress: called with the number of images done and the total.

        Raises:
            OSError: the images can't be read. A cache that can't be written is only a warning.
        """
        path = self._folder / f"{network.name}-{self.key(data, network)}.pt"
        stored = _read(path)
        if not _holds(stored, needs):
            with self._lock(path) as is_writable:
                stored = _read(path)
                if not _holds(stored, needs):
                    all_needs = needs | frozenset(stored["holds"] if stored else ())
                    stored = _compute(data, network, all_needs, batch_size, progress)
                    if is_writable:
                        self._write(path, stored)
        assert stored is not None
        pixel_index = torch.linspace(0, len(data) - 1, min(len(data), PIXEL_BYTES // math.prod(data.shape))).long()
        return FeatureStats(
            MeanCovariance.from_state(stored["statistics"], ddof),
            stored["features"] if "features" in needs else None,
            stored["logits"] if "logits" in needs else None,
            pixels=data.images(pixel_index) if "pixels" in needs else None,
            pixel_index=pixel_index,
            labels=None if data.multi_label else data.labels_of(slice(None)),
            classes=() if data.multi_label else data.classes,
        )

    @contextmanager
    def _lock(self, path: Path) -> Iterator[bool]:
        """Hold the lock of a file of the cache. Yields whether the cache is writable; if not, there is no lock."""
        with ExitStack() as stack:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                waiting = "another process is computing these statistics; waiting for it"
                stack.enter_context(file_lock(path.with_suffix(".lock"), waiting))
            except OSError as error:
                self._warn(error)
                yield False
                return
            yield True

    def _write(self, path: Path, stored: dict[str, Any]) -> None:
        try:
            with atomic_file(path) as handle:
                torch.save(stored, handle)
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        log.warning("statistics of real images can't be stored in %s (%s)", self._folder, error.strerror or error)


@torch.no_grad()
def _compute(
    data: ImageDataset, network: FeatureNetwork, needs: frozenset[str], batch_size: int, progress: Progress
) -> dict[str, Any]:
    device = network.device
    statistics = MeanCovariance(network.num_features)
    features, logits = [], []
    for start in range(0, len(data), batch_size):
        output = extract_batch(network, data.images(slice(start, start + batch_size)).to(device))
        statistics.add(output.features)
        if "features" in needs:
            features.append(output.features.cpu())
        if "logits" in needs and output.logits is not None:
            logits.append(output.logits.cpu())
        progress(min(start + batch_size, len(data)), len(data))
    return {
        "format": FORMAT,
        "holds": sorted(needs & STORED),
        "statistics": statistics.state_dict(),
        "features": torch.cat(features) if features else None,
        "logits": torch.cat(logits) if logits else None,
    }


def _holds(stored: dict[str, Any] | None, needs: frozenset[str]) -> bool:
    return stored is not None and needs & STORED <= set(stored["holds"])


def _read(path: Path) -> dict[str, Any] | None:
    """The stored statistics; None if there are none, or they are damaged or of another version."""
    if not path.is_file():
        return None
    try:
        stored = load_tensors(path, "holds no statistics")
    except ValueError as error:
        log.warning("%s; the statistics are computed again", error)
        return None
    return stored if isinstance(stored, dict) and stored.get("format") == FORMAT else None
