"""The profile of a partition: a few figures of its cleaned rows, of bounded size.

What belongs here: taking the figures. What does not: keeping them (``io``), and judging them
(``anomalies``).

Only declared columns are read. Above `SAMPLE_ROWS` rows, different values are counted among those
that a hash draws, and their distribution is that of rows drawn likewise: the same ones each time.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dataflow_assets.declaration.checks import Measure

SAMPLE_ROWS = 100_000
"""Rows up to which each value counts."""
DIFFERENT = 50_000
"""Different values, at least, by which it is told how many there are; fewer than twice as many are
all counted. Up to 0.5 % off.
"""
SHARES = (0.0, 0.01, 0.025, *(n / 20 for n in range(1, 20)), 0.975, 0.99, 1.0)
"""At which shares of its rows a distribution is looked at."""
TOP_VALUES = 50
LONGEST_VALUE = 100
"""Characters of a text that are kept of it."""
ROW = "_row"
SEED = 7


class ColumnProfile(BaseModel):
    """The figures of one column; those that were not asked for are none.

    Attributes:
        nulls: Rows without a value.
        distinct: How many different values there are.
        steps: Of numbers and moments, the values at `SHARES` of all rows, each once and ascending,
            with the shares of values below it and up to it. A timestamp or date is told in seconds
            after the partition's window begins, a time in seconds after midnight.
        top: Of texts and booleans, the most frequent values, and how often each was found.
        values: Of how many values `steps` or `top` were made.
    """

    model_config = ConfigDict(frozen=True)

    nulls: int | None = None
    distinct: int | None = None
    steps: tuple[tuple[float, float, float], ...] | None = None
    top: dict[str, int] | None = None
    values: int = 0

    def has(self, measure: Measure) -> bool:
        """Whether a figure was taken."""
        if measure == "distribution":
            return self.steps is not None or self.top is not None
        return getattr(self, measure) is not None


class Profile(BaseModel):
    """The figures of one partition.

    Attributes:
        rows: Cleaned rows.
        columns: The figures of each column that was asked for.
        event: The column that says when something happened, if one was asked for.
        newest: Its newest value that is not in the future; of a date, the end of that day.
        future: Rows whose value was in the future when they were looked at.
        latest: The latest of these.
    """

    model_config = ConfigDict(frozen=True)

    rows: int
    columns: dict[str, ColumnProfile] = {}
    event: str | None = None
    newest: dt.datetime | None = None
    future: int = 0
    latest: dt.datetime | None = None


@dataclass(frozen=True)
class Wanted:
    """Which figures are to be taken.

    Attributes:
        columns: By column, the figures that are asked for.
        event: The column that says when something happened, if that is asked for.
        timezone: In which dates begin and end.
    """

    columns: Mapping[str, Sequence[Measure]] = field(default_factory=dict)
    event: str | None = None
    timezone: str = "UTC"

    def __bool__(self) -> bool:
        return bool(self.columns) or self.event is not None

    def answered_by(self, profile: Profile) -> bool:
        """Whether a profile has every figure that is asked for."""
        return profile.event == self.event and all(
            name in profile.columns and profile.columns[name].has(measure)
            for name, measures in self.columns.items()
            for measure in measures
        )


def profile_of(
    rows: pl.LazyFrame,
    count: int,
    wanted: Wanted,
    *,
    begin: dt.datetime | None,
    now: dt.datetime,
) -> Profile:
    """Return the profile of a partition, in memory that does not grow with it.

    Args:
        rows: Its cleaned rows.
        count: How many they are.
        wanted: Which figures to take.
        begin: When its window begins; none if it is no window of time.
        now: What is later is in the future.
    """
    names = list(dict.fromkeys([*wanted.columns, *([wanted.event] if wanted.event else [])]))
    schema, different = rows.select(names).collect_schema(), _columns_with(wanted, "distinct")
    if count <= SAMPLE_ROWS:
        held = rows.select(names).collect(engine="streaming")
        figures = held.select(_figures(wanted, schema, now))
        distinct = {name: held[name].drop_nulls().n_unique() for name in different}
    else:
        held = _sample(rows, count, _columns_with(wanted, "distribution"))
        figures = rows.select(_figures(wanted, schema, now)).collect(engine="streaming")
        distinct = _distinct(rows, different)
    found = figures.row(0, named=True) if figures.width else {}
    columns = {
        name: _column(
            ColumnProfile(nulls=found.get(f"nulls:{name}"), distinct=distinct.get(name)),
            held[name] if "distribution" in measures else None,
            begin,
        )
        for name, measures in wanted.columns.items()
    }
    if wanted.event is None:
        return Profile(rows=count, columns=columns)
    return Profile(
        rows=count,
        columns=columns,
        event=wanted.event,
        newest=_moment(found["newest:"], wanted.timezone, now),
        future=found["future:"],
        latest=_moment(found["latest:"], wanted.timezone, None),
    )


def _figures(wanted: Wanted, schema: pl.Schema, now: dt.datetime) -> list[pl.Expr]:
    """Return what is taken in one pass, each under a name that says of what it is."""
    found = [
        pl.col(name).null_count().alias(f"nulls:{name}") for name in _columns_with(wanted, "nulls")
    ]
    if wanted.event is None:
        return found
    event = pl.col(wanted.event)
    limit = pl.lit(now)
    if schema[wanted.event] == pl.Date:
        limit = pl.lit(now.astimezone(ZoneInfo(wanted.timezone)).date())
    ahead = event > limit
    return [
        *found,
        event.filter(~ahead).max().alias("newest:"),
        event.filter(ahead).max().alias("latest:"),
        ahead.sum().alias("future:"),
    ]


def _distinct(rows: pl.LazyFrame, names: Sequence[str]) -> dict[str, int]:
    """Return how many different values columns have, by as many of them as memory takes."""
    if not names:
        return {}
    roughly = rows.select(pl.col(names).approx_n_unique()).collect(engine="streaming")
    one_in = {name: max(1, roughly[name].item() // DIFFERENT) for name in names}
    found = {}
    for name in names:
        drawn = pl.col(name).is_not_null() & (pl.col(name).hash(SEED) % one_in[name] == 0)
        different = rows.select(name).filter(drawn).unique().select(pl.len())
        found[name] = different.collect(engine="streaming").item() * one_in[name]
    return found


def _columns_with(wanted: Wanted, measure: Measure) -> list[str]:
    return [name for name, measures in wanted.columns.items() if measure in measures]


def _sample(rows: pl.LazyFrame, count: int, names: Sequence[str]) -> pl.DataFrame:
    """Return some `SAMPLE_ROWS` rows, always the same, wherever they stand."""
    if not names:
        return pl.DataFrame()
    drawn = pl.col(ROW).hash(SEED) % -(-count // SAMPLE_ROWS) == 0
    numbered = rows.select(names).with_row_index(ROW)
    return numbered.filter(drawn).select(names).collect(engine="streaming")


def _column(
    taken: ColumnProfile, held: pl.Series | None, begin: dt.datetime | None
) -> ColumnProfile:
    """Add a distribution to the figures of a column, if values are given for it."""
    if held is None:
        return taken
    values = held.drop_nulls()
    places = _places(values, begin)
    if places is None:
        return taken.model_copy(update={"top": _top(values), "values": len(values)})
    return taken.model_copy(update={"steps": _steps(places), "values": len(places)})


def _places(values: pl.Series, begin: dt.datetime | None) -> pl.Series | None:
    """Return values as numbers; none if they have no order that means something."""
    dtype = values.dtype
    if dtype.is_numeric():
        return values.cast(pl.Float64).drop_nans()
    if dtype == pl.Time:
        return values.cast(pl.Int64).cast(pl.Float64) / 1e9
    if not dtype.is_temporal():
        return None
    moments = values.cast(pl.Datetime("us")).cast(pl.Int64).cast(pl.Float64) / 1e6
    return moments - (begin.timestamp() if begin else 0.0)


def _steps(values: pl.Series) -> tuple[tuple[float, float, float], ...]:
    """Return values here and there, with the exact shares of values below and up to each."""
    if values.is_empty():
        return ()
    ordered = values.sort().to_numpy()
    at = np.round(np.array(SHARES) * (len(ordered) - 1)).astype(np.int64)
    chosen = np.unique(ordered[at])
    below = np.searchsorted(ordered, chosen, side="left") / len(ordered)
    up_to = np.searchsorted(ordered, chosen, side="right") / len(ordered)
    shares = np.round(np.stack([below, up_to]), 6).tolist()
    return tuple(zip(chosen.tolist(), *shares, strict=True))


def _top(values: pl.Series) -> dict[str, int]:
    texts = values.cast(pl.String).str.slice(0, LONGEST_VALUE).alias("value")
    counted = texts.to_frame().group_by("value").len("rows")
    first = counted.sort("rows", "value", descending=[True, False]).head(TOP_VALUES)
    return dict(first.iter_rows())


def _moment(
    value: dt.datetime | dt.date | None, timezone: str, now: dt.datetime | None
) -> dt.datetime | None:
    """Return a value as a moment; a date is over at its end, but not later than now."""
    if value is None or isinstance(value, dt.datetime):
        return value
    midnight = dt.datetime.combine(value + dt.timedelta(days=1), dt.time(), ZoneInfo(timezone))
    ended = midnight.astimezone(dt.UTC)
    return ended if now is None else min(ended, now)
