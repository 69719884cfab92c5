"""Which column may be another one under a new name.

What belongs here: what names, places and values say about it. What does not: acting upon a guess;
nobody does but the person who reads it.
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

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dataflow_assets.declaration.contract import Contract

MOST_COMPARED = 40
"""Columns of either side that are compared with each other."""
WORDS = re.compile(r"[\W_]+")

ALIKE, OVERLAP, SAME_PLACE, FITS, ENOUGH = 1.0, 0.8, 0.4, 0.2, 1.0
"""What speaks for a new name of a column, and how much of it is enough to say so."""
NUMBERS_OVERLAP = 0.35
FEW, MANY_FIT, TOO_FEW_FIT = 3, 0.95, 0.8


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
class Sampled:
    """What is known of received columns.

    Attributes:
        order: Their names, in order.
        sample: Some of their rows, as received.
    """

    order: Sequence[str]
    sample: pl.DataFrame


def guess_renamed(
    contract: Contract, gone: Sequence[str], new: Sequence[str], now: Sampled, was: Sampled | None
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
    contract: Contract, pair: tuple[str, str], now: Sampled, was: Sampled | None
) -> Guess | None:
    """Return what speaks for a column being received under another name, if it is enough."""
    column, received = pair
    found = list(_signs(contract, column, received, now, was))
    points = sum(weight for weight, _ in found)
    if points < ENOUGH:
        return None
    return Guess(column, received, points, ", ".join(why for _, why in found if why))


def _signs(
    contract: Contract, column: str, received: str, now: Sampled, was: Sampled | None
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
