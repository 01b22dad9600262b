"""The files and snippets of CONTRIBUTING.md work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import SMALL
from sklearn.datasets import load_digits

from gan_lab.data.datasets.base import DatasetBuilder
from gan_lab.data.raw_images import ArrayImages
from gan_lab.iteration.schedule import Schedule

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"`((?:gan_lab|conf)/[\w/]+\.(?:py|yaml))`[^`]*:\n\n```(?:python|yaml)\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the page's files added."""
    root = tmp_path_factory.mktemp("checkout")
    for name in ("gan_lab", "conf"):
        for source in (ROOT / name).rglob("*"):
            if source.is_file() and "__pycache__" not in source.parts:
                target = root / source.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(source.read_bytes())
    for name, text in FILES.items():
        assert not (root / name).exists(), f"{name} exists already"
        (root / name).write_text(text, encoding="utf-8")
    return root


def test_the_page_adds_four_options_of_two_files_each() -> None:
    assert sorted(Path(name).parts[:2] for name in FILES) == [
        ("conf", "evaluation"),
        ("conf", "loss"),
        ("conf", "model"),
        ("conf", "penalty"),
        ("gan_lab", "losses"),
        ("gan_lab", "losses"),
        ("gan_lab", "metrics"),
        ("gan_lab", "models"),
    ]


@pytest.mark.slow
def test_what_the_page_adds_trains(checkout: Path) -> None:
    command = re.findall(r"python -m gan_lab\.train (.*)", PAGE)[-1].split()
    done = subprocess.run(
        [sys.executable, "-m", "gan_lab.train", *SMALL, *command, "hydra.run.dir=run", "console=plain"],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "loss squared_hinge, penalty flip_consistency, conditioning projection" in done.stdout
    assert (checkout / "run" / "samples" / "final.png").is_file()
    assert "brightness" in json.loads((checkout / "run" / "summary.json").read_text())["final"]


def snippet(name: str, **names: Any) -> Any:
    """The class called ``name`` of the page, which uses ``names``."""
    (source,) = re.findall(rf"```python\n(class {name}\(.*?)```", PAGE, re.DOTALL)
    exec(source, names)
    return names[name]


def test_the_dataset_of_the_page_can_be_loaded(tmp_path: Path) -> None:
    digits = snippet("Digits", DatasetBuilder=DatasetBuilder, ArrayImages=ArrayImages, load_digits=load_digits)
    data = digits(name="digits", root=str(tmp_path), size=8, channels=1, resize_mode="resize").load()
    assert len(data) == 1797 and data.shape == (1, 8, 8) and len(data.classes) == 10


def test_the_schedule_of_the_page_decays() -> None:
    schedule = snippet("Quadratic", Schedule=Schedule)()
    assert [schedule(progress) for progress in (0.0, 0.5, 1.0)] == [1.0, 0.25, 0.0]


def test_its_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\((?!http)([^)]+)\)", PAGE):
        assert (ROOT / link).exists(), link
