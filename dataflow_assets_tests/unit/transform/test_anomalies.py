"""The interval that a history gives: against slow references, and by what it finds."""

from __future__ import annotations

import math
from itertools import combinations, combinations_with_replacement
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.transform.anomalies import (
    COUNTS,
    SHAMOS,
    SHARES,
    WINDOW,
    Expected,
    Point,
    TooLittle,
    centre_of,
    expect,
    spread_of,
    student,
)
from dataflow_assets_tests.benchmarks.anomalies import HISTORIES, own_days, rates

if TYPE_CHECKING:
    import random

COUNT = st.integers(0, 10**9)
FLOATS = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20)


def points(values: list[float], *, weekdays: bool = False) -> list[Point]:
    return [
        Point(str(n), n, value, rows=1000, group=n % 7 if weekdays else 0)
        for n, value in enumerate(values)
    ]


def next_one(history: list[Point], *, weekdays: bool = False, rows: int = 1000) -> Point:
    n = len(history)
    return Point("tested", n, 0.0, rows=rows, group=n % 7 if weekdays else 0)


def expected(values: list[float], *, weekdays: bool = False) -> Expected:
    history = points(values, weekdays=weekdays)
    found = expect(history, next_one(history, weekdays=weekdays), COUNTS)
    assert isinstance(found, Expected)
    return found


@settings(deadline=None)
@given(FLOATS)
def test_centre_and_spread_as_they_are_defined(values: list[float]) -> None:
    means = [(a + b) / 2 for a, b in combinations_with_replacement(values, 2)]
    distances = [abs(a - b) for a, b in combinations(values, 2)]

    assert centre_of(np.array(values)) == pytest.approx(median(means), abs=1e-9)
    assert spread_of(np.array(values)) == pytest.approx(median(distances) / SHAMOS, abs=1e-9)


@pytest.mark.parametrize(
    ("share", "freedom", "quantile"),
    [(0.975, 5, 2.571), (0.995, 5, 4.032), (0.995, 10, 3.169), (0.995, 60, 2.660)],
)
def test_students_quantiles_as_tables_have_them(
    share: float, freedom: int, quantile: float
) -> None:
    assert student(share, freedom) == pytest.approx(quantile, rel=0.01)


@settings(deadline=None)
@given(COUNT)
def test_a_count_comes_back_from_its_scale(count: int) -> None:
    place = float(COUNTS.put(np.array([float(count)]))[0])

    assert COUNTS.back(place) == pytest.approx(count, rel=1e-6, abs=1e-6)


@settings(deadline=None)
@given(st.floats(0, 1))
def test_a_share_comes_back_from_its_scale(share: float) -> None:
    assert SHARES.back(float(SHARES.put(np.array([share]))[0])) == pytest.approx(share, abs=1e-9)


@settings(deadline=None)
@given(st.floats(-1e9, 1e9))
def test_no_place_of_a_scale_is_out_of_bounds(place: float) -> None:
    assert 0 <= COUNTS.back(place) < math.inf
    assert 0 <= SHARES.back(place) <= 1


@settings(deadline=None)
@given(st.lists(COUNT, min_size=6, max_size=80), st.randoms())
def test_the_order_in_which_a_history_comes_does_not_matter(
    counts: list[int], order: random.Random
) -> None:
    history = points([float(count) for count in counts])
    shuffled = [*history]
    order.shuffle(shuffled)

    assert expect(shuffled, next_one(history), COUNTS) == expect(history, next_one(history), COUNTS)


@settings(deadline=None)
@given(st.lists(COUNT, min_size=6, max_size=40), st.booleans())
def test_what_is_expected_lies_in_the_interval(counts: list[int], weekdays: bool) -> None:  # noqa: FBT001
    history = points([float(count) for count in counts], weekdays=weekdays)
    found = expect(history, next_one(history, weekdays=weekdays), COUNTS)

    if isinstance(found, Expected):
        assert 0 <= found.low <= found.centre + 1e-6
        assert found.centre <= found.high * (1 + 1e-9) + 1e-6


def test_only_the_last_of_a_long_history_count() -> None:
    assert len(expected([10.0] * 200).history) == WINDOW


def test_an_even_history_lets_counts_vary_by_chance() -> None:
    found = expected([5000.0] * 30)

    assert found.holds(5000)
    assert found.holds(4850)  # two standard deviations of a count
    assert not found.holds(2500)
    assert not found.holds(10_000)


def test_a_history_of_nothing_lets_a_few_pass() -> None:
    found = expected([0.0] * 30)

    assert found.holds(0)
    assert found.holds(3)
    assert not found.holds(50)


def test_odd_days_in_the_history_do_not_widen_it_much() -> None:
    even = [1000.0 + 20 * (n % 5) for n in range(40)]
    odd = [10.0 if n % 8 == 0 else value for n, value in enumerate(even)]

    assert not expected(odd).holds(500)
    assert not expected(odd).holds(2000)
    assert expected(odd).holds(1040)


def test_weekdays_are_told_apart() -> None:
    week = [1000.0, 1000, 1000, 1000, 1000, 200, 150]
    values = [value * (1 + 0.02 * (n % 3)) for n, value in enumerate(week * 5)]

    sunday = expected(values[:-1], weekdays=True)
    monday = expected(values, weekdays=True)

    assert sunday.weekdays
    assert sunday.holds(150)
    assert not sunday.holds(1000)
    assert monday.holds(1000)
    assert not monday.holds(150)


def test_a_trend_is_followed() -> None:
    found = expected([1000 * 1.03**n * (1 + 0.02 * (n % 3)) for n in range(40)])

    assert found.trend
    assert found.holds(1000 * 1.03**40)
    assert not found.holds(1000 * 1.03**40 / 2)


@pytest.mark.parametrize("days", [0, 1, 5])
def test_a_short_history_says_so(days: int) -> None:
    history = points([10.0] * days)

    found = expect(history, next_one(history), COUNTS)

    assert isinstance(found, TooLittle)
    assert found.needed == f"{days} of 6 earlier partitions"


def test_a_weekday_that_was_hardly_seen_says_so() -> None:
    """Weekends may be empty: nobody knows until two of them were seen."""
    history = points([10.0] * 13, weekdays=True)

    found = expect(history, next_one(history, weekdays=True), COUNTS)

    assert isinstance(found, TooLittle)
    assert found.needed == "1 of 2 earlier partitions of the same weekday"


def test_a_source_without_weekends_needs_two_weeks() -> None:
    days = [n for n in range(14) if n % 7 < 5]
    history = [Point(str(n), n, 100.0, group=n % 7) for n in days]

    assert isinstance(expect(history, Point("x", 14, 0.0, group=0), COUNTS), Expected)


def test_few_rows_let_a_share_vary() -> None:
    history = points([0.1] * 20)

    many = expect(history, next_one(history, rows=100_000), SHARES)
    few = expect(history, next_one(history, rows=20), SHARES)

    assert isinstance(many, Expected)
    assert isinstance(few, Expected)
    assert not many.holds(0.2)
    assert few.holds(0.2)


@pytest.mark.parametrize(
    ("history", "most_false", "least_found"),
    [("Poisson, mean 1,000", 0.015, 0.99), ("sd 0.1, weekdays", 0.02, 0.97)],
)
def test_false_alarms_are_rare_and_halves_are_found(
    history: str, most_false: float, least_found: float
) -> None:
    found = rates(HISTORIES[history], own_days, 30, 300)

    assert found is not None
    assert found[0] <= most_false
    assert found[1] >= least_found
