"""Trackers: the console, W&B and TensorBoard, and what happens when one fails."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from escape_sequences import from_blocks
from helpers import SMALL, make_job, run_module
from PIL import Image
from rich.console import Console as RichConsole

from gan_lab.building.trainer import build_trainer
from gan_lab.config import CONF_DIR
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.tracking import RunInfo, Tracker, Trackers, console
from gan_lab.tracking import wandb as wandb_tracker
from gan_lab.tracking.console import Console, plain_line
from gan_lab.utils import terminal
from gan_lab.utils.image_ops import image_grid


def info(path: Path) -> RunInfo:
    return RunInfo(path, "lr=1", None, {}, total_images=200, images_per_epoch=50, facts={"data": "garments"})


def row(images: int, loss: float) -> dict[str, float]:
    return {
        "images": images,
        "epoch": images / 50,
        "seconds": 1.0,
        "d/loss": loss,
        "g/loss": 2.0,
        "time/seconds_per_epoch": 3.0,
        "g/bce": 9.0,
    }


class Failing(Tracker):
    """A back end whose network connection fails."""

    def __init__(self) -> None:
        self.calls = 0

    def metrics(self, row: object) -> None:
        self.calls += 1
        raise ConnectionError("no route to host")


def test_a_failing_tracker_is_disabled_unless_it_is_essential(caplog: pytest.LogCaptureFixture) -> None:
    failing, counting = Failing(), Failing()
    trackers = Trackers({"cloud": failing})
    trackers.metrics(row(1, 1.0))
    trackers.metrics(row(2, 1.0))
    assert failing.calls == 1
    assert "tracker cloud failed and is disabled for the rest of the run: no route to host" in caplog.text
    with pytest.raises(ConnectionError):
        Trackers({"files": counting}, essential=["files"]).metrics(row(1, 1.0))


def test_a_plain_line_shows_the_metrics_of_both_networks_and_the_speed() -> None:
    assert plain_line(row(75, 0.5)) == "epoch 1.50  75 images  D loss 0.5  G loss 2  s/epoch 3"
    assert plain_line({"images": 0, "epoch": 0.0, "seconds": 0.0, "fd_fashion": 1.23456}).endswith("fd_fashion 1.235")
    scored = {"images": 0, "epoch": 0.0, "seconds": 0.0, "fid": 12.3456, "fid_ci95": 0.321, "recall_inception": 0.5}
    assert plain_line(scored).endswith("images  fid 12.35 ± 0.32")


def test_the_live_table_shows_progress_and_metrics_with_their_direction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = RichConsole(file=io.StringIO(), force_terminal=True, width=110, height=40, highlight=False)
    monkeypatch.setattr(console, "STDOUT", screen)
    live = Console("live")
    live.start(info(tmp_path))
    for images, loss in ((50, 0.75), (75, 0.25)):
        live.progress(images)
        live.metrics(row(images, loss))
    handler = console.ConsoleHandler()
    handler.emit(logging.makeLogRecord({"msg": "a log line"}))
    handler.emit(logging.makeLogRecord({"msg": "in the table already", "in_table": True}))
    live.finish({})
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    final = shown[shown.rindex("lr=1") :]
    for expected in ("D loss", "0.25", "↓", "G loss", "epoch", "2/4", "38%", "75 images", "eta"):
        assert expected in final, expected
    assert "a log line" in shown and "in the table already" not in shown


def test_the_state_of_a_tracker_that_fails_is_kept_and_never_stops_the_training(caplog: pytest.LogCaptureFixture) -> None:
    class Stateful(Failing):
        def state_dict(self) -> dict[str, object]:
            return {"id": "a1"}

    class Broken(Tracker):
        def state_dict(self) -> dict[str, object]:
            raise RuntimeError

        def load_state_dict(self, state: object) -> None:
            raise RuntimeError

    trackers = Trackers({"cloud": Stateful(), "broken": Broken()})
    trackers.metrics(row(1, 1.0))
    assert trackers.state_dict() == {"cloud": {"id": "a1"}}, "a resume continues the same record"
    assert "tracker broken failed and is disabled for the rest of the run: RuntimeError" in caplog.text
    resumed = Trackers({"broken": Broken()})
    resumed.load_state_dict({"cloud": {"id": "a1"}, "broken": {}})
    assert resumed.state_dict() == {"cloud": {"id": "a1"}, "broken": {}}


def wandb_records(file: Path) -> Iterator[Any]:
    """The records of a ``.wandb`` file: seven bytes, then LevelDB's log format."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, position, parts = file.read_bytes(), 7, b""
    while position + 7 <= len(content):
        if (left := 32768 - position % 32768) < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        parts += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield Record.FromString(parts)
            parts = b""


