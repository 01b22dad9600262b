"""Which metrics are shown in which chart of a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gan_lab.reporting.charts import Chart, Curve, Rows
from gan_lab.storage.metric_names import display_name
from gan_lab.utils.formatting import CI_SUFFIX

RUN_COLORS = (0, 1, 3, 4, 5, 6, 7, 2)
"""Colors of the runs of a comparison, the pale one last."""

D, G, D_PALE, GREEN, VIOLET = range(5)
"""Colors of the page: of the discriminator, of the generator, of the discriminator on fakes, and others."""


class Metrics(NamedTuple):
    """The metrics of a chart, shown if the run has one of them.

    Attributes:
        title: of the chart.
        keys: of the metrics; one that ends with ``_`` stands for all scores that begin with it.
        label: of the vertical axis.
        colors: of the curves.
        unit_range: whether all values lie in [0, 1].
        are_scores: whether they are scores, which only runs with the same protocol may be compared by.
    """

    title: str
    keys: tuple[str, ...]
    label: str
    colors: tuple[int, ...] = (D, G, GREEN, VIOLET)
    unit_range: bool = False
    are_scores: bool = False


LOSSES = Metrics("Losses", ("d/loss", "g/loss"), "loss")
ACCURACIES = Metrics("Accuracies", ("d/accuracy_real", "d/accuracy_fake", "g/fool_rate"), "accuracy", (D, D_PALE, G), True)

OTHERS = (
    Metrics("Fidelity and variety", ("precision_", "recall_", "density_", "coverage_"), "score", are_scores=True),
    Metrics(
        "PSNR of held-out images", ("psnr_y", "bicubic/psnr_y", "psnr", "bicubic/psnr"), "dB, higher is better", are_scores=True
    ),
    Metrics(
        "SSIM of held-out images",
        ("ssim_y", "bicubic/ssim_y", "ssim", "bicubic/ssim"),
        "similarity, higher is better",
        are_scores=True,
    ),
    Metrics(
        "Perceptual distance",
        ("lpips", "bicubic/lpips", "perceptual_lite1", "bicubic/perceptual_lite1"),
        "distance, lower is better",
        are_scores=True,
    ),
    Metrics("Pretraining without a discriminator", ("pretraining/loss",), "loss", (G,)),
    Metrics("Progressive growing: resolution", ("growth/resolution",), "pixels"),
    Metrics("Progressive growing: fade-in of the newest layers", ("growth/alpha",), "alpha"),
    Metrics("Penalties", ("d/gradient_penalty", "d/dragan", "d/r1", "d/r2"), "value"),
    Metrics(
        "Accuracy of the auxiliary classifier", ("d/class_accuracy_real", "g/class_accuracy_fake"), "accuracy", (D, G), True
    ),
    Metrics(
        "Overfitting of the discriminator",
        ("d/overfitting",),
        "held-out images score like training images (0) or like fakes (1)",
    ),
    Metrics("Adaptive augmentation", ("d/ada_p", "d/ada_rt"), "p, r_t", (D, G)),
    Metrics("Gradient norms", ("d/gradient_norm", "g/gradient_norm", "pretraining/gradient_norm"), "L2 norm"),
    Metrics("Learning rates", ("d/learning_rate", "g/learning_rate", "pretraining/learning_rate"), "learning rate"),
    Metrics("Speed", ("time/images_per_second",), "images/s"),
)
"""Charts after those of the losses, the accuracies and the scores."""


def is_distance(name: str) -> bool:
    """Whether a score is a Frechet distance."""
    return (name == "fid" or name.startswith("fd_")) and not name.endswith((CI_SUFFIX, "_infinity"))


def metric_charts(rows: Rows) -> list[Chart]:
    """The charts of a run."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    charts = [_chart(rows, names, LOSSES), _chart(rows, names, ACCURACIES)]
    charts += [score_chart(name, [Curve.of(rows, name, name, D)]) for name in names if is_distance(name)]
    charts += [_chart(rows, names, metrics) for metrics in OTHERS]
    return [chart for chart in charts if chart is not None]


def compared_charts(names: Sequence[str], histories: Sequence[Rows], with_scores: bool) -> list[Chart]:
    """A chart of each metric of several runs, with a curve of each run that has it.

    Args:
        names: of the runs.
        histories: the rows of each run.
        with_scores: whether scores are shown, too.
    """
    keys = list(dict.fromkeys(key for rows in histories for row in rows for key in row))

    def curves(key: str) -> list[Curve]:
        found = (Curve.of(rows, key, name, n) for name, n, rows in zip(names, RUN_COLORS, histories, strict=False))
        return [curve for curve in found if curve is not None]

    charts: list[Chart | None] = []
    for metrics in (LOSSES, ACCURACIES):
        charts += [Chart(display_name(k), metrics.label, curves(k), metrics.unit_range) for k in _present(keys, metrics)]
    if with_scores:
        charts += [score_chart(key, curves(key)) for key in keys if is_distance(key)]
    for metrics in OTHERS:
        if with_scores or not metrics.are_scores:
            own = [key for key in _present(keys, metrics) if not key.startswith("bicubic/")]
            charts += [Chart(display_name(key), metrics.label, curves(key), metrics.unit_range) for key in own]
    return [chart for chart in charts if chart is not None and chart.curves]


def score_chart(name: str, curves: Sequence[Curve | None]) -> Chart | None:
    """A Frechet distance, with its lowest value marked if there is one curve; None if it has no value."""
    found = [curve for curve in curves if curve is not None]
    return Chart(name, "lower is better", found, log=True, marks_lowest=len(found) == 1) if found else None


def _chart(rows: Rows, names: Sequence[str], metrics: Metrics) -> Chart | None:
    present = _present(names, metrics)
    found = [Curve.of(rows, name, display_name(name), color) for name, color in zip(present, metrics.colors, strict=False)]
    curves = [curve for curve in found if curve is not None]
    return Chart(metrics.title, metrics.label, curves, metrics.unit_range) if curves else None


def _present(names: Sequence[str], metrics: Metrics) -> list[str]:
    """The metrics of a chart that are among ``names``."""
    return [
        name
        for key in metrics.keys
        for name in names
        if name == key or (key.endswith("_") and name.startswith(key) and not name.endswith(CI_SUFFIX))
    ]
