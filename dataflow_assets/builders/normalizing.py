"""The normalized layer: map the cleaned rows of all sources of an entity, and publish them.

What belongs here: the order write, audit, publish for partitions of an entity. What does not: how a
mapping becomes expressions (``transform``), how the warehouse publishes (``io``), and Dagster.
"""

from __future__ import annotations

import datetime as dt
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.builders import metadata
from dataflow_assets.builders.conservation import conservation_failure
from dataflow_assets.builders.steps import Shown
from dataflow_assets.builders.stores import Workplace, digest, digest_of
from dataflow_assets.errors import EntityKeyError, MappingError, PartitionMissingError
from dataflow_assets.io.duplicates import find_losers
from dataflow_assets.io.lake import STAGED_OPTIONS, count_rows
from dataflow_assets.io.ledger import Counts, LedgerRow
from dataflow_assets.io.warehouse import EntityTable, Publication
from dataflow_assets.transform.expressions import POLARS_ERRORS, explain
from dataflow_assets.transform.normalize import EntityRows, Mapping, entity_schema
from dataflow_assets.transform.rules import contract_schema

if TYPE_CHECKING:
    import collections.abc as cabc
    from pathlib import Path
    from types import TracebackType

    from dataflow_assets.builders.stores import Stores
    from dataflow_assets.declaration.entity import EntityDeclaration
    from dataflow_assets.declaration.partitions import Partitions
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.errors import DataflowError
    from dataflow_assets.io.lake import Manifest

SMALL_ROWS = 50_000
"""Rows up to which a partition is mapped in memory: streaming pays off only above."""
NORMALIZED_CODE = "2"
"""Raised when the same cleaned rows would give other normalized rows than before."""


@dataclass(frozen=True)
class Normalized:
    """What came of normalizing one partition of an entity.

    Attributes:
        partition: Which one.
        staged: Parquet file of the rows to publish.
        counts: Rows received from all sources, loaded and duplicate.
        by_source: Rows received from each source; one without the partition is left out.
        without_key: Rows that lack a value in a column that must have one.
        data_version: Changes when, and only when, the cleaned rows or the mapping do.
        staged_at: When the rows were staged.
        duration_s: Seconds that it took to stage the rows.
        failure: Why the partition may not be published, if it may not.
    """

    partition: str
    staged: Path
    counts: Counts
    by_source: dict[str, int]
    without_key: int
    data_version: str
    staged_at: dt.datetime
    duration_s: float
    failure: DataflowError | None = None


def build_mappings(
    entity: EntityDeclaration, sources: cabc.Mapping[str, SourceDeclaration]
) -> dict[str, Mapping]:
    """Check and compile an entity's mappings, those of preferred sources first.

    Raises:
        ExpressionError: An expression does not parse, or gives another type than declared.
    """
    return {
        name: Mapping(entity, name, contract_schema(sources[name].contract))
        for name in entity.precedence()
    }


def normalized_declaration(entity: EntityDeclaration) -> str:
    """Return a digest of all that decides which rows the same cleaned rows give."""
    return digest(NORMALIZED_CODE, digest_of(entity))


def normalized_version(declaration: str, cleaned: cabc.Mapping[str, str]) -> str:
    """Return the data version of what a declaration makes of cleaned partitions.

    Args:
        declaration: What `normalized_declaration` returns.
        cleaned: Their data versions, by source.
    """
    return digest(declaration, cleaned)


def build_table(entity: EntityDeclaration, partitions: Partitions) -> EntityTable:
    """Return the table that an entity's declaration asks for."""
    return EntityTable(
        name=entity.name,
        columns=dict(entity_schema(entity)),
        comments={name: column.description for name, column in entity.columns.items()},
        key=entity.key,
        description=entity.description,
        write=entity.write,
        partitions=partitions.values,
    )


def write_winners(
    rows: EntityRows, mapped: pl.LazyFrame, received: int, staged: Path, memory_limit_mb: int
) -> tuple[int, int]:
    """Write the mapped rows that win, and return how many have no key, and how many lose.

    Args:
        rows: Says which row of a key wins.
        mapped: The rows of all sources with `_row`, those of preferred sources first.
        received: How many they are.
        staged: The file to write, in a work folder.
        memory_limit_mb: Bound for the memory of the comparison, in MB.
    """
    mapped = mapped.collect().lazy() if received <= SMALL_ROWS else mapped
    without_key = rows.count_without_key(mapped)
    losers = find_losers(mapped, rows, received, staged.parent, memory_limit_mb)
    winners = rows.winners(mapped, losers)
    winners.sink_parquet(staged, engine="streaming", **STAGED_OPTIONS)
    return without_key, 0 if losers is None else int(losers.sum())


