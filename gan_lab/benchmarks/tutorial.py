"""The training loop as DCGAN tutorials write it, in a process of its own, to be measured in turn with ours.

After PyTorch's tutorial (``beginner/dcgan_faces_tutorial``, pytorch/examples ``dcgan/main.py``): pictures that are transformed
one by one, a loader with two workers, eager float32 in the default memory format, binary cross-entropy with its three backward
passes, Adam as it comes, ``.item()`` for every figure. The process has the environment of whoever types the tutorial: nothing
of ours about threads or how they wait.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import VisionDataset

from gan_lab.data.images import ImageSet
from gan_lab.training.round import Game

START = "import torch; from gan_lab.benchmarks.tutorial import serve; serve()"  # torch first: importing gan_lab settles threads
OURS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
WORKERS = 2
QUIET = 1.0
"""Seconds for the workers to have filled their queue, after which they sleep."""


class Pictures(VisionDataset):
    """Images in memory, as torchvision's MNIST and CIFAR have them."""

    def __init__(self, pixels: Tensor, size: int) -> None:
        channels = pixels.shape[1]
        steps = [transforms.Resize(size), transforms.ToTensor(), transforms.Normalize([0.5] * channels, [0.5] * channels)]
        super().__init__("", transform=transforms.Compose(steps))
        self._arrays = pixels.permute(0, 2, 3, 1).numpy()

    def __len__(self) -> int:
        return len(self._arrays)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        array = self._arrays[index]
        return self.transform(Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)), 0


class Loop:
    """The tutorial's loop over ``generator`` and ``discriminator``."""

    def __init__(
        self, generator: nn.Module, discriminator: nn.Module, pixels: Tensor, batch_size: int, latent_size: int
    ) -> None:
        self.generator, self.discriminator, self._latent_size = generator, discriminator, latent_size
        loader: DataLoader[Any] = DataLoader(
            Pictures(pixels, pixels.shape[-1]), batch_size, shuffle=True, num_workers=WORKERS, persistent_workers=True
        )
        self._batches = itertools.chain.from_iterable(itertools.repeat(loader))
        self._criterion = nn.BCEWithLogitsLoss()
        self._of_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self._of_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.figures: dict[str, float] = {}

    def step(self) -> None:
        real, _ = next(self._batches)
        self.discriminator.zero_grad()
        label = torch.full((len(real),), 1.0)
        error_real = self._criterion(self.discriminator(real).logits, label)
        error_real.backward()
        fake = self.generator(torch.randn(len(real), self._latent_size))
        label.fill_(0.0)
        error_fake = self._criterion(self.discriminator(fake.detach()).logits, label)
        error_fake.backward()
        self._of_d.step()
        self.generator.zero_grad()
        label.fill_(1.0)
        error = self._criterion(self.discriminator(fake).logits, label)
        error.backward()
        self._of_g.step()
        self.figures = {"d": error_real.item() + error_fake.item(), "g": error.item()}


class Tutorial:
    """The process that runs the loop, asleep unless asked."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._folder = process, folder

    def steps(self, count: int) -> float:
        """Seconds ``count`` steps have taken."""
        return float(self._ask({"steps": count})["seconds"])

    def generator(self) -> dict[str, Tensor]:
        """Its weights at the moment."""
        path = self._folder / "generator.pt"
        self._ask({"save": str(path)})
        return torch.load(path, weights_only=True)

    def _ask(self, wish: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(wish) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise ValueError("the tutorial loop has ended before its time; its own message says why")
        return json.loads(answer)


@contextmanager
def tutorial(game: Game, data: ImageSet, batch_size: int, folder: Path) -> Iterator[Tutorial]:
    """The loop on copies of the game's networks; it ends with the context, and with this process however that ends."""
    path = folder / "tutorial.pt"
    players = {name: getattr(game, name).to("cpu", torch.float32) for name in ("generator", "discriminator")}
    torch.save(
        {**players, "pixels": data.images(slice(None)), "batch_size": batch_size, "latent_size": game.latents.size}, path
    )
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    command = [sys.executable, "-c", START, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        yield Tutorial(process, folder)
    finally:
        process.communicate()


def serve() -> None:
    """Do what the lines of the standard input ask for; their end is the end."""
    state = torch.load(sys.argv[-1], weights_only=False)  # written by the process that has started this one
    for name in ("generator", "discriminator"):
        state[name] = state[name].to(memory_format=torch.contiguous_format).train().requires_grad_(True)
    loop = Loop(**state)
    for line in sys.stdin:
        wish = json.loads(line)
        begun = time.perf_counter()
        for _ in range(wish.get("steps", 0)):
            loop.step()
        seconds = time.perf_counter() - begun
        if "save" in wish:
            torch.save(loop.generator.state_dict(), wish["save"])
        else:
            time.sleep(QUIET)
        print(json.dumps({"seconds": seconds, **loop.figures}), flush=True)  # noqa: T201 - the answer
