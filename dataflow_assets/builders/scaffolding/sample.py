"""A sample: bytes at hand, and what they and their place say of a declaration.

What belongs here: what every sort of sample has, and its raw rows as a run would read them. What
does not: bringing the bytes (`files`, `web`, `tables`), and guesses about columns (`contract`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa

from dataflow_assets.declaration.contract import Contract
from dataflow_assets.declaration.extract import Extract
from dataflow_assets.extract.extractor import TECHNICAL, raw_schema, union_of
from dataflow_assets.extract.kinds import reader_class
from dataflow_assets.extract.sniffing.documents import member_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dataflow_assets.extract.extractor import Reader
    from dataflow_assets.extract.files import Snapshot

MOST_BYTES = 16 << 20
"""Bytes of a sample that are looked at, once they are decompressed."""
MOST_ROWS = 100_000
"""Rows of a sample that are looked at."""
LOOKED_AT = 1_000
"""Objects of which the members are collected."""
MOST_DEPTH = 3
MOST_COLUMNS = 500
TECHNICAL_NAMES = [field.name for field in TECHNICAL]


@dataclass(frozen=True)
class Sample:
    """What was brought.

    Attributes:
        place: Where it is from, as people may see it.
        extract: What the declaration says of `extract`.
        partitions: What it says of `partitions`.
        snapshots: The bytes.
        remarks: What was seen, by the word of the declaration before which it is told.
        names: The columns' names, where the sample has no header.
        cut: Whether there is more than was brought.
        automation: What the declaration may say of `automation`, as YAML.
        prepared: What must be set before a run: variables of the environment.
        cautions: What is missing for the declaration to be of use, in sentences.
    """

    place: str
    extract: Mapping[str, Any]
    partitions: Mapping[str, Any]
    snapshots: Sequence[Snapshot]
    remarks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    names: tuple[str, ...] = ()
    cut: bool = False
    automation: str | None = None
    prepared: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The last part of the place."""
        return self.place.rstrip("/").rpartition("/")[2] or self.place

    @property
    def declared(self) -> Extract:
        """What the declaration says of `extract`, as it is read."""
        return Extract.model_validate(self.extract)


@dataclass(frozen=True)
class RawRows:
    """Raw rows of a sample.

    Attributes:
        rows: The raw rows, user columns and technical ones.
        more: Whether there are more than were read.
    """

    rows: pl.DataFrame
    more: bool

    @property
    def good(self) -> pl.DataFrame:
        """The user columns of the rows that could be read."""
        return self.rows.filter(pl.col("_reject").is_null()).drop(TECHNICAL_NAMES)

    @property
    def rejected(self) -> pl.DataFrame:
        """The rows that could not be read."""
        return self.rows.filter(pl.col("_reject").is_not_null())


def read_rows(sample: Sample, contract: Contract) -> RawRows:
    """Read the rows of a sample as a run would, up to `MOST_ROWS`.

    Args:
        sample: The sample.
        contract: Names the columns of what has no header, and what is flattened.

    Raises:
        DataflowError: It cannot be read.
    """
    reader = open_reader_of(sample.declared, contract)
    columns = union_of(map(reader.schema, sample.snapshots))
    if not len(columns):
        promised = contract.columns.items()
        columns = pa.schema([(one.source_name or name, pa.string()) for name, one in promised])
    tables, more = _first_rows(reader, sample.snapshots, columns)
    empty = raw_schema(columns).empty_table()
    rows = pl.DataFrame(pl.from_arrow(pa.concat_tables([empty, *tables])))
    if sample.cut:  # the last record breaks off where the sample does
        rows = rows.filter(~_cut_off(rows))
    return RawRows(rows, more)


def _cut_off(rows: pl.DataFrame) -> pl.Series:
    last = pl.int_range(pl.len()) == pl.len() - 1
    return rows.select((last & pl.col("_reject").is_not_null()).alias("cut"))["cut"]


def _first_rows(
    reader: Reader, snapshots: Sequence[Snapshot], columns: pa.Schema
) -> tuple[list[pa.Table], bool]:
    tables: list[pa.Table] = []
    room = MOST_ROWS
    for table in _tables(reader, snapshots, columns):
        if not room:
            return tables, True
        tables.append(table.slice(0, room))
        if table.num_rows > room:
            return tables, True
        room -= table.num_rows
    return tables, False


def _tables(
    reader: Reader, snapshots: Sequence[Snapshot], columns: pa.Schema
) -> Iterator[pa.Table]:
    for snapshot in snapshots:
        yield from reader.rows(snapshot, columns)


def open_reader_of(declared: Extract, contract: Contract) -> Reader:
    """Return what reads the bytes of a source."""
    files = declared.files or (declared.rest.bodies if declared.rest else None)
    if files is not None:
        return reader_class(files.format)(files, contract)
    if declared.database is not None:
        from dataflow_assets.extract.database import ArchivedRows  # noqa: PLC0415 - as needed

        return ArchivedRows()
    from dataflow_assets.extract.feed import FeedReader  # noqa: PLC0415 - as needed

    return FeedReader()


def read_flattened(sample: Sample) -> RawRows:
    """Read a sample's rows; objects within records become columns, as a contract can declare."""
    if sample.names:
        named = dict.fromkeys(sample.names, "string")
        return read_rows(sample, Contract.model_validate({"columns": named}))
    known: dict[str, None] = {}
    seen: set[str] = set()
    rows = read_rows(sample, _naming(known))
    for _ in range(MOST_DEPTH if _nests(sample) else 0):
        found = [one for one in _nested(rows.good) if one not in seen]
        seen.update(found)
        if not found or len(found) + rows.good.width > MOST_COLUMNS:
            break
        parents = {one.rpartition(".")[0] for one in found}  # else they would stay as JSON too
        known = dict.fromkeys([*(one for one in known if one not in parents), *found])
        rows = read_rows(sample, _naming(known))
    return rows


def _nested(rows: pl.DataFrame) -> Iterator[str]:
    """Yield the members of columns of objects, as a contract names them."""
    for name in rows.columns:
        yield from (f"{name}.{one}" for one in _members(rows[name]) if _is_plain(one))


def _is_plain(name: str) -> bool:
    return bool(name) and len(name) <= 64 and "{{" not in name  # noqa: PLR2004 - names, not values


def _nests(sample: Sample) -> bool:
    declared = sample.declared
    files = declared.files or (declared.rest.bodies if declared.rest else None)
    return files is not None and files.format in ("json", "jsonl", "parquet")


def _members(values: pl.Series) -> list[str]:
    """Return the names of the members of a column of objects; none of any other column."""
    if isinstance(values.dtype, pl.Struct):
        return [member.name for member in values.dtype.fields]
    if values.dtype != pl.String:
        return []
    texts = values.drop_nulls()
    if texts.is_empty() or not texts.head(LOOKED_AT).str.starts_with("{").all():
        return []
    return member_names(islice(texts, LOOKED_AT))


def _naming(members: Iterable[str]) -> Contract:
    """Return a contract that says no more than which members of objects are columns."""
    columns = {f"column_{n}": {"source_name": name} for n, name in enumerate(members, start=1)}
    return Contract.model_validate({"columns": columns or {"column_1": "string"}})
