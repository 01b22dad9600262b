"""Where events go."""

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
    """A back end that loses its network."""

    def __init__(self) -> None:
        self.calls = 0

    def metrics(self, row: object) -> None:
        self.calls += 1
        raise ConnectionError("no route to host")


def test_a_failing_tracker_is_left_out_and_an_essential_one_is_not(caplog: pytest.LogCaptureFixture) -> None:
    failing, counting = Failing(), Failing()
    trackers = Trackers({"cloud": failing})
    trackers.metrics(row(1, 1.0))
    trackers.metrics(row(2, 1.0))
    assert failing.calls == 1
    assert "tracker cloud failed and is left out from here on: no route to host" in caplog.text
    with pytest.raises(ConnectionError):
        Trackers({"files": counting}, essential=["files"]).metrics(row(1, 1.0))


def test_a_plain_line_tells_both_players_and_the_speed() -> None:
    assert plain_line(row(75, 0.5)) == "epoch 1.50  0.1k images  d/loss 0.5  g/loss 2  s/epoch 3"
    assert plain_line({"images": 0, "epoch": 0.0, "seconds": 0.0, "fd_fashion": 1.23456}).endswith("fd_fashion 1.235")
    scored = {"images": 0, "epoch": 0.0, "seconds": 0.0, "fid": 12.3456, "fid_ci95": 0.321, "recall_inception": 0.5}
    assert plain_line(scored).endswith("images  fid 12.35 ± 0.32")


def test_the_live_console_shows_progress_figures_and_their_direction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = RichConsole(file=io.StringIO(), force_terminal=True, width=110, height=40, highlight=False)
    monkeypatch.setattr(console, "STDOUT", screen)
    live = Console("live")
    live.start(info(tmp_path))
    for images, loss in ((50, 0.75), (75, 0.25)):
        live.progress(images)
        live.metrics(row(images, loss))
    handler = console.ConsoleHandler()
    handler.emit(logging.makeLogRecord({"msg": "told"}))
    handler.emit(logging.makeLogRecord({"msg": "in the table already", "in_table": True}))
    live.finish({})
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    final = shown[shown.rindex("lr=1") :]
    for expected in ("d/loss", "0.25", "↓", "g/loss", "epoch", "2/4", "38%", "0.1k images", "eta"):
        assert expected in final, expected
    assert "told" in shown and "in the table already" not in shown


def test_wandb_keeps_its_id_over_a_resume_and_needs_no_login(tmp_path: Path) -> None:
    done = run_module("train", *SMALL, "tracker=wandb", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0 and "left out" not in done.stdout, done.stdout + done.stderr
    done = run_module("train", "resume=run", "epochs=2", cwd=tmp_path)
    assert done.returncode == 0 and "left out" not in done.stdout, done.stdout + done.stderr
    folders = [path.name for path in (tmp_path / "run" / "wandb").glob("offline-run-*")]
    assert len(folders) == 2 and len({name.rsplit("-", 1)[-1] for name in folders}) == 1
    pictures = list((tmp_path / "run" / "wandb").rglob("*.png"))
    assert pictures, "sample grids are logged"


@pytest.mark.slow
def test_an_agent_of_a_wandb_sweep_can_run_what_the_file_says(tmp_path: Path) -> None:
    sweep = yaml.safe_load((CONF_DIR / "wandb" / "quality.yaml").read_text())
    chosen = [f"{name}={(how.get('values') or [how['min']])[0]}" for name, how in sweep["parameters"].items()]
    words = {"${env}": [], "${interpreter}": [sys.executable], "${args_no_hyphens}": chosen, "tracker.wandb.mode=online": []}
    command = [word for part in sweep["command"] for word in words.get(part, [part])]
    assert command[1:3] == ["-m", sweep["program"]]
    own = os.environ | {"WANDB_RUN_ID": "ofagent1", "WANDB_MODE": "offline"}
    done = subprocess.run(
        [*command, *SMALL, "hydra.run.dir=run"], cwd=tmp_path, env=own, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "left out" not in done.stdout, done.stdout + done.stderr
    (folder,) = (tmp_path / "run" / "wandb").glob("offline-run-*-ofagent1")
    name = sweep["metric"]["name"].encode()
    key = bytes([len(name)]) + name  # as the names of figures stand in that file
    assert key in next(folder.glob("*.wandb")).read_bytes()


def test_a_tracker_that_wants_a_login_does_not_stop_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    done = run_module("train", *SMALL, "tracker=wandb", "tracker.wandb.mode=online", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "tracker wandb failed and is left out" in done.stdout
    assert RunDirectory(tmp_path / "run").read_summary()["status"] == "finished"


def test_tensorboard_holds_the_figures_and_the_pictures(tmp_path: Path) -> None:
    trainer = build_trainer(make_job(tmp_path, "tracker=[tensorboard]"))
    trainer.train()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert {"d/loss", "g/loss", "fd_fashion"} <= set(events.Tags()["scalars"])
    assert set(events.Tags()["images"]) == {"samples", "reals"}
    logged = [event.value for event in events.Scalars("d/loss")]
    assert logged == pytest.approx([r["d/loss"] for r in trainer.records.directory.history() if "d/loss" in r])


def test_a_missing_tensorboard_is_said_before_the_training_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ValueError, match=r"pip install 'gan_lab\[tensorboard\]'"):
        build_trainer(make_job(tmp_path, "tracker=tensorboard"))


def test_two_trackers_can_be_chosen_together(tmp_path: Path) -> None:
    trainer = build_trainer(make_job(tmp_path, "tracker=[tensorboard,wandb]"))
    assert set(json.loads(json.dumps(trainer.records.tracker.state_dict()))) == {"files", "console", "tensorboard", "wandb"}


def test_a_closed_pipe_does_not_end_the_training(tmp_path: Path) -> None:
    command = f"{sys.executable} -m gan_lab.train {' '.join(SMALL)} epochs=3 hydra.run.dir=run | head -n 2"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.count("\n") == 2 and done.stderr == ""
    assert RunDirectory(tmp_path / "run").read_summary()["status"] == "finished"


def test_an_essential_tracker_that_fails_at_the_end_leaves_no_other_unfinished() -> None:
    class Noting(Tracker):
        finished = False

        def finish(self, summary: object) -> None:
            self.finished = True

    class Full(Tracker):
        def finish(self, summary: object) -> None:
            raise OSError(28, "No space left on device")

    noting = Noting()
    with pytest.raises(OSError, match="No space"):
        Trackers({"files": Full(), "console": noting}, essential=["files"]).finish({})
    assert noting.finished
