"""Kill trainings at random moments, fill their disk, and compare what comes of them with an uninterrupted training.

::

    python tests/soak.py [--kills 50] [--seconds 1800] [--seed 0] [--only NAME]      # also: make soak

Each configuration of ``RUNS`` in ``fingerprint.py`` is trained once without interruption, by the real command line, on the
CPU with one thread. Then the same training is killed (SIGKILL) at random moments, resumed, killed again, and resumed to its
end. Its metrics, every tensor of its last checkpoint and every sample grid must be those of the uninterrupted run, and no
temporary file may be left. Each fault of ``faulty_training.py`` happens once at a random step, and one of two processes of
``torchrun`` is killed. Where a file system of limited size can be mounted, which needs the rights of root, trainings also run
into a full disk. These must go on, or end with one message and without a traceback, and be resumed to the same end. The exit
code is 1 if anything differs. It ends by itself.
"""

# ruff: noqa: T201

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import faulty_training
import torch
from fingerprint import COMMON, RUNS, write_images
from helpers import comparable
from torch import Tensor
from torch.utils._pytree import keystr, tree_flatten_with_path

from gan_lab.storage.run_directory import RunDirectory
from gan_lab.storage.run_lock import OWNER

OFTEN = "epochs=3 checkpoint.every_kimg=0.064 sample.every_kimg=0.064 checkpoint.keep_every_kimg=0.256"
"""Checkpoints and grids after every fourth batch, so that most moments are near one."""

KILLS_OF_A_RUN = 2
"""How often a training is killed before it may end."""

FIRST_STEPS = 40
"""A fault happens during one of so many steps."""

TRAIN = ("-m", "gan_lab.train")
ON_TWO_RANKS = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *TRAIN)

REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass
class Soak:
    """What was tried and what went wrong.

    Attributes:
        folder: a scratch folder.
        random: chooses configurations and moments.
        deadline: time at which it ends.
        kills: trainings that were killed.
        faults: trainings that something else happened to.
        failures: a sentence for each.
    """

    folder: Path
    random: random.Random
    deadline: float
    kills: int = 0
    faults: int = 0
    failures: list[str] = field(default_factory=list)

    def start(self, arguments: list[str], cwd: Path, program: Sequence[str] = TRAIN) -> subprocess.Popen[str]:
        data = {"GAN_LAB_DATA": str(cwd / "data")}
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"} | data
        command = [sys.executable, *program, *arguments]
        with self.output.open("a") as output:
            return subprocess.Popen(
                command, cwd=cwd, env=environment, stdout=output, stderr=subprocess.STDOUT, text=True, start_new_session=True
            )

    @property
    def output(self) -> Path:
        """What the trainings of the present configuration have printed."""
        return self.folder / "output.txt"

    def arguments(self, name: str, cwd: Path) -> list[str]:
        """The command line that starts the run in ``cwd``, or resumes it if it has a checkpoint."""
        directory = RunDirectory(cwd / "run")
        if directory.config.is_file() and directory.checkpoint("last").is_file():
            return ["resume=run"]
        return [*COMMON.split(), *RUNS[name].split(), *OFTEN.split(), "hydra.run.dir=run"]

    def train(self, name: str, cwd: Path, program: Sequence[str] = TRAIN) -> int:
        return self.start(self.arguments(name, cwd), cwd, program).wait()

    def whole(self, name: str, program: Sequence[str] = TRAIN) -> tuple[RunDirectory, float]:
        """The uninterrupted run of a configuration, trained on first use, and how long it took with its start."""
        cwd = self.folder / f"whole-{name}{'-two' if program == ON_TWO_RANKS else ''}"
        if not cwd.is_dir():
            cwd.mkdir()
            write_images(cwd / "pictures")
            started = time.monotonic()
            if self.train(name, cwd, program):
                raise RuntimeError(f"{name}: the uninterrupted training fails:\n{self.output.read_text()[-2000:]}")
            (cwd / "seconds.txt").write_text(str(time.monotonic() - started))
        return RunDirectory(cwd / "run"), float((cwd / "seconds.txt").read_text())

    def kill(self, name: str) -> None:
        """Kill a training :data:`KILLS_OF_A_RUN` times, and compare it when it has ended."""
        expected, seconds = self.whole(name)
        cwd, moments = self.new_folder(), []
        for _ in range(KILLS_OF_A_RUN):
            process = self.start(self.arguments(name, cwd), cwd)
            moments.append(self.random.uniform(0.3, 1.0) * seconds)
            try:
                process.wait(moments[-1])
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                self.kills += 1
        what = f"{name}, killed after {' and '.join(f'{moment:.2f} s' for moment in moments)}"
        self.finish(name, cwd, expected, what)

    def finish(self, name: str, cwd: Path, expected: RunDirectory, what: str, program: Sequence[str] = TRAIN) -> None:
        """Let a training end, and compare it with the uninterrupted one."""
        directory = RunDirectory(cwd / "run")
        ended, before = directory.read_summary().get("status") == "finished", len(self.failures)
        if not ended and (code := self.train(name, cwd, program)):
            self.failures.append(f"{what}: the resume ends with {code}: {self.output.read_text()[-1000:]}")
        else:
            self.failures += [f"{what}: {difference}" for difference in differences(expected, directory)]
        print(f"{what}: {'as expected' if len(self.failures) == before else self.failures[-1]}", flush=True)
        shutil.rmtree(cwd)

    def kill_rank(self, name: str) -> None:
        """Kill one of the two processes of a training by ``torchrun``, which has to end the other one."""
        expected, seconds = self.whole(name, ON_TWO_RANKS)
        cwd = self.new_folder()
        launcher = self.start(self.arguments(name, cwd), cwd, ON_TWO_RANKS)
        moment = self.random.uniform(0.3, 1.0) * seconds
        with suppress(subprocess.TimeoutExpired):
            launcher.wait(moment)
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
        if launcher.poll() is None and (ranks := children.read_text().split()):
            os.kill(int(self.random.choice(ranks)), signal.SIGKILL)
        code, what = launcher.wait(), f"{name}, one of two processes killed after {moment:.2f} s"
        self.faults += 1
        print(f"{what}: ended with {code}", flush=True)
        self.finish(name, cwd, expected, what, ON_TWO_RANKS)

    def disturb(self, fault: str) -> None:
        """Let a fault of ``faulty_training.py`` happen to a training; undo it, and compare the end."""
        name = "srgan_small" if fault.startswith("data") else self.random.choice(list(RUNS))
        expected, _ = self.whole(name)
        cwd, step = self.new_folder(), self.random.randint(1, FIRST_STEPS)
        code = self.train(name, cwd, [str(REPOSITORY / "tests" / "faulty_training.py"), fault, str(step)])
        what = f"{name}, {fault} after step {step}"
        self.faults += 1
        self.check_message(what, code, cwd)
        print(f"{what}: ended with {code}", flush=True)
        with chdir(cwd):
            faulty_training.undo(fault)
        self.finish(name, cwd, expected, what)

    def check_message(self, what: str, code: int, cwd: Path) -> None:
        """A training that failed must have said why in one message, and must not count as running."""
        output = self.output.read_text(errors="replace")
        if "Traceback" in output or output.count("error: ") != bool(code):
            self.failures.append(f"{what}: not one message: {output[-1500:]}")
        if code and RunDirectory(cwd / "run").read_summary().get("status") == "running":
            self.failures.append(f"{what}: its summary says that it is running")

    def new_folder(self) -> Path:
        """A folder for the next training, whose output replaces that of the one before."""
        cwd = self.folder / "victim"
        cwd.mkdir()
        write_images(cwd / "pictures")
        self.output.unlink(missing_ok=True)
        return cwd

    def fill_disk(self, name: str) -> None:
        """Let a training run into a full disk, then enlarge the disk and compare the end."""
        expected, _ = self.whole(name)
        size = sum(path.stat().st_size for path in expected.path.rglob("*") if path.is_file())
        limit = int(size * self.random.uniform(0.3, 1.1))
        cwd, rest = self.folder / "victim", self.folder / "rest"
        self.output.unlink(missing_ok=True)
        with limited_disk(cwd, limit) as enlarge:
            write_images(cwd / "pictures")
            code = self.train(name, cwd)
            enlarge(8 * size)
            self.faults += 1
            what = f"{name}, disk of {limit / size:.0%}"
            self.check_message(what, code, cwd)
            print(f"{what}: ended with {code}", flush=True)
            shutil.copytree(cwd, rest)
        rest.rename(cwd)
        self.finish(name, cwd, expected, what)


