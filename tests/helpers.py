"""What the tests share: composed configurations, and the real commands run tiny."""

from __future__ import annotations

import atexit
import copy
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ.pop("COLUMNS", None)  # of the terminal that the tests are run in; set in workers by readline
os.environ["WANDB_MODE"] = "offline"  # no test may wait for a network
os.environ["SQLALCHEMY_SILENCE_UBER_WARNING"] = "1"  # Optuna 2's tables are SQLAlchemy 1.4's
os.environ["OMP_NUM_THREADS"] = "1"  # one thread a worker: two workers share two cores
os.environ["GAN_LAB_DATA"] = tempfile.mkdtemp(prefix="gan_lab-tests-")  # what is cached on this machine is left alone
os.environ["GAN_LAB_WEIGHTS"] = os.environ["GAN_LAB_DATA"]

import numpy as np
import pytest
import torch
from hydra import compose
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import Tensor

from gan_lab.building.trainer import build_trainer
from gan_lab.config import CONF_DIR, Job, write_config
from gan_lab.config.hydra_versions import initialize
from gan_lab.config.scheduled_values import find_scheduled_arguments
from gan_lab.runs.run import Run
from gan_lab.storage import checkpoint
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.trainer import Trainer

torch.set_num_threads(1)
atexit.register(shutil.rmtree, os.environ["GAN_LAB_DATA"], ignore_errors=True)

SMALL = [
    "device=cpu",
    "debug=tiny",
    "dataset.limit=64",
    "epochs=1",
    "sample.count=4",
    "evaluation.num_fakes=32",
    "model.width=4",
]
"""An experiment of 4 steps."""

Command = Callable[..., subprocess.CompletedProcess[str]]


def every_nth(cases: Iterable[Any], n: int) -> list[Any]:
    """Parameters of which only every n-th, from the first, is tested by default; the others are slow."""
    return [
        case if number % n == 0 else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.slow)
        for number, case in enumerate(cases)
    ]


def compose_config(*overrides: str, config: str = "config") -> DictConfig:
    """The configuration of a command line, resolved."""
    return copy.deepcopy(_compose(overrides, config, os.environ["GAN_LAB_DATA"]))


@functools.cache
def _compose(overrides: tuple[str, ...], config: str, data: str) -> DictConfig:
    """The configuration, composed once for all tests of a process; ``data`` is a variable that it refers to."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values = [] if any(o.is_sweep_override() for o in parsed) else [o for o in parsed if is_value(o)]
    cfg = copy.deepcopy(_compose_groups(tuple(o.input_line or "" for o in parsed if o not in values), config, data))
    ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
    if config == "config":
        find_scheduled_arguments(cfg)
    OmegaConf.resolve(cfg)
    return cfg


@functools.cache
def _compose_groups(overrides: tuple[str, ...], config: str, data: str) -> DictConfig:
    """What Hydra composes before it sets single values: takes half a second, and many tests differ in values only."""
    with initialize():
        return compose(config, overrides=list(overrides))


def is_value(override: Override) -> bool:
    """Whether Hydra sets it after it has composed all groups."""
    return not override.key_or_group.startswith("hydra") and not (CONF_DIR / override.key_or_group).is_dir()


def make_job(path: Path, *overrides: str) -> Job:
    """A job as ``gan_lab.train`` would have it, in this process."""
    path.mkdir(parents=True, exist_ok=True)
    cfg = compose_config(*SMALL, "console=plain", *overrides)
    return Job(cfg, {}, overrides, RunDirectory(path), "test", None, resumed=False)


def untrained_run(path: Path, *overrides: str, change: Callable[[Trainer], None] = lambda trainer: None) -> Run:
    """A run whose networks have their initial weights, changed by ``change``, opened from its checkpoint."""
    torch.manual_seed(0)
    job = make_job(path, "evaluation=none", *overrides)
    trainer = build_trainer(job)
    change(trainer)
    trainer.checkpointer.save("last")
    trainer.checkpointer.wait()
    write_config(job)
    return Run.open(job.directory.path)


def run_module(
    module: str, *arguments: str, cwd: Path, timeout: float = 240, pages: bool = False
) -> subprocess.CompletedProcess[str]:
    """``python -m gan_lab.<module> <arguments>`` in ``cwd``, warnings being errors of the package's own code only.

    A training writes ``report.html`` only with ``pages``: the page takes longer than the few steps.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_") or name == "WANDB_MODE"}
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "stdout", Path(folder) / "stderr"
        asked = {"module": f"gan_lab.{module}", "arguments": arguments, "cwd": str(cwd), "env": own, "pages": pages}
        code = ZYGOTE.ask({**asked, "stdout": str(out), "stderr": str(err)}, timeout)
        return subprocess.CompletedProcess([module, *arguments], code, out.read_text(), err.read_text())


