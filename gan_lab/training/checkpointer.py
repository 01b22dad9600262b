"""What a training is at a moment: everything that a bit-identical resume needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gan_lab.storage import checkpoint
from gan_lab.training.growth import Stage

if TYPE_CHECKING:
    from gan_lab.training.trainer import Trainer


def state_of(trainer: Trainer) -> dict[str, Any]:
    """Everything a bit-identical resume needs. Schedules, cadences and the data's order follow from ``images``."""
    return {
        "images": trainer.images,
        "iteration": trainer.iteration,
        "stage": vars(trainer.stage),
        "seconds": trainer.stopwatch.seconds,
        "generator": trainer.game.generator.state_dict(),
        "discriminator": trainer.game.discriminator.state_dict(),
        "average": trainer.average.state_dict(),
        "phases": {phase.name: phase.state_dict() for phase in trainer.every_phase},
        "preview": {"latents": trainer.preview.latents, "labels": trainer.preview.labels},
        "labels": trainer.game.labels.state_dict(),
        "augment": trainer.game.augment.state_dict(),
        "scores": trainer.scores.state_dict(),
        "health": trainer.health.state_dict(),
        "meter": trainer.meter.state_dict(),
        "tracker": trainer.tracker.state_dict(),
        "num_images": len(trainer.stream.data),
        "random": trainer.ranks.collect(checkpoint.random_state(trainer.device, trainer.game.random)),
    }


def restore(trainer: Trainer, state: Mapping[str, Any]) -> None:
    """Bring a freshly built trainer to where a checkpoint was made.

    Raises:
        ValueError: the data set is not the one the run has seen so far.
    """
    if state["num_images"] != len(trainer.stream.data):
        raise ValueError(
            f"the data set has {len(trainer.stream.data):,} images now and had {state['num_images']:,} when the run began; "
            "a run goes on with the images it has"
        )
    trainer.images, trainer.iteration = state["images"], state["iteration"]
    trainer.stage = Stage(**state["stage"])
    trainer.stopwatch.seconds = state["seconds"]
    trainer.game.generator.load_state_dict(state["generator"])
    trainer.game.discriminator.load_state_dict(state["discriminator"])
    trainer.average.load_state_dict(state["average"])
    for phase in trainer.every_phase:
        phase.load_state_dict(state["phases"][phase.name])
    trainer.game.augment.load_state_dict(state["augment"])
    trainer.preview.latents = state["preview"]["latents"].to(trainer.device)
    trainer.preview.labels = None if state["preview"]["labels"] is None else state["preview"]["labels"].to(trainer.device)
    trainer.scores.load_state_dict(state["scores"])
    trainer.health.load_state_dict(state["health"])
    trainer.meter.load_state_dict(state["meter"], trainer.device)
    trainer.tracker.load_state_dict(state["tracker"])
    trainer.info = replace(trainer.info, first_image=trainer.images)
    if trainer.ranks.rank < len(state["random"]):  # a run may go on with more processes than it had
        checkpoint.restore_random_state(state["random"][trainer.ranks.rank], trainer.device, trainer.game.random)
