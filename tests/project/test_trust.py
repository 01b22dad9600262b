"""What SECURITY.md promises about files, runs and names of others, where no other test of a module says so."""

from __future__ import annotations

import copy
import json
import logging
import os
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from dataset_files import Malicious
from helpers import SMALL, every_nth, make_job, picture, run_module, untrained_run
from omegaconf import OmegaConf

from gan_lab.building.trainer import build_trainer
from gan_lab.config import instantiate, read_config, write_config
from gan_lab.data.datasets.folder import Folder, load_whole_images
from gan_lab.reporting.run_page import render_report
from gan_lab.reporting.study_page import StudyReport, write_study
from gan_lab.sampling.output import file_prefixes
from gan_lab.storage import checkpoint
from gan_lab.storage.run_directory import RunDirectory, check_checkpoint_name
from gan_lab.tracking.log_file import PlainFormatter
from gan_lab.tracking.wandb import Wandb
from gan_lab.utils.formatting import hide_passwords

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
HOSTILE = "<script>alert(1)</script>\n\x1b[31m../../x"


def test_every_line_of_the_page_names_tests_that_exist() -> None:
    defined = {name for file in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", file.read_text())}
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert named <= defined and len(named) > 20
    rows = [line for line in PAGE.splitlines() if line.startswith("|")][2:]
    assert all("`test_" in row.split("|")[3] for row in rows)


def test_a_plain_pickle_is_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("last.pt").write_bytes(pickle.dumps({"format": checkpoint.FORMAT, "payload": Malicious()}))
    with pytest.raises(ValueError, match="damaged or no checkpoint"):
        checkpoint.load(Path("last.pt"))
    assert not Path("pwned").exists()


# Configurations


ABUSES: list[Any] = [
    *("os.system", "builtins.exec", "subprocess.run", "torch.load", "hydra.utils.instantiate", 7, None, ["os"]),
    *("gan_lab.runtime.device.os.system", "gan_lab.storage.files.write_atomically", "gan_lab.runs.run.Run"),
    *("gan_lab.sweeps.study_storage.StudyStorage", "gan_lab.data.packing.pack_dataset", "gan_lab.models.draws.draw"),
    "gan_lab.models.dcgan.Generator.forward",
]


@pytest.mark.parametrize("name", ABUSES, ids=str)
def test_targets_that_are_no_building_blocks_are_refused(name: Any, tmp_path: Path) -> None:
    abuse = {"_target_": name, "command": f"touch {tmp_path}/x", "path": f"{tmp_path}/x", "_args_": [f"touch {tmp_path}/x"]}
    adam = {"_target_": "torch.optim.Adam", "_partial_": True}
    inside = ({**adam, "lr": abuse}, {**adam, "betas": [abuse, abuse]}, {"a": [[abuse]]}, {"a": {"b": abuse}})
    for node in (abuse, {**abuse, "_partial_": True}, *inside):
        with pytest.raises(ValueError, match=r"_target_=|must be"):
            instantiate(OmegaConf.create(node), "section")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return untrained_run(tmp_path_factory.mktemp("trust") / "run").directory


def hostile_run(run: RunDirectory, folder: Path, **changes: Any) -> RunDirectory:
    """A run like ``run``, with other entries in ``config.yaml``."""
    config = yaml.safe_load(run.config.read_text())
    directory = RunDirectory(folder / "hostile")
    directory.checkpoints.mkdir(parents=True)
    os.link(run.checkpoint("last"), directory.checkpoint("last"))
    directory.config.write_text(yaml.safe_dump({**config, **changes}))
    return directory


@pytest.mark.parametrize(
    "override",
    [
        *("--experimental-rerun=x.pickle", "--config-dir=/tmp", "-m", "hydra.run.dir=/tmp", "hydra/launcher=joblib"),
        "+hydra.job_logging.handlers.x={class:logging.FileHandler,filename:x}",
        *("++hydra.callbacks.x._target_=runpy.run_path", "model@hydra.callbacks=dcgan", "hydra.searchpath=[file:///tmp]"),
        *("out=/tmp/x", "run=/tmp/x", "resume=/tmp/x", "model=../../tmp/x", "model=/tmp/x", "loss=[bce,../x]", "a b"),
        "seed=1,2",
        *("seed=${oc.env:HOME}", "seed=${gan_lab.new_dir:/tmp/x}", "device=${ oc.env:HOME}", "../x=1", "seed=choice(1,2)"),
    ],
)
def test_stored_overrides_are_no_command_line(override: str, run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"override|is not the configuration of a run"):
        read_config(hostile_run(run, tmp_path, overrides=[override]))


@pytest.mark.parametrize("choices", [{"hydra": "x"}, {"+hydra.x": 1}, {"model": "../x"}, {"--help": 1}, {"out": "/tmp/x"}])
def test_stored_choices_are_no_command_line(choices: dict[str, Any], run: RunDirectory, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not the configuration of a run"):
        read_config(hostile_run(run, tmp_path, choices=choices))


def test_a_reference_in_a_stored_configuration_is_refused(run: RunDirectory, tmp_path: Path) -> None:
    changes = ({"seed": "${oc.env:HOME}"}, {"a": [{"b": "x${oc.env:HOME}"}]}, {"choices": {"a": "${seed}"}})
    for number, change in enumerate(changes):
        with pytest.raises(ValueError, match="is a reference, not a value"):
            read_config(hostile_run(run, tmp_path / str(number), **change))


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"overrides": ["--experimental-rerun=x.pickle"]}, {"choices": {"hydra": "x"}}])
def test_a_hostile_run_is_refused_by_every_command(change: dict[str, Any], run: RunDirectory, tmp_path: Path) -> None:
    hostile_run(run, tmp_path, **change)
    (tmp_path / "x.pickle").write_bytes(pickle.dumps(Malicious()))
    commands = [("sample", "run=hostile"), ("evaluate", "run=hostile"), ("train", "resume=hostile"), ("report", "run=hostile")]
    for module, *arguments in (*commands, ("export", "run=hostile", "out=a.pt2")):
        done = run_module(module, *arguments, cwd=tmp_path)
        assert done.returncode == 1 and "is not the configuration of a run" in done.stderr, module
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "pwned").exists()


