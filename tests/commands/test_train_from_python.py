"""``gan_lab.train([...])``: the command in the caller's process, several times."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import SMALL, assert_same, run_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

import gan_lab
import gan_lab.train
from gan_lab.config import compose_job
from gan_lab.data.loader import Batch
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.trainer import Trainer

TWO_EPOCHS = [*SMALL, "epochs=2"]


@pytest.fixture(autouse=True)
def unchanged_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In an empty folder; afterwards neither Hydra nor logging knows of the calls."""
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.getLogger("matplotlib").level, signal.getsignal(signal.SIGTERM)
    yield
    assert (root.handlers, root.level, logging.getLogger("matplotlib").level, signal.getsignal(signal.SIGTERM)) == before
    assert GlobalHydra.instance().hydra is None and HydraConfig.instance().cfg is None


def test_a_call_trains_what_the_command_trains(finished: RunDirectory) -> None:
    run = gan_lab.train(TWO_EPOCHS, out="my run = 1")
    assert_same(run.directory, finished)
    assert run.directory.path == Path("my run = 1") and run.images_seen == 128 and (run.directory.path / "train.log").is_file()
    called, typed = (OmegaConf.load(directory.config) for directory in (run.directory, finished))
    assert called == typed and called.choices.model == "dcgan_small" and "epochs=2" in called.overrides


def test_a_run_follows_an_interrupted_and_a_failed_one(
    finished: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.step

    def step_and_interrupt(trainer: Trainer, batch: Batch) -> None:
        step(trainer, batch)
        if trainer.progress.images == 80:  # in the second epoch
            signal.raise_signal(signal.SIGINT)  # as the "stop" button of a notebook does

    log = logging.FileHandler(tmp_path / "mine.log", mode="w")
    logging.getLogger().addHandler(log)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "step", step_and_interrupt)
            with pytest.raises(KeyboardInterrupt):
                gan_lab.train(TWO_EPOCHS)
        with pytest.raises(ValueError, match="batch_size is part of the trained outputs/"):
            gan_lab.train(["resume=latest", "batch_size=0"])
        run = gan_lab.train(["resume=latest"])
        logging.getLogger().error("after the runs")
    finally:
        logging.getLogger().removeHandler(log)
        log.close()
    assert_same(run.directory, finished)
    assert len(list(tmp_path.glob("outputs/*/*"))) == 1, "the interrupted run, resumed"
    assert (tmp_path / "mine.log").read_text() == "after the runs\n", "the program's own log goes on"
    assert compose_job(["epochs=2"], RunDirectory("other")).cfg.epochs == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["optimizer=adam,rmsprop"],
        pytest.param(["epoch=3"], marks=pytest.mark.slow),
        pytest.param(["model=nonsense"], marks=pytest.mark.slow),
        ["dataset=folder", "dataset.path=none"],
    ],
    ids=lambda arguments: arguments[-1],
)
def test_a_mistake_is_answered_as_on_the_command_line_and_leaves_no_folder(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(ValueError) as error:
        gan_lab.train(arguments)
    assert list(tmp_path.iterdir()) == []
    done = run_module("train", *arguments, cwd=tmp_path)
    assert done.stderr == f"error: {error.value}\n"


@pytest.mark.parametrize(
    ("arguments", "out", "message"),
    [
        (["-m", "seed=1,2"], None, "-m starts several runs: type python -m gan_lab.train -m seed=1,2"),
        (["--cfg", "job"], None, "--cfg is a flag of the command: type python -m gan_lab.train --cfg job"),
        ("epochs=2", None, r"a list of texts, such as \['model=dcgan', 'epochs=2'\]"),
        ({"epochs": 2}.items(), None, "a list of texts"),
        (["resume=latest"], "here", "out=here: resume=latest already gives the run directory"),
    ],
)
def test_what_only_the_command_does_is_refused(arguments: list[str], out: str | None, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        gan_lab.train(arguments, out=out)
    assert list(tmp_path.iterdir()) == []


def test_several_processes_need_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="start the command: torchrun"):
        gan_lab.train()


def test_the_module_of_the_command_is_still_a_module() -> None:
    from gan_lab.train import main

    assert gan_lab.train.main is main and gan_lab.train.__name__ == "gan_lab.train"
    assert "model=dcgan" in (gan_lab.train.__call__.__doc__ or ""), "help(gan_lab.train) explains the call"
