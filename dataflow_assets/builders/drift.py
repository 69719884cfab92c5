"""Watching a source's columns from one partition to the next.

What belongs here: which partition one is compared with, looking at its rows where names and types
do not tell enough, and what a contract that freezes columns refuses. What does not: telling what
differs (``transform.drift``), showing it (``checks``), and mending the declaration (``patches``).

A partition of a window of time is compared with the nearest earlier one that was published. An item
of a fixed list is compared with what it was itself, and if it is new with the one before it in the
list. So a partition that was refused is compared with by none.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow.parquet as pq

from dataflow_assets.errors import (
    ChangedTypeError,
    HeaderError,
    PartitionMissingError,
    UnreadableFileError,
)
from dataflow_assets.io.lake import columns_without_values
from dataflow_assets.io.ledger import LedgerDrift
from dataflow_assets.transform.clean import received_names
from dataflow_assets.transform.drift import (
    Drift,
    Look,
    ReadFile,
    belongs,
    find_drift,
    shape_of,
)
from dataflow_assets.transform.guessing.narrowest import SAMPLE_ROWS, types_of
from dataflow_assets.transform.guessing.renames import Sampled, guess_renamed
from dataflow_assets.transform.parse import text_of
from dataflow_assets.transform.plugin import read_transforms
from dataflow_assets.transform.shape import Header, header_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from dataflow_assets.builders.stores import Stores
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.errors import DataflowError
    from dataflow_assets.io.lake import Layer, Manifest
    from dataflow_assets.transform.findings import Tally
    from dataflow_assets.transform.shape import Gone, Seen, Shape

TRIES = 3
"""How many partitions before are looked at for one that says what it looked like."""
FEWEST_PART = 100
"""A column is not suspected of a changed type if fewer than one in so many rows cannot be read:
its values would have to be counted in each partition with a mistyped one.
"""
MOST_ASKED = 100
"""The most new columns of a partition whose values are looked at to tell their type."""
HISTORY_SHOWN = 50
HISTORY = """
    select "partition", "before", kind, "column", old, new, file, rows, published, found_at
    from dataflow.drift where source = $1 order by "partition" desc, found_at desc limit $2
