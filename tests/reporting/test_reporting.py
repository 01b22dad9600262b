"""The page and the animation of a run, made from its directory alone."""

from __future__ import annotations

import re
import shutil
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_lab.reporting import live_pages, plots
from gan_lab.reporting.animation import MAX_FRAMES, choose_frames, write_animation
from gan_lab.reporting.live_pages import LivePage, write_run_page
from gan_lab.reporting.run_page import write_report
from gan_lab.storage.files import write_atomically
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.run_recorder import log_resume_hint


@pytest.mark.parametrize("count", [2, 7, MAX_FRAMES + 30])
def test_an_animation_begins_with_the_first_grid_and_ends_with_the_last(tmp_path: Path, count: int) -> None:
    grids = [tmp_path / f"images-{n:09d}.png" for n in range(count)]
    levels = np.random.default_rng(0).integers(0, 256, (count, 4, 4), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    for frame, path in zip(levels, grids, strict=True):
        Image.fromarray(frame).save(path)
    write_animation(grids, tmp_path / "animation.webp")
    with Image.open(tmp_path / "animation.webp") as animation:
        frames = animation.n_frames  # type: ignore[attr-defined]
        assert frames == (count if count <= MAX_FRAMES else count // 2 + 1)
        for shown, expected in ((0, levels[0]), (frames - 1, levels[-1])):
            animation.seek(shown)
            assert np.abs(np.asarray(animation.convert("L")).astype(int) - expected).mean() < 8


def test_frames_of_large_grids_are_smaller_and_huge_grids_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grids = [tmp_path / f"images-{n:09d}.png" for n in range(6)]
    for n, path in enumerate(grids):
        Image.new("L", (17_000, 6), 40 * n).save(path)  # WebP allows 16,383 pixels
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    write_animation(grids, tmp_path / "animation.webp")
    monkeypatch.undo()
    with Image.open(tmp_path / "animation.webp") as animation:
        assert animation.size == (5667, 2) and animation.n_frames == 6  # type: ignore[attr-defined]
    monkeypatch.setattr("gan_lab.reporting.animation.MAX_PIXELS", 3 * 17_000 * 6)
    assert choose_frames(grids) == [grids[n] for n in (0, 1, 3, 5)], "large ones make fewer frames"
    monkeypatch.setattr("gan_lab.reporting.animation.MAX_PIXELS", 17_000 * 6)
    assert choose_frames(grids) == []


def test_one_grid_makes_no_animation(tmp_path: Path) -> None:
    write_animation([tmp_path / "images-000000000.png"], tmp_path / "animation.webp")
    assert list(tmp_path.iterdir()) == []


def test_the_page_of_a_run_that_has_just_started(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    write_atomically(directory.config, "model: {name: '<script>'}\n")
    write_atomically(directory.summary, '{"status": "running", "name": "lr=<b>"}')
    page = write_report(directory, []).read_text()
    assert 'http-equiv="refresh"' in page, "the page of a running run reloads itself"
    assert "&lt;script&gt;" in page and "lr=&lt;b&gt;" in page, "user input is escaped"


def test_the_page_of_a_diverged_run_has_its_metrics(finished: RunDirectory, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    shutil.copytree(finished.path, directory.path)
    with directory.metrics.open("a") as handle:
        handle.write('{"images": 192, "epoch": 3.0, "seconds": 1.0, "d/loss": null, "g/loss": null}\n')
    assert "D loss" in write_report(directory, []).read_text()


@pytest.mark.slow
def test_a_page_shows_the_resolution_of_a_growing_network(finished: RunDirectory, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    shutil.copytree(finished.path, directory.path)
    with directory.metrics.open("a") as handle:
        handle.write('{"images": 128, "epoch": 2.0, "seconds": 1.0, "growth/resolution": 16, "growth/alpha": 0.25}\n')
    page = write_report(directory, []).read_text()
    assert "128 images, 16x16, fade-in alpha 0.25" in page and "Progressive growing: resolution" in page
    assert "Progressive growing" not in write_report(finished, []).read_text()


def test_a_page_shows_the_primary_score_first(finished: RunDirectory) -> None:
    page = write_report(finished, []).read_text()
    panel = page[page.index("<h3>fd_fashion") : page.index("protocol of the scores")]
    assert re.findall(r"<h3>(\w+)|<td>(\w+_fashion)</td>", panel) == [
        ("fd_fashion", ""),
        *(("", f"{name}_fashion") for name in ("precision", "recall", "density", "coverage", "copies")),
    ]


def test_curves_skip_missing_values_and_only_long_ones_are_smoothed() -> None:
    rows = [{"epoch": float(n), "d/loss": None if n == 2 else n * 1.0} for n in range(4)]
    (line,) = plots.losses_and_accuracies(rows).axes[0].lines
    assert list(line.get_xdata()) == [0, 1, 3] and list(line.get_ydata()) == [0, 1, 3]
    many = [{"epoch": float(n), "d/loss": float(n % 2)} for n in range(200)]
    raw, smooth = plots.losses_and_accuracies(many).axes[0].lines
    assert max(raw.get_ydata()) == 1 and max(smooth.get_ydata()[20:-20]) < 0.7


def test_a_live_page_is_written_at_intervals_and_its_errors_do_not_stop_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    written: list[bool] = []

    def write(directory: RunDirectory, changes: list[object]) -> None:
        assert changes == ["a change"]
        written.append(True)
        time.sleep(0.05)

    monkeypatch.setattr("gan_lab.reporting.run_page.write_report", write)
    page = LivePage(partial(write_run_page, find_changes=lambda directory: ["a change"]))
    for _ in range(5):
        page(RunDirectory(tmp_path))
    assert len(written) == 1, "after 0.05 s of writing there is a pause of one second"
    assert page(RunDirectory(tmp_path), final=True) and len(written) == 2

    def fail(directory: RunDirectory, changes: list[object]) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("gan_lab.reporting.run_page.write_report", fail)
    assert not page(RunDirectory(tmp_path), final=True)
    assert "the page can't be written: disk full" in caplog.text


@pytest.mark.parametrize("has_page", [True, False])
def test_a_page_that_was_not_written_is_not_pointed_to(has_page: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        log_resume_hint(RunDirectory("run"), "finished", None, has_page, ["optimizer.lr"])
    assert "results: run/samples/final.png" in caplog.text and ("report.html" in caplog.text) == has_page
    assert live_pages.MAX_TIME_FRACTION <= 0.05
