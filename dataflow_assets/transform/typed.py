"""From values that a file has types for to values of a contract's types.

What belongs here: conversions that lose nothing, and which values have none. What does not: reading
text (`parse`); a typed value goes that way only where no conversion is exact.

A value is taken as it is where the types agree. Else it is converted, and kept if converting it
back gives the same value: 3.0 is the whole number 3, but 3.5 is none. Other numbers and truth
values are read from their exact text, as if a file of text held that. Moments never are, because
text drops digits that a moment has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.texts import text_of, within_years
from dataflow_assets.transform.parse import (
    in_zone,
    reader_of,
    representable,
    unread_of,
    value_of,
)
from dataflow_assets.transform.parse import text_of as meant_text_of
from dataflow_assets.transform.types import polars_type

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dataflow_assets.declaration.contract import Column

NAIVE = pl.Datetime("us")


def typed_value_of(
    raw: pl.Expr, dtype: pl.DataType, column: Column, null_tokens: Sequence[str]
) -> pl.Expr:
    """Return the value of a field in the column's type; null where it has none.

    Args:
        raw: The field as received.
        dtype: Its type.
        column: What the contract says about it.
        null_tokens: The contract's null tokens, for values that are read as text.
    """
    if dtype == pl.String:
        return value_of(raw, column, null_tokens)
    return raw.map_batches(
        _reader(column, null_tokens), return_dtype=polars_type(column.type), is_elementwise=True
    )


def typed_unread_of(
    raw: pl.Expr, value: pl.Expr, dtype: pl.DataType, column: Column, null_tokens: Sequence[str]
) -> pl.Expr:
    """Return the text of a field that should have a value in the column's type but has none.

    Args:
        raw: The field as received.
        value: Its value, as `typed_value_of` returns it.
        dtype: The type of the field.
        column: What the contract says about it.
        null_tokens: As in `typed_value_of`.
    """
    if dtype == pl.String:
        return unread_of(raw, value, column, null_tokens)

    trimmed = meant_text_of(pl.col("text"), column, null_tokens)

    def rest(both: Sequence[pl.Series]) -> pl.Series:
        received, values = both
        unread = received.is_not_null() & values.is_null()
        if not unread.any():
            return _nothing(received, pl.String())
        texts = text_of(_only(received, unread)).to_frame("text")
        return texts.select(trimmed).to_series()

    return pl.map_batches([raw, value], rest, return_dtype=pl.String, is_elementwise=True)


def _reader(column: Column, null_tokens: Sequence[str]) -> Callable[[pl.Series], pl.Series]:
    target = polars_type(column.type)
    read = reader_of(column, null_tokens)

    def value(received: pl.Series) -> pl.Series:
        if target == pl.String:
            return text_of(received)
        values = representable(_converted(received, target, column.timezone))
        rest = received.is_not_null() & values.is_null()
        if received.dtype.is_temporal() or not rest.any():
            return values
        return values.zip_with(values.is_not_null(), read(text_of(_only(received, rest))))

    return value


def _only(values: pl.Series, chosen: pl.Series) -> pl.Series:
    return values.zip_with(chosen, values.clear(len(values)))


def _nothing(values: pl.Series, dtype: pl.DataType) -> pl.Series:
    return pl.Series(values.name, [None], dtype).new_from_index(0, len(values))


def _converted(values: pl.Series, target: pl.DataType, zone: str) -> pl.Series:
    """Return each value in another type, and null where that would be another value."""
    dtype = values.dtype
    if dtype == target:
        return values
    if isinstance(dtype, (pl.Date, pl.Datetime)):
        values = _only(values, within_years(values))
    if isinstance(target, pl.Datetime):
        return _moments(values, zone)
    if target == pl.Date and isinstance(dtype, pl.Datetime):
        local = values.dt.convert_time_zone(zone) if dtype.time_zone else values
        return _exactly(local.dt.replace_time_zone(None), target)
    if dtype.is_numeric() and target.is_numeric():
        return _exactly(values, target)
    return _nothing(values, target)


def _moments(values: pl.Series, zone: str) -> pl.Series:
    """Return dates and moments as moments in UTC; those without a zone are in the column's."""
    dtype = values.dtype
    if dtype == pl.Date:
        return _in_zone(values.cast(NAIVE), zone)
    if not isinstance(dtype, pl.Datetime):
        return pl.Series(values.name, [None], pl.Datetime("us", "UTC")).new_from_index(
            0, len(values)
        )
    if dtype.time_zone:
        return _exactly(values.dt.convert_time_zone("UTC"), pl.Datetime("us", "UTC"))
    return _in_zone(_exactly(values, NAIVE), zone)


def _in_zone(values: pl.Series, zone: str) -> pl.Series:
    return values.to_frame("v").select(in_zone(pl.col("v"), zone)).to_series()


def _exactly(values: pl.Series, target: pl.DataType) -> pl.Series:
    there = values.cast(target, strict=False)
    back = there.cast(values.dtype, strict=False)
    same = (back == values).fill_null(value=False)
    return there if same.all() else _only(there, same)
