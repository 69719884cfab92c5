"""The narrowest type that all values of a column have, for columns that no contract names.

What belongs here: trying the declared types one after another. What does not: formats, marks and
null tokens that a sample suggests (`columns`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.declaration.contract import Column
from dataflow_assets.transform.parse import text_of
from dataflow_assets.transform.typed import typed_value_of
from dataflow_assets.transform.types import TYPES, declared_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SAMPLE_ROWS = 1000
"""Rows in which types are tried first."""
TRIED = ("int64", "float64", "boolean", "date", "timestamp")
"""Types in the order in which they are tried; string is what is left."""
WRITTEN: dict[str, str] = {
    "int64": r"^\s*-?(?:0|[1-9][0-9]*)\s*$",
    "float64": r"^\s*-?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?\s*$",
    "boolean": r"^\s*(?:[Tt]rue|TRUE|[Ff]alse|FALSE|[Yy]es|YES|[Nn]o|NO)\s*$",
}
"""How values of a type look; others may mean something else, such as 007 or t."""
EXACT_DIGITS = 15


def types_of(rows: pl.LazyFrame, columns: pl.Schema, tokens: Sequence[str]) -> dict[str, str]:
    """Return the narrowest declared type that all values of each column have.

    Args:
        rows: Raw rows.
        columns: The columns that are asked for.
        tokens: Texts that mean no value.
    """
    if not columns:
        return {}
    sample = rows.select(columns.names()).head(SAMPLE_ROWS)
    open_ones = {name: _possible(dtype) for name, dtype in columns.items()}
    for part in (sample, rows):  # the sample settles most; what is left of it must hold for all
        while tries := {name: kinds[0] for name, kinds in open_ones.items() if len(kinds) > 1}:
            wrong = _misfits(part, columns, tries, tokens)
            if not any(wrong.values()):
                break
            open_ones = {
                name: kinds[1:] if wrong.get(name) else kinds for name, kinds in open_ones.items()
            }
    return {name: kinds[0] for name, kinds in open_ones.items()}


def _possible(dtype: pl.DataType) -> tuple[str, ...]:
    if dtype == pl.String:
        return (*TRIED, "string")
    name = declared_name(dtype)
    known = name in TYPES or isinstance(dtype, pl.Decimal)
    return (name,) if known else ("timestamp" if isinstance(dtype, pl.Datetime) else "string",)


def _misfits(
    rows: pl.LazyFrame, columns: pl.Schema, kinds: Mapping[str, str], tokens: Sequence[str]
) -> dict[str, bool]:
    """Return of which columns a value is none of the type that is tried, or there is no value."""
    tests = []
    for name, kind in kinds.items():
        column = Column(type=kind)
        text = text_of(pl.col(name), column, tokens)
        value = typed_value_of(pl.col(name), columns[name], column, tokens)
        wrong = text.is_not_null() & value.is_null()
        if kind in WRITTEN:
            wrong |= text.is_not_null() & ~text.str.contains(WRITTEN[kind])
        if kind == "float64":
            digits = text.str.replace_all(r"[^0-9]", "").str.len_chars() > EXACT_DIGITS
            wrong |= digits.fill_null(value=False)
        tests.append((wrong.any() | (text.null_count() == pl.len())).alias(name))
    return rows.select(tests).collect(engine="streaming").row(0, named=True)
