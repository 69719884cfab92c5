"""The tables that a source's rules refer to: where they are, and what stands in them.

What belongs here: finding them in the lake or the warehouse, with the version that was read, and
what a reference means to Dagster. What does not: looking values up (`transform.references`).
"""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl
from typing_extensions import override

from dataflow_assets.builders.stores import digest
from dataflow_assets.errors import DeclarationError, PartitionBusyError, PartitionMissingError
from dataflow_assets.io.absent import find_absent
from dataflow_assets.io.warehouse import quoted
from dataflow_assets.io.write_modes import CLOSED_BY
from dataflow_assets.transform.references import AbsentRows, KnownValues, as_own, check_types

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from dataflow_assets.builders.stores import Stores
    from dataflow_assets.declaration.entity import EntityDeclaration
    from dataflow_assets.declaration.rules import References
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.transform.rules import Lookup

MANY = 2_000_000
"""Rows of a table above which its values are not held in memory, but compared on disk."""
TRIES = 5
"""How often a table is read that is published anew while it is read."""


@dataclass(frozen=True)
class Referred:
    """What a partition is judged by, besides its own rows.

    Attributes:
        lookups: By rule, the table that it refers to.
        versions: By rule, which content of that table was read.
    """

    lookups: Mapping[str, Lookup] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


NOTHING_REFERRED = Referred()


def references_of(source: SourceDeclaration) -> dict[str, References]:
    """Return the rules of a source that refer to other tables, by name."""
    rules = source.contract.rules.items()
    return {name: rule.references for name, rule in rules if rule.references is not None}


def check_references(
    source: SourceDeclaration,
    sources: Mapping[str, SourceDeclaration],
    entities: Mapping[str, EntityDeclaration],
    unknown: Collection[str] = (),
) -> None:
    """Refuse references that lead nowhere, in a circle, or to other partitions.

    Args:
        source: Whose rules refer.
        sources: All declared sources, by name.
        entities: All declared entities, by name.
        unknown: Sources whose columns are not known, as their models cannot be imported.

    Raises:
        DeclarationError: Naming the rule.
    """
    for name, one in references_of(source).items():
        try:
            _check_table(source, one, sources, entities)
        except DeclarationError as error:
            error.culprit = f"rule {name}"
            error.within("contract", "rules", name, "references")
            raise
        if one.source in unknown:
            continue
        if one.source is not None:
            there = {key: c.type for key, c in sources[one.source].contract.columns.items()}
        else:
            there = {key: c.type for key, c in entities[str(one.entity)].columns.items()}
        check_types(name, one, source.contract, there)


def _check_table(
    source: SourceDeclaration,
    one: References,
    sources: Mapping[str, SourceDeclaration],
    entities: Mapping[str, EntityDeclaration],
) -> None:
    known, word = (entities, "entity") if one.entity is not None else (sources, "source")
    name = one.asset[1]
    if name not in known:
        raise DeclarationError(
            f"there is no {word} {name!r} to refer to.",
            mend=f"Declare it, or refer to one of {', '.join(sorted(known)) or 'none'}.",
        ).within(word)
    circle = _way_back(one.asset, ("cleaned", source.name), sources, entities)
    if circle:
        way = " -> ".join("/".join(asset) for asset in circle)
        raise DeclarationError(
            f"the reference leads back to where it begins: cleaned/{source.name} -> {way}.",
            mend="One of them must be made first: refer to another table, or leave the rule out.",
        ).within(word)
    if one.source is not None:
        _check_partition(source, one, sources[one.source])


def _check_partition(source: SourceDeclaration, one: References, other: SourceDeclaration) -> None:
    if one.which == "same" and source.partitions != other.partitions:
        raise DeclarationError(
            f"{other.name} has other partitions than {source.name}, so that none is the same.",
            mend="Write partition: latest (its newest window) or partition: all.",
        ).within("partition" if one.partition else "source")
    if one.which == "latest" and other.partitions.every is None:
        raise DeclarationError(
            f"{other.name} has a fixed list of partitions, none of which is the latest.",
            mend="Write partition: all, or same.",
        ).within("partition")


