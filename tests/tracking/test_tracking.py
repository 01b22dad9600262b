"""Trackers: the console, W&B and TensorBoard, and what happens when one fails."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from helpers import SMALL, make_job, run_module
from rich.console import Console as RichConsole

from gan_lab.building.trainer import build_trainer
from gan_lab.config import CONF_DIR
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.tracking import RunInfo, Tracker, Trackers, console
from gan_lab.tracking.console import Console, plain_line


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


def test_wandb_keeps_its_id_after_a_resume_and_needs_no_login(tmp_path: Path) -> None:
    done = run_module("train", *SMALL, "tracker=wandb", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0 and "disabled" not in done.stdout, done.stdout + done.stderr
    done = run_module("train", "resume=run", "epochs=2", cwd=tmp_path)
    assert done.returncode == 0 and "disabled" not in done.stdout, done.stdout + done.stderr
    folders = [path.name for path in (tmp_path / "run" / "wandb").glob("offline-run-*")]
    assert len(folders) == 2 and len({name.rsplit("-", 1)[-1] for name in folders}) == 1
    grids = list((tmp_path / "run" / "wandb").rglob("*.png"))
    assert grids, "sample grids are logged"


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
    assert "tracker wandb failed and is disabled" in done.stdout
    assert RunDirectory(tmp_path / "run").read_summary()["status"] == "finished"


def test_tensorboard_has_the_metrics_and_the_image_grids(tmp_path: Path) -> None:
    trainer = build_trainer(make_job(tmp_path, "tracker=[tensorboard]"))
    trainer.train()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {"d/loss", "g/loss", "fd_fashion"} <= set(events.Tags()["scalars"])
    assert set(events.Tags()["images"]) == {"samples", "reals"}
    logged = [event.value for event in events.Scalars("d/loss")]
    assert logged == pytest.approx([r["d/loss"] for r in trainer.records.directory.history() if "d/loss" in r])


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
