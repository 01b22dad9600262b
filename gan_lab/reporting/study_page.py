"""The page of a study, ``study.html``, and its tables, ``study.csv`` and ``study.md``, from the run directories alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from gan_lab.reporting import plots, study_plots, study_table
from gan_lab.reporting.configurations import Configuration, group_by_configuration, pareto_front
from gan_lab.reporting.films import Film, read_frames, relative_link
from gan_lab.reporting.pages import render_page
from gan_lab.reporting.run_records import read_runs, read_study
from gan_lab.reporting.significance import describe_difference, same_protocol
from gan_lab.storage.files import write_atomically
from gan_lab.storage.metric_names import METRICS_NOTE, display_name
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.formatting import format_count, format_duration
from gan_lab.utils.shell import format_command

BEST = Path("experiment") / "best.yaml"
"""The best configuration, relative to the study's folder, which ``--config-dir`` takes."""

RUN_OBJECTIVES = ("epoch_seconds", "peak_memory_mib", "seconds")
"""Objectives of a sweep that are not scores."""

MAX_GRIDS = 24
"""Upper bound of the number of sample grids on a page; those of the best configurations are shown."""

MAX_COMPARISONS = 12
"""Upper bound of the number of sentences that compare a configuration with the baseline."""


@dataclass(frozen=True)
class StudyReport:
    """The runs below a folder, grouped by configuration.

    Attributes:
        folder: of the runs.
        groups: the configurations, each with its runs.
        record: the content of ``study.json``; empty if the runs are not those of a sweep.
        baseline: the configuration that the others are compared with; None if there is none.
    """

    folder: Path
    groups: list[Configuration]
    record: Mapping[str, Any]
    baseline: Configuration | None

    @classmethod
    def read(cls, folder: Path, baseline: str | None = None) -> StudyReport:
        """Read the runs below a folder.

        Args:
            folder: the folder of a multirun.
            baseline: label of the configuration that the others are compared with. None: the first one; for a sweep, trial 0
                if it has the configuration's own values.

        Raises:
            ValueError: there is no run, or no configuration has that label.
        """
        groups = group_by_configuration(read_runs(folder))
        if RunDirectory(folder).config.is_file():
            raise ValueError(f"study={folder}: is a single run; give run={folder}, or the folder of a multirun")
        if not groups:
            what = "contains no run" if folder.is_dir() else "is a file" if folder.exists() else "does not exist"
            raise ValueError(f"study={folder}: {what}; give the folder of a multirun, such as multirun/quality")
        record = read_study(folder)
        if baseline is None and record and not record["has_default"]:
            return cls(folder, groups, record, None)
        chosen = next((g for g in groups if baseline in (None, g.label)), None)
        if chosen is None:
            raise ValueError(f"baseline={baseline}: must be one of {'; '.join(g.label for g in groups)}")
        return cls(folder, groups, record, chosen)

    @property
    def objective(self) -> tuple[str, str]:
        """The metrics on the vertical and on the horizontal axis of the Pareto front."""
        named = [name if name in RUN_OBJECTIVES else "score" for name in self.record.get("objective", [])]
        return (named[0], named[1]) if len(named) > 1 else ("score", "epoch_seconds")

    @property
    def complete(self) -> list[Configuration]:
        """The configurations whose runs have all finished; the metrics of the others are from an earlier stage."""
        return [g for g in self.groups if g.is_complete]

    @property
    def first_objective(self) -> str:
        """The metric by which the best configuration is chosen: the first objective of a sweep, otherwise the score."""
        names = self.record.get("objective", [])
        return names[0] if names and names[0] in RUN_OBJECTIVES else "score"

    @property
    def best(self) -> Configuration | None:
        """The allowed configuration with the lowest value of :attr:`first_objective`; None if no value is known."""
        return self.lowest(self.first_objective)

    @property
    def allowed(self) -> list[Configuration]:
        """The finished configurations that exceed no constraint of the sweep."""
        bounds = self.record.get("constraints", {})
        return [g for g in self.complete if not any(_exceeds(g, name, bound) for name, bound in bounds.items())]

    def lowest(self, name: str) -> Configuration | None:
        """The allowed configuration with the lowest mean of a metric; None if no value is known."""
        known = [g for g in self.allowed if g.mean(name) is not None]
        return min(known, key=lambda g: _sort_key(g, name), default=None)

    def pareto_front(self) -> list[Configuration]:
        """The Pareto-optimal configurations among the allowed ones; empty if their scores are not comparable."""
        return pareto_front(self.allowed, *self.objective) if same_protocol(self.complete) else []


def write_study(study: StudyReport) -> Path:
    """Write the page and the tables.

    Returns:
        The path of ``study.html``.
    """
    folder = study.folder
    titles, cells = study_table.rows(study.groups)
    write_atomically(folder / "study.csv", study_table.comma_separated(study.groups))
    write_atomically(
        folder / "study.md", study_table.markdown(study.groups) + "\n" + "".join(f"- {line}\n" for line in conclusions(study))
    )
    shown = [g for g in sorted(study.groups, key=lambda g: _sort_key(g, "score")) if _shown_run(g) is not None]
    experiment = folder / BEST
    page = render_page(
        "study.html.j2",
        title=study.record.get("name") or "/".join(folder.parts[-2:]),
        directory=str(folder),
        running=any("running" in g.status for g in study.groups),
        facts=_facts(study),
        space=study.record.get("space", {}),
        conclusions=conclusions(study),
        titles=titles,
        cells=cells,
        pareto_front={g.label for g in study.pareto_front()},
        note=_note(study.groups),
        plots=[(title, Markup(plots.svg(figure))) for title, figure in _plots(study)],
        films=[_film(g, folder, 1 / min(len(shown), MAX_GRIDS)) for g in shown[:MAX_GRIDS]],
        links={g.label: link for g in study.groups if (link := _link(g, folder))},
        omitted=_note_on_grids(len(shown) - MAX_GRIDS),
        experiment=experiment.read_text(encoding="utf-8") if experiment.exists() else "",
        command=format_command("train", "--config-dir", str(folder), f"experiment={BEST.stem}"),
    )
    write_atomically(folder / "study.html", page)
    return folder / "study.html"


