"""Scores the checkpoints of a run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from gan_lab.evaluation import records
from gan_lab.evaluation.nearest_images import save_nearest
from gan_lab.metrics.suite import MetricSuite
from gan_lab.runs.run import Run
from gan_lab.runs.scoring import prepare_suite, score
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.terminal import STDOUT, progress_bar

log = logging.getLogger(__name__)


def evaluate_run(cfg: DictConfig) -> None:
    """Score the selected checkpoints, append the scores to ``scores.json`` and draw the nearest training images."""
    directory = RunDirectory.find(cfg.run)
    path = Path(cfg.out).expanduser() if cfg.out else directory.scores
    records.check_writable(path)
    runs = _open(directory, [cfg.checkpoints] if isinstance(cfg.checkpoints, str) else cfg.checkpoints or [], cfg.device)
    suite = prepare_suite(cfg, next(iter(runs.values())))
    entries = []
    for name, run in runs.items():
        with progress_bar(f"fakes of {name}", "images") as progress:
            results = score(suite, run, progress)
        entries.append(records.record({"checkpoint": name, "images": run.images_seen}, results))
        if isinstance(suite, MetricSuite) and results[0].fakes is not None:
            save_nearest(suite.evaluations[0], results[0].fakes, directory.samples / f"nearest-{name}.png")
    records.print_scores({f"{entry['checkpoint']} ({entry['images']:,} images)": entry for entry in entries})
    records.append(path, entries)
    STDOUT.print(f"\n{path}")


def _open(directory: RunDirectory, wanted: Sequence[str], device: str) -> dict[str, Run]:
    """Open the checkpoints by name; a checkpoint of the same training step as an earlier one is left out."""
    if not wanted:
        raise ValueError("checkpoints=[]: give one or several of last, best, pretrained")
    runs: dict[str, Run] = {}
    for name in wanted:
        if name == "best" and len(wanted) > 1 and not directory.checkpoint("best").is_file():
            log.info("there is no best checkpoint: the run was trained without a score")
            continue
        run = Run.open(directory.path, name, device)
        same = next((other for other, opened in runs.items() if opened.images_seen == run.images_seen), None)
        if same is None:
            runs[name] = run
        else:
            log.info("%s is the same checkpoint as %s", name, same)
    return runs
