"""Paths on the command line: read as the shell passes them on."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from helpers import compose_config
from omegaconf import OmegaConf

from gan_lab.config.path_arguments import quote, quote_paths, typed_text
from gan_lab.utils.shell import format_command

ODD = [
    *("a=b", "a b", " a ", "a,b", "(a)", "[a]", "{a}", "a'b", 'a"b', "müller", "日本", "a#b", "a$b", "$HOME", "a%20b", "a;b"),
    *("a&b|c", "a\\b", "a\\", "a\\'b", "a:b", "a~b", "1e3", "007", "1_000", "2026", "no", "inf", "x@y", "!a", "*", "a?"),
    *("+a", "-a", "choice(a,b)", "range(3)", "null.", "a`b", "<a>", "a\tb"),
]
ALL = "/a=b, [c] (d) 'e' {f} müller #$g"


def read(argument: str) -> str:
    """What Hydra reads from an argument."""
    return typed_text(quote_paths([argument])[0].partition("=")[2])


@pytest.mark.parametrize("name", ODD)
def test_every_path_is_read_literally(name: str) -> None:
    for path in (name, f"/{name}/{name}", f"{name}/x"):
        assert read(f"out={path}") == path
        (*_, argument) = shlex.split(format_command("train", f"resume={path}"))
        assert read(argument) == path, "a printed command works as printed"


@pytest.mark.parametrize(
    ("config", "keys", "more"),
    [
        ("config", ["resume", "dataset.path", "dataset.root", "paths.data", "paths.weights"], ["dataset=folder"]),
        ("config", ["initial_weights.path", "initial_weights.discriminator", "study.storage"], ["initial_weights=run"]),
        ("sample", ["run", "input", "out"], []),
        ("evaluate", ["run", "fakes", "reals", "out", "fit.file", "evaluation.reals"], ["evaluation=pairs"]),
        ("evaluate", ["features.inception.folder", "features.inception.weights", "features.dataset_classifier.file"], []),
        ("prepare", ["sheet"], []),
        ("report", ["run", "study", "baseline"], []),
    ],
)
def test_every_key_of_a_path_accepts_every_path(config: str, keys: list[str], more: list[str]) -> None:
    cfg = compose_config(*quote_paths([*more, *(f"{key}={ALL}" for key in keys)]), config=config)
    assert [OmegaConf.select(cfg, key) for key in keys] == [ALL] * len(keys)


@pytest.mark.parametrize("name", ODD)
def test_quotes_are_read_back(name: str) -> None:
    assert typed_text(quote(name)) == name
    assert quote_paths([f"out={quote(name)}"]) in ([f"out={quote(name)}"], [f"out={name}"])
    assert quote_paths(quote_paths([f"out=/{name}/"])) == quote_paths([f"out=/{name}/"]), "a second time changes nothing"


@pytest.mark.parametrize(
    "argument", ["run=latest", "resume=outputs/2026-01-01/12-00-00", "dataset.size=64", "loss=[bce,r1]", "-m"]
)
def test_other_arguments_are_unchanged(argument: str) -> None:
    assert quote_paths([argument]) == [argument]


@pytest.mark.parametrize("argument", ["out=null", "initial_weights.discriminator=true", "hydra.run.dir=runs/${now:%Y}"])
def test_values_that_are_no_paths_keep_their_meaning(argument: str) -> None:
    assert quote_paths([argument]) == [argument]


def test_a_file_that_exists_has_the_name_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert quote_paths(["run='a,b'"]) == ["run='a,b'"]
    assert read(r"run=a\ b\=c") == r"a\ b\=c"
    (tmp_path / "a b=c").mkdir()
    assert read(r"run=a\ b\=c") == "a b=c", "escaped for Hydra"
    (tmp_path / "'a,b'").mkdir()
    assert read("run='a,b'") == "'a,b'"


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/a b's (old), new")
    monkeypatch.chdir(tmp_path)
    for value in ("~/x", "'~/x'", '"~/x"'):
        assert read(f"run={value}") == "/home/a b's (old), new/x"
    assert read("hydra.run.dir=~") == "/home/a b's (old), new"
    (tmp_path / "~x").mkdir()
    assert read("run=~x") == f"{tmp_path}/~x"


def test_lists_and_multiruns_have_several_paths(tmp_path: Path) -> None:
    assert quote_paths(["compare=[/a b=c,'/d,e',/f]"]) == ["compare=['/a b=c','/d,e',/f]"]
    assert compose_config(*quote_paths(["compare=[/a b=c,'/d,e',/f]"]), config="evaluate").compare == ["/a b=c", "/d,e", "/f"]
    assert quote_paths(["-m", "dataset.path=/a=b,/c"]) == ["-m", "dataset.path='/a=b',/c"]
    assert quote_paths(["-m", "dataset.path=choice(/a,/b)"]) == ["-m", "dataset.path=choice(/a,/b)"]
    assert quote_paths(["-m", "hydra.sweep.dir=/a,b"]) == ["-m", "hydra.sweep.dir='/a,b'"], "never several"
    (tmp_path / "a,b").mkdir()
    assert quote_paths([f"compare=[{tmp_path}/a,b, /c]"]) == [f"compare=['{tmp_path}/a,b',/c]"]
    assert quote_paths(["-m", f"dataset.path={tmp_path}/a,b"]) == ["-m", f"dataset.path='{tmp_path}/a,b'"]


def test_a_path_does_not_become_a_reference() -> None:
    with pytest.raises(ValueError, match=r"out=/a\$\{b\}: a path can't contain \$\{, which refers to a key"):
        quote_paths(["out=/a${b}"])