def conclusions(study: StudyReport) -> list[str]:
    """The results of the study in sentences: the best score, the fastest configuration, and comparisons with the baseline."""
    sentences = []
    if bounds := _bounds(study):
        allowed, count = len(study.allowed), format_count(len(study.complete), "finished configuration")
        sentences.append(f"within the constraint of {bounds}: {allowed or 'none'} of {count}")
    if (best := study.lowest("score")) and same_protocol(study.complete):
        sentences.append(f"best score: {best.describe('score')}")
    if fastest := study.lowest("epoch_seconds"):
        sentences.append(f"fastest: {fastest.describe('epoch_seconds')}")
    if not same_protocol(study.groups):
        sentences.append(
            "scores are not compared because their protocols differ; gan_lab.evaluate measures all runs with the same protocol"
        )
    if (baseline := study.baseline) is not None and baseline.is_complete:
        others = study.pareto_front() if study.record else study.complete
        own = study.record and study.record["has_default"]
        title = f"{baseline.label} (the configuration's own values)" if own else baseline.label
        sentences += [describe_difference(baseline, g, title) for g in others[:MAX_COMPARISONS] if g is not baseline]
    return sentences


def _facts(study: StudyReport) -> dict[str, str]:
    """The first lines of the page: number and status of the runs, objective, total time, devices."""
    records = [record for g in study.groups for record in g.records]
    states = [trial["state"] for trial in study.record.get("trials", [])] or [record.metrics["status"] for record in records]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    devices = dict.fromkeys(str(record.metrics["device"]) for record in records if record.metrics["device"])
    facts = {
        "trials" if study.record else "runs": counted,
        "configurations": str(len(study.groups)),
        "minimized": ", ".join(study.record.get("objective", [])),
        "constraints": _bounds(study),
        "training time": format_duration(sum(record.metrics["seconds"] or 0 for record in records)),
        "devices": "; ".join(devices),
    }
    return {name: value for name, value in facts.items() if value}


def _exceeds(group: Configuration, metric: str, bound: float) -> bool:
    """Whether the mean of a metric is above its bound, or not known."""
    value = group.mean(metric if metric in RUN_OBJECTIVES else "score")
    return value is None or value > bound


def _bounds(study: StudyReport) -> str:
    """The constraints of the sweep: ``peak memory (MiB) at most 2,000``."""
    bounds = study.record.get("constraints", {})
    return " and ".join(f"{display_name(name)} at most {bound:,g}" for name, bound in bounds.items())


def _plots(study: StudyReport) -> list[tuple[str, Figure]]:
    """Title and figure of each plot that the study has enough data for."""
    y, x = study.objective
    figures: list[tuple[str, Figure]] = []
    known = [g for g in study.complete if g.mean(y) is not None and g.mean(x) is not None]
    if len(known) > 1 and same_protocol(study.complete):
        title = f"Pareto front: {display_name(y)} and {display_name(x)}"
        figures.append((title, study_plots.pareto_plot(study.complete, study.pareto_front(), x, y)))
    if any(g.score_name for g in study.groups):
        figures.append(("Score against training time", study_plots.score_curves(study.groups, study.best)))
    if importance := {name: values for name, values in study.record.get("importance", {}).items() if values}:
        measure = study.record.get("importance_measure", "mean decrease in impurity of a random forest")
        figures.append(("Importance of the parameters", study_plots.importances(importance, measure)))
    trials = [trial for trial in study.record.get("trials", []) if trial["values"] and all(map(math.isfinite, trial["values"]))]
    if len(trials) > 1:
        figures.append(("All trials", study_plots.parallel_coordinates(trials, study.record["objective"])))
    return figures


def _note(groups: Sequence[Configuration]) -> str:
    """Explains the values of the table."""
    note = f"Scores are those at the end of a run; losses and accuracies are means over its last epoch. {METRICS_NOTE}"
    if any(len(g.records) > 1 for g in groups):
        return f"{note} Values are means ± standard deviation over the seeds."
    if all(g.mean("score_ci95") is None for g in groups):
        return note
    return f"{note} ± is the half-width of the 95 % confidence interval for other latents, not for other seeds."


def _note_on_grids(omitted: int) -> str:
    return f"{format_count(omitted, 'more grid')} in the run directories." if omitted > 0 else ""


def _sort_key(group: Configuration, name: str) -> float:
    """Sorts configurations by a metric, the lowest first and those without it last."""
    value = group.mean(name)
    return math.inf if value is None else value


def _shown_run(group: Configuration) -> RunDirectory | None:
    """Its first run that has sample grids, which stands for it on the page."""
    directories = (record.directory for record in group.records if record.directory is not None)
    return next((directory for directory in directories if directory.sample_grids()), None)


def _film(group: Configuration, folder: Path, share: float) -> Film:
    directory = _shown_run(group)
    assert directory is not None
    return Film(_caption(group), _link(group, folder), read_frames(directory, directory.history(), folder, share))


def _link(group: Configuration, folder: Path) -> str:
    """The link to the page of the run that stands for it; empty if there is none."""
    directory = _shown_run(group)
    return relative_link(directory.report, folder) if directory is not None and directory.report.is_file() else ""


def _caption(group: Configuration) -> str:
    return group.title if group.mean("score") is None else group.describe("score")
