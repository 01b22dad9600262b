"""Help, version, and runs of an earlier version on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import run_module

from gan_lab.storage.run_directory import RunDirectory
from gan_lab.version import __version__


def test_help_lists_options_and_explains_keys(tmp_path: Path) -> None:
    text = run_module("train", "--help", cwd=tmp_path).stdout
    assert "fashion_mnist_10k*" in text and "batch_size" in text and "resume" in text
    assert "shared/" not in text and "_target_" not in text and max(map(len, text.splitlines())) <= 120
    keys = " ".join(text.split())
    assert (
        "batch_size=32 real images in a step [from 1]" in keys
        and "num_threads=auto" in keys
        and "torchrun [from 1 to 4096]" in keys
    )
    of_option = " ".join(run_module("train", "optimizer=adam", "--help", cwd=tmp_path).stdout.split())
    assert "optimizer.lr=2e-4 [from 0]" in of_option and "optimizer.betas=[0.5, 0.999] [each from 0 to below 1]" in of_option
    assert run_module("train", "--version", cwd=tmp_path).stdout.split()[-1] == __version__
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "arguments"),
    [("train", ["resume=old"]), ("evaluate", ["run=old"]), ("sample", ["run=old"])],
    ids=["resume", "evaluate", "sample"],
)
def test_a_run_of_version_0_1_is_rejected_and_left_unchanged(command: str, arguments: list[str], tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "old")
    run.path.mkdir()
    run.config.write_text("choices:\n  model: dcgan_small\n  features:\n  - domain\noverrides: []\nmodel:\n  width: 8\n")
    done = run_module(command, *arguments, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("error: old was trained by gan_lab 0.1"), done.stderr
    assert len(done.stderr.splitlines()) == 1 and list(run.path.iterdir()) == [run.config]
