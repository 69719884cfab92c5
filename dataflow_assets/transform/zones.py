"""From local times to moments.

What belongs here: what a local time means by the clock of its zone, and why it may mean nothing.
What does not: reading the text of a time (`parse`).
"""

from __future__ import annotations

import datetime as dt
from functools import cache, partial
from typing import TYPE_CHECKING, Literal
from zoneinfo import available_timezones

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dataflow_assets.declaration.contract import Column

NOWHERE = ""
"""The zone of local times about which nobody says where they were taken: they are no moments."""

DAY = dt.timedelta(days=1)
MOMENT = pl.Datetime("us", "UTC")
AMBIGUOUS: dict[str | None, Literal["null", "earliest", "latest"]] = {
    None: "null",
    "earlier": "earliest",
    "later": "latest",
}


def in_zone(local: pl.Expr, zone: str, column: Column) -> pl.Expr:
    """Return moments of a zone in UTC.

    Those that its clock skips or shows twice are null, unless the column says which are meant.
    """
    if zone == "UTC":
        return local.dt.replace_time_zone("UTC")
    if zone == NOWHERE:
        return pl.when(local.is_null()).then(pl.lit(None, MOMENT))
    moments = local.dt.replace_time_zone(
        zone, ambiguous=AMBIGUOUS[column.ambiguous], non_existent="null"
    ).dt.convert_time_zone("UTC")
    if column.skipped is None:
        return moments
    fill = partial(_with_skipped, zone, column.skipped == "later")
    return pl.map_batches([local, moments], fill, return_dtype=MOMENT, is_elementwise=True)


def _with_skipped(zone: str, later: bool, both: Sequence[pl.Series]) -> pl.Series:  # noqa: FBT001
    """Give local times that the clock skips the moment by the clock of the day before or after."""
    local, moments = both
    if local.null_count() == moments.null_count():
        return moments
    skipped = local.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").is_null()
    there = local - DAY if later else local + DAY
    clock = there.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    offset = clock.dt.replace_time_zone(None) - there
    meant = (local - offset).dt.replace_time_zone("UTC")
    return moments.zip_with(~(skipped & local.is_not_null()), meant)


def by_zone(
    values: pl.Expr,
    zones: pl.Expr,
    reader: Callable[[str], Callable[[pl.Series], pl.Series]],
) -> pl.Expr:
    """Read each value in the zone that stands beside it.

    Args:
        values: What is read.
        zones: Names of zones; where there is none, or no zone of that name, it is `NOWHERE`.
        reader: Gives for a zone what reads moments of it.
    """
    remembered = cache(reader)

    def read(both: Sequence[pl.Series]) -> pl.Series:
        given, names = both
        if len(names) != len(given):  # a literal: nobody says a zone
            names = names.new_from_index(0, len(given))
        zone_names = names.zip_with(names.is_in(_known_zones()), names.clear(len(names)))
        frame = pl.DataFrame({"value": given, "zone": zone_names}).with_row_index("row")
        parts = [
            part.select("row", value=remembered(zone or NOWHERE)(part["value"]))
            for (zone,), part in frame.group_by("zone")
        ]
        if not parts:
            return pl.Series(given.name, [], MOMENT)
        return pl.concat(parts).sort("row")["value"].alias(given.name)

    return pl.map_batches([values, zones], read, return_dtype=MOMENT, is_elementwise=True)


def why_no_moment(
    column: Column, zones: pl.Expr | None, reader: Callable[[Column, pl.Expr | None], pl.Expr]
) -> pl.Expr | None:
    """Return what a clock has against local times that have no value; null for other texts.

    Args:
        column: What the contract says about them.
        zones: The zone of each row, where another column says it.
        reader: Gives for a column, and the zones of its rows, what reads the texts.
    """
    if column.type != "timestamp" or (zones is None and column.timezone == "UTC"):
        return None
    named = pl.lit(column.timezone) if zones is None else zones
    nowhere = f"{column.timezone_from} names no time zone"
    read = reader(column.in_zone("UTC"), None).is_not_null()
    once = reader(column.model_copy(update={"ambiguous": "earlier"}), zones)
    always = reader(column.model_copy(update={"skipped": "later"}), zones)
    return (
        pl.when(read & ~named.is_in(_known_zones()).fill_null(value=False))
        .then(pl.coalesce(pl.format("{} is no time zone", named), pl.lit(nowhere)))
        .when(once.is_not_null())
        .then(pl.format("the clock of {} shows it twice that day", named))
        .when(always.is_not_null())
        .then(pl.format("the clock of {} skips it that day", named))
    )


@cache
def _known_zones() -> frozenset[str]:
    """Return the names of zones that both Python and Polars know."""
    return frozenset(filter(_is_known, available_timezones()))


def _is_known(zone: str) -> bool:
    try:
        pl.select(pl.lit(0).cast(MOMENT).dt.convert_time_zone(zone))
    except pl.exceptions.PolarsError:
        return False
    return True
