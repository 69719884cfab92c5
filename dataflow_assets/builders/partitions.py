"""From declared partitions to Dagster's."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import dagster as dg

from dataflow_assets.declaration.partitions import KEY_FORMATS

if TYPE_CHECKING:
    from dataflow_assets.declaration.partitions import Every, Partitions

BEGINS: dict[Every, str] = {
    "hour": "0 * * * *",
    "day": "0 0 * * *",
    "week": "0 0 * * 1",
    "month": "0 0 1 * *",
}
"""When a window of time begins, as a cron schedule."""


def build_partitions(declared: Partitions) -> dg.PartitionsDefinition[str]:
    """Return the Dagster partitions that a declaration asks for."""
    if declared.values is not None:
        return dg.StaticPartitionsDefinition(list(declared.values))
    if declared.every is None or declared.start is None:
        raise AssertionError("a declaration without values has windows of time")
    return dg.TimeWindowPartitionsDefinition(
        start=_midnight(declared.start),
        end=None if declared.end is None else _midnight(declared.end),
        fmt=KEY_FORMATS[declared.every],
        timezone=declared.timezone,
        cron_schedule=BEGINS[declared.every],
        end_offset=1 if declared.current else 0,
    )


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time())
