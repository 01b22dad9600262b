"""One process against several of ``torchrun`` on the same cores: how fast they are, and whether they learn the same."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from gan_lab.benchmarks.timing import Result
from gan_lab.config import Job
from gan_lab.runtime.device import available_cores
from gan_lab.storage.run_directory import RunDirectory

TORCHRUN = ("torch.distributed.run", "--standalone")
LOSSES = ("d/loss", "g/loss")


class DistributedBenchmark:
    """Real trainings by real command lines, in turn; the batch is the same in all, each process takes its part of it.

    Args:
        rounds: trainings of each.
        steps: training steps in a measurement; as many come before, unmeasured.
        processes: of ``torchrun``.
    """

    def __init__(self, rounds: int, steps: int, processes: int) -> None:
        if min(rounds, steps) < 1 or processes < 2:
            raise ValueError(f"benchmark: {rounds=} and {steps=} must be at least 1, {processes=} at least 2")
        self._rounds, self._steps, self._processes = rounds, steps, processes

    def __call__(self, job: Job) -> Result:
        """Losses are compared with batch normalisation synchronised, without which several processes play another game."""
        threads = max(1, available_cores() // self._processes)
        names = {
            1: f"1 process, {threads * self._processes} threads",
            self._processes: f"{self._processes} processes, {threads} threads each",
        }
        seconds: dict[str, list[float]] = {name: [] for name in names.values()}
        with tempfile.TemporaryDirectory() as scratch:
            for number in range(self._rounds):
                for processes, name in names.items():
                    folder = Path(scratch) / f"{number}-{processes}"
                    _, last = self._train(job, folder, processes, tick=self._steps, ticks=2)
                    seconds[name].append(job.cfg.batch_size / last["time/images_per_second"])
            alike = "sync_batch_norm=true"
            rows = [self._train(job, Path(scratch) / f"losses-{n}", n, alike, tick=1, ticks=self._steps) for n in names]
        alone, together = names.values()
        result = Result(seconds, unit=dict.fromkeys(seconds, job.cfg.batch_size))
        result.ratios[f"images/s of {together} / of {alone}"] = result.ratio(alone, together)
        result.ratios[f"largest difference of a loss in {self._steps} steps"] = max(
            abs(a[loss] - b[loss]) for a, b in zip(*rows, strict=True) for loss in LOSSES if loss in a
        )
        return result

    def _train(self, job: Job, folder: Path, processes: int, *more: str, tick: int, ticks: int) -> list[dict[str, float]]:
        """The ticks of a training: rows of ``metrics.jsonl`` with losses."""
        images = tick * job.cfg.batch_size
        chosen = [
            f"{group}={_spell(option)}" for group, option in job.choices.items() if option is not None and group != "benchmark"
        ]
        given = [
            override for override in job.overrides if not override.startswith(("benchmark", "num_threads", "epochs=", "kimg="))
        ]
        command = [
            *(sys.executable, "-m"),
            *((*TORCHRUN, f"--nproc-per-node={processes}", "-m") if processes > 1 else ()),
            *("gan_lab.train", *chosen, *given, "console=plain", f"hydra.run.dir={folder}"),
            *(f"kimg={images * ticks / 1000}", f"log.every_kimg={images / 1000}", *more),
            f"num_threads={max(1, available_cores() // processes)}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            told = [line for line in done.stderr.splitlines() if "error: " in line] or done.stderr.splitlines()[-1:]
            raise ValueError(f"benchmark=distributed: the training with {processes} processes failed: {' '.join(told[:1])}")
        return [row for row in RunDirectory(folder).history() if "d/loss" in row]


def _spell(option: object) -> str:
    return f"[{','.join(map(str, option))}]" if isinstance(option, list | tuple) else str(option)
