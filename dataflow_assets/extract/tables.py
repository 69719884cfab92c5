"""Tables of raw rows made of columns with types.

What belongs here: bringing a file's columns into the types and the order of a partition's. What
does not: reading files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa

from dataflow_assets.texts import text_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


def origin_columns(origin: tuple[str, str], numbers: NDArray) -> dict[str, pa.Array]:  # type: ignore[type-arg]
    """Return the technical columns of good rows.

    Args:
        origin: The file's name and version.
        numbers: The line or number of each row.
    """
    nothing = pa.nulls(len(numbers), pa.string())
    return {
        "_file": pa.repeat(origin[0], len(numbers)),
        "_version": pa.repeat(origin[1], len(numbers)),
        "_line": pa.array(numbers, pa.int64()),
        "_reject": nothing,
        "_text": nothing,
    }


def fitted(table: pa.Table, wanted: pa.Schema, origin: dict[str, pa.Array]) -> pa.Table:
    """Return a table with other columns and types, none of whose values is another.

    Args:
        table: The columns of a file.
        wanted: The columns of the partition; those that the file lacks are null.
        origin: The technical columns.
    """
    columns = []
    for field in wanted:
        if field.name in origin:
            columns.append(origin[field.name])
        elif field.name in table.column_names:
            columns.append(_cast(table.column(field.name), field.type))
        else:
            columns.append(pa.nulls(table.num_rows, field.type))
    return pa.table(columns, schema=wanted)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray | pa.Array:
    if column.type == kind or not pa.types.is_string(kind):
        return column.cast(kind)
    values = pl.Series(pl.from_arrow(column))
    texts = text_of(values)
    if (
        values.dtype.is_float()
    ):  # whole numbers as where they were read as such, beside which they come
        whole = values.cast(pl.Int64, strict=False)
        same = (whole.cast(values.dtype) == values).fill_null(value=False)
        texts = whole.cast(pl.String).zip_with(same, texts)
    return texts.to_arrow().cast(pa.string())
