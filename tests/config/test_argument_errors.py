"""Messages for command lines that Hydra rejects."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from helpers import every_nth, run_module
from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from gan_lab.config.argument_errors import _unparsed, explain
from gan_lab.config.compose import hydra_compose


@pytest.mark.parametrize(
    ("arguments", "message"),
    every_nth(
        [
            (["bath_size=8"], "bath_size: there is no such key; did you mean batch_size?"),
            (["model.widht=8"], "model.widht: there is no such key; did you mean model.width?"),
            (["epochs=many"], "epochs=many: must be a number"),
            (["dataset=folder"], "dataset.path has no default and must be given: dataset.path=..."),
            (["console=a(b"], "has characters with a special meaning; put the value in quotes"),
            (["log=5"], "log=5: must be a section; give one of its keys: log.every_kimg"),
            (["-m", "optimizer=adam,rmsprp"], "optimizer=rmsprp: no such option; did you mean rmsprop?"),
            (
                ["optimizer=adam,rmsprop"],
                "has several values; a list is written optimizer=[adam,rmsprop], and several runs need -m",
            ),
            (["-m", "hydra/launcher=slurm"], "hydra/launcher=slurm: no such option; "),
            (["-m", "batch_size=16,abc"], "batch_size=16,abc: batch_size=abc must be a whole number"),
            (
                ["-m", "seed=1,2", "hydra.sweeper.n_jobs=0"],
                "hydra.sweeper.n_jobs=0: there is no such key; those of a study need",
            ),
            (["-m", "optimizer.lr=interval(1e-4,1e-3)"], "only a sweep searches an interval; add sweep=quality"),
            (["-m", "seed=1,2", "study.trials=3"], "study.trials=3: has no effect without a sweep"),
            (["-m", "sweep=quality", "ema.kimg=interval(0,nan)"], "interval(0,nan): the ends must be finite numbers"),
            (
                ["-m", "sweep=quality", "hydra.sweeper.params.loss=null"],
                "hydra.sweeper.params.loss=null: must be a value, not null; loss=... with one value takes it out of the search",
            ),
            (["hydra.job.num=abc"], "hydra.job.num=abc: Value 'abc' of type 'str' could not be converted to Integer"),
            (["penalty=weight_clipping", "penalty.limit=2"], "did you mean penalty.discriminator.weight_clipping.limit?"),
        ],
        3,
    ),
)
def test_a_command_line_that_does_not_compose_ends_with_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = run_module("train", *arguments, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("error: ") and message in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not done.stdout and not list(tmp_path.iterdir())


def test_each_entry_of_a_list_is_put_in_quotes() -> None:
    (typed,) = shlex.split(_unparsed("dataset.classes=[café,'a b',(p)]", "").rpartition("quotes: ")[2])
    parsed = OverridesParser.create().parse_override(typed)
    assert parsed.key_or_group == "dataset.classes" and parsed.value() == ["café", "a b", "(p)"]
    (typed,) = shlex.split(_unparsed("wandb.name=it's (one)", "").rpartition("quotes: ")[2])
    assert OverridesParser.create().parse_override(typed).value() == "it's (one)"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epochs: null", "experiment/mine.yaml: epochs: must be a value, not null"),
        ("log:\n  every_kimg: abc", "experiment/mine.yaml: log.every_kimg: must be a number"),
        ("log:\n  evry_kimg: 1", "experiment/mine.yaml: log.evry_kimg: there is no such key; did you mean log.every_kimg?"),
    ],
)
def test_a_mistake_in_an_options_file_names_the_file_and_the_key(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{content}\n")
    with hydra_compose(), pytest.raises(HydraException) as raised:
        compose("config", [f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine"])
    given = ["--config-dir", str(tmp_path), "experiment=mine"]
    assert explain(raised.value, given, "config") == message