"""


MOST_LISTED = 10_000
"""The most changes of a source that a command lists."""


def drift_rows(stores: Stores, name: str) -> list[dict[str, Any]]:
    """Return how a source's columns changed over its partitions, the newest first.

    Args:
        stores: Where the ledger is.
        name: The source.
    """
    try:
        return stores.warehouse.read(HISTORY, [name, MOST_LISTED]).to_dicts()
    except PartitionMissingError:  # nothing has been published yet
        return []


@dataclass(frozen=True)
class Found:
    """How the columns of one partition differ.

    Attributes:
        drift: What differs, from the contract or from the partition before.
        shape: What the source looked like; kept beside the cleaned rows.
        before: The partition with which it was compared; none if it is the first.
        columns: The received columns, with their types.
        failure: Why the contract refuses the partition for that, if it does.
    """

    drift: tuple[Drift, ...]
    shape: Shape
    before: str | None
    columns: pl.Schema
    failure: DataflowError | None = None

    @property
    def undeclared(self) -> tuple[Drift, ...]:
        """What is otherwise than the contract says, and what is supposed about that."""
        supposed = tuple(one for one in self.drift if one.kind == "perhaps renamed")
        return tuple(one for one in self.drift if one.undeclared) + supposed

    @property
    def changed(self) -> tuple[Drift, ...]:
        """What was otherwise in the partition before."""
        return tuple(one for one in self.drift if one.changed)


class DriftWatch:
    """Tells how the columns of a source's partitions differ; asked in the order of a run.

    Args:
        source: The declaration.
        stores: Where its partitions are.
    """

    def __init__(self, source: SourceDeclaration, stores: Stores) -> None:
        self._source = source
        self._contract = source.contract
        self._lake = stores.lake
        self._shapes: dict[str, Shape] = {}
        self._types = {
            name: f"{name}__type"
            for name, column in source.contract.columns.items()
            if column.type != "string"
        }

    def look(self, partition: str, raw: Manifest, columns: pl.Schema, rows: pl.LazyFrame) -> Found:
        """Return how a partition's columns differ, before its rows are cleaned.

        Args:
            partition: Which one.
            raw: Its raw partition.
            columns: The user columns of that.
            rows: Its rows; read where a column is new only.
        """
        before = self._before(partition, raw)
        look = Look(
            contract=self._contract,
            partition=partition,
            raw=raw.data_version,
            columns=self._header(columns),
            files=self._files(raw, columns),
            before=before,
            has_headers=self._source.extract.has_headers,
            expected=self._expected,
        )
        shape = shape_of(look)
        shape = shape.model_copy(
            update={
                "columns": {**shape.columns, **self._read_as(look, shape, columns, rows)},
                "gone": {**shape.gone, **self._supposed(look, shape, rows)},
                "before": self._kept(before),
            }
        )
        drift = find_drift(look, shape)
        found = Found(drift, shape, None if before is None else before.partition, columns)
        return replace(found, failure=self._refusal(look, found))

    def published(self, found: Found) -> None:
        """Take note that a partition was published, so that the next is compared with it."""
        self._shapes[found.shape.partition] = found.shape

    def changed_types(
        self, found: Found, rows: pl.LazyFrame, received: int, tally: Tally
    ) -> dict[str, int]:
        """Return the columns of which too many values are not of the declared type, with how many.

        Args:
            found: What names and types tell.
            rows: The raw rows.
            received: How many there are.
            tally: What was found when they were cleaned.
        """
        unread = {
            name: tally.rules[rule].rows
            for name, rule in self._types.items()
            if rule in tally.rules
        }
        many = {name: count for name, count in unread.items() if count * FEWEST_PART >= received}
        if not many:
            return {}
        share = self._contract.changed_types.share
        values = self._values(found.columns, rows, many)
        return {name: count for name, count in many.items() if count > share * values[name]}

    def judged(
        self,
        found: Found,
        changed: Mapping[str, int],
        rows: pl.LazyFrame,
        cleaned: Path,
        loaded: int,
    ) -> Found:
        """Add what only the values tell: columns of a changed type, and those left empty.

        Args:
            found: What names and types tell.
            changed: What `changed_types` returned.
            rows: The raw rows.
            cleaned: The staged cleaned rows.
            loaded: How many they are.
        """
        was = self._changed_before(found) if changed else {}
        since = {name: was.get(name, found.shape.partition) for name in changed}
        drift = (*found.drift, *self._retyped(found, changed, was, rows))
        if loaded and found.before is not None:
            drift += tuple(self._emptied(found, changed, cleaned, loaded))
        failure = found.failure
        if failure is None and changed and self._contract.changed_types.policy == "freeze":
            failure = self._refuse_values(changed)
        shape = found.shape.model_copy(update={"changed": since})
        return replace(found, drift=drift, shape=shape, failure=failure)

    def ledger_rows(self, found: Found, run_id: str, *, published: bool) -> list[LedgerDrift]:
        """Return what changed from the partition before, as the ledger keeps it."""
        if found.before is None:
            return []
        return [
            LedgerDrift(
                source=self._source.name,
                partition=found.shape.partition,
                before=found.before,
                kind=one.kind,
                column=_plain(one.column) or "",
                old=_plain(one.old),
                new=_plain(one.new),
                file=_plain(one.file),
                files=one.files,
                rows=one.rows,
                published=published,
                data_version=found.shape.raw,
                run_id=run_id,
                found_at=dt.datetime.now(dt.UTC),
            )
            for one in found.changed
        ]

    @cached_property
    def _expected(self) -> frozenset[str]:
        """Columns that a contract may leave unnamed, and those that transforms fill."""
        filled = (name for step in read_transforms(self._contract) for name in step.writes)
        return frozenset(self._source.extract.known_columns) | frozenset(filled)

    @cached_property
    def _published(self) -> list[str]:
        """The partitions that were published before this run, in their order."""
        return self._lake.partitions("cleaned", self._source.name)

    def _before(self, partition: str, raw: Manifest) -> Shape | None:
        listed = self._source.partitions.values
        if listed is None:
            known = sorted({*self._published, *self._shapes})
            earlier = known[: bisect_left(known, partition)]
        else:
            own = self._shape(partition, "quarantine") or self._shape(partition)
            if own is not None:
                return own.before if own.raw == raw.data_version else own
            there = {*self._published, *self._shapes}
            earlier = [one for one in listed[: listed.index(partition)] if one in there]
        shapes = (self._shape(one) for one in reversed(earlier[-TRIES:]))
        return next((shape for shape in shapes if shape is not None), None)

    def _shape(self, partition: str, layer: Layer = "cleaned") -> Shape | None:
        if partition in self._shapes:
            return self._shapes[partition]
        try:
            manifest = self._lake.manifest(layer, self._source.name, partition)
        except UnreadableFileError:  # whoever reads that partition is told; this one is another
            return None
        return None if manifest is None else manifest.shape

    def _header(self, columns: pl.Schema) -> Header:
        return self._comparable(header_of(columns))

    def _comparable(self, header: Header) -> Header:
        """Return columns with types that do not change with the values of a day."""
        if not self._source.extract.infers_types:
            return header
        kinds = {n: "float64" if kind == "int64" else kind for n, kind in header.columns.items()}
        return Header(columns=kinds)

    def _files(self, raw: Manifest, columns: pl.Schema) -> list[ReadFile]:
        """Return the files of a raw partition that have columns, with these.

        A partition that was received before headers were kept tells its columns as a whole.
        """
        if raw.rows and not raw.headers:
            whole = self._header(columns)
            return [ReadFile(file.name, file.rows, whole) for file in raw.files]
        headers = [self._comparable(header) for header in raw.headers]
        return [
            ReadFile(file.name, file.rows, headers[file.header])
            for file in raw.files
            if file.header is not None
        ]

    def _kept(self, before: Shape | None) -> Shape | None:
        """Return what an item of a list is compared with, also when it is cleaned again."""
        if before is None or self._source.partitions.values is None:
            return None
        return before.model_copy(update={"before": None})

    def _read_as(
        self, look: Look, shape: Shape, columns: pl.Schema, rows: pl.LazyFrame
    ) -> dict[str, Seen]:
        """Return columns whose values are to tell their type, with the type of all of them.

        They are those that nobody has named, and those that come or come back.
        """
        asked_for = (*look.unknown, *look.returning.values())
        seen = {name: shape.columns[name] for name in asked_for}
        new = [name for name, one in seen.items() if one.reads_as is None]
        asked = pl.Schema({name: columns[name] for name in new[:MOST_ASKED]})
        kinds = types_of(rows, asked, self._contract.null_tokens)
        return {
            name: seen[name].model_copy(update={"reads_as": kinds.get(name, "string")})
            for name in new
        }

    def _supposed(self, look: Look, shape: Shape, rows: pl.LazyFrame) -> dict[str, Gone]:
        """Return columns that are gone with the new one that each may be; looked at once only."""
        before = look.before
        gone = [name for name in look.gone if before is None or name not in before.gone]
        new = [name for name in look.unknown if before is None or name not in before.columns]
        if not gone or not new:
            return {}
        filled = pl.any_horizontal(pl.col(name).is_not_null() for name in new)
        sample = rows.select(new).filter(filled).head(SAMPLE_ROWS).collect()
        now = Sampled(list(look.columns.columns), sample)
        guesses = guess_renamed(self._contract, gone, new, now, self._evidence(before))
        return {
            name: shape.gone[name].model_copy(update={"perhaps": guess.received, "why": guess.why})
            for name, guess in guesses.items()
            if not look.has_both(name, guess.received)
        }

    def _evidence(self, before: Shape | None) -> Sampled | None:
        if before is None:
            return None
        manifest = self._lake.manifest("raw", self._source.name, before.partition)
        if manifest is None or manifest.data_version != before.raw:
            return Sampled(list(before.columns), pl.DataFrame())
        sample = self._lake.head("raw", self._source.name, before.partition, SAMPLE_ROWS)
        return Sampled(list(before.columns), sample)

    def _refusal(self, look: Look, found: Found) -> DataflowError | None:
        """Return why names or types keep the partition from being published, if they do.

        A required column that is gone from all files, and frozen unknown ones, refuse the plan.
        """
        if self._contract.missing_columns == "freeze":
            for one in found.drift:
                if one.kind == "gone" and one.undeclared:
                    return _refuse_gone(look, one)
        if self._contract.changed_types.policy != "freeze":
            return None
        stood = self._shape(look.partition)
        for one in found.drift:
            if one.kind == "retyped" and self._is_foreign(one) and not _stood(one, stood, look):
                return ChangedTypeError(
                    f"{one.column!r} was {one.old} in {found.before} and is {one.new} now.",
                    mend=f"Declare a type that holds {one.new}, or set changed_types to quarantine "
                    "once; the partition stays as it was.",
                    culprit=one.file or one.column,
                )
        return None

    def _is_foreign(self, one: Drift) -> bool:
        declared = self._contract.columns.get(one.column)
        return declared is not None and not belongs(one.new or "", declared.type)

    def _refuse_values(self, changed: Mapping[str, int]) -> DataflowError:
        name, count = next(iter(changed.items()))
        kind = self._contract.columns[name].type
        return ChangedTypeError(
            f"{count:,} values of {name!r} are not of type {kind} any more.",
            mend="Declare a type or formats that they have, or set changed_types to evolve, "
            "discard or quarantine; the partition stays as it was.",
            culprit=name,
        )

    def _values(
        self, columns: pl.Schema, rows: pl.LazyFrame, names: Collection[str]
    ) -> dict[str, int]:
        """Count the values of columns, whatever they are."""
        counts = []
        there = received_names(self._contract, columns)
        for name in names:
            column = self._contract.columns[name]
            given = (
                text_of(pl.col(raw), column, self._contract.null_tokens)
                if columns[raw] == pl.String
                else pl.col(raw)
                for raw in there[name]
            )
            counts.append(pl.any_horizontal(one.is_not_null() for one in given).sum().alias(name))
        return rows.select(counts).collect(engine="streaming").row(0, named=True)

    def _retyped(
        self, found: Found, changed: Mapping[str, int], was: Mapping[str, str], rows: pl.LazyFrame
    ) -> Iterator[Drift]:
        """Yield the columns of which too many values are of another type than declared."""
        there = received_names(self._contract, found.columns)
        asked = pl.Schema({n: found.columns[n] for name in changed for n in there[name][:1]})
        kinds = types_of(rows, asked, self._contract.null_tokens)
        for name, count in changed.items():
            yield Drift(
                "retyped",
                name,
                self._contract.columns[name].type,
                kinds[there[name][0]],
                was.get(name, found.shape.partition),
                changed=found.before is not None and name not in was,
                undeclared=True,
                rows=count,
            )

    def _changed_before(self, found: Found) -> Mapping[str, str]:
        """Return the columns of a changed type in the partition before, with since when."""
        if found.before is None:
            return {}
        if self._source.partitions.values is not None:
            kept = found.shape.before
            return {} if kept is None else kept.changed
        shape = self._shape(found.before, "quarantine")
        return {} if shape is None else shape.changed

    def _emptied(
        self, found: Found, changed: Collection[str], cleaned: Path, loaded: int
    ) -> Iterator[Drift]:
        """Yield the columns that hold no value in any row, and did in the partition before."""
        contract, before = self._contract, found.before
        there = received_names(contract, found.columns)
        empty = columns_without_values(pq.read_metadata(cleaned)).intersection(
            name for name in contract.columns if there[name] and name not in changed
        )
        if not empty or before is None or before == found.shape.partition:
            return
        was_empty = self._lake.empty_columns("cleaned", self._source.name, before)
        for name in (name for name in contract.columns if name in empty - was_empty):
            yield Drift(
                "emptied",
                name,
                "values",
                None,
                found.shape.partition,
                changed=True,
                undeclared=False,
                rows=loaded,
            )


def _refuse_gone(look: Look, one: Drift) -> HeaderError:
    wanted = look.contract.names_of(one.column)[0]
    return HeaderError(
        f"The declared column {wanted!r} is gone"
        + (f" from {one.files:,} files." if one.files > 1 else "."),
        mend="Declare another name of it in aliases, or set missing_columns to evolve; "
        "the partition stays as it was.",
        culprit=one.file or wanted,
    )


def _stood(one: Drift, stood: Shape | None, look: Look) -> bool:
    """Whether the partition was published with the same type before, which somebody allowed."""
    if stood is None:
        return False
    names = (one.column, *look.contract.names_of(one.column))
    return any(name in stood.columns and stood.columns[name].type == one.new for name in names)


def _plain(text: str | None) -> str | None:
    """Return a text such as every warehouse holds it."""
    return None if text is None else text.replace("\0", "\\0")
