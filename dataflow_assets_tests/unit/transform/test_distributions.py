"""Distances of distributions, against their definition, and what history takes for usual."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.transform.anomalies import Point, TooLittle
from dataflow_assets.transform.distributions import Distance, compare
from dataflow_assets.transform.profile import ColumnProfile, Wanted, profile_of
from dataflow_assets_tests.unit.transform.test_profile import BEGIN, NOW


def profiled(values: object) -> ColumnProfile:
    rows = pl.DataFrame({"v": values}, strict=False)
    wanted = Wanted({"v": ("distribution",)})
    return profile_of(rows.lazy(), rows.height, wanted, begin=BEGIN, now=NOW).columns["v"]


def history(*partitions: object) -> list[tuple[Point, ColumnProfile]]:
    return [(Point(str(n), n, 0.0), profiled(values)) for n, values in enumerate(partitions)]


def compared(past: list[tuple[Point, ColumnProfile]], values: object) -> Distance:
    found = compare(past, profiled(values))
    assert isinstance(found, Distance)
    return found


SMALL = st.lists(st.integers(0, 8), min_size=1, max_size=20)


@settings(deadline=None)
@given(SMALL, SMALL)
def test_the_distance_of_numbers_is_kolmogorovs(some: list[int], others: list[int]) -> None:
    """With up to 20 values each, all of them stand in the profile."""
    both = sorted({*some, *others})
    largest = max(
        abs(sum(v <= x for v in some) / len(some) - sum(v <= x for v in others) / len(others))
        for x in both
    )

    assert compared(history(*[some] * 6), others).value == pytest.approx(largest, abs=1e-5)


@settings(deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=1), st.lists(st.sampled_from("bcd"), min_size=1))
def test_the_distance_of_texts_is_the_total_variation(some: list[str], others: list[str]) -> None:
    shares = [abs(some.count(v) / len(some) - others.count(v) / len(others)) for v in "abcd"]

    assert compared(history(*[some] * 6), others).value == pytest.approx(sum(shares) / 2, abs=1e-9)


@settings(deadline=None)
@given(SMALL)
def test_the_same_again_is_usual(values: list[int]) -> None:
    found = compared(history(*[values] * 8), values)

    assert found.usual
    assert found.value == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "usual"),
    [(lambda v: v, True), (lambda v: v * 10, False), (lambda v: v + 2, False)],
    ids=["none", "another unit", "a shift by a standard deviation"],
)
def test_numbers(change: object, usual: bool) -> None:  # noqa: FBT001 - what is expected
    assert callable(change)
    random = np.random.default_rng(1)
    past = history(*(random.normal(10, 2, 1000) for _ in range(20)))

    assert compared(past, change(random.normal(10, 2, 1000))).usual == usual


def test_a_history_that_varies_lets_more_pass() -> None:
    random = np.random.default_rng(1)
    level = [0.0, 1.0, -1.0, 0.5, -0.5] * 4
    varied = history(*(random.normal(10 + by, 2, 1000) for by in level))
    even = history(*(random.normal(10, 2, 1000) for _ in level))
    shifted = random.normal(11, 2, 1000)

    assert compared(varied, shifted).usual
    assert not compared(even, shifted).usual


def test_it_says_where_the_difference_is() -> None:
    past = history(*(["cargo"] * 80 + ["tanker"] * 20 for _ in range(10)))

    found = compared(past, ["cargo"] * 20 + ["<b>yacht</b>"] * 80)

    assert not found.usual
    assert found.where == "80% more of the values are '<b>yacht</b>'"


def test_texts_that_never_come_twice_cannot_stand_out() -> None:
    past = history(*([f"{day}-{n}" for n in range(200)] for day in range(10)))

    assert compared(past, [f"x-{n}" for n in range(200)]).usual


def test_days_without_a_value_are_no_history() -> None:
    past = history([1], [2], [3], [None], [None], [None], [4])

    found = compare(past, profiled([1]))

    assert isinstance(found, TooLittle)
    assert found.needed == "4 of 6 earlier partitions with values"


def test_a_partition_without_a_value_says_so() -> None:
    found = compare(history(*[[1]] * 8), profiled(pl.Series([None], dtype=pl.Int64())))

    assert isinstance(found, TooLittle)
    assert found.needed == "a value: the partition has none"
