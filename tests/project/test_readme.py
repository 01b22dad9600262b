"""What the README says can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from helpers import compose_config

from gan_lab.config import CONF_DIR
from gan_lab.config.command import expand_home

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"python -m gan_lab\.(\w+) ?([^\n`#]*)", README)
CONFIGS = {"train": "config"}


@pytest.mark.parametrize(("module", "arguments"), COMMANDS)
def test_every_command_composes(module: str, arguments: str) -> None:
    assert (ROOT / "gan_lab" / f"{module}.py").is_file()
    given = [expand_home(word) for word in shlex.split(arguments) if "=" in word and not word.startswith("-")]
    for combination in zip(*(_choices(word) for word in given), strict=False):
        compose_config(*combination, config=CONFIGS.get(module, module))


def _choices(override: str) -> list[str]:
    """``a=b,c`` of a multirun as two overrides; lists and single values as they are."""
    key, _, value = override.partition("=")
    return [f"{key}={v}" for v in value.split(",")] if "," in value and "[" not in value else [override] * 2


def test_every_option_stands_in_its_table_and_every_link_leads_somewhere() -> None:
    for folder in CONF_DIR.iterdir():
        if folder.is_dir() and folder.name not in ("hydra", "kind", "debug"):
            missing = [
                file.stem for file in folder.glob("*.yaml") if f"`{file.stem}`" not in README and f"{file.stem}," not in README
            ]
            assert not missing, f"{folder.name}: {missing}"
    for link in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / link).exists(), link


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    assert targets == set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