def wandb_values(items: Iterable[Any]) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


@pytest.mark.parametrize("width", [110, 80, 60])
def test_the_live_table_fits_into_the_terminal(width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = RichConsole(file=io.StringIO(), force_terminal=True, width=width, height=24, highlight=False, color_system=None)
    monkeypatch.setattr(console, "STDOUT", screen)
    monkeypatch.setattr(terminal, "STDOUT", screen)
    live = Console("live")
    live.start(info(tmp_path))
    names = [f"{network}/{name}" for network in "dg" for name in ("loss", "gradient_norm", "learning_rate", "fool_rate")]
    scores = [f"{name}_fashion" for name in ("fd", "precision", "recall", "density", "coverage", "copies")]
    values = {name: 0.123456 * n for n, name in enumerate([*names, *scores], 1)}
    live.metrics({**row(50, 0.75), **values, "g/loss": 2.0, "g/bce": 2.0})
    live.finish({})
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    lines = [line for line in shown[shown.rindex("╭") :].splitlines() if "│" in line or "━" in line]
    assert all(len(line) <= width for line in lines) and len(lines) + 3 <= 24
    for name in ("D gradient norm", "G fool rate", "s/epoch", "fd_fashion"):
        assert sum(name in line for line in lines) == 1, "\n".join(["not cut, and once", *lines])
    assert "G bce" not in shown, "the only term of a network is its loss"
    assert shown.removesuffix("\x1b[?25h").endswith("\n\n"), "^C is echoed on an empty line"


def test_a_notebook_has_one_live_table_that_is_replaced_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[str] = []

    class Handle:
        def update(self, page: Any) -> None:
            pages[-1] = page.data

    def display(page: Any, display_id: bool) -> Handle:
        pages.append(page.data)
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    monkeypatch.setattr(console, "in_notebook", lambda: True)
    shown = Console("auto")
    shown.start(info(tmp_path))
    assert pages == []
    shown.metrics(row(25, 1.0))
    first = pages[0]
    shown.progress(26)
    assert pages == [first], "not after every step"
    shown.metrics(row(50, 0.5))
    shown.progress(75)
    shown.finish({})
    assert len(pages) == 1 and first != pages[0] and "75 images" in pages[0] and "75 images" not in first
    assert re.search(r"D loss.*0\.5.*↓", pages[0]) and "\x1b" not in pages[0]
    assert Console("plain")._live is None


GRID_CONFIG = {"sample": {"scale": 2}, "dataset": {"size": 16}, "degradation": {"steps": {}}}


def with_preview(
    folder: Path, monkeypatch: pytest.MonkeyPatch, mode: str = "live", preview: bool = True, color_system: Any = "truecolor"
) -> tuple[str, Image.Image]:
    """What a terminal receives of a training with a sample grid, and that grid."""
    screen = RichConsole(file=io.StringIO(), force_terminal=True, width=120, height=40, color_system=color_system)
    for module in (console, terminal):
        monkeypatch.setattr(module, "STDOUT", screen)
    shown = Console(mode, preview)
    shown.start(replace(info(folder), config=GRID_CONFIG))
    shown.metrics(row(50, 0.75))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 16, 16), dtype=np.uint8)
    grid = image_grid(torch.from_numpy(pixels), scale=2)
    grid.save(folder / "grid.png")
    (folder / "damaged.png").write_bytes(b"\x89PNG")
    for name, file in (("reals", "none.png"), ("samples", "grid.png"), ("samples", "damaged.png")):
        shown.image_grid(name, folder / file, 50)
    shown.metrics(row(75, 0.5))
    shown.finish({})
    return screen.file.getvalue(), grid  # type: ignore[attr-defined]


