"""Scores the checkpoints of a run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from gan_lab.building.resumed_data import renumbered
from gan_lab.building.tasks import build_task
from gan_lab.evaluation import records
from gan_lab.evaluation.nearest_images import save_nearest
from gan_lab.metrics.full_reference_suite import FullReferenceSuite
from gan_lab.metrics.protocol import BATCH_NORMS
from gan_lab.metrics.suite import MetricSuite, Result
from gan_lab.runs.run import Run
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.progress import Progress
from gan_lab.utils.terminal import STDOUT, progress_bar

log = logging.getLogger(__name__)

STANDING_BATCHES = 16
"""Generated batches from which standing batch-norm statistics are computed."""


def evaluate_run(cfg: DictConfig) -> None:
    """Score the selected checkpoints, append the scores to ``scores.json`` and draw the nearest training images."""
    directory = RunDirectory.find(cfg.run)
    path = Path(cfg.out).expanduser() if cfg.out else directory.scores
    records.check_writable(path)
    runs = _open(directory, [cfg.checkpoints] if isinstance(cfg.checkpoints, str) else cfg.checkpoints or [], cfg.device)
    suite = _suite(cfg, next(iter(runs.values())))
    if not suite.evaluations:
        raise ValueError("evaluation=none measures nothing; use evaluation=fast or full, or pairs for super-resolution")
    with progress_bar("real images", "images") as progress:
        suite.prepare(next(iter(runs.values())).device, progress)
    entries = []
    for name, run in runs.items():
        with progress_bar(f"fakes of {name}", "images") as progress:
            results = _evaluate(suite, run, progress)
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


def _suite(cfg: DictConfig, run: Run) -> MetricSuite | FullReferenceSuite:
    """The evaluation of a run, whose real images have the class numbers that its generator was trained with."""
    task, trained = build_task(cfg), run.labels.names
    if not trained or list(trained) == list(task.data.classes):
        return task.suite(cfg.reals)
    if set(trained) != set(task.data.classes) or run.labels.multi_label:
        log.warning("the data set has other classes than the run was trained with: scores by class compare different ones")
        return task.suite(cfg.reals)
    with renumbered(cfg, trained):
        return build_task(cfg).suite(cfg.reals)


def _evaluate(suite: MetricSuite | FullReferenceSuite, run: Run, progress: Progress) -> list[Result]:
    """The results of all protocols; running statistics are used first, because computing standing ones replaces them."""
    if isinstance(suite, FullReferenceSuite):
        return suite(run.upscale, progress, details=True)
    results: dict[str, Result] = {}
    for batch_norm in BATCH_NORMS:
        if not (part := suite.with_batch_norm(batch_norm)).evaluations:
            continue
        if batch_norm == "standing":
            run.use_standing_statistics(STANDING_BATCHES)
        results |= {result.name: result for result in part(run.sample_for_evaluation, progress, details=True)}
    return [results[evaluation.name] for evaluation in suite.evaluations]
