"""From what a driver hands over to Arrow columns of exact types, and the values that have no place.

What belongs here: values of any type, and texts, by whole columns. What does not: which type a
column has; that is each system's.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataflow_assets.extract.databases.session import MISFIT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from dataflow_assets.extract.databases.session import Column

    Fitted = tuple[pa.Array, NDArray[np.bool_] | None]
    """A column, and which of its rows had a value that has no place in it, if any had."""

NONE = type(None)
WRONG = (pa.ArrowException, TypeError, ValueError, OverflowError)
PLAIN_VALUES: dict[pa.DataType, set[type]] = {
    pa.string(): {str, NONE},
    pa.int64(): {int, NONE},
    pa.float64(): {float, int, NONE},
    pa.bool_(): {int, NONE},
    pa.binary(): {bytes, NONE},
}
"""Which values of Python a type takes without a look at each."""
WRITTEN = {str, int, float, NONE}
"""Which values of Python have a text without a look at each."""
FLAGS = {0, 1, None}
DAY = "1970-01-01 "


def batch_of(
    columns: Sequence[Column],
    values: Sequence[Any],
    fit: Callable[[Any, pa.DataType], Fitted],
) -> pa.RecordBatch:
    """Return some rows as a batch of the columns' types, and `MISFIT`.

    Args:
        columns: The columns.
        values: The values of each, as `fit` takes them.
        fit: Turns the values of one column into Arrow.
    """
    fitted = [fit(one, column.type) for one, column in zip(values, columns, strict=True)]
    wrong = [misfits for _, misfits in fitted if misfits is not None]
    rows = len(fitted[0][0])
    texts: list[str | None] = [None] * rows
    for row in np.flatnonzero(np.logical_or.reduce(wrong)) if wrong else ():
        texts[row] = _row_text(columns, [one[int(row)] for one in values])
    return pa.RecordBatch.from_arrays(
        [*(array for array, _ in fitted), pa.array(texts, MISFIT.type)],
        schema=pa.schema([*(pa.field(one.name, one.type) for one in columns), MISFIT]),
    )


def fit_values(values: Sequence[Any], kind: pa.DataType) -> Fitted:
    """Turn values of Python into a column.

    Text takes numbers too, as they are written; all else must be of the column's type.

    Args:
        values: Text, whole and other numbers, bytes and none.
        kind: A type of `PLAIN_VALUES`, or a decimal.
    """
    try:
        if pa.types.is_decimal(kind):
            return _as_decimals(values, kind)
        return _plainly(values, kind), None
    except WRONG:
        fitted = [_one_fitted(value, kind) for value in values]
        misfits = [
            found is None and value is not None for found, value in zip(fitted, values, strict=True)
        ]
        return pa.array(fitted, kind), np.array(misfits) if any(misfits) else None


def _plainly(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Turn values into a column at once.

    Raises:
        Exception: One of `WRONG`: each value has to be looked at.
    """
    types = set(map(type, values))
    if kind == pa.string() and types <= WRITTEN:
        if not types <= PLAIN_VALUES[kind]:
            values = [one if type(one) in PLAIN_VALUES[kind] else repr(one) for one in values]
        return pa.array(values, kind)
    if not types <= PLAIN_VALUES[kind]:
        raise TypeError("there are values of another type")
    if pa.types.is_boolean(kind):
        if not set(values) <= FLAGS:
            raise ValueError("there are numbers that are no truth value")
        return pa.array(values, pa.int64()).cast(kind)
    return pa.array(values, kind)


def _as_decimals(values: Sequence[Any], kind: pa.DataType) -> Fitted:
    """Turn numbers into decimals at once, and look only at those with more digits one by one.

    Raises:
        Exception: One of `WRONG`: each value has to be looked at.
    """
    if not set(map(type, values)) <= PLAIN_VALUES[pa.float64()]:
        raise TypeError("there are values of another type")
    numbers = pa.array(values, pa.float64())
    decimals = numbers.cast(kind)
    longer = pc.not_equal(decimals.cast(pa.float64()), numbers).fill_null(fill_value=False)
    rows = np.flatnonzero(longer)
    if not len(rows):
        return decimals, None
    found = pa.array([_one_fitted(values[row], kind) for row in rows.tolist()], kind)
    misfits = np.zeros(len(values), dtype=np.bool_)
    misfits[rows] = np.array(found.is_null())
    return pc.replace_with_mask(decimals, longer, found), misfits if misfits.any() else None


def _one_fitted(value: Any, kind: pa.DataType) -> Any:  # noqa: ANN401 - SQLite's values
    """Return a value as a column of a type takes it, or none if it does not."""
    if pa.types.is_string(kind):
        return value if isinstance(value, str) else _number_text(value)
    try:
        if pa.types.is_decimal(kind):
            number = Decimal(repr(value)) if isinstance(value, int | float) else None
            found = pa.scalar(number, kind).as_py()
            return found if found == number else None
        if pa.types.is_boolean(kind):
            return bool(value) if type(value) is int and value in FLAGS else None
        fitting = type(value) in PLAIN_VALUES[kind] and pa.array([value], kind)[0].as_py() == value
    except (*WRONG, InvalidOperation):
        return None
    return value if fitting else None


def _number_text(value: object) -> str | None:
    return repr(value) if isinstance(value, int | float) else None


def fit_texts(texts: pa.Array, kind: pa.DataType) -> Fitted:
    """Turn the text of values into a column.

    Args:
        texts: The bytes of each text, or none.
        kind: The type of the column.
    """
    if pa.types.is_binary(kind):
        return texts, None
    try:
        return _read(texts, kind), None
    except pa.ArrowException:
        known = {text: _one_read(text, kind) for text in texts.unique() if text.is_valid}
        array = pa.array([known.get(text) for text in texts], kind)
        return array, np.array(array.is_null()) & np.array(texts.is_valid())


def _read(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    texts = texts.cast(pa.string())
    if pa.types.is_time(kind):  # Arrow reads no times by themselves
        return pc.binary_join_element_wise(DAY, texts, "").cast(pa.timestamp("us")).cast(kind)
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return texts.cast(pa.timestamp(kind.unit)).cast(kind)
    return texts.cast(kind)


def _one_read(text: pa.Scalar, kind: pa.DataType) -> Any:  # noqa: ANN401 - a value of any type
    try:
        return _read(pa.array([text.as_py()]), kind)[0].as_py()
    except pa.ArrowException:
        return None


def _row_text(columns: Sequence[Column], values: Sequence[Any]) -> str:
    """Return a row as JSON, each value as near to what the database holds as JSON comes."""
    pairs = zip(columns, values, strict=True)
    return json.dumps({column.name: _shown(value) for column, value in pairs}, ensure_ascii=False)


def _shown(value: Any) -> str | int | None:  # noqa: ANN401 - as above
    if isinstance(value, pa.Scalar):
        value = value.as_py()
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return f"0x{value.hex()}"
    return repr(value) if isinstance(value, float) else value
