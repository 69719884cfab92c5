"""What every warehouse does, whichever database it is.

What belongs here: the shape of a publish and of an entity's table, as all warehouses know them.
What does not: any database; each has a module of its own.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from dataflow_assets.declaration.entity import REPLACE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import polars as pl

    from dataflow_assets.declaration.entity import Write
    from dataflow_assets.io.ledger import Counts, LedgerDrift, LedgerFile, LedgerRow, ProfileRow

TECHNICAL = ("_partition", "_source", "_raw_ref", "_run_id")
"""Columns of every entity's table beside the declared ones, all of them texts; a history has more.
"""
ADDED = {"_partition", "_run_id"}
"""Technical columns that a publish adds; the staged file has the others."""


@dataclass(frozen=True)
class EntityTable:
    """The table of an entity.

    Attributes:
        name: The table is ``normalized.<name>``.
        columns: Polars type of each declared column, in order.
        comments: What columns mean.
        key: The columns that identify a row.
        description: What the table holds.
        write: How a partition's rows enter the table.
        partitions: The fixed list of partitions in its order; none if they are windows of time.
    """

    name: str
    columns: Mapping[str, pl.DataType]
    comments: Mapping[str, str] = field(default_factory=dict)
    key: tuple[str, ...] = ()
    description: str = ""
    write: Write = REPLACE
    partitions: tuple[str, ...] | None = None

    @property
    def qualified(self) -> str:
        """The table's name with its schema, quoted."""
        return f"normalized.{quoted(self.name)}"


@dataclass(frozen=True)
class Publication:
    """One partition that is ready to publish.

    Attributes:
        partition: Which one.
        staged: Parquet file of the declared columns, `_source` and `_raw_ref`.
        ledger: What the publish does; its counts say how many rows the file has.
        sources: The sources that took part, with rows or without.
        moment: When the partition's window begins; none if it is no window of time.
    """

    partition: str
    staged: Path
    ledger: LedgerRow
    sources: tuple[str, ...] = ()
    moment: dt.datetime | None = None


class Warehouse(Protocol):
    """A database with the schemas ``normalized`` and ``dataflow``."""

    def publish(self, table: EntityTable, publications: Sequence[Publication]) -> dict[str, Counts]:
        """Publish partitions, each in one transaction with its ledger row.

        A history that is applied anew from an earlier partition on is one transaction.

        Returns:
            By partition, its counts with what became of the staged rows.

        Raises:
            ConservationError: Fewer or more rows are accounted for than were staged.
            HistoryOrderError: The history goes on after a partition, with others than these.
            StorageError: The warehouse cannot be written.
            WarehouseLockedError: Others do not leave it.
            WarehouseSchemaError: The table cannot take the declared columns without losing data.
        """

    def record(
        self,
        rows: Sequence[LedgerRow],
        files: Sequence[LedgerFile],
        drift: Sequence[LedgerDrift] = (),
        profiles: Sequence[ProfileRow] = (),
    ) -> None:
        """Write what was published to the lake to the ledger, in one transaction.

        Args:
            rows: What each publish did.
            files: The files of the raw partitions among them; they replace those known before.
            drift: How columns changed; it replaces what the same raw partition showed before.
            profiles: Figures of partitions; those of the same version are replaced.
        """

    def read(self, sql: str, parameters: Sequence[object] = ()) -> pl.DataFrame:
        """Return the rows of a query that cannot write, for results that fit into memory.

        Args:
            sql: The query; `$1`, `$2` stand for its parameters.
            parameters: Their values, in this order.

        Returns:
            Timestamps with a zone come as UTC.
        """

    def export(self, sql: str, path: Path) -> None:
        """Write the rows of a query that cannot write to a Parquet file, however many they are.

        Args:
            sql: The query.
            path: The file.
        """


def quoted(name: str) -> str:
    """Return a name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    """Return a value as an SQL literal."""
    if value is None:
        return "null"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, dt.datetime):
        return f"timestamptz '{value.astimezone(dt.UTC).isoformat(' ')}'"
    text = str(value).replace("'", "''")
    return f"'{text}'"