# Data


def test_objects_in_an_archive_of_arrays_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images = np.zeros((2, 8, 8), np.uint8)
    objects = np.array([Malicious(), 1], dtype=object)
    np.savez("images.npz", images=objects, labels=np.array([0, 1]))
    np.savez("labels.npz", images=images, labels=objects)
    with zipfile.ZipFile("none.npz", "w") as archive:
        archive.writestr("images", b"no array")
    for name in ("images.npz", "labels.npz", "none.npz"):
        with pytest.raises(ValueError, match=f"{name} can't be read as an array of images"):
            load_whole_images("input", name, 1)
    assert not Path("pwned").exists()


@pytest.mark.parametrize("name", ["../../x.png", "/etc/x.png", "a/../../x.png", "..\\x.png", "../a\n\x1b[31m.png"])
def test_names_in_a_zip_lead_nowhere(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"")
    with pytest.raises(ValueError, match="has a path outside the archive") as caught:
        load_whole_images("input", str(tmp_path / "a.zip"), 1)
    assert str(caught.value).isprintable()
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16  # a symbolic link
    picture(tmp_path / "secret.png")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr(link, str(tmp_path / "secret.png"))
    with pytest.raises(ValueError, match=r"link\.png can't be read"):
        load_whole_images("input", str(tmp_path / "b.zip"), 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "b.zip", "secret.png"], "nothing is extracted"


# Names


def test_names_of_classes_make_plain_file_names() -> None:
    names = ["../../x", "/etc/passwd", "a\nb", "\x1b[31m", "<b>", "..", "C:\\x", "a\0b"]
    prefixes = file_prefixes(names)
    assert len(set(prefixes)) == len(names)
    assert all(re.fullmatch(r"[\w-]+-", prefix) for prefix in prefixes)


def test_names_that_become_files_have_no_slashes(tmp_path: Path) -> None:
    for name in ("../../x", "a/b", "a\\b", ""):
        with pytest.raises(ValueError, match=r"dataset\.name="):
            Folder(path=str(tmp_path), root=".", name=name, size=8, channels=1, resize_mode="pad")
        with pytest.raises(ValueError, match="checkpoint="):
            check_checkpoint_name("checkpoint", name)
    for stored, kept in (("abc-1", "abc-1"), ("../../x", None), ("a\n", None), (7, None)):
        tracker = Wandb("project", "offline")
        tracker.load_state_dict({"id": stored})
        assert tracker.state_dict() == {"id": kept}


def test_log_lines_have_neither_control_characters_nor_passwords() -> None:
    record = logging.LogRecord(
        "a", logging.INFO, "", 0, "class %s of %s", ("a\x1b[31m\r", "postgresql://me:secret@host/db"), None
    )
    assert PlainFormatter("%(message)s").format(record) == r"class a\x1b[31m\r of postgresql://me:***@host/db"


# Records


