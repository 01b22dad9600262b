"""The page about several runs, ``study.html``, and its table, ``study.csv`` and ``study.md``: from their directories alone."""

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
from gan_lab.reporting.run_page import duration, embed, fill
from gan_lab.reporting.run_records import read_runs, read_study
from gan_lab.reporting.significance import describe_difference, same_protocol
from gan_lab.storage.files import write_atomically

BEST = Path("experiment") / "best.yaml"
"""Below the study's folder: its best configuration, for ``--config-dir``."""

LARGEST = 24
"""Grids on a page; of more runs the best."""

COMPARED = 12
"""Configurations that are held against another in words, at most."""


@dataclass(frozen=True)
class StudyReport:
    """What several runs have come to.

    Attributes:
        folder: of the runs.
        groups: runs by configuration, the seeds of one together.
        record: what Optuna knows of it, or empty.
        baseline: what the others are held against: the first, of a sweep the configuration as it stands; or None.
    """

    folder: Path
    groups: list[Configuration]
    record: Mapping[str, Any]
    baseline: Configuration | None

    @classmethod
    def read(cls, folder: Path, baseline: str | None = None) -> StudyReport:
        """The study below a folder.

        Args:
            folder: of its runs.
            baseline: label of the configuration that the others are held against; None: the first.

        Raises:
            ValueError: there is no run, or none of that label.
        """
        groups = group_by_configuration(read_runs(folder))
        if not groups:
            raise ValueError(f"study={folder}: no run there; give the folder of a multirun, such as multirun/quality")
        record = read_study(folder)
        if baseline is None and record and not record["has_default"]:
            return cls(folder, groups, record, None)
        chosen = next((g for g in groups if baseline in (None, g.label)), None)
        if chosen is None:
            raise ValueError(f"baseline={baseline}: must be one of {'; '.join(g.label for g in groups)}")
        return cls(folder, groups, record, chosen)

    @property
    def objective(self) -> tuple[str, str]:
        """What stands against what in the picture of the front: on the vertical axis, on the horizontal one."""
        named = [name if name in study_plots.AXES else "score" for name in self.record.get("objective", [])]
        return (named[0], named[1]) if len(named) > 1 else ("score", "epoch_seconds")

    @property
    def complete(self) -> list[Configuration]:
        """Those that have trained to their end, as the others' figures are of another age."""
        return [g for g in self.groups if g.is_complete]

    @property
    def best(self) -> Configuration | None:
        """By the first objective."""
        names = self.record.get("objective", [])
        figure = names[0] if names and names[0] in study_plots.AXES else "score"
        known = [g for g in self.complete if g.mean(figure) is not None]
        return min(known, key=lambda g: _low(g, figure), default=None)

    def pareto_front(self) -> list[Configuration]:
        return pareto_front(self.complete, *self.objective) if same_protocol(self.complete) else []


def write_study(study: StudyReport) -> Path:
    """Write the page and the tables anew.

    Returns:
        The page.
    """
    folder = study.folder
    titles, cells = study_table.rows(study.groups)
    write_atomically(folder / "study.csv", study_table.comma_separated(study.groups))
    write_atomically(
        folder / "study.md", study_table.markdown(study.groups) + "\n" + "".join(f"- {line}\n" for line in conclusions(study))
    )
    shown = [g for g in sorted(study.groups, key=lambda g: _low(g, "score")) if _grid(g).exists()]
    experiment = folder / BEST
    page = fill(
        "study.html.j2",
        title=study.record.get("name") or "/".join(folder.parts[-2:]),
        directory=str(folder),
        running=any("running" in g.status for g in study.groups),
        facts=_facts(study),
        space=study.record.get("space", {}),
        words=conclusions(study),
        titles=titles,
        cells=cells,
        on_front={g.label for g in study.pareto_front()},
        note=_note(study.groups),
        plots=[(title, Markup(plots.svg(figure))) for title, figure in _plots(study)],
        grids=[{"picture": embed(_grid(g)), "caption": _caption(g)} for g in shown[:LARGEST]],
        left_out=f"{len(shown) - LARGEST} more in their run directories" if len(shown) > LARGEST else "",
        experiment=experiment.read_text(encoding="utf-8") if experiment.exists() else "",
        how=f"python -m gan_lab.train --config-dir {folder} experiment={BEST.stem}; or copy {experiment} into conf/experiment/",
    )
    write_atomically(folder / "study.html", page)
    return folder / "study.html"


