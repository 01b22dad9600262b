"""A run whose stored files are damaged is resumed, or the message names the file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from helpers import run_module, train


@pytest.mark.slow
def test_a_damaged_configuration_is_named_and_a_damaged_summary_is_written_again(tmp_path: Path) -> None:
    assert train("evaluation=none", "hydra.run.dir=run", cwd=tmp_path).returncode == 0
    config, summary = tmp_path / "run" / "config.yaml", tmp_path / "run" / "summary.json"
    whole = config.read_text()
    for damaged in (whole[:-60], re.sub(r"(?m)^seed: .*\n", "", whole)):
        config.write_text(damaged)
        done = run_module("train", "resume=run", "epochs=2", cwd=tmp_path)
        assert done.returncode == 1 and done.stderr.startswith("error: run/config.yaml is damaged: it lacks "), done.stderr
        assert len(done.stderr.splitlines()) == 1
    config.write_text(whole)
    summary.write_text('{"status": "fin')
    assert run_module("train", "resume=run", "epochs=2", cwd=tmp_path).returncode == 0
    assert '"status": "finished"' in summary.read_text()
