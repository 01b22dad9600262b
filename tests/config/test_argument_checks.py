"""Checks of a command line before Hydra sees it."""

from __future__ import annotations

import pytest

from gan_lab.config.argument_checks import check_additions, check_arguments, check_used
from gan_lab.config.renamed import KEYS

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
def test_a_mistyped_argument_is_rejected_with_a_correction(arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        check_arguments(arguments)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-m", "optimizer=adam,rmsprop", "loss=[bce,feature_matching]", "hydra.run.dir=x"],
        ["--config-dir", "/somewhere", "experiment=null", "~penalty", "tracker=[tensorboard,wandb]"],
        ["model.generator.width=8", "+hydra.job.env_set.X=1", "loss=[hinge]", "name='a, b'", "-cn", "config"],
    ],
)
def test_correct_arguments_are_accepted(arguments: list[str]) -> None:
    check_arguments(arguments)


@pytest.mark.parametrize("old", sorted(KEYS))
def test_every_renamed_key_is_rejected_with_its_current_name(old: str) -> None:
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
def test_an_added_key_that_nothing_reads_is_rejected(added: str, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        check_additions([added], "config")
    assert message in str(raised.value)


def test_a_loss_term_can_be_added() -> None:
    check_additions(["+loss.generator.extra._target_=gan_lab.losses.adversarial.HingeGeneratorLoss"], "config")


def test_a_key_without_effect_is_refused() -> None:
    uses = {"checkpoints": ["run"], "fit": ["fit_features"]}
    check_used(["run=a", "checkpoints=[last]", "device=cpu"], "run", uses)
    with pytest.raises(
        ValueError, match=r"^checkpoints=\[last\]: has no effect with fakes=\.\.\., only with run; leave it out$"
    ):
        check_used(["fakes=a", "checkpoints=[last]"], "fakes", uses)
    with pytest.raises(ValueError, match=r"^fit\.epochs=3: has no effect"):
        check_used(["run=a", "fit.epochs=3"], "run", uses)
