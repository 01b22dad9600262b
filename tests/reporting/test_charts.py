"""Charts of pages: places of points and ticks, long curves, errors, and which axis is logarithmic."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from gan_lab.reporting.charts import CLOCKS, MAX_POINTS, SIDE, Chart, Curve, Scale, short_number
from gan_lab.reporting.metric_charts import compared_charts, metric_charts


def make_rows(values: list[float | None], **more: float) -> list[dict[str, Any]]:
    return [{"images": 64 * n, "epoch": n / 4, "seconds": 30.0 * n, "m": value} | more for n, value in enumerate(values)]


def curve_of(values: list[float | None], **more: float) -> Curve:
    curve = Curve.of(make_rows(values, **more), "m", "m", 0)
    assert curve is not None
    return curve


def places(data: str) -> list[tuple[int, int]]:
    return [(int(x), int(y)) for x, y in re.findall(r"[ML](-?\d+) (-?\d+)", data)]


def test_missing_and_infinite_values_are_left_out() -> None:
    curve = curve_of([1.0, None, math.nan, math.inf, 5.0])
    assert curve.values.tolist() == [1, 5] and curve.clocks.tolist() == [[0, 0, 0], [256, 1, 120]]
    assert Curve.of(make_rows([None, math.nan]), "m", "m", 0) is None and Curve.of([], "m", "m", 0) is None


def test_points_lie_where_their_values_are_on_every_clock() -> None:
    chart = Chart("m", "m", [curve_of([0.0, 10.0, 5.0])])
    low, high = chart.scale.low, chart.scale.high
    assert low < 0 and high > 10
    for drawing, longest in zip(chart.drawings(), (128, 0.5, 60), strict=True):
        line = next(path for path in drawing.paths if path.kind == "line")
        expected = [(SIDE * n / 2, SIDE * (high - value) / (high - low)) for n, value in enumerate((0, 10, 5))]
        np.testing.assert_allclose(places(line.data), expected, atol=0.51)
        (place, text) = drawing.x_ticks[-1]
        assert place <= 100 and float(text) == pytest.approx(longest * place / 100, rel=1e-3), drawing.clock


def test_long_curves_keep_their_extremes_and_mean() -> None:
    values = np.random.default_rng(0).normal(size=10_000)
    values[5000] = 50
    curve = curve_of(values.tolist())
    assert len(curve.points) == MAX_POINTS and curve.band is not None
    assert curve.band[1].max() == 50 and curve.band[0].min() == values.min()
    assert (curve.points * curve.lengths).sum() == pytest.approx(values.sum())
    assert curve.smoothed.std() < 0.7 * curve.points.std()
    assert curve_of(values[:99].tolist()).smoothed.tolist() == values[:99].tolist()


def test_confidence_intervals_are_bands() -> None:
    curve = curve_of([3.0, 2.0], m_ci95=0.5)
    assert curve.band is not None and [end.tolist() for end in curve.band] == [[2.5, 1.5], [3.5, 2.5]]
    assert Chart("m", "m", [curve]).values()["curves"][0]["errors"] == [0.5, 0.5]
    assert curve_of([3.0, 2.0]).band is None


def test_only_positive_values_over_a_wide_range_get_a_logarithmic_axis() -> None:
    assert Chart("m", "m", [curve_of([1.0, 100.0])], log=True).scale.log
    for values in ([1.0, 3.0], [0.0, 100.0], [-1.0, 100.0]):
        assert not Chart("m", "m", [curve_of(list(values))], log=True).scale.log
    assert not Chart("m", "m", [curve_of([1.0, 100.0])]).scale.log


@pytest.mark.parametrize(
    "scale",
    [Scale(0, 1), Scale(-3, 1e6), Scale(0.99999, 1.00001), Scale(1, 1e9, log=True), Scale(5, 6, log=True), Scale(2, 40, True)],
)
def test_ticks_are_few_round_and_inside(scale: Scale) -> None:
    for most in (3, 5, 8):
        ticks = scale.ticks(most)
        assert 1 <= len(ticks) <= most and ticks == sorted(set(ticks))
        assert all(scale.low * (1 - 1e-9) <= tick <= scale.high * (1 + 1e-9) or abs(tick) < 1e-12 for tick in ticks)
        assert all(len(short_number(tick)) <= 9 for tick in ticks)
    np.testing.assert_allclose(scale(np.array([scale.low, scale.high])), [0, 1], atol=1e-12)


def test_a_constant_and_a_single_value_have_a_chart() -> None:
    for values in ([0.0, 0.0], [7.0], [-2.0, -2.0]):
        for drawing in Chart("m", "m", [curve_of(list(values))]).drawings():
            assert all(0 <= x <= SIDE and 0 < y < SIDE for path in drawing.paths for x, y in places(path.data))
            assert drawing.y_ticks


@pytest.mark.parametrize(("seconds", "unit"), [(100.0, "s"), (600.0, "min"), (9000.0, "h")])
def test_the_time_axis_has_a_fitting_unit(seconds: float, unit: str) -> None:
    rows = [{"images": 1, "epoch": 1.0, "seconds": seconds, "m": 1.0}]
    curve = Curve.of(rows, "m", "m", 0)
    assert curve is not None
    assert Chart("m", "m", [curve]).drawings()[list(CLOCKS).index("seconds")].label == f"training time ({unit})"


def test_every_metric_of_a_player_and_every_score_has_a_chart() -> None:
    metrics = {
        "d/loss": 1.0,
        "g/loss": 2.0,
        "d/accuracy_real": 0.5,
        "g/fool_rate": 0.25,
        "fid": 3.0,
        "fid_ci95": 0.1,
        "d/r1": 0.1,
    }
    charts = metric_charts([{"images": 1, "epoch": 1.0, "seconds": 1.0, **metrics, "precision_inception": 0.5}])
    assert [chart.title for chart in charts] == ["Losses", "Accuracies", "fid", "Fidelity and variety", "Penalties"]
    assert [[curve.name for curve in chart.curves] for chart in charts[:2]] == [
        ["D loss", "G loss"],
        ["D acc. real", "G fool rate"],
    ]


def test_scores_are_compared_only_if_they_may_be() -> None:
    rows = [{"images": 1, "epoch": 1.0, "seconds": 1.0, "d/loss": 1.0, "fid": 3.0, "precision_inception": 0.5, "psnr": 20.0}]
    titles = [chart.title for chart in compared_charts(["a", "b"], [rows, rows], with_scores=True)]
    assert titles == ["D loss", "fid", "precision_inception", "psnr"]
    (chart,) = compared_charts(["a", "b"], [rows, rows], with_scores=False)
    assert chart.title == "D loss" and [curve.name for curve in chart.curves] == ["a", "b"]
    assert chart.curves[0].color != chart.curves[1].color