def _way_back(
    asset: tuple[str, str],
    home: tuple[str, str],
    sources: Mapping[str, SourceDeclaration],
    entities: Mapping[str, EntityDeclaration],
    seen: tuple[tuple[str, str], ...] = (),
) -> tuple[tuple[str, str], ...]:
    """Return the assets that lead from one back to where a reference began; none if they do not."""
    way = (*seen, asset)
    if asset == home:
        return way
    if asset in seen:
        return ()  # a circle of others, of which they are told
    layer, name = asset
    if layer == "cleaned":
        source = sources.get(name)
        following = [one.asset for one in references_of(source).values()] if source else []
    else:
        entity = entities.get(name)
        following = [("cleaned", one) for one in entity.mappings] if entity else []
    for one in following:
        found = _way_back(one, home, sources, entities, way)
        if found:
            return found
    return ()


def asset_deps(source: SourceDeclaration) -> list[dg.AssetDep]:
    """Return the assets that must be made before a source's rows can be judged."""
    mappings: dict[tuple[str, str], dg.PartitionMapping | None] = {}
    for one in references_of(source).values():
        wider = {"same": None, "latest": dg.LastPartitionMapping(), "all": dg.AllPartitionMapping()}
        before = mappings.get(one.asset, wider[one.which])
        same = type(before) is type(wider[one.which])
        mappings[one.asset] = before if same else dg.AllPartitionMapping()
    return [
        dg.AssetDep(dg.AssetKey(list(asset)), partition_mapping=mapping)
        for asset, mapping in mappings.items()
    ]


class ReferredTables:
    """Reads the tables that a source's rules refer to.

    Args:
        source: Whose rules they are.
        stores: Where the tables are.
        work: The work folder.
    """

    def __init__(self, source: SourceDeclaration, stores: Stores, work: Path) -> None:
        self._source = source
        self._stores = stores
        self._work = work
        self._references = references_of(source)
        self._held: dict[str, tuple[str, KnownValues]] = {}

    def read(
        self,
        partition: str,
        rows: int,
        values: Callable[[Sequence[str]], pl.LazyFrame],
    ) -> Referred:
        """Read them for one partition.

        Args:
            partition: Which one is judged.
            rows: How many rows it has.
            values: Gives `_row` and the values of columns of all its rows; asked only where a table
                is too big to be held in memory.

        Raises:
            PartitionBusyError: A table is published anew again and again.
            PartitionMissingError: A table is not there.
        """
        if not self._references:
            return NOTHING_REFERRED
        lookups: dict[str, Lookup] = {}
        versions: dict[str, str] = {}
        for name, one in self._references.items():
            with tempfile.TemporaryDirectory(dir=self._work, prefix="references-") as folder:
                table = self._table(one, partition, Path(folder))
                lookups[name], versions[name] = self._stable(name, table, rows, values)
        return Referred(lookups, versions)

    def _stable(
        self,
        rule: str,
        table: Table,
        rows: int,
        values: Callable[[Sequence[str]], pl.LazyFrame],
    ) -> tuple[Lookup, str]:
        """Read a table that is the same after reading as it was before.

        What is held in memory is kept for the next partition.
        """
        one = self._references[rule]
        for _ in range(TRIES):
            version = table.version()
            if rule in self._held and self._held[rule][0] == version:
                return self._held[rule][1], version
            frame = as_own(table.scan(), one, self._source.contract)
            lookup: KnownValues | AbsentRows
            if table.rows <= MANY:
                lookup = KnownValues(frame.collect(engine="streaming"))
                self._held[rule] = (version, lookup)
            else:
                limit = self._stores.memory_limit_mb
                flags = find_absent(values(one.columns), frame, rows, table.folder, limit)
                lookup = AbsentRows(flags)
            if table.version() == version:
                return lookup, version
        raise PartitionBusyError(
            f"{'/'.join(one.asset)}, to which a rule refers, was published anew {TRIES} times "
            "while it was read.",
            mend="Run again when it is left alone.",
        )

    def _table(self, one: References, partition: str, folder: Path) -> Table:
        if one.entity is not None:
            return EntityRows(self._stores, one, folder)
        return SourceRows(self._stores, one, partition, folder)


