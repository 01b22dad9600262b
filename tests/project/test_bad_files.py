"""Files that are not what a key expects, of every kind for every key: each is refused with one message, and nothing is left."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import PHOTOGRAPHS, UPSCALER, as_pillow, every_nth, photograph, run_module, untrained_run

TRAIN = "train debug=tiny hydra.run.dir=run"
OF_PICTURES = f"{TRAIN} model=srgan_small perception=random evaluation=pairs degradation.patch=16 batch_size=2"

COMMANDS = {
    "dataset.path": f"{TRAIN} dataset=folder dataset.size=16 dataset.path=bad",
    "dataset.path of pictures": f"{OF_PICTURES} dataset=folder dataset.path=bad",
    "prepare dataset.path": "prepare dataset=folder dataset.size=16 dataset.path=bad paths.data=data",
    "prepare show=true": "prepare dataset=folder dataset.size=16 dataset.path=bad paths.data=data show=true",
    "initial_weights.path": f"{TRAIN} initial_weights=run initial_weights.path=bad",
    "features.inception.weights": f"{TRAIN} features=inception features.inception.weights=bad",
    "features.vgg16.weights": f"{TRAIN} features=vgg16 features.vgg16.weights=bad",
    "features.dataset_classifier.file": f"{TRAIN} features=dataset_classifier features.dataset_classifier.file=bad",
    "resume": "train resume=bad",
    "evaluate run": "evaluate run=bad",
    "evaluate fakes": "evaluate fakes=bad reals=good",
    "evaluate reals": "evaluate fakes=good reals=bad",
    "evaluate compare": "evaluate compare=[bad,trained]",
    "sample run": "sample run=bad",
    "sample input": "sample run=upscaler input=bad",
    "sample project": "sample run=trained project=bad",
    "sample latent": "sample run=trained latent=bad",
    "export run": "export run=bad out=weights.safetensors",
    "report run": "report run=bad",
    "report runs": "report runs=[bad,trained]",
    "report study": "report study=bad",
}
"""Commands that read ``bad``, by the key that names it."""


def huge_png() -> bytes:
    """A picture that says it has 100,000 x 100,000 pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def array(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=True)
    return buffer.getvalue()


def archive(*names: str, content: bytes = b"x") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, content)
    return buffer.getvalue()


def tensors(values: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return buffer.getvalue()


def written(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def folder_with(name: str, content: bytes) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        path.mkdir()
        (path / name).write_bytes(content)

    return make


KINDS: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "empty file": written(b""),
    "empty folder": lambda path: path.mkdir(),
    "text": written(b"root:x:0:0:root:/root:/bin/bash\n" * 40),
    "random bytes": written(np.random.default_rng(0).bytes(5000)),
    "zeros": written(bytes(100_000)),
    "pickle": written(pickle.dumps({"a": [1, 2, 3]})),
    "empty zip": written(archive()),
    "zip of texts": written(archive("a.txt", "b/c.txt")),
    "zip of damaged pictures": written(archive("a.png", "b.png", content=huge_png()[:40])),
    "cut zip": written(archive("a.png", content=bytes(3000))[:1500]),
    "array of the wrong shape": written(array(np.zeros(7))),
    "array of objects": written(array(np.array([{}, None], dtype=object))),
    "cut array": written(array(np.zeros((8, 16, 16, 3), np.uint8))[:900]),
    "array of nan": written(array(np.full((8, 16, 16, 3), np.nan, np.float32))),
    "tensors of another kind": written(tensors({"a": torch.zeros(3)})),
    "cut tensors": written(tensors({"a": torch.zeros(3000)})[:4000]),
    "no dictionary of tensors": written(tensors([1, "a"])),
    "cut picture": written(huge_png()[:30]),
    "huge picture": written(huge_png()),
    "folder of texts": folder_with("a.txt", b"text"),
    "folder of a huge picture": folder_with("a.png", huge_png()),
    "folder with an empty config.yaml": folder_with("config.yaml", b""),
    "folder with a config.yaml of another program": folder_with("config.yaml", b"a: 1\n"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to nothing": lambda path: path.symlink_to("nowhere"),
    "pipe": lambda path: os.mkfifo(path),
    "device": lambda path: path.symlink_to("/dev/zero"),
}

ROWS = [(key, kind) for key in COMMANDS for kind in KINDS]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs and a folder of images."""
    folder = tmp_path_factory.mktemp("material")
    untrained_run(folder / "trained", "model=dcgan_small", "model.width=4", "dataset.limit=64", "sample.count=4")
    (folder / "pictures").mkdir()
    for number in range(PHOTOGRAPHS):
        as_pillow(photograph(48, 48, number, 3)).save(folder / "pictures" / f"{number}.png")
    upscaler = [override for override in UPSCALER if not override.startswith("evaluation.")]
    untrained_run(folder / "upscaler", *upscaler, f"dataset.path={folder / 'pictures'}")
    (folder / "good").mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
        (folder / "good" / f"{number}.ppm").write_bytes(b"P6 16 16 255\n" + pixels.tobytes())
    return folder


def files(folder: Path) -> list[str]:
    """Names of what is in a folder, apart from the locks of the folder of packed data."""
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix != ".lock" and path.name != "packed"
    )


@pytest.mark.parametrize(("key", "kind"), every_nth(ROWS, 151))
def test_a_bad_file_is_refused_with_one_message(key: str, kind: str, material: Path, tmp_path: Path) -> None:
    for name in ("trained", "upscaler", "good"):
        (tmp_path / name).symlink_to(material / name)
    KINDS[kind](tmp_path / "bad")
    (tmp_path / "data").mkdir()
    before, of_material = files(tmp_path), files(material)
    done = run_module(*COMMANDS[key].split(), cwd=tmp_path, timeout=60)
    lines = done.stderr.splitlines()
    assert done.returncode in (1, 2) and lines and "Traceback" not in done.stderr, done
    assert [line.startswith("error: ") for line in lines].count(True) == 1 and "bad" in done.stderr, done.stderr
    assert files(tmp_path) == before and files(material) == of_material


@pytest.mark.parametrize(
    ("command", "name", "code"),
    every_nth(
        [
            ("report run=bad", "summary.json", 1),
            ("train resume=bad epochs=9", "summary.json", 0),  # it is written again, as any damaged summary
            ("report run=bad", "metrics.jsonl", 1),
            ("train resume=bad epochs=9", "metrics.jsonl", 1),
        ],
        2,
    ),
)
def test_a_pipe_in_a_run_is_not_waited_for(command: str, name: str, code: int, material: Path, tmp_path: Path) -> None:
    shutil.copytree(material / "trained", tmp_path / "bad")
    (tmp_path / "bad" / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / "bad" / name)
    done = run_module(*command.split(), cwd=tmp_path, timeout=60)
    assert done.returncode == code and "Traceback" not in done.stderr, done
    assert f"{name} is a pipe or a device" in (done.stderr if code else done.stdout), done