def test_a_preview_is_the_newest_grid_next_to_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, grid = with_preview(tmp_path, monkeypatch)
    last = text[text.rindex("╭") :]
    assert from_blocks(last).tobytes() == grid.reduce(2).tobytes()
    lines = [re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", line) for line in last.splitlines()]
    assert "D loss" in lines[1] and "▀" in lines[1] and all(len(line.rstrip()) <= 120 for line in lines)


@pytest.mark.parametrize(
    "options",
    [{"preview": False}, {"mode": "plain"}, {"color_system": None}, {"color_system": "standard"}],
    ids=lambda options: "-".join(map(str, options.values())),
)
def test_there_is_no_preview_unless_the_terminal_shows_it_well(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, _ = with_preview(tmp_path, monkeypatch, **options)
    assert "▀" not in text


def test_long_lines_are_broken_for_a_terminal_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def shown(terminal_width: int | None) -> list[str]:
        screen = RichConsole(file=io.StringIO(), force_terminal=bool(terminal_width), width=terminal_width, color_system=None)
        for module in (console, terminal):
            monkeypatch.setattr(module, "STDOUT", screen)
        monkeypatch.delenv("COLUMNS", raising=False)
        message = {"msg": plain_line(row(75, 0.5)), "separator": "  "}
        console.ConsoleHandler().emit(logging.makeLogRecord(message))
        return screen.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]

    assert shown(40) == ["epoch 1.50  75 images  D loss 0.5", "          G loss 2  s/epoch 3"]
    assert len(shown(None)) == 1


def test_a_resumed_run_says_where_it_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Console("plain").start(replace(info(tmp_path), first_image=75))
    assert "resumed   at 75 images, epoch 1.50" in caplog.text


@pytest.mark.slow
def test_wandb_keeps_its_id_after_a_resume_and_needs_no_login(tmp_path: Path) -> None:
    done = run_module("train", *SMALL, "tracker=wandb", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0 and "disabled" not in done.stdout, done.stdout + done.stderr
    done = run_module("train", "resume=run", "epochs=2", cwd=tmp_path)
    assert done.returncode == 0 and "disabled" not in done.stdout, done.stdout + done.stderr
    folders = [path.name for path in (tmp_path / "run" / "wandb").glob("offline-run-*")]
    assert len(folders) == 2 and len({name.rsplit("-", 1)[-1] for name in folders}) == 1
    assert f"upload the run with: wandb sync run/wandb/{sorted(folders)[0]} run/wandb/{sorted(folders)[1]}" in done.stdout
    records = [list(wandb_records(next((tmp_path / "run" / "wandb" / folder).glob("*.wandb")))) for folder in sorted(folders)]
    rows = [wandb_values(r.history.item) for part in records for r in part if r.HasField("history")]
    assert [row["_step"] for row in rows] == [0, 64, 128] == [row["progress/images"] for row in rows], "one curve"
    assert rows[0]["reals/caption"] == "real images" and rows[2]["samples/caption"] == "samples after 128 images, epoch 2"
    config = wandb_values(next(r for r in records[0] if r.HasField("run")).run.config.update)
    assert config["choices"]["model"] == "dcgan_small" and config["choices"]["loss"] == "hinge"
    summary: dict[str, Any] = {}
    for r in records[1]:
        summary |= wandb_values(r.summary.update) if r.HasField("summary") else {}
    final = RunDirectory(tmp_path / "run").read_summary()["final"]
    assert summary["final/score"] == final["fd_fashion"] and summary["final/score_name"] == "fd_fashion"
    assert summary["final/status"] == "finished" and summary["best/score"] <= summary["final/score"]


def test_only_a_single_run_takes_the_id_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(wandb_tracker, "TAKEN_IDS", set())
    monkeypatch.setenv("WANDB_RUN_ID", "abc")
    several = replace(info(tmp_path), group="quality")
    assert [wandb_tracker.given_id(several) for _ in range(3)] == [None] * 3
    assert caplog.text.count("WANDB_RUN_ID=abc names a single run") == 1
    monkeypatch.setenv("WANDB_RUN_ID", "other")
    assert [wandb_tracker.given_id(info(tmp_path)) for _ in range(2)] == ["other", None]


@pytest.mark.slow
def test_a_wandb_agent_can_run_the_command_of_the_sweep_file(tmp_path: Path) -> None:
    sweep = yaml.safe_load((CONF_DIR / "wandb" / "quality.yaml").read_text())
    arguments = [f"{name}={(how.get('values') or [how['min']])[0]}" for name, how in sweep["parameters"].items()]
    replacements = {
        "${env}": [],
        "${interpreter}": [sys.executable],
        "${args_no_hyphens}": arguments,
        "tracker.wandb.mode=online": [],
    }
    command = [word for part in sweep["command"] for word in replacements.get(part, [part])]
    assert command[1:3] == ["-m", sweep["program"]]
    environment = os.environ | {"WANDB_RUN_ID": "agentrun", "WANDB_MODE": "offline"}
    done = subprocess.run(
        [*command, *SMALL, "hydra.run.dir=run"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "disabled" not in done.stdout, done.stdout + done.stderr
    (folder,) = (tmp_path / "run" / "wandb").glob("offline-run-*-agentrun")
    name = sweep["metric"]["name"].encode()
    key = bytes([len(name)]) + name  # the name of a metric as that file encodes it
    assert key in next(folder.glob("*.wandb")).read_bytes()


def test_a_missing_wandb_login_does_not_stop_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    done = run_module("train", *SMALL, "tracker=wandb", "tracker.wandb.mode=online", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "W&B can't be used online (there is no login" in done.stdout
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*")), "nothing is lost"
    assert RunDirectory(tmp_path / "run").read_summary()["status"] == "finished"


def test_tensorboard_has_the_metrics_and_the_image_grids(tmp_path: Path) -> None:
    trainer = build_trainer(replace(make_job(tmp_path, "tracker=[tensorboard]"), choices={"model": "dcgan_small"}))
    trainer.train()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {"d/loss", "g/loss", "fd_fashion"} <= set(events.Tags()["scalars"])
    assert set(events.Tags()["images"]) == {"samples", "reals"}
    logged = [event.value for event in events.Scalars("d/loss")]
    assert logged == pytest.approx([r["d/loss"] for r in trainer.records.directory.history() if "d/loss" in r])
    content = {
        name: HParamsPluginData.FromString(events.SummaryMetadata(f"_hparams_/{name}").plugin_data.content)
        for name in ("experiment", "session_start_info", "session_end_info")
    }
    values = content["session_start_info"].session_start_info.hparams
    assert values["model"].string_value == "dcgan_small" and values["optimizer.lr"].number_value == 1e-3
    assert values["batch_size"].number_value == 16 and not any(name.startswith("paths") for name in values)
    assert content["experiment"].experiment.metric_infos[0].name.tag == "fd_fashion"


def test_a_missing_tensorboard_package_is_reported_before_the_training_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match=r"pip install 'gan_lab\[tensorboard\]'"):
        build_trainer(make_job(tmp_path, "tracker=tensorboard"))


def test_two_trackers_can_be_used_together(tmp_path: Path) -> None:
    trainer = build_trainer(make_job(tmp_path, "tracker=[tensorboard,wandb]"))
    assert set(json.loads(json.dumps(trainer.records.tracker.state_dict()))) == {"files", "console", "tensorboard", "wandb"}


@pytest.mark.slow
def test_a_closed_pipe_does_not_end_the_training(tmp_path: Path) -> None:
    command = f"{sys.executable} -m gan_lab.train {' '.join(SMALL)} epochs=3 hydra.run.dir=run | head -n 2"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.count("\n") == 2 and done.stderr == ""
    assert RunDirectory(tmp_path / "run").read_summary()["status"] == "finished"


def test_all_trackers_are_finished_even_if_an_essential_one_fails_at_the_end() -> None:
    class Recording(Tracker):
        finished = False

        def finish(self, summary: object) -> None:
            self.finished = True

    class DiskFull(Tracker):
        def finish(self, summary: object) -> None:
            raise OSError(28, "No space left on device")

    recording = Recording()
    with pytest.raises(OSError, match="No space"):
        Trackers({"files": DiskFull(), "console": recording}, essential=["files"]).finish({})
    assert recording.finished


def test_wandbs_steps_only_increase(tmp_path: Path) -> None:
    """It rejects smaller ones, which a run has after it went back to an earlier checkpoint."""
    tracker = wandb_tracker.Wandb("project", "offline")
    logged: list[int] = []

    class Run:
        def log(self, values: dict[str, Any], step: int) -> None:
            logged.append(step)

    tracker._run = Run()
    for images in (0, 64, 64, 128, 64, 128, 192):
        tracker.metrics(row(images, 1.0))
    assert logged == [0, 64, 64, 128, 128, 192]
