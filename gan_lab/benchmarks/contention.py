"""What a training loses when another process is busy on the same machine."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from gan_lab.benchmarks.step import begin, synchronize
from gan_lab.benchmarks.timing import Repeated, Result, interleaved
from gan_lab.building.trainer import build_trainer
from gan_lab.config import Job
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.trainer import Trainer

ALONE, BESIDE = "alone", "beside a busy process"


class ContentionBenchmark(Repeated):
    """The whole loop, alone and beside a process that keeps a core busy, in turn; and the same on one thread.

    What several threads lose is more than the core they share: each operation waits for its last thread.
    """

    def __call__(self, job: Job) -> Result:
        with tempfile.TemporaryDirectory() as folder:
            trainer = build_trainer(replace(job, directory=RunDirectory(Path(folder))))
            begin(trainer)
            numbers = list(dict.fromkeys((torch.get_num_threads(), 1)))
            with trainer.progress.timer.running():
                seconds = self._measure(trainer, numbers)
            trainer.records.tracker.finish(trainer.records.summary("finished"))
        result = Result(seconds, dict.fromkeys(seconds, trainer.updater.growth_state.batch_size))
        for threads in numbers:
            alone, beside = named(ALONE, threads), named(BESIDE, threads)
            result.ratios[f"images/s {beside} / {ALONE}"] = result.ratio(alone, beside)
        return result

    def _measure(self, trainer: Trainer, numbers: list[int]) -> dict[str, list[float]]:
        endless = trainer.loader.batches(0, lambda images: trainer.updater.growth_state.batch_size)
        seconds: dict[str, list[float]] = {named(what, n): [] for n in numbers for what in (ALONE, BESIDE)}

        def step() -> None:
            trainer.step(next(endless))

        interleaved({ALONE: step}, 1, self._warmup)
        for _ in range(self._rounds):
            for threads in numbers:
                for what, company in ((ALONE, nullcontext()), (BESIDE, busy())):
                    with on(threads), company:
                        seconds[named(what, threads)] += interleaved({what: step}, 1, self._steps, synchronize(trainer.device))[
                            what
                        ]
        return seconds


def named(what: str, threads: int) -> str:
    return f"{what}, {threads} thread{'s' if threads > 1 else ''}"


@contextmanager
def on(threads: int) -> Iterator[None]:
    """Operations on the CPU are shared among ``num_threads``."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def busy() -> Iterator[None]:
    """A process of normal priority that never rests."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()
