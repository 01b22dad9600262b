"""A run as an object: ``Run.open(path).sample(16)``."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from gan_lab.config import instantiate, read_config
from gan_lab.data.images import to_uint8
from gan_lab.directory import RunDirectory
from gan_lab.models.latents import NormalLatents
from gan_lab.training import checkpoint
from gan_lab.training.device import choose_device


class Run:
    """A run directory opened for use; needs neither the data set nor Hydra's command line.

    Attributes:
        directory: its files.
        config: its resolved configuration.
        generator: the sampling generator in evaluation mode, without gradients.
        latents: the source of its input.
        images_seen: of the checkpoint it was loaded from.
    """

    def __init__(self, directory: RunDirectory, which: str, device: torch.device) -> None:
        self.directory = directory
        self.config = read_config(directory)
        self.device = device
        state = checkpoint.load(directory.checkpoint(which))
        self.images_seen: int = state["images"]
        self.latents: NormalLatents = instantiate(self.config.model.latents, "model.latents")
        self.generator: nn.Module = instantiate(self.config.model.generator, "model.generator")
        try:
            self.generator.load_state_dict(state["average"])
        except RuntimeError as error:
            raise ValueError(
                f"{directory.checkpoint(which)} does not fit {directory.config}: {str(error).splitlines()[0]}"
            ) from error
        self.generator.to(device).eval().requires_grad_(False)

    @classmethod
    def open(cls, path: str | os.PathLike[str], checkpoint: str = "last", device: str = "cpu") -> Run:
        """Open a finished, a stopped or a running run.

        Args:
            path: the run directory, or ``latest``.
            checkpoint: ``last`` or ``best``.
            device: where the generator goes: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

        Raises:
            ValueError: no run there, no such checkpoint yet, a damaged one, or no such device.
        """
        if checkpoint not in ("last", "best"):
            raise ValueError(f"checkpoint={checkpoint}: must be last or best")
        return cls(RunDirectory.find(path), checkpoint, choose_device(device))

    def sample(self, count: int, seed: int = 0, batch_size: int = 64) -> Tensor:
        """``count`` images, uint8 ``[count, C, H, W]`` on the CPU; from the same latents for the same seed on every device."""
        if count < 1 or batch_size < 1:
            raise ValueError(f"count={count} and batch_size={batch_size} must be at least 1")
        latents = self.latents.draw(count, self.device, torch.Generator().manual_seed(seed))
        with torch.no_grad():
            return torch.cat([to_uint8(self.generator(part)).cpu() for part in latents.split(batch_size)])

    @property
    def history(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.jsonl``."""
        return self.directory.history()

    @property
    def summary(self) -> dict[str, Any]:
        """``summary.json``."""
        return self.directory.read_summary()
