"""Benchmark: ``python -m gan_lab.benchmark [benchmark=...] [tune=true] [any argument of gan_lab.train]``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from gan_lab.config import Job, hydra_main, instantiate, open_job, remove_empty_output_dir, run_command
from gan_lab.storage.files import write_atomically

TUNE = (False, True, "recipe")

FILE_NAME = "benchmark.json"
"""Name of the written file, unless the result has a ``file_name``."""


@hydra_main("benchmark")
@remove_empty_output_dir
def benchmark(cfg: DictConfig) -> None:
    """Run the chosen benchmark, print its tables, and write the result as JSON."""
    if cfg.resume is not None:
        raise ValueError(f"resume={cfg.resume}: a benchmark can't be resumed")
    if cfg.tune not in TUNE:
        raise ValueError(
            f"tune={cfg.tune}: must be false, true, or recipe (also tries settings that change the training result)"
        )
    job = open_job(cfg)
    if job.directory.config.exists():
        raise ValueError(f"{job.directory.path} holds a run; a benchmark needs a folder of its own: hydra.run.dir=...")
    run_benchmark = instantiate(cfg.benchmark, "benchmark")
    result = _tune(job) if cfg.tune else run_benchmark(job)
    result.print()
    path = Path(HydraConfig.get().runtime.output_dir) / getattr(result, "file_name", FILE_NAME)
    write_atomically(path, json.dumps(result.to_dict(), indent=2) + "\n")
    print(path)


def _tune(job: Job) -> Any:
    from gan_lab.benchmarks.tuning import tune

    if job.choices["benchmark"] != "step":
        raise ValueError(f"tune={job.cfg.tune} measures training steps; leave out benchmark={job.choices['benchmark']}")
    given = [o for o in HydraConfig.get().overrides.task if o.partition("=")[0].partition(".")[0] not in ("benchmark", "tune")]
    return tune(job, given, job.cfg.tune == "recipe", job.cfg.benchmark.rounds, job.cfg.benchmark.steps)


def main() -> None:
    run_command(benchmark, "benchmark")


if __name__ == "__main__":
    main()
