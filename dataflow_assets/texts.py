"""Typed values as text that says exactly what they are.

What belongs here: one way to write each type of Polars. What does not: reading such texts again,
and types that a contract can declare.

Whole numbers are digits, fractions the shortest text that gives the same number again, moments and
times ISO 8601, lists, structs and maps JSON. Bytes are the text that they are in UTF-8, else
hexadecimal.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from polars._typing import PolarsDataType

DAY_AND_TIME = "%Y-%m-%dT%H:%M:%S%.f"
NESTED = (pl.List, pl.Array, pl.Struct, pl.Map)
UNITS = {"ms": 10**3, "us": 10**6}
DAY = 86_400
FIRST, END = -62_135_596_800, 253_402_300_800
"""When the years 1 and 10000 begin, in seconds since 1970."""
NOT_IN_JSON = (pl.Binary, pl.Time, pl.Duration)
"""Types that Polars' own JSON writer does not know, or of which it drops digits."""


def text_of(values: pl.Series) -> pl.Series:
    """Return the text of each value; null for null."""
    dtype = values.dtype
    if dtype == pl.String:
        return values
    if isinstance(dtype, NESTED):
        return _json(values)
    if dtype == pl.Binary:
        return _bytes(values)
    return _moments(values) if dtype.is_temporal() else values.cast(pl.String)


def within_years(values: pl.Series) -> pl.Series:
    """Return whether dates or moments lie in the years 1 to 9999; Polars panics far beyond."""
    if getattr(values.dtype, "time_unit", None) == "ns":
        return values.is_not_null()  # it cannot say others
    scale = UNITS[values.dtype.time_unit] if isinstance(values.dtype, pl.Datetime) else 1 / DAY
    first, end = int(FIRST * scale), int(END * scale)
    return values.to_physical().cast(pl.Int64).is_between(first, end - 1)


def _moments(values: pl.Series) -> pl.Series:
    dtype = values.dtype
    if not isinstance(dtype, (pl.Date, pl.Datetime)):
        return values.dt.to_string(_format(dtype))
    fits = within_years(values)
    texts = values.zip_with(fits, values.clear(len(values))).dt.to_string(_format(dtype))
    if fits.all():
        return texts
    unit = dtype.time_unit if isinstance(dtype, pl.Datetime) else "days"
    return texts.zip_with(fits, values.to_physical().cast(pl.String) + f" {unit} since 1970")


def _format(dtype: pl.DataType) -> str:
    if isinstance(dtype, pl.Datetime):
        return DAY_AND_TIME + ("%:z" if dtype.time_zone else "")
    if dtype == pl.Time:
        return "%H:%M:%S%.f"
    return "%Y-%m-%d" if dtype == pl.Date else "iso"


def text_expression(values: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Return the text of each value of a column, as `text_of` does.

    Args:
        values: The column.
        dtype: Its type.
    """
    if dtype == pl.String:
        return values
    return values.map_batches(text_of, return_dtype=pl.String, is_elementwise=True)


def _bytes(values: pl.Series) -> pl.Series:
    try:
        return values.cast(pl.String)
    except pl.exceptions.ComputeError:
        return pl.Series(values.name, [_spelled(one) for one in values], pl.String)


def _spelled(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()


def _json(values: pl.Series) -> pl.Series:
    if _is_writable(values.dtype):
        whole = pl.select(pl.struct(values.alias("v")).struct.json_encode()).to_series()
        texts = whole.str.strip_prefix('{"v":').str.strip_suffix("}").alias(values.name)
        return texts.zip_with(values.is_not_null(), texts.clear(len(texts)))
    written = [
        None if one is None else json.dumps(_named(one), default=_plain, ensure_ascii=False)
        for one in values.to_list()
    ]
    return pl.Series(values.name, written, pl.String)


def _is_writable(dtype: PolarsDataType) -> bool:
    """Whether Polars writes values of a type as JSON without losing anything but NaN."""
    if isinstance(dtype, pl.Struct):
        return all(_is_writable(field.dtype) for field in dtype.fields)
    if isinstance(dtype, (pl.List, pl.Array)):
        return _is_writable(dtype.inner)
    if isinstance(dtype, pl.Map):
        return dtype.key == pl.String and _is_writable(dtype.value)
    return not isinstance(dtype, NOT_IN_JSON)


def _plain(value: Any) -> str:  # noqa: ANN401 - whatever a nested value holds
    return _spelled(value) or "" if isinstance(value, bytes) else str(value)


def _named(value: Any) -> Any:  # noqa: ANN401 - as above
    """Return a value in which the keys of maps are texts."""
    if isinstance(value, dict):
        names = (name if isinstance(name, str) else _plain(name) for name in value)
        return dict(zip(names, map(_named, value.values()), strict=True))
    return [_named(one) for one in value] if isinstance(value, list) else value
