"""Declared types: what they are in Polars, and how a value of a declaration becomes one.

What belongs here: the one table of types, and the checks of literals such as `min` and `max`. What
does not: reading the text of a file; that is `parse`.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import polars as pl

from dataflow_assets.declaration.contract import DECIMAL
from dataflow_assets.errors import DeclarationError

if TYPE_CHECKING:
    from dataflow_assets.declaration.contract import Bound

TYPES: dict[str, pl.DataType] = {
    "string": pl.String(),
    "int8": pl.Int8(),
    "int16": pl.Int16(),
    "int32": pl.Int32(),
    "int64": pl.Int64(),
    "uint8": pl.UInt8(),
    "uint16": pl.UInt16(),
    "uint32": pl.UInt32(),
    "uint64": pl.UInt64(),
    "float32": pl.Float32(),
    "float64": pl.Float64(),
    "boolean": pl.Boolean(),
    "date": pl.Date(),
    "time": pl.Time(),
    "timestamp": pl.Datetime("us", "UTC"),
}


def polars_type(kind: str) -> pl.DataType:
    """Return the Polars type of a declared type, such as ``timestamp`` or ``decimal(10, 2)``."""
    decimal = DECIMAL.match(kind)
    if decimal:
        return pl.Decimal(int(decimal[1]), int(decimal[2]))
    return TYPES[kind]


def declared_name(dtype: pl.DataType) -> str:
    """Return the declared type that a Polars type is, or Polars' own name for any other."""
    if isinstance(dtype, pl.Decimal):
        return f"decimal({dtype.precision}, {dtype.scale})"
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is None:
        return "timestamp without a zone"
    return next((name for name, known in TYPES.items() if known == dtype), str(dtype).lower())


def literal(value: Bound, kind: str, *, timezone: str = "UTC") -> pl.Expr:
    """Return a value of a declaration as a literal of a declared type.

    Args:
        value: What the YAML says.
        kind: A declared type that can be ordered: a number, date, time or timestamp.
        timezone: Zone of a timestamp that is written without one.

    Raises:
        DeclarationError: The type cannot hold the value exactly.
    """
    try:
        dtype = polars_type(kind)
        fitting = pl.Series([_fitting(value, kind, timezone)], dtype=dtype, strict=True)
        return pl.lit(fitting.item(), dtype)
    except (ValueError, TypeError, ArithmeticError, pl.exceptions.PolarsError) as error:
        raise DeclarationError(
            f"{value!r} is no value of type {kind}.",
            mend=f"Write a value that {kind} holds exactly, or change the type.",
        ) from error


def _fitting(value: Bound, kind: str, timezone: str) -> object:
    if kind.startswith(("int", "uint")):
        return _whole(value)
    if kind.startswith("float"):
        return float(_number(value))
    if kind.startswith("decimal"):
        return _exact(value, kind)
    if kind == "date":
        return _date(value)
    if kind == "time":
        return value if isinstance(value, dt.time) else dt.time.fromisoformat(str(value))
    return _moment(value, timezone)


def _number(value: Bound) -> Decimal:
    if isinstance(value, bool):
        raise TypeError("a truth value is no number")
    try:
        return Decimal(str(value))
    except InvalidOperation as error:
        message = f"{value!r} is no number"
        raise ValueError(message) from error


def _whole(value: Bound) -> int:
    number = _number(value)
    if number != number.to_integral_value():
        raise ValueError("a whole number is needed")
    return int(number)


def _exact(value: Bound, kind: str) -> Decimal:
    number = _number(value)
    declared = DECIMAL.match(kind)
    exponent = number.as_tuple().exponent
    if declared is None or not isinstance(exponent, int) or -exponent > int(declared[2]):
        raise ValueError("too many digits after the decimal point")
    return number


def _date(value: Bound) -> dt.date:
    if isinstance(value, dt.datetime):
        if value.time() != dt.time():
            raise ValueError("a date has no time of day")
        return value.date()
    return value if isinstance(value, dt.date) else dt.date.fromisoformat(str(value))


def _moment(value: Bound, timezone: str) -> dt.datetime:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time())
    moment = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(str(value))
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(timezone))).astimezone(
        dt.UTC
    )
