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
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms

from gan_lab.building.networks import build_discriminator, build_generator
from gan_lab.iteration.gan import GAN
from gan_lab.models.base import ProgressiveNetwork
from gan_lab.models.latents import NoLatents
from gan_lab.training.trainer import Trainer

START = "import torch; from gan_lab.benchmarks.tutorial import serve; serve()"  # torch first: importing gan_lab settles threads
OURS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")

WORKERS = 2
PREFETCHED = 2 * WORKERS
"""Batches the workers make ahead, by the loader's default."""

QUIET = 1.0
"""Seconds that are enough for small pictures."""

GRACE = 20.0
"""Seconds the process has to finish the step it is in."""


class FolderImages(datasets.VisionDataset):
    """Images in memory, ``[N, C, H, W]`` uint8, as torchvision's MNIST and CIFAR have them."""

    def __init__(self, pixels: Tensor, transform: Any) -> None:
        super().__init__("", transform=transform)
        self._arrays = pixels.permute(0, 2, 3, 1).numpy()

    def __len__(self) -> int:
        return len(self._arrays)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        array = self._arrays[index]
        return self.transform(Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)), 0


class Loop:
    """The tutorial's loop over ``generator`` and ``discriminator``."""

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        data: Dataset[Any],
        batch_size: int,
        latent_size: int,
        device: torch.device,
    ) -> None:
        self.generator, self.discriminator = generator.to(device), discriminator.to(device)
        self._latent_size, self._device = latent_size, device
        loader: DataLoader[Any] = DataLoader(data, batch_size, shuffle=True, num_workers=WORKERS, persistent_workers=True)
        self._batches = itertools.chain.from_iterable(itertools.repeat(loader))
        self._criterion = nn.BCEWithLogitsLoss()
        self._of_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self._of_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.figures: dict[str, float] = {}

    def step(self) -> None:
        real = next(self._batches)[0].to(self._device)
        self.discriminator.zero_grad()
        label = torch.full((len(real),), 1.0, device=self._device)
        error_real = self._criterion(self.discriminator(real).logits, label)
        error_real.backward()
        fake = self.generator(torch.randn(len(real), self._latent_size, device=self._device))
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
        """Its weights at the moment, on the CPU."""
        path = self._folder / "generator.pt"
        self._ask({"save": str(path)})
        return torch.load(path, weights_only=True, map_location="cpu")

    def _ask(self, wish: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(wish) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            raise ValueError("the tutorial loop has ended before its time; its own message says why") from None


def in_the_way(cfg: DictConfig, game: GAN) -> str:
    """Why a tutorial can't train these networks; empty if it can."""
    if cfg.conditioning.labels:
        return "tutorials' networks know no labels: conditioning=none"
    if isinstance(game.latents, NoLatents):
        return "tutorials' networks draw from latents: model=dcgan"
    return "tutorials' networks do not grow: model=dcgan" if isinstance(game.generator, ProgressiveNetwork) else ""


@contextmanager
def tutorial(cfg: DictConfig, trainer: Trainer, batch_size: int, folder: Path, most: int | None = None) -> Iterator[Tutorial]:
    """The loop on fresh networks with the weights the trainer's have now, on the same data and device.

    It ends with the context, and with this process however that ends: with nobody to ask it anything its input is at its end.

    Args:
        cfg: what the networks are built from.
        trainer: whose networks and data are taken.
        batch_size: the tutorial's own.
        folder: for files on the way from process to process.
        most: images it is given of a data set in memory; None: all.
    """
    path = folder / "tutorial.pt"
    torch.save({**_networks(cfg, trainer.updater.gan), **_data(cfg, trainer, most), "batch_size": batch_size}, path)
    environment = {name: value for name, value in os.environ.items() if name not in OURS}
    command = [sys.executable, "-c", START, str(path)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,  # a Ctrl-C is for this process
    )
    try:
        yield Tutorial(process, folder)
    finally:
        _end(process)


def picture_folder(cfg: DictConfig, count: int) -> str | None:
    """The folder of a data set of files where torchvision's ImageFolder finds the same ``count`` pictures, else None."""
    path = cfg.dataset.get("path")
    if path is None or not Path(path).is_dir() or cfg.dataset.resize_mode != "crop":
        return None
    try:
        found = len(datasets.ImageFolder(path))
    except FileNotFoundError:  # how it says that there are no class folders
        return None
    return str(path) if found == count else None


def _networks(cfg: DictConfig, game: GAN) -> dict[str, Any]:
    players = {"generator": build_generator(cfg), "discriminator": build_discriminator(cfg)}
    for name, network in players.items():
        network.load_state_dict(getattr(game, name).state_dict())
    return {**players, "latent_size": game.latents.size}


def _data(cfg: DictConfig, trainer: Trainer, most: int | None) -> dict[str, Any]:
    data = trainer.loader.data
    path = picture_folder(cfg, len(data))
    pixels = None if path else data.images(slice(most))
    return {"path": path, "pixels": pixels, "shape": data.shape, "device": trainer.device}


def _end(process: subprocess.Popen[str]) -> None:
    try:
        process.communicate(timeout=GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def serve() -> None:
    """Do what the lines of the standard input ask for; their end is the end."""
    loop = _loop(**torch.load(sys.argv[-1], weights_only=False))  # written by the process that has started this one
    for line in sys.stdin:
        wish = json.loads(line)
        if "save" in wish:
            torch.save(loop.generator.state_dict(), wish["save"])
            answer = {}
        else:
            answer = _steps(loop, wish["steps"])
        print(json.dumps(answer), flush=True)  # noqa: T201 - the answer


def _loop(path: str | None, pixels: Tensor, shape: tuple[int, int, int], **rest: Any) -> Loop:
    channels, size, _ = shape
    steps = [transforms.Resize(size), transforms.CenterCrop(size), transforms.ToTensor()]
    steps += [transforms.Normalize([0.5] * channels, [0.5] * channels)]
    if path is None:
        return Loop(data=FolderImages(pixels, transforms.Compose(steps)), **rest)
    grey = [transforms.Grayscale()] if channels == 1 else []
    return Loop(data=datasets.ImageFolder(path, transforms.Compose([*grey, *steps])), **rest)


def _steps(loop: Loop, count: int) -> dict[str, float]:
    begun = time.perf_counter()
    for _ in range(count):
        loop.step()
    seconds = time.perf_counter() - begun
    # Whoever asked measures something else next, and the workers are to sleep by then, their queue full. Two workers make a
    # batch each in no more time than two steps wait for: four of them are there after as many steps.
    time.sleep(max(QUIET, PREFETCHED * seconds / count))
    return {"seconds": seconds, **loop.figures}
