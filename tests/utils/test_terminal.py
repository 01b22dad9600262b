"""Tables and texts in terminals of different widths."""

from __future__ import annotations

import io

import pytest
from rich.console import Console as RichConsole

from gan_lab.utils import terminal
from gan_lab.utils.terminal import fold, print_table, split_columns

TITLES = ["run", "fd_fashion", "s/epoch", "images/s", "peak memory (MiB)"]
ROWS = [["trial 0", "171.15 ± 0.06", "0.126", "507.1", "1,144"], ["trial 1", "170.76 ± 0.04", "0.101", "631.6", "1,184"]]


NAMES = ["[red]", "[/red]", "two\nlines", ":smile:", "[bold]", "\\[x]"]


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    output = io.StringIO()
    monkeypatch.setattr(terminal, "STDOUT", RichConsole(file=output, width=40, soft_wrap=True))
    monkeypatch.delenv("COLUMNS", raising=False)
    return output


def test_a_wide_table_is_printed_in_parts_that_fit(screen: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    print_table(TITLES, ROWS, ["a note"])
    lines = screen.getvalue().splitlines()
    assert max(map(len, lines)) <= 40
    assert sum(line.startswith("run ") for line in lines) == sum(line.startswith("trial 1 ") for line in lines) == 2
    for cell in (*TITLES[1:], *ROWS[0][1:], *ROWS[1][1:]):
        assert sum(cell in line for line in lines) == 1, cell


def test_in_a_pipe_each_row_is_one_line(screen: io.StringIO) -> None:
    print_table(TITLES, ROWS)
    assert len(screen.getvalue().splitlines()) == 1 + 3


def test_columns_that_are_wider_than_the_terminal_are_narrower() -> None:
    assert split_columns([10, 20, 30], None) == [{0: 10, 1: 20, 2: 30}]
    assert split_columns([10, 20, 30], 80) == [{0: 10, 1: 20, 2: 30}]
    assert split_columns([10, 20, 30], 50) == [{0: 10, 1: 20}, {0: 10, 2: 30}]
    assert split_columns([90, 10], 60) == [{0: 47, 1: 10}]
    assert split_columns([90, 90], 60) == [{0: 30, 1: 27}]
    assert split_columns([90], 60) == [{0: 60}]


def test_a_text_is_broken_at_its_separator() -> None:
    assert fold("data      one two three", " ", 16, 10) == "data      one\n          two\n          three"
    assert fold("a/path/that/can/not/be/broken", " ", 10, 4) == "a/path/that/can/not/be/broken"
    assert fold("one two three", " ", None, 4) == "one two three"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is printed to the terminal."""
    output = io.StringIO()
    monkeypatch.setattr(terminal.STDOUT, "file", output)
    monkeypatch.setattr(terminal.STDOUT, "_force_terminal", True)
    return output


def test_tables_and_lines_show_brackets_and_escape_line_breaks(shown: io.StringIO) -> None:
    terminal.print_table(["class", "images"], [[name, "1"] for name in NAMES], NAMES[:2])
    terminal.STDOUT.print("runs/[a] :smile:")
    lines = [line.strip() for line in shown.getvalue().splitlines()]
    for name in ("[red]", "[/red]", r"two\nlines", ":smile:", "[bold]", "\\[x]"):
        assert any(line.split() == [name, "1"] for line in lines), (name, lines)
    assert "[red]" in lines and "[/red]" in lines and "runs/[a] :smile:" in lines


@pytest.mark.parametrize("name", NAMES)
def test_a_progress_bar_shows_the_name_of_a_file(shown: io.StringIO, name: str) -> None:
    with terminal.progress_bar(name, "rows") as progress:
        progress(1, 2)
        progress(2, 2)
    assert name.replace("\n", r"\n") in shown.getvalue()
