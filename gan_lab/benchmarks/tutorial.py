"""The training loop of DCGAN tutorials, in a process of its own, so that it can be measured alternately with gan_lab's.

It follows PyTorch's tutorial (``beginner/dcgan_faces_tutorial``, pytorch/examples ``dcgan/main.py``): images transformed one by
one, a loader with two workers, eager float32 in the default memory format, binary cross-entropy with three backward passes,
Adam with its default implementation, ``.item()`` for every logged value. The process has PyTorch's default thread settings.
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
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms

from gan_lab.building.networks import build_discriminator, build_generator
from gan_lab.iteration.gan import GAN
from gan_lab.models.base import ProgressiveNetwork
from gan_lab.models.latents import NoLatents
from gan_lab.training.trainer import Trainer

START = "import torch; from gan_lab.benchmarks.tutorial import serve; serve()"
"""Program of the process. It imports torch first, since importing gan_lab sets the variables of :data:`THREAD_VARIABLES`."""

THREAD_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")

WORKERS = 2
PREFETCHED = 2 * WORKERS
"""Batches that the loader's workers prefetch, by PyTorch's default."""

MIN_PREFETCH_SECONDS = 1.0
"""Shortest time allowed for prefetching after a measurement."""

END_TIMEOUT = 20.0
"""Seconds that the process has to complete its current step before it is killed."""


class FolderImages(datasets.VisionDataset):
    """A dataset of images in memory, uint8 ``[N, C, H, W]``, like torchvision's MNIST and CIFAR."""

    def __init__(self, pixels: Tensor, transform: Any) -> None:
        super().__init__("", transform=transform)
        self._arrays = pixels.permute(0, 2, 3, 1).numpy()

    def __len__(self) -> int:
        return len(self._arrays)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        array = self._arrays[index]
        return self.transform(Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)), 0


class Loop:
    """The tutorial's training loop.

    Attributes:
        losses: of the last step.
    """

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
        self._optimizer_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self._optimizer_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.losses: dict[str, float] = {}

    def step(self) -> None:
        real = next(self._batches)[0].to(self._device)
        self.discriminator.zero_grad()
        label = torch.full((len(real),), 1.0, device=self._device)
        loss_real = self._criterion(self.discriminator(real).logits, label)
        loss_real.backward()
        fake = self.generator(torch.randn(len(real), self._latent_size, device=self._device))
        label.fill_(0.0)
        loss_fake = self._criterion(self.discriminator(fake.detach()).logits, label)
        loss_fake.backward()
        self._optimizer_d.step()
        self.generator.zero_grad()
        label.fill_(1.0)
        loss_g = self._criterion(self.discriminator(fake).logits, label)
        loss_g.backward()
        self._optimizer_g.step()
        self.losses = {"d": loss_real.item() + loss_fake.item(), "g": loss_g.item()}


