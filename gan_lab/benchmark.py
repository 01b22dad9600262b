"""Benchmark: ``python -m gan_lab.benchmark [anything gan_lab.train takes]``."""

from __future__ import annotations

import itertools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from gan_lab.config import CONF_DIR, Job, open_job, run_command, user_errors
from gan_lab.directory import write_atomically

Seconds = dict[str, list[float]]


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="benchmark")
@user_errors
def benchmark(cfg: DictConfig) -> None:
    """Measure the parts of a step, the bare step and the whole loop, in turn, and print them."""
    numbers = cfg.benchmark
    for key, value in numbers.items():
        if value < 1:
            raise ValueError(f"benchmark.{key}={value}: must be at least 1")
    cfg.epochs, cfg.kimg = 1e9, None  # nothing of what happens at the end of a training
    seconds = measure(open_job(cfg), **numbers)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print_table(seconds, medians)
    ratio = statistics.median(full / bare for full, bare in zip(seconds["whole loop"], seconds["bare step"], strict=True))
    print(f"whole loop / bare step = {ratio:.3f} (median of {numbers.rounds} rounds)")
    print(f"{cfg.batch_size / medians['whole loop']:.0f} images/s")
    folder = Path(HydraConfig.get().runtime.output_dir)
    result = {
        "milliseconds": {k: [1000 * v for v in values] for k, values in seconds.items()},
        "whole_loop_over_bare_step": ratio,
    }
    write_atomically(folder / "benchmark.json", json.dumps(result, indent=2) + "\n")
    print(folder / "benchmark.json")


def measure(job: Job, rounds: int, steps: int, warmup: int) -> Seconds:
    """Seconds a step takes of each thing, once for every round; ``gan_lab.train``'s own objects do the work."""
    import torch

    from gan_lab.build import build_trainer
    from gan_lab.training.round import Round

    trainer = build_trainer(job)
    trainer.tracker.start(trainer.info)
    stream, game, device = trainer.stream, trainer.game, trainer.device
    endless = stream.batches()
    batch = next(endless)

    def bare() -> None:
        """What the mathematics needs: the networks, the loss, its gradient, the update, on a batch that is already there."""
        for phase in trainer.phases:
            phase.idle.requires_grad_(False)
            phase.player.requires_grad_(True)
            phase.optimizer.zero_grad(set_to_none=True)
            latents = game.latents.draw(len(batch.real), device)
            round = Round(game, batch.real, latents, generator_turn=phase.player is game.generator)
            with phase.precision.autocast():
                loss = torch.stack([term.weight * term(round) for term in phase.terms.values()]).sum()
            loss.backward()
            phase.optimizer.step()

    parts: dict[str, Callable[[], object]] = {
        "bare step": bare,
        "whole loop": lambda: trainer.step(next(endless)),
        "data": lambda: next(endless),
        **{f"{phase.name} turn": lambda phase=phase: phase.step(game, batch) for phase in trainer.phases},  # type: ignore[misc]
        "average": lambda: trainer.average.update(stream.images_per_epoch, stream.batch_size),
    }

    def time_of(action: Callable[[], object], repeats: int) -> float:
        started = time.perf_counter()
        for _ in itertools.repeat(None, repeats):
            action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return (time.perf_counter() - started) / repeats

    with trainer.stopwatch.running():
        for action in parts.values():
            time_of(action, warmup)
        measured: Seconds = {name: [] for name in parts}
        for _ in range(rounds):
            for name, action in parts.items():
                measured[name].append(time_of(action, steps))
    trainer.tracker.finish(trainer.summary("finished"))
    return measured


def print_table(seconds: Seconds, medians: dict[str, float]) -> None:
    """Median, range, and share of the bare step, of everything measured."""
    from rich.console import Console
    from rich.table import Table

    table = Table("part of a step", "median ms", "lowest", "highest", "of bare step")
    for name, values in seconds.items():
        share = f"{medians[name] / medians['bare step']:.1%}"
        table.add_row(name, *(f"{1000 * v:.2f}" for v in (medians[name], min(values), max(values))), share)
    Console().print(table)


def main() -> None:
    run_command(benchmark)


if __name__ == "__main__":
    main()
