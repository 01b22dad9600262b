"""CONTRIBUTING.md, typed off."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import SMALL

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


def test_the_page_adds_four_choices_of_two_files_each() -> None:
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


def test_its_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\((?!http)([^)]+)\)", PAGE):
        assert (ROOT / link).exists(), link
