"""What a command imports before it answers, and a training before its first step. Seconds are `benchmark kind=startup`'s affair."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SMALL

COMMANDS = ["train", "sample", "evaluate", "report", "prepare", "benchmark"]

HEAVY = ["torch", "torchvision", "numpy", "PIL", "matplotlib", "optuna", "sqlalchemy", "wandb", "tensorboard"]
"""Half a second to three each."""

WATCH = f"""
import atexit, sys

atexit.register(lambda: print("imported:", *(name for name in {HEAVY} if name in sys.modules), file=sys.stderr))
"""
"""A ``sitecustomize`` that says at the end of any Python process which of them it has imported."""


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of such processes."""
    folder = tmp_path_factory.mktemp("watch")
    (folder / "sitecustomize.py").write_text(WATCH)
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def answer(command: list[str], cwd: Path, env: dict[str, str]) -> tuple[int, str, str, list[str]]:
    """Exit code, what was printed to standard output and to standard error, and the heavy modules imported."""
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True, timeout=240, check=False
    )
    error, _, imported = done.stderr.rpartition("imported:")
    return done.returncode, done.stdout, error, imported.split()


def test_the_watch_sees_an_import(tmp_path: Path, watched: dict[str, str]) -> None:
    assert answer(["-c", "import numpy"], tmp_path, watched)[-1] == ["numpy"]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("flags", "expected"), [(["--help"], "python -m gan_lab."), (["--cfg", "job"], "paths:")])
def test_what_there_is_to_choose_is_told_at_once(
    command: str, flags: list[str], expected: str, tmp_path: Path, watched: dict[str, str]
) -> None:
    code, told, error, imported = answer(["-m", f"gan_lab.{command}", *flags], tmp_path, watched)
    assert (code, error, imported) == (0, "", [])
    assert expected in told or (flags[0] == "--cfg" and command in ("sample", "report") and "run: ???" in told)
    assert list(tmp_path.iterdir()) == []


MISTAKES = {
    "nonsense=1": "nonsense",
    "optimizer.lrate=1": "lrate",
    "model=nonsense": "dcgan_small",
    "batch_size=many": "batch_size",
    "batch_size=0": "batch_size=0: must be at least 1",
    "epochs=-1": "epochs=-1.0: must be positive",
    "resume=nowhere": "nowhere is not a run directory",
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_at_once(mistake: str, tmp_path: Path, watched: dict[str, str]) -> None:
    code, _, error, imported = answer(["-m", "gan_lab.train", mistake], tmp_path, watched)
    assert (code, imported) == (1, [])
    assert MISTAKES[mistake] in error and "Traceback" not in error
