"""What the tests share: composed configurations, and the real commands run tiny."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

os.environ["WANDB_MODE"] = "offline"  # no test may wait for a network
os.environ["SQLALCHEMY_SILENCE_UBER_WARNING"] = "1"  # Optuna 2's tables are SQLAlchemy 1.4's
os.environ["OMP_NUM_THREADS"] = "1"  # one thread a worker: two workers share two cores
os.environ["GAN_LAB_DATA"] = tempfile.mkdtemp(prefix="gan_lab-tests-")  # what is cached on this machine is left alone
os.environ["GAN_LAB_WEIGHTS"] = os.environ["GAN_LAB_DATA"]

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from gan_lab.config import CONF_DIR, Job
from gan_lab.directory import RunDirectory

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


def compose_config(*overrides: str, config: str = "config") -> DictConfig:
    """The configuration of a command line, resolved."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        cfg = compose(config, overrides=list(overrides))
    OmegaConf.resolve(cfg)
    return cfg


def make_job(path: Path, *overrides: str) -> Job:
    """A job as ``gan_lab.train`` would have it, in this process."""
    path.mkdir(parents=True, exist_ok=True)
    cfg = compose_config(*SMALL, "console=plain", *overrides)
    return Job(cfg, {}, overrides, RunDirectory(path), "test", None, resumed=False)


def run_module(module: str, *arguments: str, cwd: Path, timeout: float = 240) -> subprocess.CompletedProcess[str]:
    """``python -m gan_lab.<module> <arguments>`` in ``cwd``, warnings being errors of the package's own code only."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_") or name == "WANDB_MODE"}
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "stdout", Path(folder) / "stderr"
        asked = {"module": f"gan_lab.{module}", "arguments": arguments, "cwd": str(cwd), "env": own}
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


def pytest_sessionfinish() -> None:
    ZYGOTE.close()


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished run of two epochs, made once by the real command; tests only read it."""
    cwd = tmp_path_factory.mktemp("finished")
    done = run_module("train", *SMALL, "epochs=2", "hydra.run.dir=run", cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    (cwd / "stdout.txt").write_text(done.stdout)
    return RunDirectory(cwd / "run")


PHOTOGRAPHS = 12
"""Pictures of differing sizes that super-resolution is tried on."""

UPSCALER = [
    *("device=cpu", "console=plain", "model=srgan", "model.width=8", "model.blocks=1", "pretraining=pixels"),
    *("dataset=folder", "dataset.path=pictures", "degradation.patch=32", "degradation.patches=4", "batch_size=4"),
    *("perception=random", "evaluation.pairs.perceptual=null", "evaluation.num_reals=2", "epochs=2", "ema.kimg=0.1"),
    *("log.every_kimg=0.008", "sample.count=2", "threads=1"),
]
"""An experiment of 20 steps, ten of them on pixels alone."""


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the folder ``pictures``."""
    from test_degradation import as_pillow, photograph

    folder = tmp_path_factory.mktemp("photographs")
    (folder / "pictures").mkdir()
    for number in range(PHOTOGRAPHS):
        as_pillow(photograph(48 + number, 70 - number, number)).save(folder / "pictures" / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def upscaling(photographs: Path) -> RunDirectory:
    """A finished run of super-resolution in two stages; tests only read it."""
    done = run_module("train", *UPSCALER, "hydra.run.dir=run", cwd=photographs)
    assert done.returncode == 0, done.stdout + done.stderr
    return RunDirectory(photographs / "run")
