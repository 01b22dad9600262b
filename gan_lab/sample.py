"""Sample: ``python -m gan_lab.sample run=outputs/2026-01-01/12-00-00 count=64 seed=1``, or ``input=photo.jpg``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from gan_lab.config import check_used, hydra_main, run_command

OTHER_USES = ("input", "style_mixing", "walk", "plane", "project", "latent")
"""Keys that select another use than generating images, which is called ``count`` below."""

USES = {
    **{key: ["count", "style_mixing", "walk", "plane"] for key in ("columns", "batch_size")},
    **{key: ["count", "style_mixing", "walk", "plane", "project"] for key in ("scale", "classes")},
    "count": ["count", "style_mixing", "walk"],
    "seed": ["count", "style_mixing", "walk", "project"],
    **{key: ["count"] for key in ("seeds", "singles")},
    **{key: ["walk"] for key in ("keyframes", "frames", "fps")},
    **{key: ["project"] for key in ("projection", "perception")},
    "at": ["plane"],
    "show": ["count", "style_mixing", "plane", "project"],
    "truncation": ["count", "style_mixing", "walk", "plane", "latent"],
    "standing_statistics": ["count", "style_mixing", "walk", "plane", "project", "latent"],
    "tile": ["input"],
}
"""The uses in which a key has an effect, of those that have none in some."""


@hydra_main("sample")
def sample(cfg: DictConfig) -> None:
    """Write generated images, a walk through them, a plane or a projection, or images upscaled by a super-resolution run."""
    from gan_lab.runs.run import Run
    from gan_lab.sampling import COMMANDS
    from gan_lab.sampling.output import check_show

    given = [key for key in OTHER_USES if cfg[key] is not None] or ["count"]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)}: give one of them")
    check_used(HydraConfig.get().overrides.task, given[0], USES)
    check_show(cfg.show)
    run = Run.open(cfg.run, cfg.checkpoint, cfg.device)
    if cfg.standing_statistics is not None and not run.use_standing_statistics(
        cfg.standing_statistics, cfg.batch_size, cfg.seed, cfg.truncation
    ):
        raise ValueError(f"standing_statistics={cfg.standing_statistics}: this generator has no batch normalization")
    if cfg.count is None:
        cfg.count = 64 if cfg.walk is None else 9
    COMMANDS[given[0]](run, cfg)


def quote_numbers(arguments: Sequence[str]) -> list[str]:
    """Quote the values of ``seeds=0-63,100`` and ``at=0.25,0.5``, of which Hydra would make several runs."""
    return [re.sub(r"^(seeds|plane|at)=([\d., -]+)$", r"\1='\2'", argument) for argument in arguments]


def main() -> None:
    run_command(sample, "sample", quote_numbers)


if __name__ == "__main__":
    main()
