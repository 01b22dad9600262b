"""``gan_lab.sample``: seeds, walks and projection as commands."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from escape_sequences import from_kitty
from helpers import compose_config, run_module
from PIL import Image
from rich.console import Console

from gan_lab import Run
from gan_lab.sampling import images
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils import terminal_pictures
from gan_lab.utils.image_ops import to_pil


@pytest.fixture(scope="module")
def folder(finished: RunDirectory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run called ``run``."""
    cwd = tmp_path_factory.mktemp("sampling")
    shutil.copytree(finished.path, cwd / "run")
    return cwd


def test_seeds_name_the_images(folder: Path) -> None:
    done = run_module("sample", "run=run", "seeds=0-1,100", "out=seeds", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in (folder / "seeds").iterdir()) == ["000.png", "001.png", "100.png"]
    expected = np.asarray(to_pil(Run.open(folder / "run").sample(1, seed=100)[0]))
    assert np.array_equal(np.asarray(Image.open(folder / "seeds" / "100.png")), expected)


def test_many_images_go_into_a_zip_file(folder: Path) -> None:
    done = run_module("sample", "run=run", "count=70", "seed=3", "out=fakes.zip", "batch_size=16", cwd=folder)
    assert done.returncode == 0, done.stderr
    expected = Run.open(folder / "run").sample(70, seed=3, batch_size=16)
    with zipfile.ZipFile(folder / "fakes.zip") as archive:
        assert archive.namelist() == [f"{number:02d}.png" for number in range(70)]
        for number in (0, 69):
            with archive.open(f"{number:02d}.png") as file:
                assert np.array_equal(np.asarray(Image.open(file)), np.asarray(to_pil(expected[number])))
    assert (folder / "fakes.png").is_file(), "the grid"
    done = run_module("sample", "run=run", "out=fakes.zip", cwd=folder)
    assert done.returncode == 1 and "fakes.zip exists already" in done.stderr


def test_a_grid_shows_the_first_of_very_many(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_IN_GRID", 4)
    out = f"out={folder / 'few'}"
    cfg = compose_config(f"run={folder / 'run'}", "count=9", out, "singles=false", "scale=1", config="sample")
    images.write_images(Run.open(folder / "run"), cfg)
    with Image.open(folder / "few.png") as grid:
        assert grid.size == (66, 66)


class Kitty(io.StringIO):
    """Standard output of a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_grid_is_shown_in_a_terminal_and_not_in_a_pipe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Kitty()
    monkeypatch.setattr(terminal_pictures, "STDOUT", Console(file=screen, force_terminal=True, width=80))
    monkeypatch.setenv("TERM", "xterm-kitty")
    monkeypatch.delenv("TMUX", raising=False)
    run = Run.open(folder / "run")
    for show in ("auto", "false"):
        cfg = compose_config(f"run={folder / 'run'}", "count=9", f"out={folder / show}", f"show={show}", config="sample")
        images.write_images(run, cfg)
    assert screen.getvalue().count("a=T") == 1
    with Image.open(folder / "auto.png") as grid:
        assert from_kitty(screen.getvalue())[0].tobytes() == grid.tobytes()
    done = run_module("sample", "run=run", "count=4", "out=piped", "show=true", cwd=folder)
    assert done.returncode == 0 and "\x1b" not in done.stdout and done.stdout.count("\n") == 1
    done = run_module("sample", "run=run", "show=sixel", cwd=folder)
    assert "show=sixel: must be auto, true or false" in done.stderr


def test_a_walk_is_a_film(folder: Path) -> None:
    done = run_module("sample", "run=run", "walk=loop", "frames=8", "fps=10", "count=4", "scale=1", "out=walk.webp", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "8 frames, 0.8 s: walk.webp" in done.stdout
    with Image.open(folder / "walk.webp") as image:
        assert image.size == (66, 66)
    done = run_module("sample", "run=run", "walk=loop", "frames=8", "out=walk.webp", cwd=folder)
    assert done.returncode == 1 and "walk.webp exists already" in done.stderr


def test_a_picture_is_projected_and_its_latent_rendered(folder: Path) -> None:
    to_pil(Run.open(folder / "run").sample(1, seed=5)[0]).resize((50, 40)).save(folder / "photo.png")
    quick = ["projection.steps=2", "projection.candidates=4", "projection.starts=2", "perception.width=4"]
    done = run_module("sample", "run=run", "project=photo.png", "out=found", *quick, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in (folder / "found").iterdir()) == ["comparison.png", "found.png", "latent.safetensors"]
    done = run_module("sample", "run=run", "latent=found/latent.safetensors", "out=again.png", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.asarray(Image.open(folder / "again.png")), np.asarray(Image.open(folder / "found" / "found.png")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["walk=loop", "out=walk.avi"], "ends in .webp, .mp4, .gif"),
        (["walk=zigzag"], "walk=zigzag: must be one of line, loop, random, classes"),
        (["seeds=3-1"], "seeds=3-1: must be numbers and ranges of them"),
        (["project=none.jpg"], "project=none.jpg: can't be read"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], message: str, folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    done = run_module("sample", "run=run", *arguments, cwd=folder)
    assert done.returncode == 1 and message in done.stderr
    assert sorted(folder.rglob("*")) == before


def test_a_plane_and_a_point_of_it(folder: Path) -> None:
    done = run_module("sample", "run=run", "plane=0-8", "columns=3", "scale=1", "out=plane.png", cwd=folder)
    assert done.returncode == 0, done.stderr
    expected = Run.open(folder / "run")
    seeds = np.concatenate([expected.sample(1, seed=seed)[0, 0].numpy() for seed in (3, 4, 5)], axis=1).astype(int)
    with Image.open(folder / "plane.png") as grid:
        size = expected.sample(1).shape[-1]
        shown = np.asarray(grid.convert("L")).astype(int)
    middle = np.concatenate([shown[size + 2 : 2 * size + 2, n * (size + 2) :][:, :size] for n in range(3)], axis=1)
    assert np.abs(middle - seeds).max() <= 1, "the middle row"
    done = run_module("sample", "run=run", "plane=0-8", "at=1,0.5", "scale=1", "out=point.png", cwd=folder)
    assert done.returncode == 0, done.stderr
    with Image.open(folder / "point.png") as image:
        point = np.asarray(image.convert("L")).astype(int)
    assert np.abs(point - expected.sample(1, seed=5)[0, 0].numpy()).max() <= 1
    for arguments, message in (
        (["plane=0-7"], "plane: takes 4, 9 or 16 seeds"),
        (["plane=0-3", "at=2,0"], "at=2,0: both numbers must lie in [0, 1]"),
        (["plane=0-3", "at=1"], "at=1: must be two numbers"),
        (["plane=0-3", "count=4"], "count=4: has no effect with plane="),
        (["at=0,0"], "has no effect with count="),
    ):
        refused = run_module("sample", "run=run", *arguments, cwd=folder)
        assert refused.returncode == 1 and message in refused.stderr, refused.stderr
