"""How numbers are written."""

from __future__ import annotations

import math

import pytest

from gan_lab.utils.formatting import (
    format_count,
    format_duration,
    format_number,
    format_with_ci,
    format_with_error,
    printable,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.58123, "0.5812"), (999.94, "999.9"), (12345.6, "12,346"), (1e20, "1e+20"), (-2500, "-2,500"), (math.inf, "inf")],
)
def test_numbers_have_four_digits_or_thousands_separators(value: float, text: str) -> None:
    assert format_number(value) == text


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1446.2, 321.0, "1,450 ± 320"),
        (12.3456, 0.234, "12.35 ± 0.23"),
        (0.04535, 0.0099, "0.0454 ± 0.0099"),
        (1.0, 0.0996, "1.00 ± 0.10"),
        (0.5, None, "0.5"),
        (5.0, 0.0, "5"),
        (5.0, math.nan, "5"),
        (math.nan, 0.1, "nan"),
    ],
)
def test_an_error_has_two_significant_digits_and_the_value_ends_at_the_same_place(
    value: float, error: float | None, text: str
) -> None:
    assert format_with_error(value, error) == text
    assert format_with_ci({"fid": value, "fid_ci95": error}, "fid") == text


def test_a_missing_metric_is_written_as_nothing() -> None:
    assert format_with_ci({"fid": None, "fid_ci95": 0.1}, "fid") == format_with_ci({}, "fid") == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (4.2, "4.2 s"), (59.96, "1 min 0 s"), (185, "3 min 5 s"), (4800, "1 h 20 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_counts_have_plurals_and_separators() -> None:
    assert [format_count(n, "run") for n in (0, 1, 1.0, 0.5, 1200)] == ["0 runs", "1 run", "1 run", "0.5 runs", "1,200 runs"]


def test_control_characters_of_a_name_are_escaped() -> None:
    assert printable("a\nb\x1b[0m\u2028\udce9") == r"a\nb\x1b[0m\u2028\udce9"
    assert printable("[é] 猫 👩\u200d🎨") == "[é] 猫 👩\u200d🎨"