def differences(expected: RunDirectory, found: RunDirectory) -> list[str]:
    """In what a run differs from the uninterrupted one, in words."""
    (rows, state), (other_rows, other_state) = comparable(expected), comparable(found)
    wrong = [] if rows == other_rows else [f"the metrics differ: {len(other_rows)} rows instead of {len(rows)}"]
    paths, leaves = tree_flatten_with_path(state)[0], dict(tree_flatten_with_path(other_state)[0])
    for path, value in paths:
        other = leaves.get(path)
        same = torch.equal(value, other) if isinstance(value, Tensor) and isinstance(other, Tensor) else value == other
        if not same:
            wrong.append(f"{keystr(path)} of the last checkpoint differs")
    wrong += [f"the last checkpoint has {keystr(path)} besides" for path in leaves.keys() - dict(paths).keys()]
    grids = {path.name: path.read_bytes() for path in expected.samples.glob("*.png")}
    others = {path.name: path.read_bytes() for path in found.samples.glob("*.png")}
    wrong += [f"{name} differs" for name in sorted(grids.keys() | others.keys()) if grids.get(name) != others.get(name)]
    kept, left = listing(expected), listing(found)
    return wrong + [f"{name} is {'left' if name in left else 'missing'}" for name in sorted(kept ^ left)]


def listing(directory: RunDirectory) -> set[str]:
    """The names of all files of a run, hidden ones too; that of its owner may stay after a kill."""
    files = (path for path in directory.path.rglob("*") if path.is_file() and path.name != OWNER)
    return {str(path.relative_to(directory.path)) for path in files}


@contextmanager
def limited_disk(folder: Path, size: int) -> Iterator[Callable[[int], None]]:
    """Mount a file system of ``size`` bytes in memory at ``folder``; yields a function that gives it another size."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True, capture_output=True)

    def enlarge(size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True, capture_output=True)

    try:
        yield enlarge
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)
        folder.rmdir()


def can_mount(folder: Path) -> bool:
    """Whether this process may mount a file system."""
    try:
        with limited_disk(folder / "trial", 2**20):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def can_forbid_writing(folder: Path) -> bool:
    """Whether folders can be made read-only for this process."""
    trial = folder / "trial"
    trial.mkdir()
    try:
        faulty_training.set_read_only(trial, True)
        faulty_training.set_read_only(trial, False)
        return True
    except (OSError, subprocess.CalledProcessError):
        return False
    finally:
        trial.rmdir()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="number of kills")
    parser.add_argument("--seconds", type=float, default=1800, help="no training begins after so many seconds")
    parser.add_argument("--seed", type=int, default=0, help="of configurations and moments")
    parser.add_argument("--only", help="one configuration")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), random.Random(options.seed), time.monotonic() + options.seconds)
        names = [options.only] if options.only else list(RUNS)
        faults = can_mount(soak.folder)
        if not faults:
            print("this process may mount no file system: full disks are left out")
        for fault in faulty_training.FAULTS:
            if fault != "read_only" or can_forbid_writing(soak.folder):
                soak.disturb(fault)
            else:
                print("this file system has no read-only folders for root: they are left out")
        for name in ("default", "srgan_small"):
            soak.kill_rank(name)
        while soak.kills < options.kills and time.monotonic() < soak.deadline:
            soak.random.shuffle(names)
            for name in names:
                if soak.kills >= options.kills or time.monotonic() > soak.deadline:
                    break
                soak.kill(name)
                if faults and soak.random.random() < 0.3:
                    soak.fill_disk(name)
        print(f"{soak.kills} kills, {soak.faults} other faults, {len(soak.failures)} failures (seed {options.seed})")
        print("\n".join(soak.failures))
    sys.exit(bool(soak.failures))


if __name__ == "__main__":
    main()
