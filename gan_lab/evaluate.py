"""Evaluate: ``python -m gan_lab.evaluate run=outputs/2026-01-01/12-00-00 [evaluation=full]``."""

from __future__ import annotations

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from gan_lab.config import check_used, hydra_main, open_evaluation, prepend_run_overrides, run_command

USES = {"checkpoints": ["run"], "reals": ["run", "fakes"], "out": ["run", "fakes"], "fit": ["fit_features"]}
"""The uses in which a key has an effect, of those that have one in some uses only."""


@hydra_main("evaluate")
def evaluate(cfg: DictConfig) -> None:
    """Score a run or a folder of images, compare the scores of runs, or train a classifier that provides features."""
    modes = {"run": cfg.run, "fakes": cfg.fakes, "compare": cfg.compare, "fit_features": cfg.fit_features or None}
    given = [name for name, value in modes.items() if value is not None]
    if len(given) != 1:
        excess = f"; not {' and '.join(given)} at once" if given else ""
        raise ValueError(f"evaluate needs run=..., or fakes=... reals=..., or compare=[...], or fit_features=true{excess}")
    check_used(HydraConfig.get().overrides.task, given[0], USES)
    cfg = open_evaluation(cfg)

    from gan_lab.evaluation import COMMANDS

    COMMANDS[given[0]](cfg)


def main() -> None:
    run_command(evaluate, "evaluate", prepend_run_overrides)


if __name__ == "__main__":
    main()