def conclusions(study: StudyReport) -> list[str]:
    """What the study says, sentence by sentence."""
    said = []
    if best := study.best:
        fastest = min(study.complete, key=lambda g: _low(g, "epoch_seconds"))
        if best.mean("score") is not None and same_protocol(study.complete):
            said.append(f"{best.title} scores best: {best.score_name} {best.format('score', 'score_ci95')}")
        if fastest.mean("epoch_seconds") is not None:
            said.append(f"{fastest.title} is fastest: {fastest.format('epoch_seconds')} s per epoch")
    if not same_protocol(study.groups):
        said.append(
            "the scores were not all taken in the same way and are not compared; gan_lab.evaluate measures runs anew, alike"
        )
    if (baseline := study.baseline) is not None and baseline.is_complete:
        others = study.pareto_front() if study.record else study.complete
        named = f"{baseline.label}, the configuration as it stands" if study.record else baseline.label
        said += [
            f"beside {named}: {describe_difference(baseline, other)}" for other in others[:COMPARED] if other is not baseline
        ]
    return said


def _facts(study: StudyReport) -> dict[str, str]:
    entries = [entry for g in study.groups for entry in g.entries]
    states = [trial["state"] for trial in study.record.get("trials", [])] or [entry.metrics["status"] for entry in entries]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    devices = dict.fromkeys(str(entry.metrics["device"]) for entry in entries if entry.metrics["device"])
    facts = {
        "trials" if study.record else "runs": counted,
        "configurations": str(len(study.groups)),
        "minimised": ", ".join(study.record.get("objective", [])),
        "training time": duration(sum(entry.metrics["seconds"] or 0 for entry in entries)),
        "devices": "; ".join(devices),
    }
    return {name: value for name, value in facts.items() if value}


def _plots(study: StudyReport) -> list[tuple[str, Figure]]:
    up, across = study.objective
    found: list[tuple[str, Figure]] = []
    if len([g for g in study.complete if g.mean(up) is not None and g.mean(across) is not None]) > 1 and same_protocol(
        study.complete
    ):
        found.append(
            (
                f"The front: {up.replace('_', ' ')} and {study_plots.AXES[across]}",
                study_plots.pareto_plot(study.complete, study.pareto_front(), across, up),
            )
        )
    if any(g.score_name for g in study.groups):
        found.append(("Scores over time", study_plots.curves(study.groups, study.best)))
    if shares := {name: share for name, share in study.record.get("importance", {}).items() if share}:
        found.append(("Which choices matter", study_plots.importances(shares)))
    valued = [trial for trial in study.record.get("trials", []) if trial["values"] and all(map(math.isfinite, trial["values"]))]
    if len(valued) > 1:
        found.append(("Every trial", study_plots.parallel(valued, study.record["objective"])))
    return found


def _note(groups: Sequence[Configuration]) -> str:
    repeated = any(len(g.entries) > 1 for g in groups)
    error = (
        "± is the standard deviation over the seeds"
        if repeated
        else "± is the half-width of the score's 95 % interval over other latents, of one training each"
    )
    return f"Final values; losses and accuracies are means over the last epoch. {error}."


def _low(group: Configuration, name: str) -> float:
    """A figure as it is sorted by: the lowest first, those without it last."""
    value = group.mean(name)
    return math.inf if value is None else value


def _grid(group: Configuration) -> Path:
    return next(
        (e.directory.final for e in group.entries if e.directory is not None and e.directory.final.exists()), Path("none")
    )


def _caption(group: Configuration) -> str:
    score = group.format("score", "score_ci95")
    return f"{group.title}{f': {group.score_name} {score}' if score else ''}"