class Table(ABC):
    """A table to which a rule refers.

    Args:
        stores: Where it is.
        one: What refers to it.
        folder: For temporary files.

    Attributes:
        rows: How many rows it has, once its version was asked for.
    """

    def __init__(self, stores: Stores, one: References, folder: Path) -> None:
        self.folder = folder
        self.rows = 0
        self._stores = stores
        self._one = one

    @abstractmethod
    def version(self) -> str:
        """Return a digest of what stands there now.

        Raises:
            PartitionMissingError: There is nothing.
        """

    @abstractmethod
    def scan(self) -> pl.LazyFrame:
        """Return its rows."""

    def _missing(self, which: str) -> PartitionMissingError:
        asset = "/".join(self._one.asset)
        return PartitionMissingError(
            f"a rule refers to {asset}, of which there is nothing yet.",
            mend=f"Materialize {asset} {which}first.",
            culprit=asset,
        )


class SourceRows(Table):
    """The cleaned rows of a source, of one partition or all."""

    def __init__(self, stores: Stores, one: References, partition: str, folder: Path) -> None:
        super().__init__(stores, one, folder)
        self._partition = partition
        self._keys: list[str] = []

    @override
    def version(self) -> str:
        """Return a digest of the versions of its partitions."""
        lake, source = self._stores.lake, self._one.asset[1]
        if self._one.which == "same":
            wanted = [self._partition]
        else:
            wanted = lake.partitions("cleaned", source)
            wanted = wanted[-1:] if self._one.which == "latest" else wanted
        found = lake.manifests("cleaned", source, wanted)
        if not found:
            raise self._missing("for this partition " if self._one.which == "same" else "")
        self._keys = list(found)
        self.rows = sum(manifest.rows for manifest in found.values())
        return digest({key: manifest.data_version for key, manifest in found.items()})

    @override
    def scan(self) -> pl.LazyFrame:
        """Return the rows of its partitions, those columns alone that are referred to."""
        lake, source = self._stores.lake, self._one.asset[1]
        return pl.concat(
            lake.scan("cleaned", source, key, self._folder_of(number)).select(self._one.target)
            for number, key in enumerate(self._keys)
        )

    def _folder_of(self, number: int) -> Path:
        folder = self.folder / str(number)
        folder.mkdir(exist_ok=True)
        return folder


class EntityRows(Table):
    """The table of an entity; of a history, the current versions of its rows."""

    @override
    def version(self) -> str:
        """Return a digest of the versions of its partitions, as the ledger has them."""
        warehouse, name = self._stores.warehouse, self._one.asset[1]
        try:
            ledger = warehouse.read(
                'select "partition", data_version from dataflow.ledger where asset = $1 order by 1',
                [f"normalized/{name}"],
            )
        except PartitionMissingError:
            raise self._missing("") from None
        if ledger.is_empty():
            raise self._missing("")
        counted = warehouse.read(f"select count(*) as rows from {self._relation}")  # noqa: S608
        self.rows = int(counted["rows"].item())
        return digest(ledger.rows())

    @property
    def _relation(self) -> str:
        return f"normalized.{quoted(self._one.asset[1])}"

    @override
    def scan(self) -> pl.LazyFrame:
        """Return its rows, exported to a file."""
        names = [quoted(name) for name in dict.fromkeys(self._one.target)]
        query = f"select {', '.join(names)} from {self._relation}"  # noqa: S608 - quoted
        if self._keeps_history():
            query += " where valid_to is null"
        path = self.folder / "entity.parquet"
        self._stores.warehouse.export(query, path)
        return pl.scan_parquet(path, glob=False)

    def _keeps_history(self) -> bool:
        found = self._stores.warehouse.read(
            "select 1 as found from information_schema.columns where table_schema = 'normalized' "
            "and table_name = $1 and column_name = $2",
            [self._one.asset[1], CLOSED_BY],
        )
        return not found.is_empty()
