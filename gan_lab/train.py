"""Train: ``python -m gan_lab.train [group=option ...] [key=value ...]``."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from gan_lab.config import (
    CONF_DIR,
    Job,
    jobs_per_seed,
    open_job,
    prepend_resumed_overrides,
    remove_empty_output_dir,
    run_command,
    write_config,
)
from gan_lab.reporting.live_pages import LivePage, write_study_pages
from gan_lab.runtime.torchrun import add_rank_overrides
from gan_lab.studies.multirun import Multirun, trial_of
from gan_lab.studies.run_clock import CLOCK
from gan_lab.sweeps.objective import Objective

STUDY_PAGE = LivePage(write_study_pages)
"""The page of a multirun, rewritten after its runs."""


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")
@remove_empty_output_dir
def train(cfg: DictConfig) -> float | tuple[float, ...] | None:
    """Run one job; returns the values that a sweep minimizes."""
    job = open_job(cfg)
    objective = None if job.cfg.objective is None else Objective(job.cfg.objective)
    with trial_of(job) as trial:
        if job.folder is not None:
            number = trial.position or HydraConfig.get().job.num + 1
            CLOCK.begin("trial" if trial.position else "run", number, job.cfg.study.trials if trial.position else None)
        jobs = jobs_per_seed(job)
        summaries = [run(one, objective, trial.watch if one is jobs[0] else None) for one in jobs]
        trial.save_run_metrics([one.directory for one in jobs])
    if job.folder is not None:
        STUDY_PAGE(job.folder)
    return None if objective is None else objective(summaries)


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
            resume(trainer, job.directory.path, state)
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


def main() -> None:
    multirun = Multirun(train)
    run_command(multirun, "config", lambda arguments: multirun.begin(add_rank_overrides(prepend_resumed_overrides(arguments))))


if __name__ == "__main__":
    main()
