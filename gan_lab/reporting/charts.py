"""Line charts for pages: geometry that a template writes as SVG, and values that a script shows under the pointer.

A chart is drawn once for each clock of :data:`CLOCKS`, so that the reader can choose the horizontal axis without a script.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gan_lab.utils.formatting import CI_SUFFIX, format_number

Rows = Sequence[Mapping[str, Any]]
"""Rows of ``metrics.jsonl``: metrics by key."""

Array = NDArray[np.float64]

Integers = NDArray[np.intp]

CLOCKS = {"images": "images", "epoch": "epochs", "seconds": "time"}
"""What a chart can have on its horizontal axis: columns of ``metrics.jsonl`` and their names."""

MAX_POINTS = 300
"""Upper bound of the number of points of a curve; each point of a longer one stands for several rows."""

FEW_POINTS = 40
"""A curve of at most so many points has a dot at each."""

SIDE = 1000
"""Width and height of the drawing in its own units; the page stretches it."""

TIME_UNITS = ((7200.0, 3600.0, "h"), (120.0, 60.0, "min"), (0.0, 1.0, "s"))
"""Units of the time axis: from how many seconds on, seconds in one, name."""


@dataclass(frozen=True)
class Scale:
    """Maps values to fractions of an axis.

    Attributes:
        low, high: values at its ends; ``low < high``, and both positive if ``log``.
        log: whether it is logarithmic.
    """

    low: float
    high: float
    log: bool = False

    @classmethod
    def around(cls, values: Array, log: bool = False) -> Scale:
        """A scale that all ``values`` fit in, with a margin of a twentieth of it at both ends."""
        low, high = float(values.min()), float(values.max())
        if log:
            extra = (high / low) ** 0.05
            return cls(low / extra, high * extra, log=True)
        extra = 0.05 * (high - low) or abs(high) / 2 or 1.0
        return cls(low - extra, high + extra)

    def __call__(self, values: Any) -> Any:
        """Fractions of the axis, 0 at ``low`` and 1 at ``high``."""
        if self.log:
            with np.errstate(divide="ignore", invalid="ignore"):
                return (np.log(values) - math.log(self.low)) / math.log(self.high / self.low)
        return (np.asarray(values) - self.low) / (self.high - self.low)

    def ticks(self, most: int) -> list[float]:
        """At most ``most`` round values, at least one apart from a logarithmic scale within one decade."""
        if self.log and self.high / self.low > 3:
            for digits in ((1, 2, 5), (1, 3), (1,)):
                found = [d * 10.0**n for n in range(_exponent(self.low), _exponent(self.high) + 1) for d in digits]
                found = [value for value in found if self.low <= value <= self.high]
                if len(found) <= most:
                    return found
            return found[:: -(-len(found) // most)]
        for exponent in range(_exponent((self.high - self.low) / most), 400):
            for digit in (1, 2, 5):
                step = digit * 10.0**exponent
                first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
                if last - first < most:
                    return [n * step for n in range(first, last + 1)]
        raise AssertionError("an axis has a finite length")


def _exponent(value: float) -> int:
    return math.floor(math.log10(value))


@dataclass(frozen=True)
class Curve:
    """Values of one metric of one run.

    Attributes:
        name: in the legend.
        color: number of one of the page's colors.
        clocks: ``[N, 3]``, of each value its place on the :data:`CLOCKS`.
        values: ``[N]``, finite.
        errors: ``[N]`` half-widths of confidence intervals, or None.
    """

    name: str
    color: int
    clocks: Array
    values: Array
    errors: Array | None = None

    @classmethod
    def of(cls, rows: Rows, key: str, name: str, color: int) -> Curve | None:
        """The curve of a metric; None if no row has it."""
        values = _column(rows, key)
        known = np.isfinite(values)
        if not known.any():
            return None
        errors = _column(rows, f"{key}{CI_SUFFIX}")[known]
        clocks = np.stack([np.nan_to_num(_column(rows, clock)[known]) for clock in CLOCKS], axis=1)
        return cls(name, color, clocks, values[known], np.nan_to_num(errors) if np.isfinite(errors).any() else None)

    @cached_property
    def _parts(self) -> Integers:
        """Where each of at most :data:`MAX_POINTS` equal parts of the values begins."""
        count = min(len(self.values), MAX_POINTS)
        return np.arange(count) * len(self.values) // count

    @cached_property
    def lengths(self) -> Integers:
        """The number of values that each point stands for."""
        return np.diff(np.append(self._parts, len(self.values)))

    @cached_property
    def points(self) -> Array:
        """``[M]``: the values, or the means of their parts."""
        return np.add.reduceat(self.values, self._parts) / self.lengths

    @cached_property
    def point_clocks(self) -> Array:
        """``[M, 3]``: as :attr:`clocks`, of each point."""
        return np.add.reduceat(self.clocks, self._parts, axis=0) / self.lengths[:, None]

    @cached_property
    def band(self) -> tuple[Array, Array] | None:
        """Lower and upper ends of what is drawn pale: confidence intervals, or the smallest and largest value of each part."""
        if self.errors is not None:
            errors = np.maximum.reduceat(self.errors, self._parts)
            return self.points - errors, self.points + errors
        if len(self.values) > MAX_POINTS:
            return np.minimum.reduceat(self.values, self._parts), np.maximum.reduceat(self.values, self._parts)
        return None

    @cached_property
    def smoothed(self) -> Array:
        """A centered moving average over 2 % of the points; fewer than 100 points stay as they are."""
        half = len(self.points) // 100
        if half == 0 or self.errors is not None:
            return self.points
        sums = np.concatenate([[0.0], np.cumsum(self.points)])
        index = np.arange(len(self.points))
        first, last = np.maximum(index - half, 0), np.minimum(index + half + 1, len(self.points))
        return (sums[last] - sums[first]) / (last - first)


def _column(rows: Rows, key: str) -> Array:
    """The values of a metric, NaN where a row has none."""
    return np.array([row.get(key) for row in rows], dtype=np.float64)


@dataclass(frozen=True)
class Path:
    """A path of a drawing: what it is (``line``, ``raw``, ``band`` or ``dot``), the number of its color, and its SVG data."""

    kind: str
    color: int
    data: str


@dataclass(frozen=True)
class Drawing:
    """A chart against one clock; places are percentages from the left and from the top.

    Attributes:
        clock: one of :data:`CLOCKS`.
        label: of the horizontal axis.
        paths: in units of :data:`SIDE`.
        x_ticks, y_ticks: place and text.
    """

    clock: str
    label: str
    paths: list[Path]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


@dataclass(frozen=True)
class Chart:
    """Several curves over each other.

    Attributes:
        title: of the chart.
        label: of the vertical axis.
        curves: one or more.
        unit_range: whether the vertical axis is from 0 to 1.
        log: whether it may be logarithmic, which it is if all values are positive and differ by more than a factor of 4.
        marks_lowest: whether the lowest value has a dot.
    """

    title: str
    label: str
    curves: Sequence[Curve]
    unit_range: bool = False
    log: bool = False
    marks_lowest: bool = False

    @cached_property
    def scale(self) -> Scale:
        """Of the vertical axis."""
        if self.unit_range:
            return Scale(-0.03, 1.03)
        values = np.concatenate([curve.points for curve in self.curves])
        if self.log and values.min() > 0 and values.max() > 4 * values.min():
            return Scale.around(values, log=True)
        ends = [end for curve in self.curves for end in (curve.band or ())]
        return Scale.around(np.concatenate([values, *ends]))

    def drawings(self) -> list[Drawing]:
        """The chart against each clock."""
        return [self._draw(number, clock) for number, clock in enumerate(CLOCKS)]

    def values(self) -> dict[str, Any]:
        """What the page's script needs to show values: the ends of the axes, and the points of each curve."""
        return {
            "x": {clock: [self._scale_of(n).low, self._scale_of(n).high] for n, clock in enumerate(CLOCKS)},
            "y": [self.scale.low, self.scale.high, self.scale.log],
            "curves": [
                {
                    **{clock: _rounded(curve.point_clocks[:, n]) for n, clock in enumerate(CLOCKS)},
                    "values": _rounded(curve.points),
                    "errors": None if curve.band is None or curve.errors is None else _rounded(curve.band[1] - curve.points),
                }
                for curve in self.curves
            ],
        }

    def _scale_of(self, clock: int) -> Scale:
        return Scale(0.0, max(float(curve.point_clocks[-1, clock]) for curve in self.curves) or 1.0)

    def _draw(self, number: int, clock: str) -> Drawing:
        x, label = self._scale_of(number), CLOCKS[clock]
        unit = 1.0
        if clock == "seconds":
            _, unit, name = next(entry for entry in TIME_UNITS if x.high >= entry[0])
            label = f"training time ({name})"
        paths = [path for curve in self.curves for path in self._paths(curve, SIDE * x(curve.point_clocks[:, number]))]
        paths.sort(key=lambda path: ("band", "raw", "line", "dot").index(path.kind))
        ticks = Scale(x.low / unit, x.high / unit)
        return Drawing(
            clock,
            label,
            paths,
            [(round(100 * float(ticks(tick)), 2), short_number(tick)) for tick in ticks.ticks(6)],
            [(round(100 - 100 * float(self.scale(tick)), 2), short_number(tick)) for tick in self.scale.ticks(5)],
        )

    def _paths(self, curve: Curve, x: Array) -> list[Path]:
        paths = [Path("line", curve.color, _line(self._places(x, curve.smoothed)))]
        if curve.band is not None:
            low, high = curve.band
            outline = self._places(np.concatenate([x, x[::-1]]), np.concatenate([high, low[::-1]]))
            paths.append(Path("band", curve.color, f"{_line(outline)}Z"))
        elif curve.smoothed is not curve.points:
            paths.append(Path("raw", curve.color, _line(self._places(x, curve.points))))
        if len(x) <= FEW_POINTS:
            paths.append(Path("dot", curve.color, _dots(self._places(x, curve.points))))
        if self.marks_lowest:
            lowest = [int(curve.points.argmin())]
            paths.append(Path("dot", curve.color + 1, _dots(self._places(x[lowest], curve.points[lowest]))))
        return paths

    def _places(self, x: Array, values: Array) -> list[str]:
        """Points of the drawing; those outside of the axis lie a little outside of the drawing."""
        y = SIDE * (1 - np.nan_to_num(np.clip(self.scale(values), -0.1, 1.1), nan=-0.1))
        return [f"{a} {b}" for a, b in np.stack([x, y], 1).round().astype(int).tolist()]


def _line(places: Sequence[str]) -> str:
    return "M" + "L".join(places)


def _dots(places: Sequence[str]) -> str:
    """Lines of no length, which round ends make dots however the drawing is stretched."""
    return "".join(f"M{place}h0" for place in places)


def _rounded(values: Array) -> list[float]:
    """To six significant digits, which is what a page shows."""
    return [float(f"{value:.6g}") for value in values.tolist()]


def short_number(value: float) -> str:
    """A number at an axis: ``1.5k``, ``20M``, ``0.05``."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:g}{name}"
    return format_number(round(value, 12) + 0.0)
