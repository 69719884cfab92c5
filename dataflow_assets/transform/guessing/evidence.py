"""What is known of one column of a sample before anything is guessed about it.

What belongs here: counting, and how values are shown to people. What does not: guessing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from dataflow_assets.declaration.contract import Column
from dataflow_assets.transform.parse import value_of

if TYPE_CHECKING:
    from collections.abc import Mapping

SHOWN = 5
LONGEST_SHOWN = 40
TOKENS = frozenset(
    (
        *("na", "n/a", "n.a.", "n.a", "#n/a", "#na", "null", "(null)", "<null>", "nil", "none"),
        *("nan", "#nan", "\\n", "unknown", "missing", "undefined", "void", "empty", "(empty)"),
        *("nd", "n.d.", "k.a.", "s.o.", "tba", "tbd", "#value!", "#div/0!", "#ref!", "#name?"),
        *("#null!", "<na>", "(blank)"),
    )
) | {"not available", "not applicable", "no data"}
"""Texts that mean no value among numbers, dates and the like, in lower case."""
CERTAIN = frozenset(
    (
        *("NULL", "null", "(null)", "<null>", "\\N", "#N/A", "N/A", "n/a", "N.A.", "n.a.", "NaN"),
        *("nan", "<NA>", "(empty)"),
    )
)
"""Those that mean no value among texts too, spelled so: NAN is an airport, and Nan a town."""
DASHES = frozenset(("-", "--", "---", "\u2013", "\u2014", "?", "\\N"))
"""Marks that mean no value among texts."""
WORD = re.compile(r"\w")
MOST_TOKENS = 4


@dataclass(frozen=True)
class Evidence:
    """One column of text, as the sample has it.

    Attributes:
        name: The column's name as received.
        rows: How many rows there are.
        texts: `text` (string: each distinct text, trimmed, neither empty nor null, in the order in
            which they came) and `count` (its rows).
    """

    name: str
    rows: int
    texts: pl.DataFrame

    @classmethod
    def of(cls, values: pl.Series) -> Evidence:
        """Count the texts of a column."""
        text = pl.col("text").str.strip_chars()
        texts = (
            values.alias("text")
            .to_frame()
            .select(text)
            .filter(pl.col("text") != "")
            .group_by("text", maintain_order=True)
            .agg(pl.len().alias("count"))
        )
        return cls(values.name, len(values), texts)

    @property
    def distinct(self) -> pl.Series:
        """The distinct texts."""
        return self.texts["text"]

    @property
    def filled(self) -> int:
        """How many rows have a text."""
        return int(self.texts["count"].sum())

    def without(self, tokens: frozenset[str]) -> Evidence:
        """Return the column without texts that mean no value."""
        kept = self.texts.filter(~pl.col("text").is_in(list(tokens)))
        return Evidence(self.name, self.rows, kept)

    def count_of(self, chosen: pl.Series) -> int:
        """Return how many rows have one of some distinct texts, which are told by flags."""
        return int(self.texts.filter(chosen)["count"].sum())

    def read(self, words: Mapping[str, Any]) -> pl.Series:
        """Return the value of each distinct text, as cleaning would read it; null for none."""
        return read(self.distinct, words)


def read(texts: pl.Series, words: Mapping[str, Any]) -> pl.Series:
    """Read texts as cleaning does.

    Args:
        texts: The texts.
        words: What a contract says of their column.
    """
    column = Column.model_validate(dict(words))
    frame = texts.alias("text").to_frame()
    return frame.select(value_of(pl.col("text"), column, ()).alias("value"))["value"]


def is_token(text: str) -> bool:
    """Whether a text may mean no value among values of another type."""
    return text.casefold() in TOKENS or not WORD.search(text)


def are_tokens(texts: pl.Series) -> bool:
    """Whether all of a few texts may mean no value among values of another type."""
    return len(texts) <= MOST_TOKENS and all(map(is_token, texts))


def shown(text: object) -> str:
    """Return a value as a comment may show it: short, in one line, in quotes."""
    said = str(text)
    said = said if len(said) <= LONGEST_SHOWN else f"{said[:LONGEST_SHOWN]}…"
    return repr(said)


def listed(texts: pl.Series) -> str:
    """Return the first few of some texts, as a comment may show them."""
    more = ", …" if len(texts) > SHOWN else ""
    return ", ".join(map(shown, texts.head(SHOWN))) + more


def counted(number: int, what: str) -> str:
    """Return a number with its noun, such as ``1 row`` or ``8,785 rows``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
