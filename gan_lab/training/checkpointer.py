"""What a training is at a moment: everything that a bit-identical resume needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gan_lab.storage import checkpoint
from gan_lab.training.growth import GrowthState

if TYPE_CHECKING:
    from gan_lab.training.trainer import Trainer


def training_state(trainer: Trainer) -> dict[str, Any]:
    """Everything a bit-identical resume needs. Schedules, cadences and the data's order follow from ``images``."""
    return {
        "images": trainer.images,
        "iteration": trainer.iteration,
        "growth": vars(trainer.growth_state),
        "seconds": trainer.timer.seconds,
        "generator": trainer.gan.generator.state_dict(),
        "discriminator": trainer.gan.discriminator.state_dict(),
        "generator_ema": trainer.ema.state_dict(),
        "phases": {phase.name: phase.state_dict() for phase in trainer.all_phases},
        "sample_grid": {"latents": trainer.sample_grid.latents, "labels": trainer.sample_grid.labels},
        "labels": trainer.gan.labels.state_dict(),
        "augment": trainer.gan.augment.state_dict(),
        "evaluator": trainer.evaluator.state_dict(),
        "monitor": trainer.monitor.state_dict(),
        "averager": trainer.averager.state_dict(),
        "tracker": trainer.tracker.state_dict(),
        "num_images": len(trainer.loader.data),
        "rng_states": trainer.processes.all_gather_object(checkpoint.random_state(trainer.device, trainer.gan.rng)),
    }


def restore(trainer: Trainer, state: Mapping[str, Any]) -> None:
    """Bring a freshly built trainer to where a checkpoint was made.

    Raises:
        ValueError: the data set is not the one the run has seen so far.
    """
    if state["num_images"] != len(trainer.loader.data):
        raise ValueError(
            f"the data set has {len(trainer.loader.data):,} images now and had {state['num_images']:,} when the run began; "
            "a run goes on with the images it has"
        )
    trainer.images, trainer.iteration = state["images"], state["iteration"]
    trainer.growth_state = GrowthState(**state["growth"])
    trainer.timer.seconds = state["seconds"]
    trainer.gan.generator.load_state_dict(state["generator"])
    trainer.gan.discriminator.load_state_dict(state["discriminator"])
    trainer.ema.load_state_dict(state["generator_ema"])
    for phase in trainer.all_phases:
        phase.load_state_dict(state["phases"][phase.name])
    trainer.gan.augment.load_state_dict(state["augment"])
    trainer.sample_grid.latents = state["sample_grid"]["latents"].to(trainer.device)
    trainer.sample_grid.labels = (
        None if state["sample_grid"]["labels"] is None else state["sample_grid"]["labels"].to(trainer.device)
    )
    trainer.evaluator.load_state_dict(state["evaluator"])
    trainer.monitor.load_state_dict(state["monitor"])
    trainer.averager.load_state_dict(state["averager"], trainer.device)
    trainer.tracker.load_state_dict(state["tracker"])
    trainer.info = replace(trainer.info, first_image=trainer.images)
    if trainer.processes.rank < len(state["rng_states"]):  # a run may go on with more processes than it had
        checkpoint.restore_random_state(state["rng_states"][trainer.processes.rank], trainer.device, trainer.gan.rng)