class Normalizer(Workplace):
    """Normalizes partitions of one entity, and holds their locks from reading to publishing."""

    def __init__(
        self,
        entity: EntityDeclaration,
        mappings: cabc.Mapping[str, Mapping],
        partitions: Partitions,
        stores: Stores,
    ) -> None:
        super().__init__(entity.name, stores)
        self._entity = entity
        self._partitions = partitions
        self._mappings = mappings
        self._declaration = normalized_declaration(entity)
        self._rows = EntityRows(entity)
        self._locks = ExitStack()
        self._numbers = count()
        self._table = build_table(entity, partitions)
        self._published: dict[str, Counts] = {}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._locks.close()
        super().__exit__(kind, error, trace)

    def stage(self, partition: str) -> Normalized:
        """Map the cleaned rows of all sources to the work folder, and audit them.

        Where two sources report the same key, the preferred source's row is kept.

        Raises:
            PartitionMissingError: No source has the partition.
            MappingError: An expression failed on the data.
        """
        started = time.monotonic()
        lake, name = self._stores.lake, self._entity.name
        self._locks.enter_context(lake.partition_lock(f"normalized/{name}", partition))
        cleaned = self._cleaned(partition)
        mapped = pl.concat(
            [
                self._mappings[one].apply(lake.scan("cleaned", one, partition, self._work))
                for one in cleaned
            ]
        ).with_row_index("_row")
        received = sum(manifest.rows for manifest in cleaned.values())
        staged = self._work / f"{next(self._numbers)}.parquet"
        try:
            without_key, duplicate = write_winners(
                self._rows, mapped, received, staged, self._stores.memory_limit_mb
            )
        except POLARS_ERRORS as error:
            raise self._explain(error, partition) from error
        loaded = count_rows(staged)
        counts = Counts(received=received, loaded=loaded, duplicate=duplicate)
        return Normalized(
            partition=partition,
            staged=staged,
            counts=counts,
            by_source={one: manifest.rows for one, manifest in cleaned.items()},
            without_key=without_key,
            data_version=self._version(cleaned),
            staged_at=dt.datetime.now(dt.UTC),
            duration_s=time.monotonic() - started,
            failure=self._audit(partition, without_key, counts),
        )

    def publish(self, staged: cabc.Sequence[Normalized]) -> None:
        """Publish staged partitions to the warehouse, each with its ledger row in one transaction.

        Raises:
            HistoryOrderError: The history goes on after a partition, with others than these.
            WarehouseLockedError: Another program keeps the warehouse locked.
            WarehouseSchemaError: The table cannot take the columns without losing data.
        """
        publications = [
            Publication(
                one.partition,
                one.staged,
                self._ledger_row(one),
                tuple(one.by_source),
                self._partitions.begin_of(one.partition),
            )
            for one in staged
        ]
        self._published |= self._stores.warehouse.publish(self._table, publications)
        for one in staged:
            one.staged.unlink()
        self._locks.close()

    def finished(self, one: Normalized) -> Normalized:
        """Return what came of a partition, with the counts of its publish if there was one."""
        return replace(one, counts=self._published.get(one.partition, one.counts))

    def show(self, one: Normalized) -> Shown:
        """Return what the Dagster UI is to show of one finished partition."""
        return Shown(
            one.data_version,
            {
                "dagster/partition_row_count": one.counts.loaded or 0,
                **metadata.count_metadata(one.counts),
                "by_source": dict(one.by_source),
                "seconds": round(one.duration_s, 3),
                "declaration": self._declaration,
            },
        )

    def _cleaned(self, partition: str) -> dict[str, Manifest]:
        """Return the cleaned partitions of the sources that have one, preferred sources first."""
        found = {}
        for source in self._mappings:
            manifest = self._stores.lake.manifest("cleaned", source, partition)
            if manifest is not None:
                found[source] = manifest
        if not found:
            raise PartitionMissingError(
                "no source has cleaned rows for it.",
                mend=f"Materialize cleaned/{next(iter(self._mappings))} for this partition first.",
                entity=self._entity.name,
                partition=partition,
            )
        return found

    def _version(self, cleaned: cabc.Mapping[str, Manifest]) -> str:
        versions = {source: manifest.data_version for source, manifest in cleaned.items()}
        return normalized_version(self._declaration, versions)

    def _audit(self, partition: str, without_key: int, counts: Counts) -> DataflowError | None:
        """Return why the partition may not be published, if it may not."""
        if without_key:
            return EntityKeyError(
                f"{without_key:,} rows have no value in {', '.join(self._entity.needed)}.",
                mend="Make the columns that these are mapped from required in the sources' "
                "contracts, or map them from others; the partition stays as it was.",
                entity=self._entity.name,
                partition=partition,
                culprit=", ".join(self._entity.needed),
            )
        failure = conservation_failure(counts)
        return (
            None if failure is None else failure.at(entity=self._entity.name, partition=partition)
        )

    def _explain(self, error: Exception, partition: str) -> MappingError:
        explained = explain(error, f"Mapping to {self._entity.name}")
        return explained.at(entity=self._entity.name, partition=partition)

    def _ledger_row(self, one: Normalized) -> LedgerRow:
        return LedgerRow(
            asset=f"normalized/{self._entity.name}",
            source=self._entity.name,
            partition=one.partition,
            layer="normalized",
            counts=one.counts,
            data_version=one.data_version,
            declaration=self._declaration,
            run_id=self._stores.run_id,
            published_at=one.staged_at,
            duration_s=one.duration_s,
        )
