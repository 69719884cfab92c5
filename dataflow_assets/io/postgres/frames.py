"""The rows of a query as a Polars frame.

What belongs here: which Polars type a Postgres type is read as. What does not: any query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl
from psycopg.types.string import TextLoader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Column, Cursor

TYPES: dict[str, pl.DataType] = {
    "bool": pl.Boolean(),
    "int2": pl.Int16(),
    "int4": pl.Int32(),
    "int8": pl.Int64(),
    "float4": pl.Float32(),
    "float8": pl.Float64(),
    "text": pl.String(),
    "varchar": pl.String(),
    "name": pl.String(),
    "date": pl.Date(),
    "time": pl.Time(),
    "timestamp": pl.Datetime("us"),
    "timestamptz": pl.Datetime("us", "UTC"),
    "bytea": pl.Binary(),
    "jsonb": pl.String(),
    "json": pl.String(),
}


def prepare(cursor: Cursor[Any]) -> None:
    """Let JSON be read as its text."""
    for name in ("json", "jsonb"):
        cursor.adapters.register_loader(name, TextLoader)


def to_frame(cursor: Cursor[Any]) -> pl.DataFrame:
    """Return all rows of a cursor; columns of types not known here get the type of their values."""
    return _frame_of(cursor, cursor.fetchall())


def to_frames(cursor: Cursor[Any], rows: int) -> Iterator[pl.DataFrame]:
    """Yield the rows of a cursor, so many at once, and at least one frame.

    Columns of types not known here are text.
    """
    while True:
        frame = _frame_of(cursor, cursor.fetchmany(rows), unknown=pl.String())
        yield frame
        if frame.height < rows:
            break


def _frame_of(
    cursor: Cursor[Any], rows: list[Any], unknown: pl.DataType | None = None
) -> pl.DataFrame:
    schema = {column.name: _dtype(cursor, column) or unknown for column in cursor.description or ()}
    return pl.DataFrame(rows, schema=schema, orient="row", infer_schema_length=None)


def _dtype(cursor: Cursor[Any], column: Column) -> pl.DataType | None:
    info = cursor.adapters.types.get(column.type_code)
    if info is not None and info.name == "numeric" and column.precision is not None:
        return pl.Decimal(column.precision, column.scale or 0)
    return TYPES.get(info.name) if info is not None else None
