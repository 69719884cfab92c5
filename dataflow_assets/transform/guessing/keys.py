"""Which columns may identify a row.

What belongs here: candidates of one or two columns, and which is the likeliest. What does not:
whether they identify a row in data that is not in the sample; nobody knows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.transform.guessing.evidence import counted
from dataflow_assets.transform.guessing.rules import shape_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataflow_assets.transform.guessing.columns import ColumnGuess

ID_NAME = re.compile(r"(?:^|[\W_])(?:id|uuid|guid|key|uid|pk)$|[a-z]I[dD]$", re.IGNORECASE)
CODE_NAME = re.compile(
    r"(?:^|[\W_])(?:code|number|num|nr|no|ref|sku|isbn|iata|icao|slug)$", re.IGNORECASE
)
OWN_NAME = re.compile(
    r"^(?:name|title|symbol|country|file|log|host|domain|email|url|uri|path)$", re.IGNORECASE
)
UNFIT = ("float", "decimal", "boolean", "time")
"""Types of measures, which identify nothing even where no two are equal."""
LONGEST_ID = 64
FEWEST_ROWS = 3
PAIRED = 10
"""Columns of which each pair is tried."""
NAMED_ID, NAMED_CODE, FIRST, PLAIN = 0, 1, 2, 3


@dataclass(frozen=True)
class KeyGuess:
    """The columns that identify a row of the sample.

    Attributes:
        received: Their names as received; none if nothing does.
        remark: What was seen.
    """

    received: tuple[str, ...]
    remark: str


def guess_key(guesses: Sequence[ColumnGuess], sample: pl.DataFrame) -> KeyGuess:
    """Return the likeliest key.

    Args:
        guesses: The columns.
        sample: The sampled rows as received.
    """
    rows = sample.height
    if rows < FEWEST_ROWS:
        return KeyGuess((), f"{counted(rows, 'row')}: too few to tell what identifies one")
    fit = [one for one in guesses if _fits(one)]
    unique = sorted((one for one in fit if one.is_unique), key=lambda one: _rank(one, guesses))
    likely = [one for one in unique if _rank(one, guesses) < PLAIN]
    if likely:
        others = [one.received for one in unique if one is not likely[0]]
        more = f"; so could {', '.join(map(repr, others[:3]))}" if others else ""
        return KeyGuess((likely[0].received,), f"no two of {counted(rows, 'row')} share it{more}")
    pair = _pair(fit, sample)
    if pair is not None:
        return KeyGuess(pair, f"no two of {counted(rows, 'row')} share both; no column alone")
    if unique:
        names = ", ".join(repr(one.received) for one in unique[:3])
        return KeyGuess(
            (), f"none guessed: {names} would do in {counted(rows, 'row')}, by chance perhaps"
        )
    twice = rows - sample.n_unique()
    said = f"; {counted(twice, 'row')} repeat another exactly" if twice else ""
    return KeyGuess((), f"none found among single columns and pairs{said}")


def _fits(one: ColumnGuess) -> bool:
    if not one.is_filled or (one.type.startswith(UNFIT) and one.type != "timestamp"):
        return False
    if one.type != "string":
        return True
    longest = one.values["value"].str.len_chars().max()
    return int(longest or 0) <= LONGEST_ID  # type: ignore[arg-type]


def _rank(one: ColumnGuess, guesses: Sequence[ColumnGuess]) -> int:
    """Return how likely a column is meant to identify rows: the less, the likelier."""
    if ID_NAME.search(one.received):
        return NAMED_ID
    if CODE_NAME.search(one.received):
        return NAMED_CODE
    return FIRST if one is guesses[0] and _may_name_rows(one) else PLAIN


def _may_name_rows(one: ColumnGuess) -> bool:
    """Whether a first column is no mere text: first names may be all distinct by chance."""
    if one.type != "string" or OWN_NAME.match(one.received):
        return True
    return shape_of(one.values["value"]) is not None


def _pair(fit: Sequence[ColumnGuess], sample: pl.DataFrame) -> tuple[str, str] | None:
    """Return the first pair of which no two rows have the same, columns named as ids first."""
    named = [one for one in fit if one.distinct > 1 and not one.is_unique]
    ranked = sorted(named[:PAIRED], key=lambda one: not ID_NAME.search(one.received))
    rows = sample.height
    for one, other in combinations(ranked, 2):
        if one.distinct * other.distinct < rows:
            continue
        if _values(one, other, sample) == rows:
            first, second = sorted((one, other), key=list(fit).index)
            return first.received, second.received
    return None


def _values(one: ColumnGuess, other: ColumnGuess, sample: pl.DataFrame) -> int:
    names = [one.received, other.received]
    texts = [
        pl.col(name).str.strip_chars() if sample.schema[name] == pl.String else pl.col(name)
        for name in names
    ]
    return sample.select(pl.struct(texts).n_unique()).item()  # type: ignore[no-any-return]
