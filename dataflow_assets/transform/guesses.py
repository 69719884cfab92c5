"""Guesses about columns that the contract does not name: their type, and whether they are known.

What belongs here: which declared type all values of a column have, and which column may be another
one under a new name. What does not: acting upon a guess; nobody does but the person who reads it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import product
from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.declaration.contract import Column
from dataflow_assets.texts import text_of as exact_text_of
from dataflow_assets.transform.parse import text_of
from dataflow_assets.transform.typed import typed_value_of
from dataflow_assets.transform.types import TYPES, declared_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dataflow_assets.declaration.contract import Contract

SAMPLE_ROWS = 1000
"""Rows in which values are compared, and types tried first."""
MOST_COMPARED = 40
"""Columns of either side that are compared with each other."""
TRIED = ("int64", "float64", "boolean", "date", "timestamp")
"""Types in the order in which they are tried; string is what is left."""
WRITTEN: dict[str, str] = {
    "int64": r"^\s*-?(?:0|[1-9][0-9]*)\s*$",
    "float64": r"^\s*-?(?:0|[1-9][0-9]*)(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?\s*$",
    "boolean": r"^\s*(?:[Tt]rue|TRUE|[Ff]alse|FALSE|[Yy]es|YES|[Nn]o|NO)\s*$",
}
"""How values of a type look; others may mean something else, such as 007 or t."""
EXACT_DIGITS = 15
WORDS = re.compile(r"[\W_]+")

ALIKE, OVERLAP, SAME_PLACE, FITS, ENOUGH = 1.0, 0.8, 0.4, 0.2, 1.0
"""What speaks for a new name of a column, and how much of it is enough to say so."""
NUMBERS_OVERLAP = 0.35
FEW, MANY_FIT, TOO_FEW_FIT = 3, 0.95, 0.8


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


@dataclass(frozen=True)
class Guess:
    """That a column is received under another name.

    Attributes:
        column: The contract's column.
        received: The received column that may be the same.
        points: How much speaks for it.
        why: What does, in words.
    """

    column: str
    received: str
    points: float
    why: str


@dataclass(frozen=True)
class Evidence:
    """What is known of received columns.

    Attributes:
        order: Their names, in order.
        sample: Some of their rows, as received.
    """

    order: Sequence[str]
    sample: pl.DataFrame


def guess_renamed(
    contract: Contract, gone: Sequence[str], new: Sequence[str], now: Evidence, was: Evidence | None
) -> dict[str, Guess]:
    """Return, by column of the contract that is gone, the new column that it may be.

    Args:
        contract: What the source promises.
        gone: The columns that are gone.
        new: The received columns that are new.
        now: What is received.
        was: What was received before, if that is known.
    """
    pairs = product(gone[:MOST_COMPARED], new[:MOST_COMPARED])
    guesses = [guess for pair in pairs if (guess := _compare(contract, pair, now, was))]
    best: dict[str, Guess] = {}
    taken: set[str] = set()
    for guess in sorted(guesses, key=lambda one: -one.points):
        if guess.column not in best and guess.received not in taken:
            best[guess.column] = guess
            taken.add(guess.received)
    return best


def _compare(
    contract: Contract, pair: tuple[str, str], now: Evidence, was: Evidence | None
) -> Guess | None:
    """Return what speaks for a column being received under another name, if it is enough."""
    column, received = pair
    found = list(_signs(contract, column, received, now, was))
    points = sum(weight for weight, _ in found)
    if points < ENOUGH:
        return None
    return Guess(column, received, points, ", ".join(why for _, why in found if why))


def _signs(
    contract: Contract, column: str, received: str, now: Evidence, was: Evidence | None
) -> Iterator[tuple[float, str]]:
    names = (column, *contract.names_of(column))
    alike = max(_alike(name, received) for name in names)
    yield ALIKE * alike, f"names {alike:.0%} alike"
    fitting = _fitting(contract, column, now.sample, received)
    if fitting is not None:
        heavy = contract.columns[column].type != "string" and fitting >= MANY_FIT
        yield FITS if heavy else 0.0 if fitting >= TOO_FEW_FIT else -ENOUGH, f"{fitting:.0%} fit"
    before = next((name for name in names if was is not None and name in was.order), None)
    if was is None or before is None:
        return
    if list(was.order).index(before) == list(now.order).index(received):
        yield SAME_PLACE, "same place"
    if before in was.sample.columns:
        yield _overlap(_meant(was.sample, before, contract), _meant(now.sample, received, contract))


def _alike(one: str, other: str) -> float:
    short, long = sorted((WORDS.sub("", one.casefold()), WORDS.sub("", other.casefold())), key=len)
    if len(short) >= FEW and long.startswith(short):
        return max(0.8, SequenceMatcher(None, short, long).ratio())
    return SequenceMatcher(None, short, long).ratio() if short else 0.0


def _fitting(contract: Contract, column: str, sample: pl.DataFrame, received: str) -> float | None:
    """Return the share of values that the column's type can hold; none if there are no values."""
    declared = contract.columns[column].model_copy(update={"default": None})
    tokens = contract.null_tokens
    dtype = sample.schema[received]
    value = typed_value_of(pl.col(received), dtype, declared, tokens)
    given = text_of(pl.col(received), declared, tokens) if dtype == pl.String else pl.col(received)
    row = sample.select(given=given.is_not_null().sum(), held=value.is_not_null().sum()).row(0)
    return row[1] / row[0] if row[0] else None


def _meant(sample: pl.DataFrame, name: str, contract: Contract) -> pl.Series:
    texts = exact_text_of(sample.get_column(name)).to_frame("v")
    meant = texts.select(text_of(pl.col("v"), Column(), contract.null_tokens)).to_series()
    return meant.drop_nulls().unique()


def _overlap(one: pl.Series, other: pl.Series) -> tuple[float, str]:
    """Return how much two columns' values speak for being the same column."""
    fewer = min(len(one), len(other))
    if not fewer:
        return 0.0, ""
    numbers = [values.cast(pl.Float64, strict=False) for values in (one, other)]
    if not any(values.null_count() for values in numbers):
        share = _common_range(*numbers)
        return NUMBERS_OVERLAP * share, f"ranges overlap by {share:.0%}"
    share = len(one.filter(one.is_in(other.implode()))) / fewer
    return (OVERLAP * share if fewer >= FEW else 0.0), f"{share:.0%} of the values are the same"


def _common_range(one: pl.Series, other: pl.Series) -> float:
    lows, highs = (
        [_number(v.min()) for v in (one, other)],
        [_number(v.max()) for v in (one, other)],
    )
    width = max(highs) - min(lows)
    return max(0.0, min(highs) - max(lows)) / width if width else 1.0


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
