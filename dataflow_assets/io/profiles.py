"""What the warehouse knows of the earlier partitions of an asset: counts and profiles.

What belongs here: reading it. What does not: writing it, which is part of the publish, and judging
by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataflow_assets.errors import PartitionMissingError
from dataflow_assets.io.ledger import Counts

if TYPE_CHECKING:
    import datetime as dt

    import polars as pl

    from dataflow_assets.io.warehouse import Warehouse

TABLES = "select table_name from information_schema.tables where table_schema = 'dataflow'"
NO_PROFILES = """(select null as asset, null as "partition", null as data_version,
    cast(null as timestamptz) as newest, null as figures, null as profiled_at where false)"""
COLUMNS = """l."partition" as key, l.received, l.loaded, l.quarantined, l.duplicate, l.filtered,
    l.data_version, l.published_at, p.newest, p.figures"""
JOINED = """left join {profiles} p
    on p.asset = l.asset and p."partition" = l."partition" and p.data_version = l.data_version"""


@dataclass(frozen=True)
class Known:
    """What is known of one version of a partition.

    Attributes:
        partition: Its key.
        counts: What became of its rows.
        data_version: Of which content.
        published_at: When it was published last.
        newest: The newest event time, if one was taken.
        figures: Its profile as JSON, if one was taken.
    """

    partition: str
    counts: Counts
    data_version: str
    published_at: dt.datetime
    newest: dt.datetime | None
    figures: str | None


def published_between(
    warehouse: Warehouse, asset: str, first: str | None, last: str | None
) -> list[Known]:
    """Return the partitions of an asset as they were published last, in the order of their keys.

    Args:
        warehouse: Where the ledger is.
        asset: Such as ``cleaned/usgs_events``.
        first: The first key; none: from the beginning.
        last: The last key; none: to the end.
    """
    return _known(
        warehouse,
        f"""select {COLUMNS} from dataflow.ledger l {JOINED} where l.asset = $1
            and ($2::varchar is null or l."partition" >= $2)
            and ($3::varchar is null or l."partition" <= $3) order by key""",
        asset,
        first,
        last,
    )


def newest_published(warehouse: Warehouse, asset: str, most: int) -> list[Known]:
    """Return the last partitions of an asset by their keys, the last one first."""
    return _known(
        warehouse,
        f"""select {COLUMNS} from dataflow.ledger l {JOINED} where l.asset = $1
            order by key desc limit {most:d}""",
        asset,
    )


def versions_of(warehouse: Warehouse, asset: str, partition: str, most: int) -> list[Known]:
    """Return the versions of one partition that were published, the last one first.

    Args:
        warehouse: Where the ledger is.
        asset: Such as ``cleaned/usgs_events``.
        partition: Which one.
        most: How many of the last.
    """
    return _known(
        warehouse,
        f"""select {COLUMNS} from (
            select *, row_number() over (partition by data_version order by published_at desc)
                as age from dataflow.ledger_history where asset = $1 and "partition" = $2
        ) l {JOINED} where l.age = 1 order by l.published_at desc limit {most:d}""",
        asset,
        partition,
    )


def _known(warehouse: Warehouse, query: str, *parameters: str | None) -> list[Known]:
    tables = _tables(warehouse)
    if "ledger" not in tables:
        return []
    profiles = "dataflow.profiles" if "profiles" in tables else NO_PROFILES
    found = warehouse.read(query.format(profiles=profiles), parameters)
    return [_of(row) for row in found.iter_rows(named=True)]


def _of(row: dict[str, Any]) -> Known:
    return Known(
        partition=row["key"],
        counts=Counts.model_validate({word: row[word] for word in Counts.model_fields}),
        data_version=row["data_version"],
        published_at=row["published_at"],
        newest=row["newest"],
        figures=row["figures"],
    )


def _tables(warehouse: Warehouse) -> set[str]:
    """Return the tables that there are: a warehouse of before has no profiles."""
    try:
        found: pl.DataFrame = warehouse.read(TABLES)
    except PartitionMissingError:
        return set()
    return set(found["table_name"].to_list())
