"""Time of a training step at each resolution of progressive growing."""

from __future__ import annotations

from gan_lab.benchmarks.timing import Action, Repeated, Result, interleaved, synchronizer
from gan_lab.building.trainer import build_trainer
from gan_lab.config import Job
from gan_lab.iteration.growth import GrowthState
from gan_lab.models.base import ProgressiveNetwork
from gan_lab.training.trainer import Trainer


class GrowthBenchmark(Repeated):
    """Measures steps of both networks, with data loading, at each resolution after its fade-in, with its own batch size."""

    def __call__(self, job: Job) -> Result:
        trainer = build_trainer(job)
        if not isinstance(trainer.updater.gan.generator, ProgressiveNetwork):
            raise ValueError("benchmark=growth needs a progressive network: use model=progan")
        # otherwise the first step of every measurement would create new optimizer states
        trainer.updater.growth.reset_optimizer = False
        stages = {stage.resolution: stage for stage in _stages(trainer) if stage.alpha == 1.0}
        actions = {f"{size}x{size}, batch {stage.batch_size}": step_at(trainer, stage) for size, stage in stages.items()}
        interleaved(actions, 1, self._warmup)
        seconds = interleaved(actions, self._rounds, self._steps, synchronizer(trainer.device))
        result = Result(seconds, unit={name: s.batch_size for name, s in zip(actions, stages.values(), strict=True)})
        *smaller, largest = zip(actions, stages.values(), strict=True)
        for name, stage in smaller:
            per_image = result.ratio(name, largest[0]) * largest[1].batch_size / stage.batch_size
            result.ratios[f"seconds per kimg at {stage.resolution} / at {largest[1].resolution}"] = per_image
        return result


def _stages(trainer: Trainer) -> list[GrowthState]:
    """Growth states at evenly spaced times of the training."""
    points = 1000
    return [trainer.updater.growth.state_at(n * trainer.progress.total_images // points) for n in range(points)]


def step_at(trainer: Trainer, stage: GrowthState) -> Action:
    """A function that updates both networks in the state ``stage``, with data loading and EMA."""
    batches = trainer.loader.batches(0, lambda images: stage.batch_size)

    def step() -> None:
        trainer.updater.grow_to(stage)
        batch = stage.match_resolution(next(batches))
        for phase in trainer.updater.phases:
            phase.step(trainer.updater.gan, batch)
            phase.advance()
        trainer.updater.ema.update()

    return step
