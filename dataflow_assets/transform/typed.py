"""From values that a file has types for to values of a contract's types.

What belongs here: conversions that lose nothing, and which values have none. What does not: reading
text (`parse`); a typed value goes that way only where no conversion is exact.

A value is taken as it is where the types agree. Else it is converted, and kept if converting it
back gives the same value: 3.0 is the whole number 3, but 3.5 is none. Other numbers and truth
values are read from their exact text, as if a file of text held that. Moments never are, because
text drops digits that a moment has.

Words for numbers and clean-up steps are about texts. A number, truth value or moment that has its
type already is taken as it is, without them; in a declared string, steps work on every value's
text.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.texts import text_of, within_years
from dataflow_assets.transform.parse import (
    default_of,
    reader_of,
    representable,
    unread_of,
    value_of,
)
from dataflow_assets.transform.parse import text_of as meant_text_of
from dataflow_assets.transform.types import polars_type
from dataflow_assets.transform.zones import by_zone, in_zone

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dataflow_assets.declaration.contract import Column

NAIVE = pl.Datetime("us")
BOOLEAN = pl.Boolean()
MOST_PRECISION = 38


def typed_value_of(
    raw: pl.Expr,
    dtype: pl.DataType,
    column: Column,
    null_tokens: Sequence[str],
    zones: pl.Expr | None = None,
) -> pl.Expr:
    """Return the value of a field in the column's type; null where it has none.

    Args:
        raw: The field as received.
        dtype: Its type.
        column: What the contract says about it.
        null_tokens: The contract's null tokens, for values that are read as text.
        zones: The zone of each row, where another column says it.
    """
    if dtype == pl.String:
        return value_of(raw, column, null_tokens, zones)
    if zones is not None:
        return by_zone(raw, zones, lambda zone: _reader(dtype, column.in_zone(zone), null_tokens))
    return raw.map_batches(
        _reader(dtype, column, null_tokens),
        return_dtype=polars_type(column.type),
        is_elementwise=True,
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

    trimmed = meant_text_of(pl.col("text"), _as_read(dtype, column), null_tokens)

    def rest(both: Sequence[pl.Series]) -> pl.Series:
        received, values = both
        unread = received.is_not_null() & values.is_null()
        if not unread.any():
            return _nothing(received, pl.String())
        texts = text_of(_only(received, unread)).to_frame("text")
        return texts.select(trimmed).to_series()

    return pl.map_batches([raw, value], rest, return_dtype=pl.String, is_elementwise=True)


def _as_read(dtype: pl.DataType, column: Column) -> Column:
    """Return what a column says about the texts of a type; marks and steps are for written ones."""
    has_values = dtype.is_numeric() or dtype.is_temporal() or dtype == BOOLEAN
    return column.bare() if has_values and column.type != "string" else column


def _reader(
    dtype: pl.DataType, column: Column, null_tokens: Sequence[str]
) -> Callable[[pl.Series], pl.Series]:
    if column.type == "string":
        read_text = reader_of(column, null_tokens) if column.clean else _or_default(column)
        return lambda received: read_text(text_of(received))
    target = polars_type(column.type)
    as_read = _as_read(dtype, column)
    read = reader_of(as_read, null_tokens)
    meant = meant_text_of(pl.col("text"), as_read, null_tokens)
    default = default_of(column)

    def value(received: pl.Series) -> pl.Series:
        values = representable(_converted(received, target, column))
        rest = received.is_not_null() & values.is_null()
        if not received.dtype.is_temporal() and rest.any():
            values = values.zip_with(values.is_not_null(), read(text_of(_only(received, rest))))
        if column.default is None or not values.null_count():
            return values
        texts = text_of(_only(received, values.is_null())).to_frame("text").select(meant)
        has_none = pl.col("text").is_null() & pl.col("value").is_null()
        filled = pl.when(has_none).then(default).otherwise("value")
        return texts.with_columns(value=values).select(filled).to_series()

    return value


def _or_default(column: Column) -> Callable[[pl.Series], pl.Series]:
    if column.default is None:
        return lambda texts: texts
    return lambda texts: texts.fill_null(column.default)


def _only(values: pl.Series, chosen: pl.Series) -> pl.Series:
    return values.zip_with(chosen, values.clear(len(values)))


def _nothing(values: pl.Series, dtype: pl.DataType) -> pl.Series:
    return pl.Series(values.name, [None], dtype).new_from_index(0, len(values))


def _converted(values: pl.Series, target: pl.DataType, column: Column) -> pl.Series:
    """Return each value in another type, and null where that would be another value."""
    dtype = values.dtype
    if dtype == target:
        return values
    if isinstance(dtype, (pl.Date, pl.Datetime)):
        values = _only(values, within_years(values))
    if isinstance(target, pl.Datetime):
        return _moments(values, column)
    if target == pl.Date and isinstance(dtype, pl.Datetime):
        local = values.dt.convert_time_zone(column.timezone) if dtype.time_zone else values
        return _exactly(local.dt.replace_time_zone(None), target)
    if dtype.is_numeric() and target.is_numeric():
        return _exactly(values, target)
    return _nothing(values, target)


def _moments(values: pl.Series, column: Column) -> pl.Series:
    """Return dates and moments as moments in UTC; those without a zone are in the column's."""
    dtype = values.dtype
    if dtype == pl.Date:
        return _in_zone(values.cast(NAIVE), column)
    if not isinstance(dtype, pl.Datetime):
        return pl.Series(values.name, [None], pl.Datetime("us", "UTC")).new_from_index(
            0, len(values)
        )
    if dtype.time_zone:
        return _exactly(values.dt.convert_time_zone("UTC"), pl.Datetime("us", "UTC"))
    return _in_zone(_exactly(values, NAIVE), column)


def _in_zone(values: pl.Series, column: Column) -> pl.Series:
    moments = in_zone(pl.col("v"), column.timezone, column)
    return values.to_frame("v").select(moments).to_series()


def _exactly(values: pl.Series, target: pl.DataType) -> pl.Series:
    if values.dtype.is_float() and isinstance(target, pl.Decimal):
        values = _only(values, values.abs() <= _largest(target))
    there = values.cast(target, strict=False)
    back = there.cast(values.dtype, strict=False)
    same = (back == values).fill_null(value=False)
    return there if same.all() else _only(there, same)


def _largest(target: pl.Decimal) -> float:
    """Return the largest float that a decimal holds; Polars fails on some of those beyond."""
    beyond = 10 ** ((target.precision or MOST_PRECISION) - target.scale)
    return math.nextafter(beyond, 0) if float(beyond) >= beyond else float(beyond)
