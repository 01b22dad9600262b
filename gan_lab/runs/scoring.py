"""Scores a run's generator by the protocols of a configuration."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence

from omegaconf import DictConfig

from gan_lab.building.resumed_data import renumbered
from gan_lab.building.tasks import build_task
from gan_lab.config import call_in_process, open_evaluation, prepend_run_overrides
from gan_lab.metrics.full_reference_suite import FullReferenceSuite
from gan_lab.metrics.protocol import BATCH_NORMS
from gan_lab.metrics.suite import MetricSuite, Result
from gan_lab.runs.run import Run
from gan_lab.utils.progress import Progress
from gan_lab.utils.terminal import progress_bar

log = logging.getLogger(__name__)

STANDING_BATCHES = 16
"""Generated batches from which standing batch-norm statistics are computed."""


def prepare_suite(cfg: DictConfig, run: Run) -> MetricSuite | FullReferenceSuite:
    """The metrics of an evaluation, with the statistics of the real images.

    The real images have the class numbers that the generator was trained with.

    Args:
        cfg: of the evaluation.
        run: which is evaluated.

    Raises:
        ValueError: nothing is measured, or data or networks are missing.
    """
    suite = _build_suite(cfg, run)
    if not suite.evaluations:
        raise ValueError("evaluation=none measures nothing; use evaluation=fast or full, or pairs for super-resolution")
    with progress_bar("real images", "images") as progress:
        suite.prepare(run.device, progress)
    return suite


def score(suite: MetricSuite | FullReferenceSuite, run: Run, progress: Progress) -> list[Result]:
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


def evaluate(run: Run, arguments: Sequence[str]) -> list[Result]:
    """What ``python -m gan_lab.evaluate run=... <arguments>`` measures; writes nothing, and leaves the generator as it was."""
    whole = [f"run={run.directory.path.absolute()}", *arguments]
    cfg = call_in_process(open_evaluation, whole, "gan_lab.evaluate", "evaluate", prepend_run_overrides)
    suite, state = prepare_suite(cfg, run), copy.deepcopy(run.generator.state_dict())
    try:
        with progress_bar("fakes", "images") as progress:
            return score(suite, run, progress)
    finally:
        run.generator.load_state_dict(state)


def _build_suite(cfg: DictConfig, run: Run) -> MetricSuite | FullReferenceSuite:
    task, trained = build_task(cfg), run.labels.names
    if not trained or list(trained) == list(task.data.classes):
        return task.suite(cfg.reals)
    if set(trained) != set(task.data.classes) or run.labels.multi_label:
        log.warning("the data set has other classes than the run was trained with: scores by class compare different ones")
        return task.suite(cfg.reals)
    with renumbered(cfg, trained):
        return build_task(cfg).suite(cfg.reals)
