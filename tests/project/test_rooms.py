"""Which package may import which: the layers of CONTRIBUTING.md, from the imports themselves."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import gan_lab

PACKAGE = Path(gan_lab.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

LAYERS = [
    {"version"},
    {"utils"},
    {"runtime", "storage"},
    {"data", "models", "config", "tracking", "reporting", "sweeps"},
    {"losses", "metrics"},
    {"iteration"},
    {"training"},
    {"building"},
    {"runs"},
    {"evaluation", "sampling", "exporting", "studies", "benchmarks", "gallery"},
    {"train", "evaluate", "sample", "export", "report", "prepare", "benchmark", "launch"},
]
"""Lowest first. A package imports from lower layers and from itself, never from its own layer's other packages."""

OUTSIDE = {
    "hydra": {"config", "train", "evaluate", "sample", "export", "report", "prepare", "benchmark"},
    "omegaconf": {"config", "building", "runs.scoring", "evaluation", "sampling", "studies", "benchmarks", *LAYERS[-1]},
    "wandb": {"tracking.wandb"},
    "optuna": {"sweeps"},
    "matplotlib": {"reporting", "runs.run", "runs.notebook"},  # the type of Run.losses()
    "pandas": {"runs.run"},  # Run.frame()
    "jinja2": {"reporting"},
    "IPython": {"tracking.notebook_display"},
}
"""Libraries that only some packages or modules may import."""


def imports(file: Path) -> set[str]:
    """Absolute names of all that a file imports, inside of functions and for types too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "imports are absolute"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def module(file: Path) -> str:
    """``iteration.phase`` of ``gan_lab/iteration/phase.py``."""
    return ".".join(file.relative_to(PACKAGE).with_suffix("").parts)


def layer(package: str) -> int:
    return next(number for number, packages in enumerate(LAYERS) if package in packages)


def test_every_package_has_a_layer() -> None:
    packages = {module(file).partition(".")[0] for file in FILES} - {"__init__"}
    assert packages == set().union(*LAYERS)


@pytest.mark.parametrize("file", FILES, ids=module)
def test_imports_point_downwards(file: Path) -> None:
    own = module(file).partition(".")[0]
    for name in imports(file) if own != "__init__" else ():
        other = name.removeprefix("gan_lab.").partition(".")[0] if name.startswith("gan_lab.") else own
        assert other == own or layer(other) < layer(own), f"{module(file)} imports {name}"


@pytest.mark.parametrize("file", FILES, ids=module)
def test_libraries_stay_where_they_belong(file: Path) -> None:
    for name in imports(file):
        allowed = OUTSIDE.get(name.partition(".")[0])
        assert allowed is None or module(file) in allowed or module(file).partition(".")[0] in allowed, name
