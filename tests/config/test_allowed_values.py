"""Values that are not allowed, generated from the table of allowed ones: each is refused with one message."""

from __future__ import annotations

import copy
import functools
import itertools
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from helpers import compose_config, every_nth, run_module
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from gan_lab.config import CONF_DIR, argument_errors, odd_values, path_arguments, run_command
from gan_lab.config.allowed_types import Allowed, Anything, Choice, Either, Items, Number, Section, Switch, Text
from gan_lab.config.allowed_values import TABLE, allowed_at, check_sections
from gan_lab.config.schema import check

COMPOSED = [
    "model=dcgan_small evaluation=full augment=[ada,diffaugment,blur,instance_noise] penalty=[r1,dragan] tracker=wandb",
    "model=progan_small penalty=[gradient_penalty,drift] schedule=steps optimizer=rmsprop precision=int16 loss=bce",
    "model=stylegan2_small conditioning=embedding penalty=[r1_lazy,path_length] schedule=linear optimizer=sgd",
    "model=srgan degradation=[bicubic,noise,jpeg] pretraining=pixels evaluation=pairs perception=random",
    "model=sngan penalty=weight_clipping dataset=celeba precision=fp16 loss=[hinge,feature_matching]",
    "model=fastgan_projected dataset=stacked_mnist protocol=torch_fidelity pruner=median",
    "model=r3gan_small conditioning=projection",
    "model=sagan",
]
"""Choices that have together every key of the table."""

KINDS = 3
"""Bad values of a key in the table below, of the dozen that there are, in turn."""


class Row(NamedTuple):
    """A command line with one value that is not allowed."""

    options: str
    override: str


@functools.cache
def composed(options: str) -> DictConfig:
    return compose_config(*options.split())


