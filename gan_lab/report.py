"""Report: ``python -m gan_lab.report run=outputs/2026-01-01/12-00-00``, or ``study=``, ``runs=[...]`` or ``serve=true``."""

from __future__ import annotations

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from gan_lab.config import changes_from_default, check_used, configuration_values, hydra_main, run_command
from gan_lab.storage.run_directory import RunDirectory, latest_study
from gan_lab.utils.suggestions import as_names

USES = {"baseline": ["study"], "out": ["runs"], "overwrite": ["runs"], "port": ["serve"]}
"""The uses in which a key has an effect, of those that have none in some."""


@hydra_main("report")
def report(cfg: DictConfig) -> None:
    """Rewrite the page of a run or of a study, compare runs, or show all of them in a browser."""
    given = [key for key in COMMANDS if cfg[key] not in (None, False)]
    if len(given) != 1:
        raise ValueError(
            "give one of run=outputs/..., for the page of a run, study=multirun/..., for the page of several runs, "
            "runs=[outputs/a,outputs/b], to compare them, and serve=true, to show everything in a browser"
        )
    check_used(HydraConfig.get().overrides.task, given[0], USES)
    COMMANDS[given[0]](cfg)


def _write_run(cfg: DictConfig) -> None:
    from gan_lab.reporting.run_page import write_report
    from gan_lab.runs.run import Run
    from gan_lab.training.explorer import write_explorer

    directory = RunDirectory.find(cfg.run)
    changes = changes_from_default(directory)
    if directory.checkpoint("last").is_file():
        run = Run.open(directory.path)
        write_explorer(directory, run.generator, run.latents, run.labels, run.device, run.images_seen)
    print(write_report(directory, changes))


def _write_study(cfg: DictConfig) -> None:
    from gan_lab.studies.multirun import write_study_outputs

    write_study_outputs(latest_study() if cfg.study == "latest" else Path(cfg.study).expanduser(), cfg.baseline)


def _write_comparison(cfg: DictConfig) -> None:
    from gan_lab.reporting.comparison_page import ComparedRun, write_comparison

    out = Path(cfg.out).expanduser()
    if out.exists() and not cfg.overwrite:
        raise ValueError(f"{out} exists already: choose another out=, or overwrite=true")
    directories = [RunDirectory.find(str(path)) for path in as_names(cfg.runs, "runs") or []]
    write_comparison([ComparedRun(directory, configuration_values(directory)) for directory in directories], out)
    print(out)


def _serve(cfg: DictConfig) -> None:
    from gan_lab.gallery.server import serve

    serve([Path("outputs"), Path("multirun")], cfg.port)


COMMANDS = {"run": _write_run, "study": _write_study, "runs": _write_comparison, "serve": _serve}
"""The function for each key that selects a use."""


def main() -> None:
    run_command(report, "report")


if __name__ == "__main__":
    main()
