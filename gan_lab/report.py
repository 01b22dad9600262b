"""Report: ``python -m gan_lab.report run=outputs/2026-01-01/12-00-00``."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from gan_lab.config import CONF_DIR, run_command
from gan_lab.directory import RunDirectory


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="report")
def report(cfg: DictConfig) -> None:
    """Write a run's page, curves and film anew from its records."""
    from gan_lab.reporting.page import write_report

    print(write_report(RunDirectory.find(cfg.run)))


def main() -> None:
    run_command(report, "report")


if __name__ == "__main__":
    main()
