"""Train: ``python -m gan_lab.train [group=option ...] [key=value ...]``, or ``gan_lab.train([...])`` from Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from gan_lab.config import (
    Job,
    call_in_process,
    hydra_main,
    jobs_per_seed,
    open_job,
    prepend_resumed_overrides,
    remove_empty_output_dir,
    run_command,
    write_config,
)
from gan_lab.reporting.live_pages import LivePage, write_study_pages
from gan_lab.runtime.torchrun import add_rank_overrides, is_distributed
from gan_lab.studies.multirun import Multirun, trial_of
from gan_lab.studies.run_clock import CLOCK
from gan_lab.sweeps.objective import Objective

if TYPE_CHECKING:
    from gan_lab.runs.run import Run

STUDY_PAGE = LivePage(write_study_pages)
"""The page of a multirun, rewritten after its runs."""


@hydra_main("config")
@remove_empty_output_dir
def train(cfg: DictConfig) -> float | tuple[float, ...] | None:
    """Run the job that Hydra has started; returns the values that a sweep minimizes."""
    job = open_job(cfg)
    if not cfg.plan:
        return train_job(job)
    show_plan(job)
    return None


def show_plan(job: Job) -> None:
    """Print what the run, or all runs of its sweep and seeds, would cost here."""
    from gan_lab.benchmarks.plan import make_plan

    trials = job.cfg.study.trials if job.choices.get("sweep") is not None else 1
    make_plan(job).print(runs=trials * job.cfg.seeds)


def train_job(job: Job) -> float | tuple[float, ...] | None:
    """Run one job; returns the values that a sweep minimizes."""
    from gan_lab.runtime.memory import release_memory

    objective = None if job.cfg.objective is None else Objective(job.cfg.objective)
    with trial_of(job) as trial:
        if job.folder is not None:
            number = trial.position or HydraConfig.get().job.num + 1
            CLOCK.begin("trial" if trial.position else "run", number, job.cfg.study.trials if trial.position else None)
        jobs = jobs_per_seed(job)
        summaries: list[dict[str, Any] | None] = []
        for seed, one in enumerate(jobs):
            if job.folder is not None:
                release_memory()
            summaries.append(trial.begin(one.directory) or run(one, objective, trial.watch if seed == 0 else None))
            if trial.ends_after(seed, summaries[-1], objective):
                break
        trial.save_results([one.directory for one in jobs[: len(summaries)]])
        values = None if objective is None else objective(summaries)
        trial.end(values, summaries)
    if job.folder is not None:
        STUDY_PAGE(job.folder)
    return values


def run(job: Job, objective: Objective | None, watch: Callable[[Any], None] | None = None) -> dict[str, Any] | None:
    """Train a run to its end.

    Args:
        job: a new run, or one to resume.
        objective: the values that a sweep minimizes, or None.
        watch: called with the trainer before training starts.

    Returns:
        The summary; None if the run diverged and there is an objective.

    Raises:
        ValueError: the run diverged and there is no objective, or the configuration is not valid.
    """
    from gan_lab.building.precision import resolve_precision
    from gan_lab.building.trainer import build_trainer, read_checkpoint, resume
    from gan_lab.runtime.device import choose_device
    from gan_lab.runtime.distributed import init_distributed
    from gan_lab.runtime.memory import MemoryOptions, explain_out_of_memory
    from gan_lab.training.metric_recorder import TrainingDiverged

    device = choose_device(job.cfg.device)
    processes = init_distributed(device)
    job = replace(job, directory=processes.broadcast_object(job.directory))
    cfg = job.cfg

    def memory_options() -> MemoryOptions:
        steps, checkpointing = cfg.gradient_accumulation_steps, cfg.activation_checkpointing
        return MemoryOptions(cfg.batch_size, steps, job.choices["precision"], checkpointing, processes.world_size)

    with job.directory.lock() if processes.is_main_process else nullcontext(), explain_out_of_memory(memory_options):
        resolve_precision(job, device, processes)
        state = read_checkpoint(job.directory, cfg.resume_from) if job.resumed else None
        with processes.main_process_first():
            trainer = build_trainer(job, processes, state)
        if objective is not None:
            objective.check(trainer.evaluator.name)
        if state is not None:
            is_last = cfg.resume_from == "last" and job.directory.checkpoint("last").is_file()
            resume(trainer, job.directory.path, state, is_last)
            del state  # as large as the networks with their optimizers
        if watch is not None:
            watch(trainer)
        if processes.is_main_process:
            write_config(job)
        try:
            summary = trainer.train()
        except TrainingDiverged as error:
            if objective is None:
                raise ValueError(
                    f"diverged: {error}. Lower {' and '.join(job.rate_keys)}, set max_grad_norm, or choose another precision"
                ) from error
            return None
    processes.destroy()
    return summary


def train_in_process(arguments: Sequence[str] = (), out: str | os.PathLike[str] | None = None) -> Run:
    """Train in this process, as the command would: ``gan_lab.train(["model=dcgan", "epochs=2"])``.

    The log goes to the console, or the cell of a notebook, and to the run directory. Ctrl-C, or interrupting the kernel, saves
    a checkpoint and raises KeyboardInterrupt; ``gan_lab.train(["resume=latest"])`` continues. PyTorch's global seed and number
    of threads change.

    Args:
        arguments: what follows ``python -m gan_lab.train``, each argument a text of its own; ``resume=...`` too.
        out: the run directory; None: a new one, ``outputs/<date>/<time>``.

    Returns:
        The run, opened at its last checkpoint on the device that it was trained on.

    Raises:
        ValueError: an argument is wrong, with the message of the command, or the run diverged.
    """
    from gan_lab.runs.run import Run

    _check_call(arguments, out)
    jobs: list[Job] = []

    @remove_empty_output_dir
    def train_one(cfg: DictConfig) -> None:
        jobs.append(open_job(cfg))
        train_job(jobs[0])

    given = arguments if out is None else [*arguments, f"hydra.run.dir={Path(out).expanduser().absolute()}"]
    call_in_process(train_one, given, "gan_lab.train", "config", prepend_resumed_overrides)
    return Run.open(jobs[0].directory.path, device=jobs[0].cfg.device)


def _check_call(arguments: Sequence[str], out: str | os.PathLike[str] | None) -> None:
    """Raise ValueError under ``torchrun``, for a plan, and if there are two run directories."""
    if any(str(argument).partition("=")[0] == "plan" for argument in arguments):
        raise ValueError("gan_lab.train: plan=true prints a table and trains nothing; use the command: gan-train plan=true ...")
    if is_distributed():
        raise ValueError("gan_lab.train: trains in one process; for several, start the command: torchrun -m gan_lab.train ...")
    if out is not None and (other := [a for a in arguments if a.startswith(("resume=", "hydra.run.dir="))]):
        raise ValueError(f"out={os.fspath(out)}: {other[0]} already gives the run directory; leave one of them out")


class _CallableModule(ModuleType):
    """Makes ``gan_lab.train([...])`` train: the module of the command has the name that the function should have."""

    __call__ = staticmethod(train_in_process)


sys.modules[__name__].__class__ = _CallableModule


def main() -> None:
    multirun = Multirun(train)
    run_command(multirun, "config", lambda arguments: multirun.begin(add_rank_overrides(prepend_resumed_overrides(arguments))))


if __name__ == "__main__":
    main()
