"""What data costs: preparing it, starting on it, streaming it; beside how it is usually done."""

from __future__ import annotations

import itertools
import multiprocessing
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from gan_lab.benchmarks.bare_step import bare_step
from gan_lab.benchmarks.timing import Result, interleaved
from gan_lab.building.trainer import build_trainer
from gan_lab.config import Job
from gan_lab.data.datasets.folder import Folder
from gan_lab.data.image_decoding import WHOLE
from gan_lab.data.loader import BatchLoader
from gan_lab.data.packed_file import write_tail

CPU = torch.device("cpu")
CELEBA = (178, 218)
"""Width and height of the JPEGs measured with."""


class DataBenchmark:
    """On ``pictures`` JPEGs of 178x218, made from the job's own images, or on those in ``folder``.

    Args:
        rounds: times each is measured.
        pictures: how many are made.
        folder: a folder of class folders of pictures, instead of made ones.
        size: pixels they are prepared to.
        batch_size: of the stream and of torchvision's loader.
        large: images of the data set whose start is timed.
    """

    def __init__(self, rounds: int, pictures: int, folder: str | None, size: int, batch_size: int, large: int) -> None:
        if min(rounds, pictures, size, batch_size, large) < 1:
            raise ValueError(f"benchmark: {rounds=}, {pictures=}, {size=}, {batch_size=} and {large=} must be at least 1")
        self._rounds, self._pictures, self._folder = rounds, pictures, folder
        self._size, self._batch_size, self._large = size, batch_size, large

    def __call__(self, job: Job) -> Result:
        """The training step it is compared with is the job's, with ``dataset.size`` and ``batch_size`` as given there."""
        if job.cfg.dataset.resize_mode == WHOLE:
            raise ValueError(
                "benchmark=data compares with loaders of images of one size: choose dataset.resize_mode=crop; "
                "benchmark=step tells what patches cost (data)"
            )
        with tempfile.TemporaryDirectory() as scratch, _folder(self._folder, job, self._pictures, Path(scratch)) as folder:
            files = sorted(map(str, folder.rglob("*.jpg")))
            packs = Path(scratch) / "packs"
            source = Folder(
                path=str(folder), name="made", root=str(packs), size=self._size, channels=3, resize_mode="crop", num_workers=2
            )

            def prepare() -> None:
                shutil.rmtree(packs, ignore_errors=True)
                source.packed()

            def two_processes() -> None:
                with multiprocessing.get_context("fork").Pool(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                    for _ in pool.imap(_decode, ((file, self._size) for file in files), chunksize=64):
                        pass

            seconds = interleaved({"prepare": prepare, "two processes with Pillow": two_processes}, self._rounds, 1)
            stream = BatchLoader(source.load(), self._batch_size, 0, CPU, torch.channels_last)
            batches = stream.batches()
            loader = _loader(folder, self._size, self._batch_size)
            trainer = build_trainer(job)
            step = bare_step(trainer, next(trainer.loader.batches()))
            large = _large(source, Path(scratch) / "large", self._large)

            def start() -> None:
                next(BatchLoader(large.load(), self._batch_size, 0, CPU, torch.channels_last).batches())

            with loader:
                step()
                seconds |= interleaved({"ImageFolder + DataLoader(2 workers)": lambda: next(loader)}, self._rounds, 10)
            seconds |= interleaved({"stream": lambda: next(batches)}, self._rounds, 100)
            seconds |= interleaved({"training step": step}, self._rounds, 3)
            seconds |= interleaved({f"start on {self._large:,} prepared images": start}, self._rounds, 1)
        return self._result(seconds, len(files), job.cfg.batch_size)

    def _result(self, seconds: dict[str, list[float]], count: int, step_batch: int) -> Result:
        batch = self._batch_size
        unit = {"prepare": count, "two processes with Pillow": count, "stream": batch, "training step": step_batch}
        result = Result(seconds, {**unit, "ImageFolder + DataLoader(2 workers)": batch})
        result.ratios = {
            "images/s of the stream / of ImageFolder + DataLoader": result.ratio(
                "ImageFolder + DataLoader(2 workers)", "stream"
            ),
            "time of a batch from the stream / of a training step": result.ratio("stream", "training step"),
            "images/s of prepare / of two processes with Pillow": result.ratio("two processes with Pillow", "prepare"),
        }
        return result


def _decode(task: tuple[str, int]) -> bytes:
    """How a data set is usually made smaller: decode, crop, resize with Pillow."""
    file, size = task
    with Image.open(file) as opened:
        picture = opened.convert("RGB")
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    cropped = picture.crop((left, top, left + side, top + side))
    return np.asarray(cropped.resize((size, size), Image.Resampling.BICUBIC)).tobytes()


class _loader:  # noqa: N801 - a context that is an iterator, nothing more
    """Endless batches as tutorials load them; the workers end with the context."""

    def __init__(self, folder: Path, size: int, batch_size: int) -> None:
        steps = [
            transforms.Resize(size),
            transforms.CenterCrop(size),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.5] * 3),
        ]
        data = datasets.ImageFolder(str(folder), transforms.Compose(steps))
        self._loader = DataLoader(data, batch_size, shuffle=True, drop_last=True, num_workers=2, persistent_workers=True)

    def __enter__(self) -> None:
        self._batches = itertools.chain.from_iterable(itertools.repeat(self._loader))
        next(self._batches)

    def __exit__(self, *error: object) -> None:
        del self._batches, self._loader

    def __next__(self) -> object:
        return next(self._batches)


@contextmanager
def _folder(given: str | None, job: Job, count: int, scratch: Path) -> Iterator[Path]:
    """The folder to measure on."""
    if given is not None:
        path = Path(given).expanduser()
        if not any(path.glob("*/*.jpg")):
            raise ValueError(
                f"benchmark.folder={given}: must hold class folders of .jpg files, as torchvision's ImageFolder wants them"
            )
        yield path
        return
    from gan_lab.config import instantiate

    images = instantiate(job.cfg.dataset, "dataset").load()
    for n in range(count):
        path = scratch / "made" / str(n % 10) / f"{n:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = images.images(slice(n % len(images), n % len(images) + 1))[0].permute(1, 2, 0).numpy()
        picture = (
            Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image)
            .convert("RGB")
            .resize(CELEBA, Image.Resampling.BICUBIC)
        )
        noise = np.random.default_rng(n).normal(0, 8, (*CELEBA[::-1], 3))  # a photograph's grain, or decoding would be too easy
        Image.fromarray(np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)).save(path, quality=90)
    yield scratch / "made"


def _large(source: Folder, root: Path, count: int) -> Folder:
    """The source as if it had ``count`` images, already prepared: black ones, in a sparse file that takes no room."""
    size = source.image_format.size
    large = Folder(
        path=str(root / "pictures"), name="large", root=str(root), size=size, channels=3, resize_mode="crop", classes=["even"]
    )
    path = large.packed_path()
    path.parent.mkdir(parents=True)
    with path.open("wb") as handle:
        handle.truncate(count * size * size * 3)
        handle.seek(0, 2)
        watched = source.packed().manifest["watched"]
        manifest = {"count": count, "size": size, "channels": 3, "classes": ["even", "odd"], "watched": watched, "crc32": 0}
        write_tail(handle, np.arange(count, dtype=np.int64) % 2, None, manifest)
    return large
