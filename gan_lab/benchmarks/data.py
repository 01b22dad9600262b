"""Time to prepare, open and load a dataset, compared with Pillow in two processes and with torchvision's ImageFolder."""

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
from gan_lab.benchmarks.timing import Result, interleaved, synchronizer
from gan_lab.building.trainer import build_trainer
from gan_lab.config import Job
from gan_lab.data.datasets.folder import Folder
from gan_lab.data.image_decoding import WHOLE
from gan_lab.data.loader import BatchLoader
from gan_lab.data.packed_file import write_tail
from gan_lab.utils.image_ops import to_pil

CPU = torch.device("cpu")
JPEG_SIZE = (178, 218)
"""Width and height of the generated JPEGs, those of CelebA."""

PILLOW, IMAGE_FOLDER = "two processes with Pillow", "ImageFolder + DataLoader(2 workers)"
PREPARE, LOADER, STEP, OWN_LOADER = "prepare", "loader", "training step", "loader of the run, to the GPU"


class DataBenchmark:
    """Measures the data pipeline on JPEGs generated from the job's own images, or on those in ``folder``.

    Args:
        rounds: number of measurements of each action.
        pictures: number of JPEGs to generate, 178x218 pixels each.
        folder: a folder with one folder of .jpg files for each class, used instead.
        size: side in pixels that images are resized to.
        batch_size: of both loaders.
        large: number of images of the dataset for which the time until the first batch is measured.

    Raises:
        ValueError: one of the numbers is less than 1.
    """

    def __init__(self, rounds: int, pictures: int, folder: str | None, size: int, batch_size: int, large: int) -> None:
        if min(rounds, pictures, size, batch_size, large) < 1:
            raise ValueError(f"benchmark: {rounds=}, {pictures=}, {size=}, {batch_size=} and {large=} must be at least 1")
        self._rounds, self._pictures, self._folder = rounds, pictures, folder
        self._size, self._batch_size, self._large = size, batch_size, large

    def __call__(self, job: Job) -> Result:
        """Also measure a training step of the job, for which ``dataset.size`` and ``batch_size`` apply."""
        if job.cfg.dataset.resize_mode == WHOLE:
            raise ValueError(
                "benchmark=data needs images of one size: use dataset.resize_mode=crop; benchmark=step measures the loading of "
                "patches (phase data)"
            )
        with (
            tempfile.TemporaryDirectory() as scratch,
            _image_folder(self._folder, job, self._pictures, Path(scratch)) as folder,
        ):
            files = sorted(map(str, folder.rglob("*.jpg")))
            packed_folder = Path(scratch) / "packed"
            source = Folder(
                path=str(folder),
                name="generated",
                root=str(packed_folder),
                size=self._size,
                channels=3,
                resize_mode="crop",
                num_workers=2,
            )

            def prepare() -> None:
                shutil.rmtree(packed_folder, ignore_errors=True)
                source.packed()

            def decode_with_pillow() -> None:
                with multiprocessing.get_context("fork").Pool(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                    for _ in pool.imap(_decode, ((file, self._size) for file in files), chunksize=64):
                        pass

            seconds = interleaved({PREPARE: prepare, PILLOW: decode_with_pillow}, self._rounds, 1)
            batches = BatchLoader(source.load(), self._batch_size, 0, CPU, torch.channels_last).batches()
            image_folder_loader = _ImageFolderLoader(folder, self._size, self._batch_size)
            trainer = build_trainer(job)
            step = bare_step(trainer, next(trainer.loader.batches()))
            large = _large_folder(source, Path(scratch) / "large", self._large)

            def load_first_batch() -> None:
                next(BatchLoader(large.load(), self._batch_size, 0, CPU, torch.channels_last).batches())

            with image_folder_loader:
                step()
                seconds |= interleaved({IMAGE_FOLDER: lambda: next(image_folder_loader)}, self._rounds, 10)
            seconds |= interleaved({LOADER: lambda: next(batches)}, self._rounds, 100)
            seconds |= interleaved({STEP: step}, self._rounds, 3, synchronizer(trainer.device))
            if trainer.device.type == "cuda":
                own_batches = trainer.loader.batches()
                own_loader = {OWN_LOADER: lambda: next(own_batches)}
                seconds |= interleaved(own_loader, self._rounds, 100, synchronizer(trainer.device))
            first_batch = f"first batch of {self._large:,} prepared images"
            seconds |= interleaved({first_batch: load_first_batch}, self._rounds, 1)
        return self._result(seconds, len(files), job.cfg.batch_size, trainer.records.info.facts["data"])

    def _result(self, seconds: dict[str, list[float]], count: int, step_batch: int, data: str) -> Result:
        batch = self._batch_size
        units = {PREPARE: count, PILLOW: count, LOADER: batch, STEP: step_batch, OWN_LOADER: step_batch, IMAGE_FOLDER: batch}
        result = Result(seconds, units, facts={"data": data})
        result.ratios = {
            "images/s of the loader / of ImageFolder + DataLoader": result.ratio(IMAGE_FOLDER, LOADER),
            "time of a batch from the loader / of a training step": result.ratio(LOADER, STEP),
            f"images/s of prepare / of {PILLOW}": result.ratio(PILLOW, PREPARE),
        }
        return result


def _decode(task: tuple[str, int]) -> bytes:
    """Decode, center-crop and resize an image file with Pillow, as datasets are commonly prepared."""
    file, size = task
    with Image.open(file) as opened:
        image = opened.convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    cropped = image.crop((left, top, left + side, top + side))
    return np.asarray(cropped.resize((size, size), Image.Resampling.BICUBIC)).tobytes()


class _ImageFolderLoader:
    """Endless batches of torchvision's ImageFolder, as tutorials load them; the workers end with the ``with`` block."""

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
def _image_folder(given: str | None, job: Job, count: int, scratch: Path) -> Iterator[Path]:
    """The folder ``given``, or else a temporary one with ``count`` JPEGs generated from the job's images."""
    if given is not None:
        path = Path(given).expanduser()
        if not any(path.glob("*/*.jpg")):
            raise ValueError(f"benchmark.folder={given}: must contain a folder of .jpg files for each class")
        yield path
        return
    from gan_lab.config import instantiate

    images = instantiate(job.cfg.dataset, "dataset").load()
    for n in range(count):
        path = scratch / "generated" / str(n % 10) / f"{n:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        small = to_pil(images.images(slice(n % len(images), n % len(images) + 1))[0])
        large = small.convert("RGB").resize(JPEG_SIZE, Image.Resampling.BICUBIC)
        noise = np.random.default_rng(n).normal(0, 8, (*JPEG_SIZE[::-1], 3))  # as in photographs: smooth images decode faster
        Image.fromarray(np.clip(np.asarray(large) + noise, 0, 255).astype(np.uint8)).save(path, quality=90)
    yield scratch / "generated"


def _large_folder(source: Folder, root: Path, count: int) -> Folder:
    """A dataset with a packed file of ``count`` black images, a sparse file without content on disk."""
    size = source.image_format.size
    large = Folder(
        path=str(root / "images"), name="large", root=str(root), size=size, channels=3, resize_mode="crop", classes=["even"]
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
