"""Pages and films from run directories alone."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gan_lab.reporting import live_pages, plots
from gan_lab.reporting.animation import LONGEST, write_animation
from gan_lab.reporting.live_pages import LivePage, write_run_page
from gan_lab.reporting.run_page import _scores, write_report
from gan_lab.storage.files import write_atomically
from gan_lab.storage.run_directory import RunDirectory


@pytest.mark.parametrize("count", [2, 7, LONGEST + 30])
def test_a_film_goes_from_the_first_grid_to_the_last(tmp_path: Path, count: int) -> None:
    previews = [tmp_path / f"images-{n:09d}.png" for n in range(count)]
    levels = np.random.default_rng(0).integers(0, 256, (count, 4, 4), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    for frame, path in zip(levels, previews, strict=True):
        Image.fromarray(frame).save(path)
    write_animation(previews, tmp_path / "film.webp")
    with Image.open(tmp_path / "film.webp") as made:
        frames = made.n_frames  # type: ignore[attr-defined]
        assert frames == (count if count <= LONGEST else count // 2 + 1)
        for shown, expected in ((0, levels[0]), (frames - 1, levels[-1])):
            made.seek(shown)
            assert np.abs(np.asarray(made.convert("L")).astype(int) - expected).mean() < 8


def test_one_grid_makes_no_film(tmp_path: Path) -> None:
    write_animation([tmp_path / "images-000000000.png"], tmp_path / "film.webp")
    assert list(tmp_path.iterdir()) == []


def test_a_page_can_be_made_of_a_run_that_has_only_begun(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    write_atomically(directory.config, "model: {name: '<script>'}\n")
    write_atomically(directory.summary, '{"status": "running", "name": "lr=<b>"}')
    page = write_report(directory).read_text()
    assert 'http-equiv="refresh"' in page, "a page of a run under way renews itself"
    assert "&lt;script&gt;" in page and "lr=&lt;b&gt;" in page, "what a user wrote is text, not markup"


def test_a_page_survives_a_diverged_run(finished: RunDirectory, tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run")
    shutil.copytree(finished.path, directory.path)
    with directory.metrics.open("a") as handle:
        handle.write('{"images": 192, "epoch": 3.0, "seconds": 1.0, "d/loss": null, "g/loss": null}\n')
    assert "d/loss" in write_report(directory).read_text()


def test_a_page_tells_the_size_of_a_growing_network_and_shows_scores_alone_as_scores(
    finished: RunDirectory, tmp_path: Path
) -> None:
    directory = RunDirectory(tmp_path / "run")
    shutil.copytree(finished.path, directory.path)
    with directory.metrics.open("a") as handle:
        handle.write('{"images": 128, "epoch": 2.0, "seconds": 1.0, "growth/resolution": 16, "growth/alpha": 0.25}\n')
    page = write_report(directory).read_text()
    assert "0.1k images, 16x16, alpha 0.25" in page and "Resolution of a growing network" in page
    assert "Resolution of a growing network" not in write_report(finished).read_text()
    assert [score["name"] for score in _scores(finished.read_summary())] == [
        "fd_fashion",
        "precision_fashion",
        "recall_fashion",
        "density_fashion",
        "coverage_fashion",
        "copies_fashion",
    ]


def test_curves_leave_out_what_is_not_finite_and_smooth_only_long_ones() -> None:
    rows = [{"epoch": float(n), "d/loss": None if n == 2 else n * 1.0} for n in range(4)]
    assert plots.series(rows, "d/loss") == ([0, 1, 3], [0, 1, 3])
    (line,) = plots.losses_and_accuracies(rows).axes[0].lines
    assert list(line.get_ydata()) == [0, 1, 3]
    many = [{"epoch": float(n), "d/loss": float(n % 2)} for n in range(1000)]
    raw, smooth = plots.losses_and_accuracies(many).axes[0].lines
    assert max(raw.get_ydata()) == 1 and max(smooth.get_ydata()[20:-20]) < 0.6


def test_a_live_report_is_rationed_and_never_stops_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    written: list[bool] = []

    def write(directory: RunDirectory) -> None:
        written.append(True)
        time.sleep(0.05)

    monkeypatch.setattr("gan_lab.reporting.run_page.write_report", write)
    report = LivePage(write_run_page)
    for _ in range(5):
        report(RunDirectory(tmp_path))
    assert len(written) == 1, "0.05 s of work earn a pause of a second"
    report(RunDirectory(tmp_path), final=True)
    assert len(written) == 2

    def fail(directory: RunDirectory) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("gan_lab.reporting.run_page.write_report", fail)
    report(RunDirectory(tmp_path), final=True)
    assert "the report could not be written: disk full" in caplog.text
    assert live_pages.LARGEST_SHARE <= 0.05
