"""Saves and restores checkpoints, which contain everything that a bit-identical resume needs.

Entries of ``checkpoints/last.pt``, ``best.pt`` and the others:

==================  ====================================================================================
format              version of this layout, see :data:`gan_lab.storage.checkpoint.FORMAT`
images, iteration   training progress, which determines schedules, triggers and the order of the data
seconds             training time so far
other_seconds       time spent on evaluation, sampling, checkpoints and pages
growth              resolution, fade-in, batch size and learning-rate factor
generator           weights and buffers of the networks
discriminator
generator_ema       the averaged generator, from which images are sampled
phases              for each phase its optimizer, gradient scaler and step count
labels              names and frequencies of the labels, for sampling without the dataset
augment             state of adaptive augmentation
sample_grid         the fixed latents and labels of the sample grids
evaluator           latest and best scores
monitor             alarms, and the state of the checks
averager            sums of metrics since the last logged row
tracker             state of the trackers, such as the ID of a W&B run
num_images          images in the dataset
data                fingerprints of its images and labels, and its class names
schedule            length of the training in images, and what depends on the completed fraction of it
pending             names of callbacks of this step that had not run yet, such as its evaluation: a resume begins with them
rng_states          for each process the state of torch, CUDA, Python and the latents' generator
==================  ====================================================================================
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

import torch

from gan_lab.data.image_dataset import ImageDataset
from gan_lab.iteration.progress import TrainingProgress
from gan_lab.iteration.updater import GANUpdater
from gan_lab.storage import checkpoint
from gan_lab.storage.background import BackgroundWriter, copy_to_host
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.metric_recorder import TrainingDiverged
from gan_lab.utils.formatting import format_count

log = logging.getLogger(__name__)


class Stateful(Protocol):
    """An object with a state that is part of checkpoints."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


class Checkpointer:
    """Writes and reads checkpoints of a run.

    Args:
        directory: the run directory.
        progress: the training progress.
        updater: the networks and optimizers.
        parts: other objects with a state, by the name of their entry in the checkpoint.
        data: the training images, which a resume recognizes; see :mod:`gan_lab.building.resumed_data`.
        device: of the networks.
        keep: how many of the newest checkpoints there are at most.
    """

    def __init__(
        self,
        directory: RunDirectory,
        progress: TrainingProgress,
        updater: GANUpdater,
        parts: Mapping[str, Stateful],
        data: ImageDataset,
        device: torch.device,
        keep: int,
    ) -> None:
        self._directory, self._progress, self._updater = directory, progress, updater
        self._parts, self._device, self.keep = dict(parts), device, keep
        self._newest: int | None = None
        self.pending: list[str] = []
        """Callbacks of the present step that have not run yet."""
        self._told_size = False
        self._data = {"num_images": len(data), "data": data.identity()}
        self._gan = updater.gan
        self._writer = BackgroundWriter()

    def save(self, name: str) -> None:
        """Write ``checkpoints/<name>.pt``; all processes take part, the main process writes.

        The checkpoint that was ``last`` before becomes ``last-1``, unless it is of the same step or of an abandoned training.

        The current state is copied, and a thread writes the copy; :meth:`wait` waits for it.

        Raises:
            TrainingDiverged: a weight is not finite; nothing is written.
            OSError: the previous checkpoint could not be written.
        """
        if not self._updater.has_finite_weights():
            raise TrainingDiverged(f"a weight is not finite after {self._progress.images} images")
        self._updater.all_reduce_buffers()
        state = self.state()
        if self._gan.processes.is_main_process:
            held, wait_for_copy = copy_to_host(state)
            keeps_previous = name == "last" and self._newest not in (None, self._progress.images)

            def write() -> None:
                wait_for_copy()
                if keeps_previous:
                    checkpoint.shift_newest(self._directory, self.keep)
                checkpoint.save(self._directory.checkpoint(name), held)
                self._tell_size(name)

            self._writer.start(write)
        if name == "last":
            self._newest = self._progress.images

    def _tell_size(self, name: str) -> None:
        """Log how much the checkpoints of this run take, when the first one has been written."""
        if not self._told_size:
            self._told_size = True
            size = self._directory.checkpoint(name).stat().st_size / 2**20
            log.info("a checkpoint takes %.3g MiB; %s and the best one are kept", size, format_count(self.keep, "newest one"))

    def wait(self) -> None:
        """Wait until the last checkpoint is written.

        Raises:
            OSError: it could not be written.
        """
        self._writer.wait()

    def state(self) -> dict[str, Any]:
        """Everything a resume needs."""
        return {
            **self._progress.state_dict(),
            **self._updater.state_dict(),
            **{name: part.state_dict() for name, part in self._parts.items()},
            **self._data,
            "pending": list(self.pending),
            "schedule": {"total_images": self._progress.total_images, **self._updater.schedule_at(self._progress)},
            "rng_states": self._gan.processes.all_gather_object(checkpoint.random_state(self._device, self._gan.rng)),
        }

    def restore(self, state: Mapping[str, Any], is_last: bool = False) -> None:
        """Load a checkpoint into a newly built trainer; ``is_last`` says whether it is ``last.pt``."""
        self._newest = state["images"] if is_last else None
        self.pending = list(state.get("pending", ()))
        self._progress.load_state_dict(state)
        self._updater.load_state_dict(state)
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        processes = self._gan.processes
        if processes.rank < len(state["rng_states"]):  # a resume may use more processes than the run had
            checkpoint.restore_random_state(state["rng_states"][processes.rank], self._device, self._gan.rng)

    def go_back(self, name: str, keep: str) -> None:
        """Load the checkpoint called ``name``, but keep the current state of the part called ``keep``; all processes take part.

        Raises:
            ValueError: it is missing or damaged.
        """
        with self._gan.processes.main_process_first():
            self.wait()
        self.restore(
            {**checkpoint.load(self._directory.checkpoint(name)), keep: self._parts[keep].state_dict()}, name == "last"
        )

    @property
    def newest(self) -> int | None:
        """Images of ``last.pt``; None if there is none, or if it is no predecessor of the current state."""
        return self._newest
