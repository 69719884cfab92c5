"""The windows of a declaration are Dagster's windows, at every moment and in every zone."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow_assets.builders.partitions import build_partitions
from dataflow_assets.declaration.partitions import Partitions

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Pacific/Auckland"]
# Days begin at 00:00 everywhere here; clocks change in the night, in both directions.
WINDOWS = st.one_of(
    st.tuples(st.just("hour"), st.just("UTC")),
    st.tuples(st.sampled_from(["day", "week", "month"]), st.sampled_from(ZONES)),
)
BEGIN = dt.datetime(2024, 1, 2, tzinfo=dt.UTC)
MOMENTS = st.integers(0, 3 * 366 * 86_400).map(lambda s: BEGIN + dt.timedelta(seconds=s))


@given(WINDOWS, MOMENTS)
def test_the_key_of_a_moment_is_that_of_dagsters_window(
    window: tuple[Any, str], moment: dt.datetime
) -> None:
    every, timezone = window
    declared = Partitions(every=every, start=dt.date(2024, 1, 1), timezone=timezone)
    local = moment.astimezone(ZoneInfo(timezone))

    key = declared.key_of(local.replace(tzinfo=None))

    partitions = build_partitions(declared)
    assert isinstance(partitions, dg.TimeWindowPartitionsDefinition)
    found = partitions.time_window_for_partition_key(key)
    assert found.start.timestamp() <= moment.timestamp() < found.end.timestamp()
    begin = declared.begin_of(key)
    assert begin is not None
    assert begin.tzinfo is dt.UTC
    assert begin.timestamp() == found.start.timestamp()


def test_an_item_of_a_list_begins_at_no_moment() -> None:
    assert Partitions(values=("2024-01-01",)).begin_of("2024-01-01") is None


@pytest.mark.parametrize(
    ("every", "end", "first", "last"),
    [
        ("hour", "2024-05-01", "2024-04-01T00", "2024-04-30T23"),
        ("day", "2024-05-01", "2024-04-01", "2024-04-30"),
        ("week", "2024-04-29", "2024-04-01", "2024-04-22"),
        ("month", "2024-05-01", "2024-04", "2024-04"),
    ],
)
def test_the_first_and_the_last_key(every: Any, end: str, first: str, last: str) -> None:  # noqa: ANN401
    declared = Partitions(every=every, start=dt.date(2024, 4, 1), end=dt.date.fromisoformat(end))

    keys = build_partitions(declared).get_partition_keys()

    assert (keys[0], keys[-1]) == (first, last)


def test_a_fixed_list() -> None:
    declared = Partitions(values=("north", "south"))

    assert list(build_partitions(declared).get_partition_keys()) == ["north", "south"]
