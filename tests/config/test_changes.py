"""How a run differs from the default configuration, as its page tells."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import run_module
from omegaconf import OmegaConf

from gan_lab.config import Change, changes_from_default, configuration_values
from gan_lab.storage.run_directory import RunDirectory


def write_run(path: Path, choices: dict[str, object], overrides: list[str]) -> RunDirectory:
    head = {"version": "0.2.0", "choices": choices, "overrides": overrides, "model": {"width": 8}, "epochs": 3, "on": True}
    OmegaConf.save(OmegaConf.create(head), path / "config.yaml")
    return RunDirectory(path)


def test_options_and_single_values_that_are_not_the_default_ones(tmp_path: Path) -> None:
    choices = {
        "model": "r3gan",
        "loss": "hinge",
        "protocol": ["default"],
        "penalty": ["r1", "r2"],
        "sweep": "quality",
        "debug": None,
    }
    directory = write_run(tmp_path, choices, ["epochs=3", "+augment.mine.p=0.5", "dataset.path='a b'", "model.width=8"])
    assert changes_from_default(directory) == [
        Change("model", "dcgan_small", "r3gan", "model=r3gan"),
        Change("penalty", "none", "[r1,r2]", "penalty=[r1,r2]"),
        Change("sweep", "null", "quality", ""),
        Change("epochs", "4", "3", "epochs=3"),
        Change("augment.mine.p", "", "0.5", "+augment.mine.p=0.5"),
        Change("dataset.path", "", "a b", "dataset.path='a b'"),
        Change("model.width", "", "8", "model.width=8"),
    ]


def test_values_are_texts_by_key(tmp_path: Path) -> None:
    directory = write_run(tmp_path, {"loss": ["bce", "hinge"]}, ["epochs=3"])
    assert configuration_values(directory) == {
        "loss": "[bce,hinge]",
        "version": "0.2.0",
        "model.width": "8",
        "epochs": "3",
        "on": "true",
    }


@pytest.mark.slow
def test_a_run_is_reproduced_by_the_command_of_its_page(finished: RunDirectory, tmp_path: Path) -> None:
    arguments = [change.argument for change in changes_from_default(finished) if change.argument]
    done = run_module("train", *arguments, "hydra.run.dir=again", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert RunDirectory(tmp_path / "again").final.read_bytes() == finished.final.read_bytes()


def test_the_options_of_the_default_model_are_the_default_ones(finished: RunDirectory) -> None:
    keys = [change.key for change in changes_from_default(finished)]
    assert keys[:2] == ["debug", "precision"], "debug=tiny was given, and precision=auto became fp32"
    assert "optimizer" not in keys and keys.count("epochs") >= 1
