"""Plan: what declarations as they stand would change in partitions that are there.

What belongs here: making rows from raw beside the lake, and comparing them with what was published,
or with what other declarations make of the same bytes. Where they would be read otherwise than raw
was, raw is made anew from the archive first. What does not: telling people of it, and
publishing anything.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.builders.cleaning import cleaned_declaration, cleaned_version
from dataflow_assets.builders.dry import clean_dry
from dataflow_assets.builders.normalizing import (
    build_mappings,
    normalized_declaration,
    normalized_version,
    write_winners,
)
from dataflow_assets.builders.receiving import asked_declaration, raw_declaration
from dataflow_assets.builders.references import references_of
from dataflow_assets.builders.rereading import (
    ASKS_OTHERWISE,
    NOT_NOTED,
    is_read_otherwise,
    read_again,
    why_unknown,
)
from dataflow_assets.errors import DataflowError, PartitionMissingError
from dataflow_assets.io.comparing import ORIGIN, Difference, compare
from dataflow_assets.io.entries import Entries
from dataflow_assets.io.lake import count_rows
from dataflow_assets.io.ledger import Counts
from dataflow_assets.io.warehouse import quoted
from dataflow_assets.transform.normalize import EntityRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from dataflow_assets.builders.stores import Stores
    from dataflow_assets.declaration.entity import EntityDeclaration
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.io.entries import Moved

SAME = Difference()
MOST_READ = 200_000
"""Rows of a table of the warehouse that are compared, where its mapping of before is not known."""
LEDGER = """
select "partition", received, loaded, quarantined, duplicate, filtered, data_version
from dataflow.ledger where asset = $1
"""


@dataclass(frozen=True)
class Declarations:
    """Sources and entities, by name."""

    sources: Mapping[str, SourceDeclaration]
    entities: Mapping[str, EntityDeclaration]


@dataclass(frozen=True)
class SourcePlan:
    """What would change in one partition of a source.

    Attributes:
        source: The source.
        partition: The partition.
        before: What became of its rows; none if it has never been cleaned.
        after: What would become of them.
        rows: What would differ between the cleaned rows.
        quarantined: Rows that would be quarantined and are not, by rule, with samples.
        released: Rows in quarantine that would not be there, by rule, with samples.
        unknown: Why it cannot be said for sure, or not at all.
        failure: Why the partition would not be published.
    """

    source: str
    partition: str
    before: Counts | None = None
    after: Counts | None = None
    rows: Difference = SAME
    quarantined: Mapping[str, Moved] = field(default_factory=dict)
    released: Mapping[str, Moved] = field(default_factory=dict)
    unknown: str = ""
    failure: str = ""

    def __bool__(self) -> bool:
        """Whether anything would change, or may."""
        moved = self.quarantined or self.released or self.before != self.after
        return bool(self.failure or self.unknown or moved or self.rows)


@dataclass(frozen=True)
class EntityPlan:
    """What would change in one partition of an entity.

    Attributes:
        entity: The entity.
        partition: The partition.
        mode: How its rows enter the table; what is compared is what the partition brings.
        rows: What would differ.
        unknown: Why it cannot be said.
        failure: Why the partition would not be published.
    """

    entity: str
    partition: str
    mode: str
    rows: Difference = SAME
    unknown: str = ""
    failure: str = ""

    def __bool__(self) -> bool:
        """Whether anything would change, or may."""
        return bool(self.failure or self.unknown or self.rows)


@dataclass(frozen=True)
class _Side:
    """The cleaned rows and the quarantine of a partition, before or after."""

    good: Path
    quarantine: Path
    counts: Counts


class Planner:
    """Compares what declarations make of the same raw rows.

    Args:
        now: The declarations as they stand.
        before: Others to compare them with; none: what was published.
        stores: As `beside` gives them: what is on its way is not in the lake.
        folder: For rows that are made; they stay until the folder is removed.
    """

    def __init__(
        self, now: Declarations, before: Declarations | None, stores: Stores, folder: Path
    ) -> None:
        self._now = now
        self._before = before
        self._stores = stores
        self._folder = folder
        self._sides: dict[tuple[str, str], tuple[_Side | None, _Side | None]] = {}
        self._ledgers: dict[str, dict[str, dict[str, object]]] = {}

    def plan_source(self, name: str, partitions: Sequence[str]) -> Iterator[SourcePlan]:
        """Yield what would change in partitions of a source."""
        for partition in partitions:
            try:
                yield self._plan_partition(name, partition)
            except DataflowError as error:
                located = error.at(source=name, partition=partition)
                yield SourcePlan(name, partition, failure=str(located))

    def plan_entity(self, name: str, partitions: Sequence[str]) -> Iterator[EntityPlan]:
        """Yield what would change in partitions of an entity, once its sources are planned."""
        entity = self._now.entities[name]
        for partition in partitions:
            try:
                yield self._plan_entity(entity, partition)
            except DataflowError as error:
                located = error.at(source=name, partition=partition)
                yield EntityPlan(name, partition, entity.write.mode, failure=str(located))

    def _plan_partition(self, name: str, partition: str) -> SourcePlan:
        source = self._now.sources[name]
        if self._is_same(source, partition):
            self._sides.pop((name, partition), None)
            return SourcePlan(name, partition)
        old = self._old(name, partition)
        before = None if old is None else old.counts
        unknown = self._unknown(source, partition)
        if unknown and unknown != NOT_NOTED:
            return SourcePlan(name, partition, before, before, unknown=unknown)
        new, failure = self._made(source, partition, "after")
        self._sides[name, partition] = (old, new)
        if old is None:
            return SourcePlan(name, partition, before, new.counts, unknown=unknown, failure=failure)
        work, limit = self._folder, self._stores.memory_limit_mb
        entries = Entries(self._stores.lake, name, work, limit)
        quarantined, released = entries.moved(old.quarantine, new.quarantine)
        return SourcePlan(
            name,
            partition,
            before,
            new.counts,
            compare(old.good, new.good, ORIGIN, work, limit),
            quarantined,
            released,
            unknown,
            failure,
        )

    def _unknown(self, source: SourceDeclaration, partition: str) -> str:
        """Return why it cannot be said which bytes would be received, if it cannot."""
        if self._before is not None:
            other = self._before.sources.get(source.name)
            same = other is None or asked_declaration(other) == asked_declaration(source)
            return "" if same else ASKS_OTHERWISE
        raw = self._stores.lake.manifest("raw", source.name, partition)
        if raw is None or not is_read_otherwise(source, raw):
            return ""
        return why_unknown(source, raw)

    def _is_same(self, source: SourceDeclaration, partition: str) -> bool:
        """Whether declarations and raw rows are the same, so that nothing can differ."""
        declaration, lake = cleaned_declaration(source), self._stores.lake
        if self._before is not None:
            other = self._before.sources.get(source.name)
            return (
                other is not None
                and cleaned_declaration(other) == declaration
                and raw_declaration(other) == raw_declaration(source)
            )
        raw = lake.manifest("raw", source.name, partition)
        done = lake.manifest("cleaned", source.name, partition)
        if raw is None or done is None or is_read_otherwise(source, raw):
            return False
        limit = self._stores.memory_limit_mb
        decided = Entries(lake, source.name, self._folder, limit).digest(partition)
        same = cleaned_version(declaration, raw, decisions=decided)
        return done.data_version == same and not references_of(source)

    def _old(self, name: str, partition: str) -> _Side | None:
        """Return what is there, or what the other declarations make; none if there is nothing."""
        if self._before is not None:
            source = self._before.sources.get(name)
            return None if source is None else self._made(source, partition, "before")[0]
        lake = self._stores.lake
        folder = self._folder_for(name, "before")
        good = lake.find("cleaned", name, partition, folder)
        quarantine = lake.find("quarantine", name, partition, folder)
        if good is None or quarantine is None:
            return None
        known = self._ledger(f"cleaned/{name}").get(partition, {})
        words = ("received", "duplicate", "filtered")
        counts = Counts.model_validate(
            {word: known[word] for word in words if known.get(word) is not None}
            | {"loaded": count_rows(good), "quarantined": count_rows(quarantine)}
        )
        return _Side(good, quarantine, counts)

    def _made(self, source: SourceDeclaration, partition: str, side: str) -> tuple[_Side, str]:
        folder = self._folder_for(source.name, side)
        raw = self._stores.lake.manifest("raw", source.name, partition)
        with ExitStack() as stack:
            stores = self._stores
            if raw is not None and is_read_otherwise(source, raw):
                again = read_again(source, stores, partition, raw, folder / "raw")
                stores = stack.enter_context(again)
            dry = clean_dry(source, stores, partition, folder)
        failure = "" if dry.cleaned.failure is None else str(dry.cleaned.failure)
        return _Side(dry.good, dry.quarantine, dry.cleaned.counts), failure

    def _folder_for(self, name: str, side: str) -> Path:
        number = len(self._sides)
        folder = self._folder / f"{name}-{number}-{side}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _ledger(self, asset: str) -> dict[str, dict[str, object]]:
        """Return the ledger's rows of an asset, by partition; none before the first publish."""
        if asset not in self._ledgers:
            try:
                rows = self._stores.warehouse.read(LEDGER, [asset])
            except PartitionMissingError:
                rows = pl.DataFrame(schema={"partition": pl.String()})
            self._ledgers[asset] = {row["partition"]: row for row in rows.to_dicts()}
        return self._ledgers[asset]

    def _plan_entity(self, entity: EntityDeclaration, partition: str) -> EntityPlan:
        name, mode = entity.name, entity.write.mode
        known = self._ledger(f"normalized/{name}").get(partition)
        old_entity = entity if self._before is None else self._before.entities.get(name)
        same = old_entity is not None and (
            normalized_declaration(old_entity) == normalized_declaration(entity)
        )
        if self._before is None:
            same = known is not None and known["data_version"] == self._version(entity, partition)
        touched = any((source, partition) in self._sides for source in entity.mappings)
        if same and not touched:
            return EntityPlan(name, partition, mode)
        after, failure = self._mapped(entity, self._now, partition, new=True)
        if self._before is not None:
            before = None
            if old_entity is not None:
                before = self._mapped(old_entity, self._before, partition, new=False)[0]
        elif known is None:
            before = None
        elif same:
            before = self._mapped(entity, self._now, partition, new=False)[0]
        elif mode == "replace" and int(str(known["loaded"])) <= MOST_READ:
            before = self._table(entity, partition)
        else:
            why = "it was published of other rows or by another mapping, and "
            why += (
                f"more than {MOST_READ:,} rows" if mode == "replace" else f"a table of mode {mode}"
            )
            why += " cannot be compared: give --against with a git reference"
            return EntityPlan(name, partition, mode, unknown=why, failure=failure)
        if after is None:
            return EntityPlan(name, partition, mode)
        limit = self._stores.memory_limit_mb
        if before is None:
            return EntityPlan(
                name, partition, mode, Difference(added=count_rows(after)), "", failure
            )
        rows = compare(before, after, entity.key, self._folder, limit)
        return EntityPlan(name, partition, mode, rows, "", failure)

    def _version(self, entity: EntityDeclaration, partition: str) -> str:
        """Return the data version that the entity has if it was made of what is there."""
        lake = self._stores.lake
        found = {one: lake.manifest("cleaned", one, partition) for one in entity.precedence()}
        versions = {one: manifest.data_version for one, manifest in found.items() if manifest}
        return normalized_version(normalized_declaration(entity), versions)

    def _mapped(
        self, entity: EntityDeclaration, declared: Declarations, partition: str, *, new: bool
    ) -> tuple[Path | None, str]:
        """Write what a partition brings to an entity, and say why it would not be published."""
        mappings = build_mappings(entity, declared.sources)
        frames, received = [], 0
        for source, mapping in mappings.items():
            path = self._cleaned(source, partition, new=new)
            if path is not None:
                received += count_rows(path)
                frames.append(mapping.apply(pl.scan_parquet(path, glob=False)))
        if not frames:
            return None, ""
        rows = pl.concat(frames).with_row_index("_row")
        staged = self._folder / f"{entity.name}-{'after' if new else 'before'}.parquet"
        without_key, _ = write_winners(
            EntityRows(entity), rows, received, staged, self._stores.memory_limit_mb
        )
        failure = f"{without_key:,} rows have no value in {', '.join(entity.needed)}"
        return staged, failure if without_key and new else ""

    def _cleaned(self, source: str, partition: str, *, new: bool) -> Path | None:
        if (source, partition) in self._sides:
            side = self._sides[source, partition][int(new)]
            return None if side is None else side.good
        return self._stores.lake.find("cleaned", source, partition, self._folder)

    def _table(self, entity: EntityDeclaration, partition: str) -> Path:
        """Write the rows of a partition that stand in the table."""
        path = self._folder / f"{entity.name}-table.parquet"
        table = f"normalized.{quoted(entity.name)}"
        sql = f"select * from {table} where _partition = $1"  # noqa: S608 - a quoted name
        rows = self._stores.warehouse.read(sql, [partition])
        rows.drop("_partition", "_run_id").write_parquet(path)
        return path