class Tutorial:
    """The process that runs the loop; it is idle between requests.

    Args:
        process: runs :func:`serve`.
        folder: for files that the processes exchange.
    """

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._folder = process, folder

    def steps(self, count: int) -> float:
        """Train ``count`` steps; returns the seconds they took."""
        return float(self._request({"steps": count})["seconds"])

    def generator(self) -> dict[str, Tensor]:
        """The generator's current weights, on the CPU."""
        path = self._folder / "generator.pt"
        self._request({"save": str(path)})
        return torch.load(path, weights_only=True, map_location="cpu")

    def _request(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            raise ValueError("the process of the tutorial loop has ended; see its error message") from None


def tutorial_obstacle(cfg: DictConfig, gan: GAN) -> str:
    """Why the tutorial's loop can't train these networks; empty if it can."""
    if cfg.conditioning.labels:
        return "the tutorial's loop has no labels: use conditioning=none"
    if isinstance(gan.latents, NoLatents):
        return "the tutorial's loop needs a generator with latents: use model=dcgan"
    if isinstance(gan.generator, ProgressiveNetwork):
        return "the tutorial's loop can't train progressive networks: use model=dcgan"
    return ""


@contextmanager
def start_tutorial(
    cfg: DictConfig, trainer: Trainer, batch_size: int, folder: Path, max_images: int | None = None
) -> Iterator[Tutorial]:
    """Start the loop on new networks with the current weights of the trainer's, on the same data and device.

    The process ends with the block, and also if this process is killed, as that closes its standard input.

    Args:
        cfg: the configuration that the networks are built from.
        trainer: provides the weights, the data and the device.
        batch_size: of the tutorial.
        folder: for files that the processes exchange.
        max_images: largest number of images to pass to the process, or None for all; not for a folder that it reads itself.
    """
    path = folder / "tutorial.pt"
    torch.save({**_networks(cfg, trainer.updater.gan), **_data(cfg, trainer, max_images), "batch_size": batch_size}, path)
    environment = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    command = [sys.executable, "-c", START, str(path)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,  # Ctrl-C interrupts only this process, which then ends the other
    )
    try:
        yield Tutorial(process, folder)
    finally:
        _end(process)


def image_folder_path(cfg: DictConfig, count: int) -> str | None:
    """The folder of a dataset, if torchvision's ImageFolder finds the same ``count`` images in it, else None."""
    path = cfg.dataset.get("path")
    if path is None or not Path(path).is_dir() or cfg.dataset.resize_mode != "crop":
        return None
    try:
        found = len(datasets.ImageFolder(path))
    except FileNotFoundError:  # there are no class folders
        return None
    return str(path) if found == count else None


def _networks(cfg: DictConfig, gan: GAN) -> dict[str, Any]:
    """Configuration and weights: networks with spectral normalization can't be stored themselves."""
    sections = OmegaConf.to_container(OmegaConf.create({"model": cfg.model, "conditioning": cfg.conditioning}))
    states = {name: getattr(gan, name).state_dict() for name in ("generator", "discriminator")}
    return {"sections": sections, "states": states, "latent_size": gan.latents.size}


def _data(cfg: DictConfig, trainer: Trainer, max_images: int | None) -> dict[str, Any]:
    data = trainer.loader.data
    path = image_folder_path(cfg, len(data))
    pixels = None if path else data.images(slice(max_images))
    return {"path": path, "pixels": pixels, "shape": data.shape, "device": trainer.device}


def _end(process: subprocess.Popen[str]) -> None:
    try:
        process.communicate(timeout=END_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def serve() -> None:
    """Main function of the process: answer requests, JSON lines on standard input, until it is closed."""
    loop = _loop(**torch.load(sys.argv[-1], weights_only=False))  # the file was written by the parent process
    for line in sys.stdin:
        request = json.loads(line)
        if "save" in request:
            torch.save(loop.generator.state_dict(), request["save"])
            answer = {}
        else:
            answer = _train(loop, request["steps"])
        print(json.dumps(answer), flush=True)  # noqa: T201 - read by the parent process


def _loop(
    sections: dict[str, Any],
    states: dict[str, Any],
    path: str | None,
    pixels: Tensor,
    shape: tuple[int, int, int],
    **rest: Any,
) -> Loop:
    cfg = OmegaConf.create(sections)
    networks = {"generator": build_generator(cfg), "discriminator": build_discriminator(cfg)}
    for name, network in networks.items():
        network.load_state_dict(states[name])
    rest |= networks
    channels, size, _ = shape
    transform = [transforms.Resize(size), transforms.CenterCrop(size), transforms.ToTensor()]
    transform += [transforms.Normalize([0.5] * channels, [0.5] * channels)]
    if path is None:
        return Loop(data=FolderImages(pixels, transforms.Compose(transform)), **rest)
    to_gray = [transforms.Grayscale()] if channels == 1 else []
    return Loop(data=datasets.ImageFolder(path, transforms.Compose([*to_gray, *transform])), **rest)


def _train(loop: Loop, count: int) -> dict[str, float]:
    start = time.perf_counter()
    for _ in range(count):
        loop.step()
    seconds = time.perf_counter() - start
    # Wait until the workers have filled their queue and are idle, since the parent process measures something else next. They
    # load a batch in at most the time of a step, so the time of as many steps as there are prefetched batches suffices.
    time.sleep(max(MIN_PREFETCH_SECONDS, PREFETCHED * seconds / count))
    return {"seconds": seconds, **loop.losses}
