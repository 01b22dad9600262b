"""``precision=auto``: what is chosen, and that the choice is stored."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from helpers import SMALL, make_job, run_module

from gan_lab.building import precision as building
from gan_lab.building.precision import build_precision, choose_fastest
from gan_lab.building.trainer import build_trainer


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({"fp32": 1.0, "tf32": 0.5, "bf16": 0.4}, "bf16"),
        ({"fp32": 1.0, "tf32": 0.5, "bf16": None}, "tf32"),
        ({"fp32": 1.0, "tf32": 0.97, "bf16": 1.4}, "fp32"),
        ({"fp32": None, "tf32": None, "bf16": 1.4}, "bf16"),
        ({"fp32": None, "tf32": None, "bf16": None}, "fp32"),
    ],
)
def test_the_fastest_is_chosen_if_it_is_fast_enough(seconds: dict[str, float | None], chosen: str) -> None:
    assert choose_fastest(seconds, min_speedup=1.05) == chosen


@pytest.mark.slow
def test_on_a_cpu_the_choice_is_fp32_and_stored(tmp_path: Path) -> None:
    done = run_module("train", *SMALL, "evaluation=none", "hydra.run.dir=run", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    stored = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert stored["choices"]["precision"] == "fp32"
    assert stored["precision"] == yaml.safe_load(Path(building.CONF_DIR, "precision", "fp32.yaml").read_text())


@pytest.mark.slow
def test_the_trial_times_the_configured_networks_and_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, with another seed's choice reused: the training that follows is the same as without a trial."""
    job = make_job(tmp_path, "model=progan_small", "model.width=4", "dataset.limit=64", "evaluation=none")
    cpu = torch.device("cpu")
    found = building._seconds_per_iteration(job, "bf16", cpu, world_size=1)
    assert found is not None and found > 0
    assert building._seconds_per_iteration(job, "tf32", cpu, world_size=1) is None, "a CPU has no TF32"
    assert "candidates" in job.cfg.precision and job.cfg.model.growth.fade_kimg is None, "only a copy was written to"
    trainer = build_trainer(job)
    plain = build_trainer(make_job(tmp_path, "model=progan_small", "model.width=4", "dataset.limit=64", "evaluation=none"))
    weights = [list(t.updater.gan.generator.parameters()) for t in (trainer, plain)]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("precision.candidates=[bf8]", "bf8 is not an option of precision; choose from bf16, fp16, fp32, fp64, int16, tf32"),
        ("precision.min_speedup=0.5", r"precision\.min_speedup=0\.5"),
    ],
)
def test_values_out_of_range_are_an_error(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_precision(make_job(tmp_path, override), torch.device("cpu"))
