"""What each write mode means, written down once more: slowly, in plain Python, row by row.

What belongs here: the model of a table, and made-up publishes to compare a warehouse with it. What
does not: any warehouse; `compare` takes whichever has `publish` and `read`.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl
from hypothesis import strategies as st

from dataflow_assets.declaration.entity import Write
from dataflow_assets.errors import HistoryOrderError
from dataflow_assets.io.warehouse import EntityTable, Publication
from dataflow_assets_tests.integration.io.publishing import ledger_row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dataflow_assets.io.warehouse import Warehouse

COLUMNS: dict[str, pl.DataType] = {
    "Id": pl.Int64(),
    'a "b"': pl.Float64(),
    "text": pl.String(),
    "at": pl.Datetime("us", "UTC"),
}
KEY, VALUE, TEXT, AT = COLUMNS
WINDOWS = tuple(f"2024-01-0{day}" for day in range(1, 6))
LISTED = ("north", "it's", "east", "south")
MODES = {
    "replace": Write(mode="replace"),
    "append": Write(mode="append"),
    "upsert by partition": Write(mode="upsert"),
    "upsert by column": Write(mode="upsert", latest_by=AT),
    "history of snapshots": Write(mode="history"),
    "history that forgets nothing": Write(mode="history", deletes="keep"),
    "history of changes": Write(mode="history", valid_from=AT),
    "history of dated snapshots": Write(mode="history", valid_from=AT, deletes="close"),
}
Row = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """A made-up partition: its rows, with `_source`, and the sources that took part."""

    partition: str
    rows: tuple[Row, ...]
    sources: tuple[str, ...]

    @property
    def moment(self) -> dt.datetime | None:
        if self.partition not in WINDOWS:
            return None
        return dt.datetime.fromisoformat(self.partition).replace(tzinfo=dt.UTC)


@dataclass
class Model:
    """The rows that a table should hold, and what was counted when they were published."""

    write: Write
    partitions: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)
    applied: dict[str, Made] = field(default_factory=dict)

    def publish(self, batch: Sequence[Made]) -> dict[str, tuple[int, int]]:
        """Return, by partition, how many rows were loaded and how many were duplicate."""
        ordered = sorted(batch, key=lambda one: self._rank(one.partition))
        if self.write.mode != "history":
            return {one.partition: self._let_in(one) for one in ordered}
        first = self._rank(ordered[0].partition)
        later = {name for name in self.applied if self._rank(name) >= first}
        if later - {one.partition for one in batch}:
            raise HistoryOrderError("", mend="")
        self.applied |= {one.partition: one for one in batch}
        self.rows = []
        everything = sorted(self.applied.values(), key=lambda one: self._rank(one.partition))
        return {one.partition: self._let_in(one) for one in everything}

    def _rank(self, partition: str) -> int:
        return self.partitions.index(partition)

    def _let_in(self, made: Made) -> tuple[int, int]:
        if self.write.mode == "replace":
            self.rows = [row for row in self.rows if row["_partition"] != made.partition]
        loaded = sum(
            self._version(row, made) if self.write.mode == "history" else self._row(row, made)
            for row in made.rows
        )
        if self.write.mode == "history" and self.write.closes_absent:
            self._close_absent(made)
        return loaded, len(made.rows) - loaded

    def _row(self, row: Row, made: Made) -> bool:
        """Let a row in, and return whether it stands there."""
        row = {**row, "_partition": made.partition}
        there = [old for old in self.rows if old[KEY] == row[KEY]]
        if self.write.mode == "replace" or not there:
            self.rows.append(row)
            return True
        (old,) = there
        if self.write.mode == "append":
            return same(old, row) and old["_partition"] == row["_partition"]
        if self._order(old) > self._order(row):
            return False
        self.rows[self.rows.index(old)] = row
        return True

    def _order(self, row: Row) -> tuple[bool, Any, int]:
        value = row[self.write.latest_by] if self.write.latest_by else None
        return value is not None, value or 0, self._rank(row["_partition"])

    def _version(self, row: Row, made: Made) -> bool:
        """Begin a version, and return whether the row is news."""
        moment = row[self.write.valid_from] if self.write.valid_from else made.moment
        versions = [old for old in self.rows if old[KEY] == row[KEY]]
        for old in versions:
            if old["valid_to"] is not None:
                continue
            if same(old, row) or moment < old["valid_from"]:
                return False
            old.update(valid_to=moment, _closed_by=made.partition)
        begin = max([moment, *(old["valid_to"] for old in versions)])
        opened = {"_partition": made.partition, "valid_from": begin}
        self.rows.append({**row, **opened, "valid_to": None, "_closed_by": None})
        return True

    def _close_absent(self, made: Made) -> None:
        present = {row[KEY] for row in made.rows}
        for old in self.rows:
            gone = old[KEY] not in present and old["_source"] in made.sources
            if gone and old["valid_to"] is None:
                end = max(made.moment or old["valid_from"], old["valid_from"])
                old.update(valid_to=end, _closed_by=made.partition)


def same(one: Row, other: Row) -> bool:
    return all(plain(one[name]) == plain(other[name]) for name in COLUMNS)


def plain(value: object) -> object:
    """Return a value that equals itself, whichever object the zone UTC is."""
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC)
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


def rows_made(write: Write) -> st.SearchStrategy[Row]:
    moments = st.sampled_from(
        [dt.datetime(2024, 1, day, hour, tzinfo=dt.UTC) for day in (1, 2, 4) for hour in (0, 7)]
    )
    return st.fixed_dictionaries(
        {
            KEY: st.integers(1, 4),
            VALUE: st.sampled_from([None, 1.0, math.nan]),
            TEXT: st.sampled_from([None, "", "x"]),
            AT: moments if write.valid_from else st.none() | moments,
            "_source": st.sampled_from(["shop", "it's"]),
        }
    )


@st.composite
def partitions_made(draw: st.DrawFn, write: Write, partition: str) -> Made:
    rows = draw(st.lists(rows_made(write), max_size=4, unique_by=lambda row: row[KEY]))
    more = draw(st.sampled_from([(), ("shop",), ("it's",)]))
    return Made(partition, tuple(rows), tuple(sorted({*more, *(row["_source"] for row in rows)})))


@st.composite
def batches(draw: st.DrawFn, write: Write, partitions: tuple[str, ...]) -> list[list[Made]]:
    """Make up publishes of some partitions at a time; most repeat partitions of before."""
    found = []
    for _ in range(draw(st.integers(1, 6))):
        first = draw(st.integers(0, len(partitions) - 1))
        names = partitions[first : draw(st.integers(first + 1, len(partitions)))]
        found.append([draw(partitions_made(write, name)) for name in draw(st.permutations(names))])
    return found


def publications_of(folder: Path, made: Sequence[Made]) -> Iterator[Publication]:
    for one in made:
        path = folder / f"{abs(hash(one.partition))}.parquet"
        schema = {**COLUMNS, "_source": pl.String()}
        frame = pl.DataFrame(list(one.rows), schema=schema).with_columns(_raw_ref=pl.lit("v:1"))
        frame.write_parquet(path)
        ledger = ledger_row(one.partition, len(one.rows))
        yield Publication(one.partition, path, ledger, one.sources, one.moment)


def table_of(write: Write, partitions: tuple[str, ...]) -> EntityTable:
    values = None if partitions == WINDOWS else partitions
    return EntityTable("things", COLUMNS, key=(KEY,), write=write, partitions=values)


def compare(
    warehouse: Warehouse, folder: Path, table: EntityTable, published: Sequence[Sequence[Made]]
) -> Model:
    """Publish to a warehouse and to the model, and check that they agree after each publish."""
    model = Model(table.write, table.partitions or WINDOWS)
    for batch in published:
        staged = list(publications_of(folder, batch))
        try:
            wanted = model.publish(batch)
        except HistoryOrderError:
            try:
                warehouse.publish(table, staged)
            except HistoryOrderError:
                continue
            raise AssertionError("a gap in the history was let in") from None
        counts = warehouse.publish(table, staged)
        for name, count in counts.items():
            assert (count.loaded, count.duplicate or 0) == wanted[name]
            assert count.lost == 0
        assert held(warehouse, table) == expected(model)
    return model


def held(warehouse: Warehouse, table: EntityTable) -> list[str]:
    rows = warehouse.read(f"select * from {table.qualified}").drop("_raw_ref", "_run_id")
    return listed(rows.to_dicts())


def expected(model: Model) -> list[str]:
    return listed(model.rows)


def listed(rows: Sequence[Row]) -> list[str]:
    """Return rows as texts that can be compared whatever their order, and that of columns."""
    return sorted(str(sorted((name, plain(value)) for name, value in row.items())) for row in rows)
