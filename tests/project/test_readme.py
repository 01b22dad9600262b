"""README, the pages under gan_lab/docs and the Makefile: commands compose, options are listed, links exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from helpers import compose_config, every_nth

from gan_lab.building.networks import build_discriminator
from gan_lab.building.phases import build_terms
from gan_lab.building.warnings import warn_of_unstable_choices
from gan_lab.config import CONF_DIR
from gan_lab.config.argument_checks import check_arguments
from gan_lab.config.command import accept_new_key
from gan_lab.config.path_arguments import quote_paths
from gan_lab.sweeps.objective import SUMMARY_METRICS

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "gan_lab" / "docs").glob("*.md"))
PAGES = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in (README, *DOCS)}
CHOICES = PAGES["gan_lab/docs/choices.md"]

COMMAND = re.compile(r"(?:-m gan_lab\.(?!launch)|(?<![\w/-])gan-)([a-z]+)(?: ([^\n`#]*))?(?=[\n`#])")
CONFIGS = {"train": "config"}
COMMANDS = [(page, name, words.strip()) for page, text in PAGES.items() for name, words in COMMAND.findall(text)]

GROUPS = [folder.name for folder in sorted(CONF_DIR.iterdir()) if folder.is_dir() and folder.name not in ("hydra", "wandb")]
LINK = re.compile(r"\]\((?!http)([^)#]*)(?:#([^)]+))?\)")


def test_the_readme_is_read_in_minutes() -> None:
    assert len(PAGES["README.md"].splitlines()) < 150


def test_every_page_has_commands_that_are_checked() -> None:
    without = set(PAGES) - {page for page, _, _ in COMMANDS}
    assert without <= {"gan_lab/docs/architecture.md"}


def overrides_of(arguments: str) -> list[str]:
    words = shlex.split(arguments.rstrip(')"'))
    if "--shell-completion" in words:
        return []
    check_arguments(words)
    return quote_paths([accept_new_key(word) for word in words if "=" in word and not word.startswith("-")])


@pytest.mark.parametrize("page", dict.fromkeys(page for page, _, _ in COMMANDS))
def test_every_command_names_existing_options(page: str) -> None:
    for _, module, arguments in (command for command in COMMANDS if command[0] == page):
        assert (ROOT / "gan_lab" / f"{module}.py").is_file()
        for choice in (choice for override in overrides_of(arguments) for choice in choices(override)):
            group, _, value = choice.partition("=")
            for option in value.strip("[]").split(",") if group in GROUPS else ():
                assert (CONF_DIR / group / f"{option}.yaml").is_file(), f"{module} {arguments}"


@pytest.mark.parametrize(("module", "arguments"), every_nth(dict.fromkeys(command[1:] for command in COMMANDS), 7))
def test_every_command_composes(module: str, arguments: str) -> None:
    for combination in product(*map(choices, overrides_of(arguments))):
        compose_config(*combination, config=CONFIGS.get(module, module))


def test_no_command_warns_of_its_own_choices(caplog: pytest.LogCaptureFixture) -> None:
    penalized = [words for _, name, words in COMMANDS if name == "train" and "penalty=" in words]
    assert len(penalized) >= 3
    for arguments in penalized:
        words = [accept_new_key(word) for word in shlex.split(arguments)]
        cfg = compose_config(*words)
        warn_of_unstable_choices(build_discriminator(cfg), build_terms(cfg, "discriminator"))
        assert not caplog.messages, arguments


def choices(override: str) -> list[str]:
    """``a=b,c`` of a multirun as two overrides; lists, dictionaries and single values as they are."""
    key, _, value = override.partition("=")
    return [f"{key}={choice}" for choice in ([value] if set("[{") & set(value) else value.split(","))]


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_stands_in_the_row_of_its_group(group: str) -> None:
    rows = [line for line in CHOICES.splitlines() if line.startswith(f"| `{group}` |")]
    assert len(rows) == 1
    text = CHOICES if group == "experiment" else rows[0]
    assert [file.stem for file in (CONF_DIR / group).glob("*.yaml") if f"`{file.stem}`" not in text] == []


def test_every_key_in_the_tables_exists() -> None:
    """By its last word, which renaming a key would change."""
    known = set(SUMMARY_METRICS)  # constraints.METRIC
    for file in (*CONF_DIR.rglob("*.yaml"), *(ROOT / "gan_lab" / "config").glob("*.py")):
        known |= set(re.findall(r"^ *(?:- )?(\w+):", file.read_text(encoding="utf-8"), re.MULTILINE))
    named = {key for text in PAGES.values() for key in re.findall(r"`([a-z_]+(?:\.[a-z_]+)+)(?:=[^`]*)?`", text)}
    named = {key for key in named if not key.endswith((".pt", ".png", ".html", ".md", ".yaml", ".csv", ".json", ".jsonl"))}
    keys = {key for key in named if key.partition(".")[0] in known or (CONF_DIR / key.partition(".")[0]).is_dir()}
    assert len(keys) > 40
    assert {key for key in keys if key.rpartition(".")[2] not in known} == set()


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target, anchor in LINK.findall(PAGES[page]):
        file = (ROOT / page).parent / target if target else ROOT / page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text(encoding="utf-8")), f"{target}#{anchor}"


def anchors(text: str) -> Iterator[str]:
    """Of its headings, as GitHub makes them."""
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_page_is_linked_from_the_readme() -> None:
    linked = {target for target, _ in LINK.findall(PAGES["README.md"])}
    assert set(PAGES) - {"README.md"} <= linked


def test_the_architecture_page_names_every_package_and_command() -> None:
    text = PAGES["gan_lab/docs/architecture.md"]
    packages = {path.parent.name for path in (ROOT / "gan_lab").glob("*/__init__.py")}
    commands = {path.stem for path in (ROOT / "gan_lab").glob("*.py")} - {"__init__", "version"}
    assert {name for name in packages | commands if f"`{name}`" not in text} == set()


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    assert targets == set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert "source $(VENV)/bin/activate" in makefile
