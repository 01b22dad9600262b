"""Tables and texts in terminals of different widths."""

from __future__ import annotations

import io

import pytest
from rich.console import Console as RichConsole

from gan_lab.utils import terminal
from gan_lab.utils.terminal import fold, print_table, split_columns

TITLES = ["run", "fd_fashion", "s/epoch", "images/s", "peak memory (MiB)"]
ROWS = [["trial 0", "171.15 ± 0.06", "0.126", "507.1", "1,144"], ["trial 1", "170.76 ± 0.04", "0.101", "631.6", "1,184"]]


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
