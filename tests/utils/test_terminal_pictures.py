"""Pictures in terminals, read back from their escape sequences."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from escape_sequences import from_blocks, from_iterm2, from_kitty
from rich.console import Console

from gan_lab.utils import terminal_pictures
from gan_lab.utils.image_ops import image_grid
from gan_lab.utils.terminal_pictures import iterm2, kitty, picture_protocol, show_grid

VARIABLES = ("TERM", "TERM_PROGRAM", "KITTY_WINDOW_ID", "LC_TERMINAL", "TMUX")

GRID = image_grid(torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)), scale=2)


class Screen(io.StringIO):
    """Takes itself for a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """What a terminal of 80 columns receives that is none of those with pictures."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    file = Screen()
    console = Console(file=file, force_terminal=True, color_system="truecolor", width=80, height=40)
    monkeypatch.setattr(terminal_pictures, "STDOUT", console)
    return file


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({"TERM": "xterm-kitty", "KITTY_WINDOW_ID": "1"}, kitty),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, kitty),
        ({"TERM": "xterm-ghostty", "TERM_PROGRAM": "ghostty"}, kitty),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, iterm2),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, iterm2),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, iterm2),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "vscode", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, None),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2", "TMUX": "/tmp/tmux-0/default,1,0"}, None),
        ({"TERM": "xterm-256color"}, None),
        ({}, None),
    ],
)
def test_terminals_are_known_by_their_variables(environment: dict[str, str], protocol: object) -> None:
    assert picture_protocol(environment) is protocol


@pytest.mark.parametrize(
    ("variable", "value", "read", "width"),
    [("TERM", "xterm-kitty", from_kitty, "c"), ("TERM_PROGRAM", "iTerm.app", from_iterm2, "width")],
)
def test_a_terminal_receives_the_picture(
    variable: str, value: str, read: object, width: str, screen: Screen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    show_grid(GRID, 32, 2, blocks=False)
    picture, keys = read(screen.getvalue())  # type: ignore[operator]
    assert picture.tobytes() == GRID.tobytes() and picture.size == GRID.size
    assert keys[width] == "17", "132 pixels, 8 for each column"
    wide = image_grid(torch.zeros(40, 1, 128, 128, dtype=torch.uint8), columns=40)
    screen.truncate(0)
    show_grid(wide, 128, 1, blocks=False)
    picture, keys = read(screen.getvalue())  # type: ignore[operator]
    assert keys[width] == "80" and picture.width <= 2048, "no wider than the terminal, and no more pixels than it can use"


def test_other_terminals_show_blocks_only_if_asked_to(screen: Screen) -> None:
    show_grid(GRID, 32, 2, blocks=False)
    assert screen.getvalue() == ""
    show_grid(GRID, 32, 2, blocks=True)
    assert from_blocks(screen.getvalue()).tobytes() == GRID.reduce(2).tobytes()


def test_a_file_gets_no_picture(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-kitty")
    monkeypatch.setattr(screen, "isatty", lambda: False)
    show_grid(GRID, 32, 2, blocks=True)
    assert screen.getvalue() == ""
