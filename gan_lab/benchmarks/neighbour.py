"""What a training loses when another process is busy on the same machine."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from gan_lab.benchmarks.step import begin, settle
from gan_lab.benchmarks.timing import Repeated, Result, in_turn
from gan_lab.build import build_trainer
from gan_lab.config import Job
from gan_lab.directory import RunDirectory

ALONE, BESIDE = "alone", "beside a busy process"


class NeighbourBenchmark(Repeated):
    """The whole loop, alone and beside a process that keeps a core busy, in turn."""

    def __call__(self, job: Job) -> Result:
        with tempfile.TemporaryDirectory() as folder:
            trainer = build_trainer(replace(job, directory=RunDirectory(Path(folder))))
            begin(trainer)
            endless = trainer.stream.batches(0, lambda images: trainer.stage.batch_size)

            def measure(name: str) -> list[float]:
                return in_turn({name: lambda: trainer.step(next(endless))}, 1, self._steps, settle(trainer.device))[name]

            seconds: dict[str, list[float]] = {ALONE: [], BESIDE: []}
            with trainer.stopwatch.running():
                in_turn({ALONE: lambda: trainer.step(next(endless))}, 1, self._warmup)
                for _ in range(self._rounds):
                    seconds[ALONE] += measure(ALONE)
                    with busy():
                        seconds[BESIDE] += measure(BESIDE)
            trainer.tracker.finish(trainer.summary("finished"))
        result = Result(seconds, dict.fromkeys(seconds, trainer.stage.batch_size))
        result.ratios["images/s beside a busy process / alone"] = result.ratio(ALONE, BESIDE)
        return result


@contextmanager
def busy() -> Iterator[None]:
    """A process of normal priority that never rests."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()
