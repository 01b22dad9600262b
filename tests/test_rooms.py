"""The house's arrows: who may know of whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import gan_lab

PACKAGE = Path(gan_lab.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

LEAF_ROOMS = {"terms", "models", "data", "metrics", "tracking", "reporting", "sweeps"}
KNOWS_HYDRA = {"config", "train.py", "evaluate.py", "sample.py", "report.py", "benchmark.py", "prepare.py"}
KNOWS_OMEGACONF = KNOWS_HYDRA | {
    "arithmetic.py",
    "benchmarks",
    "build.py",
    "datasets.py",
    "describe.py",
    "evaluations",
    "health.py",
    "multirun.py",
    "players.py",
    "pretraining.py",
    "scoring.py",
    "tasks",
}
OUTSIDE = {
    "hydra": KNOWS_HYDRA,
    "omegaconf": KNOWS_OMEGACONF,
    "wandb": {"tracking/wandb.py"},
    "optuna": {"sweeps"},
    "matplotlib": {"reporting"},
    "jinja2": {"reporting"},
}
BESIDE = {
    ("metrics", "data.images"),
    ("metrics", "directory"),
    ("data", "directory"),
    ("tracking", "directory"),
    ("reporting", "directory"),
    ("sweeps", "directory"),
}


def imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "imports are absolute"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def room(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0]


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.relative_to(PACKAGE).as_posix())
def test_outside_libraries_stay_in_their_rooms(file: Path) -> None:
    for name in imports(file):
        allowed = OUTSIDE.get(name.partition(".")[0])
        assert allowed is None or room(file) in allowed or file.relative_to(PACKAGE).as_posix() in allowed, name


@pytest.mark.parametrize("file", [f for f in FILES if room(f) in LEAF_ROOMS], ids=lambda f: f.relative_to(PACKAGE).as_posix())
def test_leaf_rooms_know_only_themselves_and_the_shared_records(file: Path) -> None:
    for name in imports(file):
        if not name.startswith("gan_lab."):
            continue
        other = name.removeprefix("gan_lab.")
        own = other.partition(".")[0] == room(file)
        beside = any(r == room(file) and f"{other}.".startswith(f"{b}.") for r, b in BESIDE)
        assert own or beside or other == "__version__", f"{file.name} imports {name}"


def test_the_training_room_knows_only_leaf_rooms() -> None:
    for file in (PACKAGE / "training").glob("*.py"):
        rooms = {name.split(".")[1] for name in imports(file) if name.startswith("gan_lab.")}
        assert rooms <= LEAF_ROOMS - {"reporting", "sweeps"} | {"training", "directory", "torchrun"}, file.name
