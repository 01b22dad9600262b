"""A run's ``config.yaml`` that is damaged is refused with its name."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import run_module
from omegaconf import OmegaConf

from gan_lab.config.stored_config import FIRST_LINE, LAST_LINE, read_config
from gan_lab.storage.run_directory import RunDirectory


def copy_of(finished: RunDirectory, path: Path, text: str) -> RunDirectory:
    (path / "run").mkdir()
    directory = RunDirectory(path / "run")
    directory.config.write_text(text, encoding="utf-8")
    (path / "run" / "checkpoints").symlink_to(finished.checkpoints.resolve())
    return directory


def test_a_configuration_that_was_cut_anywhere_is_refused_with_its_name(finished: RunDirectory, tmp_path: Path) -> None:
    text = finished.config.read_text(encoding="utf-8")
    assert text.startswith(FIRST_LINE) and text.endswith(LAST_LINE)
    for size in (
        len(text) - 2,
        len(text) - len(LAST_LINE) - 1,
        len(text) - len(LAST_LINE) - 3,
        len(text) // 2,
        len(FIRST_LINE) + 9,
    ):
        (tmp_path / str(size)).mkdir()
        directory = copy_of(finished, tmp_path / str(size), text[:size])
        with pytest.raises(ValueError, match=rf"{directory.config}.*(was cut short|is not YAML|can't be read|is not the conf)"):
            read_config(directory)


def test_the_configuration_of_an_earlier_run_needs_no_last_line(finished: RunDirectory, tmp_path: Path) -> None:
    text = finished.config.read_text(encoding="utf-8").removeprefix(FIRST_LINE).removesuffix(LAST_LINE)
    assert read_config(copy_of(finished, tmp_path, text)) == OmegaConf.load(finished.config)


def test_a_wrong_value_in_the_file_is_reported_with_the_file(finished: RunDirectory, tmp_path: Path) -> None:
    text = finished.config.read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("batch_size:"))
    directory = copy_of(finished, tmp_path, text.replace(f"\n{line}\n", "\nbatch_size: null\n"))
    done = run_module("train", "resume=run", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert str(Path("run") / directory.config.name) in done.stderr and "batch_size" in done.stderr
