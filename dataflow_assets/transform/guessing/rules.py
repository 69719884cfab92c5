"""Rules that the values of a column suggest.

What belongs here: bounds that follow from what a column is, lists of few values, and the shape of
codes. What does not: writing them down.

What follows from a meaning (a latitude) is declared outright. What was only seen (three values) is
declared as a warning: no row is quarantined because it is unlike a sample.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from dataflow_assets.transform.guessing.columns import ColumnGuess

MEANINGS = (
    (re.compile(r"(?:^|[\W_])lat(?:itude)?$", re.IGNORECASE), -90, 90),
    (re.compile(r"(?:^|[\W_])(?:lon|lng|long|longitude)$", re.IGNORECASE), -180, 180),
)
"""Names of columns whose values have bounds by nature."""
FEW_VALUES = 12
LISTED_VALUES = 30
ROWS_PER_VALUE = 10
FEWEST_ROWS = 100
LONGEST_VALUE = 40
MOST_TOLD = 160
FEWEST_CODES = 20
LONGEST_CODE = 24
MOST_RUNS = 6
MARKS = re.compile(r"[.^$*+?\[\]\\|()]")
RUN = re.compile(r"[a-z]+|[A-Z]+|[0-9]+|[^A-Za-z0-9]")
CLASSES = ("[a-z]", "[A-Z]", "[0-9]")
SETS = ("[0-9a-f]", "[0-9A-F]", "[A-Z0-9]", "[a-z0-9]", "[A-Za-z0-9]")
"""Sets of characters of codes that have no runs in common."""
NUMBERS = ("int", "float", "decimal")


@dataclass(frozen=True)
class RuleGuess:
    """What a column's values suggest.

    Attributes:
        words: What the contract says of the column, with certainty.
        values: The values that were seen, if they are few: others are warned about.
        pattern: The shape that all texts have: others are warned about.
        remarks: What was seen.
    """

    words: Mapping[str, Any] = field(default_factory=dict)
    values: tuple[str, ...] = ()
    pattern: str | None = None
    remarks: tuple[str, ...] = ()


def guess_rules(one: ColumnGuess) -> RuleGuess:
    """Return what a column's values suggest."""
    if one.type.startswith(NUMBERS):
        return _bounds(one)
    return _texts(one) if one.type == "string" and one.filled else RuleGuess()


def _bounds(one: ColumnGuess) -> RuleGuess:
    low, high = one.values["value"].min(), one.values["value"].max()
    for name, least, most in MEANINGS:
        if name.search(one.received) and least <= low and high <= most:  # type: ignore[operator]
            return RuleGuess({"min": least, "max": most})
    return RuleGuess()


def _texts(one: ColumnGuess) -> RuleGuess:
    values = one.values["value"]
    longest = int(values.str.len_chars().max() or 0)  # type: ignore[arg-type]
    often = one.filled >= max(FEWEST_ROWS, ROWS_PER_VALUE * one.distinct)
    if often and one.distinct <= LISTED_VALUES and longest <= LONGEST_VALUE:
        listed = tuple(sorted(values))
        if 1 < one.distinct <= FEW_VALUES:
            return RuleGuess(values=listed, remarks=("another value is warned about",))
        if one.distinct > 1:
            told = ", ".join(listed)
            told = told if len(told) <= MOST_TOLD else f"{told[:MOST_TOLD]}…"
            return RuleGuess(remarks=(f"few enough for one_of: {told}",))
    pattern = shape_of(values) if one.distinct >= FEWEST_CODES and longest <= LONGEST_CODE else None
    if pattern is None:
        return RuleGuess()
    return RuleGuess(pattern=pattern, remarks=(f"all match {pattern}; another is warned about",))


def shape_of(values: pl.Series) -> str | None:
    """Return the pattern that codes share: runs of letters, of digits, and marks between them.

    None if they have no shape in common, or one that words have too.
    """
    if not values.str.contains(r"^[!-~]+$").all() or values.str.contains(r"[{}]").any():
        return None
    runs = [RUN.findall(text) for text in values]
    same_length = values.str.len_chars().n_unique() == 1
    if len({tuple(map(_class, one)) for one in runs}) == 1 and len(runs[0]) <= MOST_RUNS:
        has_digits = any("[0-9]" in _class(run) for run in runs[0])
        if same_length or (has_digits and len(runs[0]) > 1):
            return "".join(_part(list(part)) for part in zip(*runs, strict=True))
        return None
    if not same_length:
        return None
    known = (kind for kind in SETS if values.str.contains(f"^{kind}+$").all())
    kind = next(known, None)
    return kind and f"{kind}{{{len(values[0])}}}"


def _class(run: str) -> str:
    """Return the class of a run of characters, or the mark that it is."""
    return next((kind for kind in CLASSES if re.match(kind, run)), MARKS.sub(r"\\\g<0>", run))


def _part(runs: list[str]) -> str:
    """Return the pattern of what stands at one place of all codes."""
    kind = _class(runs[0])
    if kind not in CLASSES:
        return kind
    if len(set(runs)) == 1 and kind != "[0-9]":
        return runs[0]
    low, high = min(map(len, runs)), max(map(len, runs))
    if low == high:
        return kind if low == 1 else f"{kind}{{{low}}}"
    return f"{kind}{{{low},{high}}}"
