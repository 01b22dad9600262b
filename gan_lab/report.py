"""Report: ``python -m gan_lab.report run=outputs/2026-01-01/12-00-00``, or ``study=multirun/quality``."""

from __future__ import annotations

from pathlib import Path

import hydra
from omegaconf import DictConfig

from gan_lab.config import CONF_DIR, run_command
from gan_lab.storage.run_directory import RunDirectory, latest_study


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="report")
def report(cfg: DictConfig) -> None:
    """Rewrite the page of a run, or of the runs of a study, from their files."""
    if (cfg.run is None) == (cfg.study is None):
        raise ValueError("give run=outputs/..., for the page of a run, or study=multirun/..., for the page of several runs")
    if cfg.run is not None and cfg.baseline is not None:
        raise ValueError(f"baseline={cfg.baseline}: a run is compared with nothing; baseline is for study=multirun/...")
    if cfg.study is not None:
        from gan_lab.studies.multirun import write_study_outputs

        write_study_outputs(latest_study() if cfg.study == "latest" else Path(cfg.study).expanduser(), cfg.baseline)
        return
    from gan_lab.reporting.run_page import write_report

    print(write_report(RunDirectory.find(cfg.run)))


def main() -> None:
    run_command(report, "report")


if __name__ == "__main__":
    main()