def records() -> dict[str, Any]:
    """The records of a run and of a study, as gan_lab writes them."""
    scores = {"fd": 1.5, "fd_ci95": 0.1, "bicubic/fd": 2.0, "images": 64, "protocols": {"default": {"fakes": 64}}}
    summary = {
        **{"status": "finished", "name": "lr=1", "images": 64, "epochs": 1.0, "seconds": 2.0, "score": "fd"},
        **{"final": scores, "best": scores, "device": "cpu", "git_commit": "abc", "epoch_seconds": 2.0, "peak_memory_mib": 1.0},
        "other_seconds": {"evaluation": 1.0},
        "parameters": {"generator": 1, "discriminator": 2},
        "versions": {"torch": "2"},
        "alarms": [{"alarm": "collapse", "text": "it collapsed", "images": 3, "over": None}],
    }
    row = {"images": 64, "epoch": 1.0, "seconds": 2.0, "d/loss": 1.0, "fd": 1.5, "fd_ci95": 0.1, "growth/resolution": 8}
    result = {"protocol": {"fakes": 64}, "scores": {"fd": 1.5}, "details": {}}
    scored = {"time": "now", "checkpoint": "last", "images": 64, "results": {"default": result}}
    figures = {"run": "a", "name": "lr=1", "seed": 0, "trial": 0, "status": "finished", "score_name": "fd", "score": 1.5}
    figures |= {"protocols": {}, "device": "cpu", "seconds": 2.0}
    trial = {"number": 0, "state": "complete", "params": {"lr": 1}, "values": [1.0], "figures": [figures]}
    study = {"name": "s", "objective": ["score"], "has_default": True, "space": {"lr": "1"}, "trials": [trial, trial]}
    plan = {"side": 1, "nodes": 2, "seeds": [0, 1], "planes": ["cat"], "images": 64}
    files = {"summary.json": summary, "metrics.jsonl": {**row, "growth/alpha": 0.5}, "scores.json": [scored]}
    return {**files, "study.json": {**study, "importance": {"score": {"lr": 1.0}}}, "explorer.json": plan}


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where values lie in nested dictionaries and lists."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


def write_pages(folder: Path, files: dict[str, Any]) -> str:
    """The pages of a run and a study of these records."""
    directory = RunDirectory(folder / "study" / "0")
    directory.path.mkdir(parents=True, exist_ok=True)
    directory.config.write_text("seed: 0\nstudy:\n  trial: 0\n")
    picture(directory.explorer)
    for name, content in files.items():
        (directory.path.parent if name == "study.json" else directory.path).joinpath(name).write_text(json.dumps(content))
    return render_report(directory, []) + write_study(StudyReport.read(directory.path.parent)).read_text()


WRONG: list[Any] = [None, True, -1, 1e300, float("nan"), 10**400, HOSTILE, [], {}, [[1]], {HOSTILE: 1}]
CASES = [(place, n) for place in places(records()) if len(place) > 1 for n in range(len(WRONG))]


def test_the_pages_of_sound_records_are_written(tmp_path: Path) -> None:
    page = write_pages(tmp_path, records())
    assert "it collapsed" in page and "best score" in page


@pytest.mark.parametrize("part", every_nth(range(100), 100))
def test_wrong_types_in_records_give_a_page_or_one_message(part: int, tmp_path: Path) -> None:
    for place, number in CASES[part::100]:
        files = copy.deepcopy(records())
        node = files
        for key in place[:-1]:
            node = node[key]
        node[place[-1]] = WRONG[number]
        try:
            page = write_pages(tmp_path, files)
        except ValueError as error:
            assert place[0] in str(error), "the message names the file"
        else:
            assert "<script>alert" not in page, place


@pytest.mark.slow
def test_a_missing_entry_gives_a_page_or_one_message(tmp_path: Path) -> None:
    for place in places(records()):
        files = copy.deepcopy(records())
        node: Any = files
        for key in place[:-1]:
            node = node[key]
        if len(place) > 1 and isinstance(node, dict):
            del node[place[-1]]
            try:
                write_pages(tmp_path, files)
            except ValueError as error:
                assert place[0] in str(error), "the message names the file"


# Secrets


def test_passwords_reach_no_record_of_a_run(tmp_path: Path) -> None:
    assert hide_passwords("postgresql://me:a/b%40@host:1/db") == "postgresql://me:***@host:1/db"
    assert hide_passwords(["postgresql://host/db?user=me&password=secret"]) == ["postgresql://host/db?user=me&password=***"]
    assert hide_passwords({"a": ("http://localhost:6006/", 1)}) == {"a": ["http://localhost:6006/", 1]}
    url = "postgresql://me:secret@host/db"
    job = make_job(tmp_path / "run", f"study.storage='{url}'", "evaluation=none")
    write_config(job)
    text = job.directory.config.read_text()
    assert "secret" not in text and text.count("postgresql://me:***@host/db") == 2, "in the section, and in the overrides"
    assert job.cfg.study.storage == url, "the run itself still has it"
    assert read_config(job.directory).study.storage == "postgresql://me:***@host/db", "and can be resumed"


def test_keys_of_the_environment_reach_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.setenv(name, "hunter2-hunter2")
    build_trainer(make_job(tmp_path / "run", "evaluation=none", "tracker=tensorboard")).train()
    assert_no_keys_in(tmp_path)


@pytest.mark.slow
def test_keys_of_the_environment_reach_neither_wandb_nor_the_console(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.setenv(name, "hunter2-hunter2")
    done = run_module("train", *SMALL, "evaluation=none", "tracker=wandb", "hydra.run.dir=run", cwd=tmp_path, pages=True)
    assert done.returncode == 0 and "hunter2" not in done.stdout + done.stderr
    assert_no_keys_in(tmp_path)


KEYS = ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "SOME_PASSWORD")


def assert_no_keys_in(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) >= 5
    assert [path for path in files if b"hunter2" in path.read_bytes()] == []
