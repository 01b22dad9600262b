"""Seconds from the start of ``python -m gan_lab.train`` until its score has reached ``evaluation.target``."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats

from gan_lab.benchmarks.timing import print_notes
from gan_lab.benchmarks.train_command import train_overrides
from gan_lab.building.datasets import build_dataset
from gan_lab.config import Job
from gan_lab.runtime.environment import git_commit
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.formatting import format_count, format_number, format_with_error
from gan_lab.utils.shell import format_command
from gan_lab.utils.terminal import print_table


@dataclass
class Attempt:
    """One run with one seed.

    Attributes:
        seed: of the run.
        seconds: from the start of the process to its end, with the score measured and the checkpoint written.
        training_seconds: of training steps alone.
        kimg: thousands of images trained on.
        score: at the end.
    """

    seed: int
    seconds: float
    training_seconds: float
    kimg: float
    score: float


@dataclass
class SpeedrunResult:
    """All attempts, and what a table of results says about them.

    Attributes:
        score: name of the score.
        target: that has to be reached.
        attempts: one for each seed.
        command: that was run.
        machine: device, and threads of a CPU.
    """

    score: str
    target: float
    attempts: list[Attempt]
    command: str
    machine: str

    @property
    def reached(self) -> bool:
        """Whether every attempt has reached the target; the mean time says nothing otherwise."""
        return all(attempt.score <= self.target for attempt in self.attempts)

    def seconds(self) -> tuple[float, float | None]:
        """Mean, and half the width of its 95 % interval over the seeds (Student's t); None for a single seed."""
        values = [attempt.seconds for attempt in self.attempts]
        if len(values) < 2:
            return values[0], None
        error = statistics.stdev(values) / len(values) ** 0.5
        return statistics.mean(values), float(stats.t.ppf(0.975, len(values) - 1)) * error

    def row(self) -> str:
        """A row of the table of speedruns in Markdown."""
        what, commit = f"`{self.score}` {self.target:g}", (git_commit() or "not a checkout")[:8]
        time_ = f"{format_with_error(*self.seconds())} s, {format_count(len(self.attempts), 'seed')}"
        return f"| {what} | {self.machine} | {time_} | `{self.command}` | {commit} |"

    def print(self) -> None:
        rows = [
            [str(a.seed), f"{a.seconds:.1f}", f"{a.training_seconds:.1f}", f"{a.kimg:.1f}", format_number(a.score)]
            for a in self.attempts
        ]
        print_table(["seed", "seconds", "of training", "kimg", self.score], rows)
        print_notes(self.row() if self.reached else f"not every seed has reached {self.score} {self.target:g}")

    def to_dict(self) -> dict[str, Any]:
        mean, half_width = self.seconds()
        return {
            "score": self.score,
            "target": self.target,
            "reached": self.reached,
            "seconds": mean,
            "seconds_ci95": half_width,
            "attempts": [vars(attempt) for attempt in self.attempts],
            "command": self.command,
            "machine": self.machine,
        }


class SpeedrunBenchmark:
    """Starts the configured run in a process of its own, once for each seed, one after the other. The data are prepared before.

    Args:
        seeds: number of runs, with seeds counted from the configured one; at least 1.

    Raises:
        ValueError: ``seeds`` is less than 1.
    """

    def __init__(self, seeds: int) -> None:
        if seeds < 1:
            raise ValueError(f"benchmark: {seeds=} must be at least 1")
        self._seeds = seeds

    def __call__(self, job: Job) -> SpeedrunResult:
        """The run has the job's configuration.

        Raises:
            ValueError: there is no ``evaluation.target``, or a run fails; the message has its last line.
        """
        target = job.cfg.evaluation.target
        if target is None:
            raise ValueError("benchmark=speedrun needs evaluation.target=..., the score at which a run ends")
        build_dataset(job.cfg)  # decoded and packed once
        overrides = train_overrides(job, "seed")
        attempts, name, machine = [], "", ""
        with tempfile.TemporaryDirectory() as folder:
            for seed in range(job.cfg.seed, job.cfg.seed + self._seeds):
                directory = RunDirectory(Path(folder) / str(seed))
                command = [sys.executable, "-m", "gan_lab.train", *overrides, f"seed={seed}", f"hydra.run.dir={directory.path}"]
                started = time.perf_counter()
                done = subprocess.run(command, capture_output=True, text=True)
                seconds = time.perf_counter() - started
                if done.returncode:
                    raise ValueError(
                        f"benchmark=speedrun: the run with seed {seed} fails: {(done.stderr or ' ').splitlines()[-1]}"
                    )
                summary = directory.read_summary()
                name, machine = summary["score"], summary["device"]
                kimg = summary["images"] / 1000
                attempts.append(Attempt(seed, seconds, summary["seconds"], kimg, summary["final"][name]))
        return SpeedrunResult(name, target, attempts, format_command("train", *_shown(job)), machine)


def _shown(job: Job) -> list[str]:
    """The command line without what is the default."""
    experiment = job.choices.get("experiment")
    return [*([f"experiment={experiment}"] if experiment else []), *(o for o in job.overrides if not o.startswith("benchmark"))]
