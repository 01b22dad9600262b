"""One process compared with several of ``torchrun`` on the same cores: speed, and differences of the losses."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from gan_lab.benchmarks.timing import Result
from gan_lab.benchmarks.train_command import train_overrides
from gan_lab.config import Job
from gan_lab.runtime.device import available_cores
from gan_lab.storage.run_directory import RunDirectory

TORCHRUN = ("torch.distributed.run", "--standalone")
LOSSES = ("d/loss", "g/loss")


class DistributedBenchmark:
    """Runs ``gan_lab.train`` alternately with one and with several processes, with the same total batch size.

    Args:
        rounds: runs of each.
        steps: training steps per measurement, after as many unmeasured ones.
        processes: number of processes of ``torchrun``.

    Raises:
        ValueError: ``rounds`` or ``steps`` is less than 1, or ``processes`` less than 2.
    """

    def __init__(self, rounds: int, steps: int, processes: int) -> None:
        if min(rounds, steps) < 1 or processes < 2:
            raise ValueError(f"benchmark: {rounds=} and {steps=} must be at least 1, {processes=} at least 2")
        self._rounds, self._steps, self._processes = rounds, steps, processes

    def __call__(self, job: Job) -> Result:
        """Losses are compared with ``sync_batch_norm=true``, since batch norm over a part of the batch gives other losses."""
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
                    _, last = self._train(job, folder, processes, log_interval=self._steps, num_logs=2)
                    seconds[name].append(job.cfg.batch_size / last["time/images_per_second"])
            sync = "sync_batch_norm=true"
            rows = [
                self._train(job, Path(scratch) / f"losses-{n}", n, sync, log_interval=1, num_logs=self._steps) for n in names
            ]
        single, multiple = names.values()
        result = Result(seconds, unit=dict.fromkeys(seconds, job.cfg.batch_size))
        result.ratios[f"images/s of {multiple} / of {single}"] = result.ratio(single, multiple)
        result.ratios[f"largest difference of a loss in {self._steps} steps"] = max(
            abs(a[loss] - b[loss]) for a, b in zip(*rows, strict=True) for loss in LOSSES if loss in a
        )
        return result

    def _train(
        self, job: Job, folder: Path, processes: int, *overrides: str, log_interval: int, num_logs: int
    ) -> list[dict[str, float]]:
        """Train for ``num_logs`` intervals of ``log_interval`` steps; returns the rows of ``metrics.jsonl`` with losses."""
        images = log_interval * job.cfg.batch_size
        command = [
            *(sys.executable, "-m"),
            *((*TORCHRUN, f"--nproc-per-node={processes}", "-m") if processes > 1 else ()),
            *("gan_lab.train", *train_overrides(job, "num_threads", "epochs=", "kimg=")),
            *("console=plain", f"hydra.run.dir={folder}"),
            *(f"kimg={images * num_logs / 1000}", f"log.every_kimg={images / 1000}", *overrides),
            f"num_threads={max(1, available_cores() // processes)}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if "error: " in line] or done.stderr.splitlines()[-1:]
            raise ValueError(f"benchmark=distributed: the run with {processes} process(es) failed: {' '.join(errors[:1])}")
        return [row for row in RunDirectory(folder).history() if "d/loss" in row]
