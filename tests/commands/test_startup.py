"""Which heavy modules a command imports before it answers, and a run before its first step.

The time is measured by ``gan_lab.benchmark benchmark=startup``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from helpers import SMALL, every_nth

COMMANDS = ["train", "sample", "evaluate", "report", "prepare", "benchmark"]

HEAVY = {"torch", "numpy", "PIL", "torchvision", "scipy", "matplotlib", "optuna", "sqlalchemy", "wandb", "tensorboard"}
"""Modules that take 0.1 to 3 seconds to import."""

SITECUSTOMIZE = f"""
import atexit, sys


@atexit.register
def report_imports():
    print("imported", *sorted({HEAVY} & set(sys.modules)), file=sys.stderr, flush=True)
"""
"""A ``sitecustomize`` module: every Python process prints at its end which of these modules it imported."""

FIRST_STEP = """
import os, sitecustomize
from gan_lab.train import main
from gan_lab.iteration.phase import Phase

step = Phase.step


def step_and_exit(*arguments):
    step(*arguments)
    sitecustomize.report_imports()
    os._exit(0)  # before the run's page is written, which imports matplotlib


Phase.step = step_and_exit
main()
"""
"""A run that ends after the first update of a network."""


class Answer(NamedTuple):
    """Exit code, standard output, standard error, and the heavy modules that the process imported."""

    code: int
    output: str
    error: str
    imported: set[str]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of processes that print what they imported."""
    folder = tmp_path_factory.mktemp("sitecustomize")
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])}


def ask(*command: str, cwd: Path, env: dict[str, str]) -> Answer:
    done = subprocess.run(
        [sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True, timeout=240, check=False
    )
    error, _, imported = done.stderr.rpartition("imported")
    return Answer(done.returncode, done.stdout, error, set(imported.split()))


def test_imports_are_detected(tmp_path: Path, environment: dict[str, str]) -> None:
    assert ask("-c", "import numpy", cwd=tmp_path, env=environment).imported == {"numpy"}


@pytest.mark.parametrize("command", every_nth(COMMANDS, 3))
def test_help_and_configuration_import_no_heavy_module(command: str, tmp_path: Path, environment: dict[str, str]) -> None:
    key = {"sample": "run: ???", "report": "run: null"}.get(command, "paths:")
    for flags, expected in ((["--help"], f"python -m gan_lab.{command} "), (["--cfg", "job"], key)):
        answer = ask("-m", f"gan_lab.{command}", *flags, cwd=tmp_path, env=environment)
        assert (answer.code, answer.error, answer.imported) == (0, "", set())
        assert expected in answer.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("mistake", "expected"),
    every_nth(
        [
            ("nonsense=1", "nonsense"),
            ("model=nonsense", "dcgan_small"),
            ("batch_size=many", "batch_size=many: must be a whole number"),
            ("batch_size=0", "batch_size=0: must be a whole number, at least 1"),
        ],
        2,
    ),
    ids=["key", "option", "type", "value"],
)
def test_a_wrong_argument_is_reported_without_heavy_imports(
    mistake: str, expected: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    answer = ask("-m", "gan_lab.train", mistake, cwd=tmp_path, env=environment)
    assert (answer.code, answer.imported) == (1, set())
    assert expected in answer.error and "Traceback" not in answer.error


@pytest.mark.slow
def test_a_first_step_imports_only_what_it_needs(tmp_path: Path, environment: dict[str, str]) -> None:
    answer = ask("-c", FIRST_STEP, *SMALL, "hydra.run.dir=run", cwd=tmp_path, env=environment)
    assert answer.code == 0, answer.error
    assert answer.imported == {"torch", "numpy", "PIL"}


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are the system's")
def test_too_little_memory_for_the_libraries_is_one_message(tmp_path: Path) -> None:
    limited = f"ulimit -v 1000000; exec {sys.executable} -m gan_lab.train debug=tiny device=cpu hydra.run.dir=run"
    done = subprocess.run(["bash", "-c", limited], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: there is too little memory to load a library")
