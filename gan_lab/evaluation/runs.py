"""Scores of a run's checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from gan_lab.building.tasks import build_task
from gan_lab.evaluation import records
from gan_lab.evaluation.nearest_images import save_nearest
from gan_lab.metrics.full_reference_suite import FullReferenceSuite
from gan_lab.metrics.suite import MetricSuite, Result
from gan_lab.runs.run import Run
from gan_lab.storage.run_directory import RunDirectory
from gan_lab.utils.progress import Progress
from gan_lab.utils.terminal import STDOUT, progress_bar

log = logging.getLogger(__name__)

STANDING_BATCHES = 16
"""Over which batch normalisation is measured anew for protocols that want standing statistics."""


def evaluate_run(cfg: DictConfig) -> None:
    """The suite on each checkpoint asked for; adds to ``scores.json`` and draws nearest training images."""
    directory = RunDirectory.find(cfg.run)
    path = Path(cfg.out).expanduser() if cfg.out else directory.scores
    records.check_writable(path)
    runs = _open(directory, [cfg.checkpoints] if isinstance(cfg.checkpoints, str) else cfg.checkpoints or [], cfg.device)
    suite = build_task(cfg).suite(cfg.reals)
    if not suite.evaluations:
        raise ValueError("evaluation=none measures nothing; evaluation=fast, full or, of super-resolution, pairs do")
    with progress_bar("real images", "images") as progress:
        suite.prepare(next(iter(runs.values())).device, progress)
    found = []
    for which, run in runs.items():
        with progress_bar(f"fakes of {which}", "images") as progress:
            results = _measure(suite, run, progress)
        found.append(records.record({"checkpoint": which, "images": run.images_seen}, results))
        if isinstance(suite, MetricSuite) and results[0].fakes is not None:
            save_nearest(suite.evaluations[0], results[0].fakes, directory.samples / f"nearest-{which}.png")
    records.print_scores({f"{entry['checkpoint']} ({entry['images']:,} images)": entry for entry in found})
    records.append(path, found)
    STDOUT.print(f"\n{path}")


def _open(directory: RunDirectory, wanted: Sequence[str], device: str) -> dict[str, Run]:
    """The checkpoints by name; one that is the same as another is left out."""
    if not wanted:
        raise ValueError("checkpoints=[]: name last, best, pretrained or several of them")
    runs: dict[str, Run] = {}
    for which in wanted:
        if which == "best" and len(wanted) > 1 and not directory.checkpoint("best").is_file():
            log.info("there is no best checkpoint: the run was trained without a score")
            continue
        run = Run.open(directory.path, which, device)
        twin = next((name for name, other in runs.items() if other.images_seen == run.images_seen), None)
        if twin is None:
            runs[which] = run
        else:
            log.info("%s is the same checkpoint as %s", which, twin)
    return runs


def _measure(suite: MetricSuite | FullReferenceSuite, run: Run, progress: Progress) -> list[Result]:
    """Protocols with running statistics first: measuring standing ones replaces them."""
    if isinstance(suite, FullReferenceSuite):
        return suite(run.upscale, progress, details=True)
    results: dict[str, Result] = {}
    for kind in ("running", "standing"):
        if not (part := suite.with_batch_norm(kind)).evaluations:
            continue
        if kind == "standing":
            run.use_standing_statistics(STANDING_BATCHES)
        results |= {result.name: result for result in part(run.sample_for_evaluation, progress, details=True)}
    return [results[measure.name] for measure in suite.evaluations]