def leaves(node: dict[Any, Any], prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        if not str(name).startswith("_"):
            yield f"{prefix}{name}"
            if isinstance(value, dict):
                yield from leaves(value, f"{prefix}{name}.")


def keys_of(options: str) -> list[str]:
    plain = OmegaConf.to_container(composed(options))
    assert isinstance(plain, dict)
    return [key for key in leaves(plain) if not key.startswith("schedule.of.")]


def bad_values(allowed: Allowed) -> list[str]:
    """Values of the wrong type, sign or size, not finite, empty, or unknown, that the type does not accept."""
    if isinstance(allowed, Number):
        sizes = [f"{allowed.least - 1:.17g}", *(["1.5"] if allowed.whole else [])]
        sizes += ["10" * 40] if allowed.most < math.inf else []
        ends = [f"{allowed.least:g}"] if allowed.above else []
        words = ["abc", "nan", "inf", "-inf", "[1]", "{a:1}", "true", "1e400"]
        values = [*sizes, *ends, *words, *([] if "null" in allowed.words else ["null"])]
        return [value for value in dict.fromkeys(values) if value in words or "inf" not in value]
    if isinstance(allowed, Choice):
        return ["nonsense", f"{allowed.names[0]}x", "[a]", "{a:1}", *([] if "null" in allowed.names else ["null"])]
    if isinstance(allowed, Switch):
        return ["abc", "nan", "[true]", "{a:1}", "null"]
    if isinstance(allowed, Text):
        return ["[a]", "{a:1}", "''", *([] if allowed.null else ["null"])]
    if isinstance(allowed, Items):
        entries = [f"[{bad}]" for bad in bad_values(allowed.of) if not bad.startswith(("[", "{"))]
        return ["5", "true", "{a:1}", *entries, *(["[0.1,0.2,0.3]", "[]"] if allowed.length else [])]
    if isinstance(allowed, Section):
        return ["5", "abc", "[1]", "nan", "''", *([] if allowed.null else ["null"])]
    if isinstance(allowed, Either):
        values = dict.fromkeys(value for option in allowed.options for value in bad_values(option))
        parse = OverridesParser.create().parse_override
        return [value for value in values if not allowed.accepts(parse(f"key={value}").value())]
    return []


@functools.cache
def refused() -> list[Row]:
    """The table: for every key of :data:`COMPOSED` some values that are not allowed, with other kinds for each key."""
    rows, seen, turn = [], set[str](), itertools.count()
    for options in COMPOSED:
        for key in keys_of(options):
            allowed = allowed_at(key)
            is_option = (CONF_DIR / key).is_dir()  # what follows names an option, which is checked elsewhere
            if key in seen or allowed is None or is_option or key.startswith("discriminator."):
                continue
            seen.add(key)
            values = bad_values(allowed)
            if key in path_arguments.KEYS or path_arguments.OTHER_KEYS.fullmatch(key):
                values = [value for value in values if value == "null"]  # others are taken literally, as paths
            first = next(turn)
            rows += [Row(options, f"{key}={values[(first + n) % len(values)]}") for n in range(min(KINDS, len(values)))]
    return rows


@contextmanager
def unchanged(cfg: DictConfig, key: str) -> Iterator[None]:
    """Put back the value of a key afterwards: a copy of the whole configuration takes longer than its checks."""
    section, _, name = key.rpartition(".")
    contents = (OmegaConf.select(cfg, section) if section else cfg).__dict__["_content"]
    before = copy.deepcopy(contents[name])
    try:
        yield
    finally:
        contents[name] = before


def answer(row: Row, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    """Exit code and standard error of a command that composes the row's configuration and checks it."""

    def command() -> None:
        cfg = composed(row.options)
        with unchanged(cfg, row.override.partition("=")[0]):
            ConfigLoaderImpl._apply_overrides_to_config(OverridesParser.create().parse_overrides([row.override]), cfg)
            check(cfg, [row.override])

    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr(sys, "argv", ["train", *row.options.split(), row.override])
    with pytest.raises(SystemExit) as ended:
        run_command(command, "config")
    return ended.value.code, capsys.readouterr().err


def options_alone(overrides: Sequence[str], config: str) -> DictConfig:
    """What :func:`gan_lab.config.compose.compose_options` returns, composed once for all rows with the same options."""
    return composed(" ".join(o for o in overrides if (CONF_DIR / o.partition("=")[0]).is_dir()))


def test_the_table_has_hundreds_of_rows_of_all_kinds() -> None:
    rows = refused()
    assert len(rows) >= 500, len(rows)
    values = {row.override.partition("=")[2] for row in rows}
    assert {"nan", "inf", "-inf", "null", "''", "abc", "true", "[1]", "{a:1}", "nonsense", "1.5", "-1"} <= values


@pytest.mark.parametrize("part", every_nth(range(3), 3))
def test_every_value_that_is_not_allowed_is_refused_with_key_value_and_what_is_allowed(
    part: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(argument_errors, "compose_options", options_alone)
    wrong = []
    for row in refused()[part::3]:
        key, _, value = row.override.partition("=")
        try:
            code, message = answer(row, monkeypatch, capsys)
        except BaseException as error:
            wrong.append(f"{row.override}: {error!r}")
            continue
        says = code == message.rstrip("\n") or not message  # Python prints the message of SystemExit and ends with 1
        text = str(code)
        if not (isinstance(code, str) and says and text.startswith(f"error: {key}=") and value in text and "must be " in text):
            wrong.append(f"{row.override}: {code!r} {message!r}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 120, 6))
def test_the_command_refuses_some_of_them_and_leaves_nothing(first: int, tmp_path: Path) -> None:
    for row in refused()[first::120]:
        refuse(row, tmp_path)


def refuse(row: Row, tmp_path: Path) -> None:
    done = run_module("train", *row.options.split(), row.override, "hydra.run.dir=run", cwd=tmp_path)
    key, _, value = row.override.partition("=")
    assert done.returncode == 1 and done.stderr.startswith(f"error: {key}=") and value in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "override",
    [
        *("model.discriminator.size=64", "model.generator.channels=3", "model.generator.latent_size=7"),
        *("sample.count=10000 sample.scale=64", "sample.columns=10000 sample.scale=64"),
    ],
)
def test_values_that_do_not_go_together_are_refused(override: str) -> None:
    cfg = compose_config("model=dcgan_small", *override.split())
    with pytest.raises(ValueError, match=rf"{override.split()[0]}\b.*must be "):
        check(cfg, override.split())


def test_every_key_of_every_option_is_in_the_table_and_its_default_is_allowed() -> None:
    for options in COMPOSED:
        check(composed(options))
        assert [key for key in keys_of(options) if allowed_at(key) is None] == []
    patterns = {pattern for keys in TABLE for pattern in keys.split("|")}
    found = {key for options in COMPOSED for key in keys_of(options)}
    assert len(patterns) > 200 and len(found) > 300


def test_a_value_that_is_odd_is_named_once() -> None:
    assert odd_values(compose_config("optimizer.lr=0")) == ["optimizer.lr=0: the weights never change"]
    assert odd_values(compose_config("optimizer.generator.lr=0")) == ["optimizer.generator.lr=0: the weights never change"]
    assert odd_values(compose_config()) == []


def test_what_is_allowed_is_said_in_words() -> None:
    assert str(Number(0, 1, below=True)) == "a number, at least 0 and below 1"
    assert str(Number(1, 5, whole=True, words=("auto",))) == "a whole number, at least 1 and at most 5, or auto"
    assert str(Items(Text(), words=("null",))) == "a list, each a text that is not empty, or null"
    assert str(Either((Switch(), Text()))) == "true or false, or a text that is not empty"
    assert Anything().accepts(None)


@pytest.mark.parametrize("value", ["7", "1", "-1"])
def test_a_switch_takes_no_number(value: str) -> None:
    with pytest.raises(ValueError, match=f"deterministic={value}: must be true or false"):
        check_sections(OmegaConf.create({}), [f"deterministic={value}"])
    check_sections(OmegaConf.create({}), ["deterministic=true", "batch_size=7"])
