"""How much slower training is if another process is busy on the same machine."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from gan_lab.benchmarks.timing import Repeated, Result, interleaved, start_at_end, synchronizer
from gan_lab.building.trainer import build_trainer
from gan_lab.config import Job
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.training.trainer import Trainer
from gan_lab.utils.formatting import format_count

ALONE, CONTENDED = "alone", "with a busy process"


class ContentionBenchmark(Repeated):
    """Measures the training loop with and without a process that keeps one core busy, with all threads and with one thread.

    Several threads lose more than the core that they share, since each operation waits for its slowest thread.
    """

    def __call__(self, job: Job) -> Result:
        with tempfile.TemporaryDirectory() as folder:
            trainer = build_trainer(replace(job, directory=RunDirectory(Path(folder))))
            start_at_end(trainer)
            thread_counts = list(dict.fromkeys((torch.get_num_threads(), 1)))
            with trainer.progress.timer.running():
                seconds = self._measure(trainer, thread_counts)
            trainer.records.tracker.finish(trainer.records.summary("finished"))
        result = Result(seconds, dict.fromkeys(seconds, trainer.updater.growth_state.batch_size))
        for threads in thread_counts:
            alone, contended = _name(ALONE, threads), _name(CONTENDED, threads)
            result.ratios[f"images/s {contended} / {ALONE}"] = result.ratio(alone, contended)
        return result

    def _measure(self, trainer: Trainer, thread_counts: list[int]) -> dict[str, list[float]]:
        batches = trainer.loader.batches(0, lambda images: trainer.updater.growth_state.batch_size)
        seconds: dict[str, list[float]] = {_name(case, n): [] for n in thread_counts for case in (ALONE, CONTENDED)}

        def step() -> None:
            trainer.step(next(batches))

        interleaved({ALONE: step}, 1, self._warmup)
        for _ in range(self._rounds):
            for threads in thread_counts:
                for case, process in ((ALONE, nullcontext()), (CONTENDED, busy_process())):
                    with num_threads(threads), process:
                        measured = interleaved({case: step}, 1, self._steps, synchronizer(trainer.device))
                    seconds[_name(case, threads)] += measured[case]
        return seconds


def _name(case: str, threads: int) -> str:
    return f"{case}, {format_count(threads, 'thread')}"


@contextmanager
def num_threads(threads: int) -> Iterator[None]:
    """Use ``threads`` threads for CPU operations within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def busy_process() -> Iterator[None]:
    """Run a process of normal priority that keeps one core busy during the block."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()
