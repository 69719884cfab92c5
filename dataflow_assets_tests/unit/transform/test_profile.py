"""The figures of a partition, against plain Python."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.transform import profile
from dataflow_assets.transform.profile import Profile, Wanted, profile_of

if TYPE_CHECKING:
    from dataflow_assets.declaration.checks import Measure

ALL: tuple[Measure, ...] = ("nulls", "distinct", "distribution")
NOW = dt.datetime(2026, 3, 10, 12, tzinfo=dt.UTC)
BEGIN = dt.datetime(2026, 3, 10, tzinfo=dt.UTC)


def taken(rows: pl.DataFrame, wanted: Wanted) -> Profile:
    return profile_of(rows.lazy(), rows.height, wanted, begin=BEGIN, now=NOW)


@settings(deadline=None)
@given(st.lists(st.none() | st.integers(-5, 5)))
def test_numbers(values: list[int | None]) -> None:
    rows = pl.DataFrame({"n": values}, schema={"n": pl.Int64()})

    found = taken(rows, Wanted({"n": ALL})).columns["n"]

    known = [value for value in values if value is not None]
    assert found.nulls == values.count(None)
    assert found.distinct == len(set(known))
    assert found.values == len(known)
    for value, below, up_to in found.steps or ():
        assert below == pytest.approx(sum(one < value for one in known) / len(known), abs=1e-6)
        assert up_to == pytest.approx(sum(one <= value for one in known) / len(known), abs=1e-6)
    if known and found.steps:
        assert (found.steps[0][0], found.steps[-1][0]) == (min(known), max(known))


@settings(deadline=None)
@given(st.lists(st.none() | st.sampled_from(["a", "b", "", "Ä" * 200])))
def test_texts(values: list[str | None]) -> None:
    rows = pl.DataFrame({"t": values}, schema={"t": pl.String()})

    found = taken(rows, Wanted({"t": ALL})).columns["t"]

    known = [value[:100] for value in values if value is not None]
    assert found.top == Counter(known)
    assert found.values == len(known)
    assert found.steps is None


def test_many_texts_keep_the_most_frequent() -> None:
    rows = pl.DataFrame({"t": [f"{n:03}" for n in range(200)] + ["often"] * 3})

    found = taken(rows, Wanted({"t": ("distribution",)})).columns["t"]

    assert found.top is not None
    assert len(found.top) == profile.TOP_VALUES
    assert next(iter(found.top.items())) == ("often", 3)


def test_only_what_is_asked_for_is_taken() -> None:
    rows = pl.DataFrame({"a": [1, None], "b": [1, 1]})

    found = taken(rows, Wanted({"a": ("nulls",), "b": ("distinct",)}))

    assert found.columns["a"].model_dump(exclude_none=True) == {"nulls": 1, "values": 0}
    assert found.columns["b"].model_dump(exclude_none=True) == {"distinct": 1, "values": 0}


def test_moments_are_told_from_the_beginning_of_the_partition() -> None:
    """Else each day would be far from all others."""
    rows = pl.DataFrame(
        {
            "at": [BEGIN + dt.timedelta(seconds=90)],
            "day": [dt.date(2026, 3, 11)],
            "time": [dt.time(0, 1)],
        },
        schema_overrides={"at": pl.Datetime("us", "UTC")},
    )

    found = taken(rows, Wanted(dict.fromkeys(rows.columns, ("distribution",)))).columns

    seconds = {name: one.steps[0][0] for name, one in found.items() if one.steps}
    assert seconds == pytest.approx({"at": 90, "day": 86_400, "time": 60})


def test_values_that_are_no_numbers_are_left_out() -> None:
    rows = pl.DataFrame({"f": [1.0, float("nan")]})

    assert taken(rows, Wanted({"f": ("distribution",)})).columns["f"].values == 1


def test_the_newest_event_is_not_one_in_the_future() -> None:
    hours = [-30, -2, 1, 48]
    rows = pl.DataFrame({"at": [NOW + dt.timedelta(hours=hour) for hour in hours] + [None]})

    found = taken(rows, Wanted(event="at"))

    assert found.newest == NOW - dt.timedelta(hours=2)
    assert (found.future, found.latest) == (2, NOW + dt.timedelta(hours=48))


def test_a_date_is_over_at_its_end_in_the_partitions_zone() -> None:
    days = [dt.date(2026, 3, 8), dt.date(2026, 3, 9)]

    found = taken(pl.DataFrame({"on": days}), Wanted(event="on", timezone="Europe/Berlin"))

    assert found.newest == dt.datetime(2026, 3, 9, 23, tzinfo=dt.UTC)


def test_today_is_not_over_yet() -> None:
    rows = pl.DataFrame({"on": [dt.date(2026, 3, 10), dt.date(2026, 3, 11)]})

    found = taken(rows, Wanted(event="on", timezone="Europe/Berlin"))

    assert found.newest == NOW
    assert found.future == 1


def test_no_rows() -> None:
    rows = pl.DataFrame(schema={"n": pl.Int64(), "t": pl.String(), "at": pl.Datetime("us", "UTC")})

    found = taken(rows, Wanted({"n": ALL, "t": ALL}, event="at"))

    assert (found.rows, found.newest, found.future) == (0, None, 0)
    assert all(column.values == 0 for column in found.columns.values())
    assert Profile.model_validate_json(found.model_dump_json(exclude_none=True)) == found


def test_a_large_partition_is_told_by_some_of_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "SAMPLE_ROWS", 5_000)
    monkeypatch.setattr(profile, "DIFFERENT", 2_000)
    rows = pl.DataFrame({"n": range(60_000)}).with_columns(
        few=pl.col("n") % 7, t=(pl.col("n") % 3).cast(pl.String)
    )

    wanted = Wanted({"n": ALL, "few": ALL, "t": ALL})
    found = taken(rows, wanted)

    number, few, text = (found.columns[name] for name in ("n", "few", "t"))
    assert number.distinct == pytest.approx(60_000, rel=0.1)
    assert (few.distinct, text.distinct) == (7, 3)
    assert 4_000 < number.values < 6_000
    middle = next(value for value, _, up_to in number.steps or () if up_to >= 0.5)
    assert middle == pytest.approx(30_000, rel=0.1)
    assert taken(rows, wanted) == found, "the same rows are drawn each time"


def test_a_profile_answers_what_it_has() -> None:
    found = taken(pl.DataFrame({"n": [1]}), Wanted({"n": ("nulls", "distribution")}))

    assert Wanted({"n": ("nulls",)}).answered_by(found)
    assert not Wanted({"n": ("distinct",)}).answered_by(found)
    assert not Wanted({"other": ("nulls",)}).answered_by(found)
    assert not Wanted({"n": ("nulls",)}, event="n").answered_by(found)
