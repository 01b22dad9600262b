"""What a mistyped command line is answered: one message with what to type, and nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import run_module

from gan_lab.config.arguments import check_additions, check_arguments
from gan_lab.config.renamed import KEYS
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.version import __version__

MISTYPED = [
    (["model=dcgn"], "model=dcgn: no such option; did you mean dcgan? model has dcgan,"),
    (["optimizer=adam,", "rmsprop"], "no space after a comma; type optimizer=adam,rmsprop"),
    (["model", "=", "dcgan"], "no spaces around =; type model=dcgan"),
    (["model=", "dcgan"], "no spaces around =; type model=dcgan"),
    (["epochs", "3"], "overrides are written key=value; type epochs=3"),
    (["--model=dcgan"], "--model=dcgan: unknown flag; write it without dashes, model=dcgan"),
    (["--mulitrun"], "--mulitrun: unknown flag; did you mean --multirun"),
    (["model=[dcgan,sngan]"], "model takes one option, not a list"),
    (["loss=[bce,bce]"], "bce is listed twice"),
    (["loss=[]"], "loss=[]: choose at least one of bce,"),
    (["model=null"], "model=null: no such option"),
    (["accumulate=2"], "accumulate is now gradient_accumulation_steps; type gradient_accumulation_steps=2"),
    (["penalty.every=4"], "penalty.every is now penalty.interval; type penalty.interval=4"),
    (["experiment=mnist_dcgan"], "type experiment=dcgan_mnist"),
    (["kind=quality"], "kind is now benchmark; type benchmark=quality"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), MISTYPED, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_what_hydra_need_not_see_is_answered_before(arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError) as told:
        check_arguments(arguments)
    assert message in str(told.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "optimizer=adam,rmsprop", "loss=[bce,feature_matching]", "hydra.run.dir=x"],
        ["--config-dir", "/somewhere", "experiment=null", "~penalty", "tracker=[tensorboard,wandb]"],
        ["model.generator.width=8", "+hydra.job.env_set.X=1", "loss=[hinge]", "name='a, b'", "-cn", "config"],
    ],
)
def test_what_is_right_is_let_through(arguments: list[str]) -> None:
    check_arguments(arguments)


@pytest.mark.parametrize("old", sorted(KEYS))
def test_every_old_key_is_answered_with_the_present_one(old: str) -> None:
    with pytest.raises(ValueError, match=r"is now .*type "):
        check_arguments([f"{old}=1"])


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ("+epoch=3", "nothing reads epoch; did you mean epochs=3?"),
        ("+optimizer.learning_rate=0.1", "did you mean optimizer.lr=0.1?"),
        ("+epochs=3", "epochs exists already; type epochs=3"),
        ("+modle=dcgan", "did you mean model=dcgan?"),
        ("+model.foo=1", "nothing reads model.foo"),
    ],
)
def test_an_added_key_that_nothing_reads_is_refused(added: str, message: str) -> None:
    with pytest.raises(ValueError) as told:
        check_additions([added], "config")
    assert message in str(told.value)


def test_a_term_may_be_added() -> None:
    check_additions(["+loss.generator.extra._target_=gan_lab.losses.adversarial.HingeGeneratorLoss"], "config")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bath_size=8"], "bath_size: there is no such key here; did you mean batch_size?"),
        (["model.widht=8"], "model.widht: there is no such key here; did you mean model.width?"),
        (["epochs=many"], "epochs=many: must be a number"),
        (["dataset=folder"], "dataset.path has no default and has to be given: dataset.path=..."),
        (["dataset.path=a(b"], "has characters with a special meaning; put the value in quotes"),
        (["log=5"], "log is a section; give one of its keys: log.every_kimg"),
        (["-m", "optimizer=adam,rmsprp"], "optimizer=rmsprp: no such option; did you mean rmsprop?"),
    ],
)
def test_the_command_answers_with_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = run_module("train", *arguments, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and message in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not done.stdout and not list(tmp_path.iterdir())


def test_help_tells_the_choices_and_what_the_keys_do(tmp_path: Path) -> None:
    told = run_module("train", "--help", cwd=tmp_path).stdout
    assert "fashion_mnist_10k*" in told and "batch_size" in told and "resume" in told
    assert "shared/" not in told and "_target_" not in told and max(map(len, told.splitlines())) <= 120
    assert run_module("train", "--version", cwd=tmp_path).stdout.split()[-1] == __version__
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "arguments"),
    [("train", ["resume=old"]), ("evaluate", ["run=old"]), ("sample", ["run=old"])],
    ids=["resume", "evaluate", "sample"],
)
def test_a_run_of_version_0_1_is_refused_and_left_alone(command: str, arguments: list[str], tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "old")
    run.path.mkdir()
    run.config.write_text("choices:\n  model: dcgan_small\n  features:\n  - domain\noverrides: []\nmodel:\n  width: 8\n")
    done = run_module(command, *arguments, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("error: old was trained by gan_lab 0.1"), done.stderr
    assert len(done.stderr.splitlines()) == 1 and list(run.path.iterdir()) == [run.config]
