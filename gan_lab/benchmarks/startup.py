"""How long a command takes to answer, and a training to make its first step."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gan_lab.benchmarks.timing import Result
from gan_lab.config import Job

TORCH = "import torch"
FIRST_STEP = "first step of a training"
COMMANDS = {"--help": ["--help"], "--cfg job": ["--cfg", "job"], "a wrong key": ["nonsense=1"]}
MARK = "gan_lab-first-step"
TRAINING = f"""
import sys
from gan_lab.iteration.phase import Phase
step = Phase.step
def marked(self, *arguments):
    done = step(self, *arguments)
    print("{MARK}", flush=True)
    Phase.step = step
    return done
Phase.step = marked
from gan_lab.train import main
main()
"""
"""``python -m gan_lab.train``, which says when a player has made its first step."""


class StartupBenchmark:
    """Commands as a user types them, each a process of its own, in turn.

    Args:
        rounds: of each.
    """

    def __init__(self, rounds: int) -> None:
        if rounds < 1:
            raise ValueError(f"benchmark: {rounds=} must be at least 1")
        self._rounds = rounds

    def __call__(self, job: Job) -> Result:
        """The training is the job's own; what it prepares is prepared by a first, unmeasured one."""
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
        """Seconds until a player has made a step; the training is ended then."""
        given = [override for override in job.overrides if not override.startswith("benchmark")]
        chosen = [f"{group}={_spell(option)}" for group, option in job.choices.items() if option and group != "benchmark"]
        command = [sys.executable, "-c", TRAINING, *chosen, *given, f"hydra.run.dir={folder}"]
        begun = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if MARK in line:
                    seconds = time.perf_counter() - begun
                    process.kill()
                    return seconds
        raise ValueError("benchmark=startup: the training ended before its first step; gan_lab.train says why")


def _timed(command: list[str], folder: str) -> float:
    begun = time.perf_counter()
    subprocess.run(command, cwd=folder, capture_output=True, check=False)
    return time.perf_counter() - begun


def _spell(option: object) -> str:
    return f"[{','.join(map(str, option))}]" if isinstance(option, list | tuple) else str(option)
