"""What a step costs at each size of a growing network."""

from __future__ import annotations

from gan_lab.benchmarks.step import synchronize
from gan_lab.benchmarks.timing import Action, Repeated, Result, interleaved
from gan_lab.building.trainer import build_trainer
from gan_lab.config import Job
from gan_lab.iteration.growth import GrowthState
from gan_lab.models.base import ProgressiveNetwork
from gan_lab.training.trainer import Trainer


class GrowthBenchmark(Repeated):
    """Steps of both players, data included, at each stable size with its own batch."""

    def __call__(self, job: Job) -> Result:
        trainer = build_trainer(job)
        if not isinstance(trainer.updater.gan.generator, ProgressiveNetwork):
            raise ValueError("benchmark=growth measures networks that grow: model=progan")
        trainer.updater.growth.reset_optimizer = (
            False  # a switch of sizes would leave the first step of a measurement with a new one
        )
        stages = {stage.resolution: stage for stage in _stages(trainer) if stage.alpha == 1.0}
        actions = {f"{size}x{size}, batch {stage.batch_size}": _step_at(trainer, stage) for size, stage in stages.items()}
        interleaved(actions, 1, self._warmup)
        seconds = interleaved(actions, self._rounds, self._steps, settle=synchronize(trainer.device))
        result = Result(seconds, unit={name: s.batch_size for name, s in zip(actions, stages.values(), strict=True)})
        *smaller, largest = zip(actions, stages.values(), strict=True)
        for name, stage in smaller:
            share = result.ratio(name, largest[0]) * largest[1].batch_size / stage.batch_size
            result.ratios[f"seconds per kimg at {stage.resolution} / at {largest[1].resolution}"] = share
        return result


def _stages(trainer: Trainer) -> list[GrowthState]:
    points = 1000
    return [trainer.updater.growth.state_at(n * trainer.progress.total_images // points) for n in range(points)]


def _step_at(trainer: Trainer, stage: GrowthState) -> Action:
    endless = trainer.loader.batches(0, lambda images: stage.batch_size)

    def step() -> None:
        trainer.updater.grow_to(stage)
        batch = stage.match_resolution(next(endless))
        for phase in trainer.updater.phases:
            phase.step(trainer.updater.gan, batch)
        trainer.updater.ema.update(trainer.loader.images_per_epoch, stage.batch_size)

    return step