class Zygote:
    """The process of ``zygote.py``, started when it is first asked; one command at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, command: dict[str, object], timeout: float) -> int:
        """Its exit code; of a signal negative.

        Raises:
            TimeoutError: it took longer, and was killed.
        """
        if self._process is None:
            file = Path(__file__).with_name("zygote.py")
            self._process = subprocess.Popen([sys.executable, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(command), file=self._process.stdin, flush=True)
        pid = json.loads(self._process.stdout.readline())["pid"]
        late = threading.Timer(timeout, os.killpg, (pid, signal.SIGKILL))
        late.start()
        code: int = json.loads(self._process.stdout.readline())["code"]
        in_time = late.is_alive()
        late.cancel()
        if not in_time:
            raise TimeoutError(f"{command['arguments']} took more than {timeout} s")
        return code

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()


ZYGOTE = Zygote()


PHOTOGRAPHS = 12
"""Pictures of differing sizes that super-resolution is tried on."""

UPSCALER = [
    *("device=cpu", "console=plain", "model=srgan", "model.width=8", "model.blocks=1", "pretraining=pixels"),
    *("dataset=folder", "dataset.path=pictures", "degradation.patch=32", "degradation.patches=4", "batch_size=4"),
    *("perception=random", "evaluation.pairs.perceptual=null", "evaluation.num_reals=2", "epochs=2", "ema.kimg=0.1"),
    *("log.every_kimg=0.008", "sample.count=2", "num_threads=1"),
]
"""An experiment of 20 steps, ten of them on pixels alone."""


def photograph(height: int, width: int, seed: int = 0, channels: int = 3) -> Tensor:
    """Blobs with sharp edges and some noise, uint8 ``[C, H, W]``."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x * random.uniform(0.05, 0.9) + y * random.uniform(0.05, 0.9) + c) for c in range(channels)]
    values = (
        128
        + 110 * np.sign(np.stack(waves)) * random.uniform(0.3, 1, (channels, 1, 1))
        + random.normal(0, 4, (1, height, width))
    )
    return torch.from_numpy(np.clip(np.rint(values), 0, 255).astype(np.uint8))


def as_pillow(picture: Tensor) -> Image.Image:
    array = picture.permute(1, 2, 0).numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else np.ascontiguousarray(array))


def train(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return run_module("train", *SMALL, *arguments, cwd=cwd)


def assert_same(a: RunDirectory, b: RunDirectory) -> None:
    (rows_a, state_a), (rows_b, state_b) = comparable(a), comparable(b)
    assert rows_a == rows_b
    torch.testing.assert_close(state_a, state_b, rtol=0, atol=0)
    with Image.open(a.final) as one, Image.open(b.final) as two:
        assert one.tobytes() == two.tobytes()


def write_celeba(root: Path, zipped: bool) -> None:
    folder = root / "celeba"
    for name in FACES:
        picture(folder / "img_align_celeba" / name, 178, 218)
    if zipped:
        with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
            for name in FACES:
                archive.write(folder / "img_align_celeba" / name, f"img_align_celeba/{name}")
                (folder / "img_align_celeba" / name).unlink()
        (folder / "img_align_celeba").rmdir()
    rows = [f"{name} {' '.join('1' if (n >> bit) & 1 else '-1' for bit in range(3))}" for n, name in enumerate(FACES)]
    (folder / "list_attr_celeba.txt").write_text("\n".join(["12", "Bald Eyeglasses Smiling ", *rows]) + "\n")
    parts = [f"{name} {0 if n < 8 else 1 if n < 10 else 2}" for n, name in enumerate(FACES)]
    (folder / "list_eval_partition.txt").write_text("\n".join(parts) + "\n")


def comparable(directory: RunDirectory) -> tuple[list[dict[str, float]], dict[str, object]]:
    """What two runs that did the same must share: all figures but times and memory, and every tensor of the checkpoint."""
    rows = [{k: v for k, v in row.items() if not k.startswith(("time", "memory", "seconds"))} for row in directory.history()]
    state = checkpoint.load(directory.checkpoint("last"))
    return rows, {
        key: state[key]
        for key in (
            "generator",
            "discriminator",
            "generator_ema",
            "phases",
            "rng_states",
            "sample_grid",
            "augment",
            "growth",
            "images",
        )
    }


def picture(path: Path, width: int = 40, height: int = 30, mode: str = "RGB", **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode).save(path, **more)
    return path


FACES = [f"{n:06d}.jpg" for n in range(1, 13)]

RNG = np.random.default_rng(0)
