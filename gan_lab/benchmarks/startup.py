"""Time until a command prints its answer, and until a run completes its first step."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gan_lab.benchmarks.timing import Result
from gan_lab.benchmarks.train_command import train_overrides
from gan_lab.config import Job

TORCH = "import torch"
FIRST_STEP = "first step of a run"
COMMANDS = {"--help": ["--help"], "--cfg job": ["--cfg", "job"], "a wrong key": ["nonsense=1"]}
MARK = "gan_lab-first-step"
TRAIN_SCRIPT = f"""
import sys
from gan_lab.iteration.phase import Phase
step = Phase.step
def step_and_report(self, *arguments):
    result = step(self, *arguments)
    print("{MARK}", flush=True)
    Phase.step = step
    return result
Phase.step = step_and_report
from gan_lab.train import main
main()
"""
"""``python -m gan_lab.train`` that prints :data:`MARK` after the first update of a network."""


class StartupBenchmark:
    """Measures commands alternately, each in a process of its own.

    Args:
        rounds: number of measurements of each command.
    """

    def __init__(self, rounds: int) -> None:
        if rounds < 1:
            raise ValueError(f"benchmark: {rounds=} must be at least 1")
        self._rounds = rounds

    def __call__(self, job: Job) -> Result:
        """The run has the job's configuration; a first, unmeasured one prepares the dataset."""
        seconds: dict[str, list[float]] = {name: [] for name in (TORCH, *COMMANDS, FIRST_STEP)}
        with tempfile.TemporaryDirectory() as folder:
            self._first_step(job, Path(folder) / "unmeasured")
            for n in range(self._rounds):
                seconds[TORCH].append(_timed([sys.executable, "-c", TORCH], folder))
                for name, arguments in COMMANDS.items():
                    seconds[name].append(_timed([sys.executable, "-m", "gan_lab.train", *arguments], folder))
                seconds[FIRST_STEP].append(self._first_step(job, Path(folder) / str(n)))
        result = Result(seconds)
        result.ratios["seconds from the start to the first step, beyond torch's import"] = result.median(
            FIRST_STEP
        ) - result.median(TORCH)
        return result

    def _first_step(self, job: Job, folder: Path) -> float:
        """Seconds until the first update of a network; the run is then killed."""
        command = [sys.executable, "-c", TRAIN_SCRIPT, *train_overrides(job), f"hydra.run.dir={folder}"]
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if MARK in line:
                    seconds = time.perf_counter() - start
                    process.kill()
                    return seconds
        raise ValueError(
            "benchmark=startup: the run failed before its first step; start it with gan_lab.train to see the error"
        )


def _timed(command: list[str], folder: str) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, capture_output=True, check=False)
    return time.perf_counter() - start
