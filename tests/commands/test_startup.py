"""What a command imports before it answers, and a training before its first step.

How long they take is measured by ``gan_lab.benchmark benchmark=startup``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers import SMALL

COMMANDS = ["train", "sample", "evaluate", "report", "prepare", "benchmark"]

HEAVY = {"torch", "numpy", "PIL", "torchvision", "scipy", "matplotlib", "optuna", "sqlalchemy", "wandb", "tensorboard"}
"""What takes from a tenth of a second to three to import."""

WATCH = f"""
import atexit, sys


@atexit.register
def tell():
    print("imported", *sorted({HEAVY} & set(sys.modules)), file=sys.stderr, flush=True)
"""
"""A ``sitecustomize``: at its end any process of Python says which of them it has imported."""

FIRST_STEP = """
import os, sitecustomize
from gan_lab.train import main
from gan_lab.iteration.phase import Phase

step = Phase.step


def last(*arguments):
    step(*arguments)
    sitecustomize.tell()
    os._exit(0)  # before the page of a run that has ended, which brings what draws it


Phase.step = last
main()
"""
"""A training that ends with a player's first step."""


class Answer(NamedTuple):
    """What a process leaves: exit code, standard output and error, and the heavy modules it has imported."""

    code: int
    told: str
    error: str
    imported: set[str]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of processes that say what they have imported."""
    folder = tmp_path_factory.mktemp("watch")
    (folder / "sitecustomize.py").write_text(WATCH)
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}


def ask(*command: str, cwd: Path, env: dict[str, str]) -> Answer:
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True, timeout=240, check=False
    )
    error, _, imported = done.stderr.rpartition("imported")
    return Answer(done.returncode, done.stdout, error, set(imported.split()))


def test_the_watch_sees_an_import(tmp_path: Path, watched: dict[str, str]) -> None:
    assert ask("-c", "import numpy", cwd=tmp_path, env=watched).imported == {"numpy"}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_configuration_are_told_at_once(command: str, tmp_path: Path, watched: dict[str, str]) -> None:
    key = {"sample": "run: ???", "report": "run: null"}.get(command, "paths:")
    for flags, expected in ((["--help"], f"python -m gan_lab.{command} "), (["--cfg", "job"], key)):
        answer = ask("-m", f"gan_lab.{command}", *flags, cwd=tmp_path, env=watched)
        assert (answer.code, answer.error, answer.imported) == (0, "", set())
        assert expected in answer.told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("mistake", "expected"),
    [
        ("nonsense=1", "nonsense"),
        ("model=nonsense", "dcgan_small"),
        ("batch_size=many", "batch_size=many: must be a whole number"),
        ("batch_size=0", "batch_size=0: must be at least 1"),
    ],
    ids=["key", "option", "type", "value"],
)
def test_a_mistake_is_told_at_once(mistake: str, expected: str, tmp_path: Path, watched: dict[str, str]) -> None:
    answer = ask("-m", "gan_lab.train", mistake, cwd=tmp_path, env=watched)
    assert (answer.code, answer.imported) == (1, set())
    assert expected in answer.error and "Traceback" not in answer.error


def test_a_first_step_waits_for_nothing_it_has_no_use_for(tmp_path: Path, watched: dict[str, str]) -> None:
    answer = ask("-c", FIRST_STEP, *SMALL, "hydra.run.dir=run", cwd=tmp_path, env=watched)
    assert answer.code == 0, answer.error
    assert answer.imported == {"torch", "numpy", "PIL"}
