"""What a contract may say of each column of a sample.

What belongs here: choosing a reading, null tokens, and the remarks that tell what was seen. What
does not: the readings themselves (`readings`), keys and rules (`keys`, `rules`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from dataflow_assets.texts import text_of
from dataflow_assets.transform.guessing.evidence import (
    CERTAIN,
    DASHES,
    Evidence,
    are_tokens,
    counted,
    listed,
    shown,
)
from dataflow_assets.transform.guessing.readings import Reading, readings, told_order
from dataflow_assets.transform.types import declared_name, polars_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dataflow_assets.transform.guessing.moments import Order

REQUIRED_ROWS = 20
"""Rows from which on a column that is always filled is guessed to be required."""
NEARLY = 0.9
FEW_MARKS = 2
SENTINELS = (-99, -999, -9999, -99999, 9999, 99999, 999999)
FAR = 3
WHOLE_NUMBERS = {"type": "int64"}
FRACTIONS = {"type": "float64"}
SURE_SIBLINGS = 2
"""Columns with both words of a boolean, from which on one with only one of them is a boolean."""


@dataclass(frozen=True)
class ColumnGuess:
    """What the sample says of a column.

    Attributes:
        received: Its name as received.
        words: What the contract says of it, beside null tokens.
        tokens: Texts that mean no value here.
        remarks: What was seen, one sentence each.
        rows: How many rows there are.
        filled: How many of them have a value.
        values: `value` (each distinct value, in the declared type) and `count` (its rows).
        orders: Where day and month may be exchanged: what the contract would say for each order.
        settles: Which order the column's own texts decide.
        evidence: The texts, of a column of text.
    """

    received: str
    words: Mapping[str, Any]
    rows: int
    filled: int
    values: pl.DataFrame
    tokens: frozenset[str] = frozenset()
    remarks: tuple[str, ...] = ()
    orders: Mapping[Order, Mapping[str, Any]] = field(default_factory=dict)
    settles: Order | None = None
    evidence: Evidence | None = field(default=None, repr=False)

    @property
    def type(self) -> str:
        """The declared type."""
        return str(self.words["type"])

    @property
    def distinct(self) -> int:
        """How many distinct values there are."""
        return self.values.height

    @property
    def is_filled(self) -> bool:
        """Whether every row has a value."""
        return self.rows > 0 and self.filled == self.rows

    @property
    def is_unique(self) -> bool:
        """Whether every row has a value, and none has that of another."""
        return self.is_filled and self.distinct == self.rows

    def changed(self, *remarks: str, **words: Any) -> ColumnGuess:  # noqa: ANN401 - words of YAML
        """Return the guess with other words and further remarks."""
        return replace(self, words={**self.words, **words}, remarks=(*self.remarks, *remarks))


def guess_columns(sample: pl.DataFrame) -> list[ColumnGuess]:
    """Return a guess for each column of a sample.

    Args:
        sample: The sampled rows as received: text, or values of a file's own types.
    """
    guesses = [_guess(sample[name]) for name in sample.columns]
    guesses = [_like_siblings(_ordered(one, guesses), guesses) for one in guesses]
    return [_described(one) for one in guesses]


def common_tokens(guesses: Sequence[ColumnGuess], sample: pl.DataFrame) -> list[str]:
    """Return the texts that mean no value in every column in which they stand, most used first."""
    columns: defaultdict[str, list[str]] = defaultdict(list)
    for one in guesses:
        for token in one.tokens:
            columns[token].append(one.received)
    return [
        token
        for token in sorted(columns, key=lambda token: (-len(columns[token]), token))
        if not _stands_elsewhere(token, columns[token], guesses, sample)
    ]


def _stands_elsewhere(
    token: str, known: Sequence[str], guesses: Sequence[ColumnGuess], sample: pl.DataFrame
) -> bool:
    others = [one.received for one in guesses if one.received not in known]
    texts = (sample[name] for name in others if sample[name].dtype == pl.String)
    return any(bool((text.str.strip_chars() == token).any()) for text in texts)


def _guess(values: pl.Series) -> ColumnGuess:
    if values.dtype == pl.Null:
        values = values.cast(pl.String)
    if values.dtype != pl.String:
        return _typed(values)
    evidence = Evidence.of(values)
    if evidence.texts.is_empty():
        nothing = "no value in the sample, so nothing is known of it"
        return _chosen(
            evidence, Reading({"type": "string"}, pl.Series([], dtype=pl.Boolean)), nothing
        )
    found = list(readings(evidence))
    for place, reading in enumerate(found):
        left = evidence.distinct.filter(~reading.read)
        if len(left) < len(evidence.distinct) and are_tokens(left) and not reading.is_text:
            kept = evidence.without(frozenset(left))
            return _chosen(evidence, reading, *_nearly_whole(kept, reading, found[:place]))
        if reading.is_text and are_tokens(left):
            return _text(evidence, reading.remarks, frozenset(left))
    return _text(evidence, _nearly(evidence, found))


def _nearly(evidence: Evidence, found: Iterable[Reading]) -> tuple[str, ...]:
    """Tell of the reading that reads nearly all rows, and of what it does not read."""
    found = [one for one in found if not one.is_text]
    best = max(found, key=lambda one: evidence.count_of(one.read), default=None)
    return () if best is None else _told_of_nearly(evidence, best.words, best.read)


def _told_of_nearly(
    evidence: Evidence, words: Mapping[str, Any], flags: pl.Series
) -> tuple[str, ...]:
    read = evidence.count_of(flags)
    if read < NEARLY * evidence.filled:
        return ()
    told = (
        f"{read:,} of {counted(evidence.filled, 'value')} are {_kind(words)}, "
        f"but not {listed(evidence.distinct.filter(~flags))}: declare that type to quarantine these"
    )
    return (told,)


def _nearly_whole(
    evidence: Evidence, chosen: Reading, passed: Sequence[Reading]
) -> tuple[str, ...]:
    """Tell of the few numbers for which a column is not one of whole numbers."""
    whole = next((one.words for one in passed if one.words == WHOLE_NUMBERS), None)
    if whole is None or chosen.words != FRACTIONS:
        return ()
    read = evidence.read(whole).is_not_null()
    return _told_of_nearly(evidence, whole, read)


def _kind(words: Mapping[str, Any]) -> str:
    formats = ", ".join(map(str, words.get("formats", ())))
    return f"{words['type']} ({formats})" if formats else str(words["type"])


def _text(
    evidence: Evidence, remarks: Sequence[str], tokens: frozenset[str] = frozenset()
) -> ColumnGuess:
    """Return the guess for a column that stays text."""
    marks = evidence.distinct.filter(~evidence.distinct.str.contains(r"[\p{L}\p{N}]"))
    sure = evidence.distinct.filter(evidence.distinct.is_in(list(CERTAIN)))
    tokens |= frozenset(sure)
    if len(marks) <= FEW_MARKS and len(evidence.distinct) > FAR:  # else marks are its values
        tokens |= frozenset(marks) & DASHES
    kept = ~evidence.distinct.is_in(list(tokens))
    return _chosen(evidence, Reading({"type": "string"}, kept, tuple(remarks)))


def _chosen(evidence: Evidence, reading: Reading, *remarks: str) -> ColumnGuess:
    tokens = (
        frozenset(evidence.distinct.filter(~reading.read)) if len(reading.read) else frozenset()
    )
    kept = evidence.without(tokens)
    values = kept.texts.select(value=kept.read(reading.words), count="count")
    return ColumnGuess(
        received=evidence.name,
        words=reading.words,
        rows=evidence.rows,
        filled=kept.filled,
        values=values.group_by("value", maintain_order=True).agg(pl.col("count").sum()),
        tokens=tokens,
        remarks=(*remarks, *reading.remarks),
        orders=reading.orders,
        settles=reading.settles,
        evidence=evidence,
    )


def _typed(values: pl.Series) -> ColumnGuess:
    """Return the guess for values that have types of their own."""
    kind, remarks = _type_of(values)
    kept = values if kind != "string" else text_of(values)
    counts = kept.alias("value").to_frame().filter(pl.col("value").is_not_null())
    if kind != "string" and not kind.startswith("decimal"):
        counts = counts.with_columns(_as_declared(kept.drop_nulls(), kind).alias("value"))
    return ColumnGuess(
        received=values.name,
        words={"type": kind},
        rows=len(values),
        filled=counts.height,
        values=counts.group_by("value", maintain_order=True).agg(count=pl.len()),
        remarks=remarks,
    )


def _as_declared(values: pl.Series, kind: str) -> pl.Series:
    dtype = polars_type(kind)
    if isinstance(dtype, pl.Datetime) and values.dtype != dtype:
        values = values.cast(
            pl.Datetime("us", getattr(values.dtype, "time_zone", None)), strict=False
        )
        return (
            values.dt.convert_time_zone("UTC")
            if values.dtype.time_zone  # type: ignore[attr-defined]
            else values.dt.replace_time_zone("UTC")
        )
    return values.cast(dtype, strict=False)


def _type_of(values: pl.Series) -> tuple[str, tuple[str, ...]]:
    """Return the declared type for a type of a file, and what to tell of it."""
    dtype = values.dtype
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone is None:
            return "timestamp", ("has no zone: taken as UTC; set timezone if it is local time",)
        return "timestamp", ()
    if isinstance(dtype, pl.Decimal):
        return f"decimal({dtype.precision}, {dtype.scale})", ()
    if dtype.is_numeric() or dtype in (pl.Boolean, pl.Date, pl.Time):
        known = declared_name(dtype)
        try:
            polars_type(known)
        except KeyError:  # such as int128
            return "string", (f"{dtype} in the file, which no declared type is",)
        return known, ()
    return "string", (f"{_native(dtype)} in the file: kept as text",)


def _native(dtype: pl.DataType) -> str:
    return "JSON" if dtype.is_nested() else str(dtype).lower()


def _ordered(one: ColumnGuess, guesses: Sequence[ColumnGuess]) -> ColumnGuess:
    """Decide which of day and month comes first, by other columns, or leave the column text."""
    if not one.orders or one.evidence is None:
        return one
    kept = ~one.evidence.distinct.is_in(list(one.tokens))
    for other in guesses:
        if other.settles is not None and other.settles in one.orders:
            remark = told_order(other.settles, other.received)
            return _chosen(
                one.evidence, Reading(one.orders[other.settles], kept, (*one.remarks, remark))
            )
    forms = " or ".join(_kind(words) for words in one.orders.values())
    remark = f"text, as nothing tells day from month: {forms}; declare which"
    return _text(one.evidence, (*one.remarks, remark))


def _like_siblings(one: ColumnGuess, guesses: Sequence[ColumnGuess]) -> ColumnGuess:
    """Read a column with one word as a boolean, or say that it may be, as others have that word."""
    if one.type != "string" or one.evidence is None or one.distinct != 1:
        return one
    word = str(one.values["value"][0])
    alike = [other for other in guesses if other.type == "boolean" and _has_word(other, word)]
    if not alike:
        return one
    names = ", ".join(shown(other.received) for other in alike[:SURE_SIBLINGS])
    if len(alike) < SURE_SIBLINGS:
        told = f"only {shown(word)}: boolean may be meant, as in {names}"
        return replace(one, remarks=(*one.remarks, told))
    kept = ~one.evidence.distinct.is_in(list(one.tokens))
    told = f"only {shown(word)}, which is one of two words in {names}: taken as boolean"
    return _chosen(one.evidence, Reading(alike[0].words, kept, (*one.remarks, told)))


def _has_word(one: ColumnGuess, word: str) -> bool:
    texts = None if one.evidence is None else one.evidence.without(one.tokens).distinct
    return texts is not None and len(texts) > 1 and word in texts


def _described(one: ColumnGuess) -> ColumnGuess:
    """Put before the remarks what was counted, and guess whether the column is required."""
    if not one.rows or not one.filled:
        return one
    many = "all distinct" if one.is_unique else counted(one.distinct, "distinct value")
    nulls = one.rows - one.filled
    seen = (
        f"{many} in {counted(one.rows, 'row')}, {f'{nulls:,} without' if nulls else 'none without'}"
    )
    remarks = [seen + _extent(one)]
    if one.tokens:
        remarks.append(f"no value: {', '.join(map(shown, sorted(one.tokens)))}")
    one = replace(one, remarks=(*remarks, *one.remarks, *_odd(one)))
    if one.is_filled and one.rows >= REQUIRED_ROWS:
        return one.changed(required=True)
    return one


def _extent(one: ColumnGuess) -> str:
    """Return between which values a column's lie, or how long its texts are."""
    values = one.values["value"]
    if one.type == "boolean":
        return ""
    if one.type == "string":
        lengths = values.str.len_chars().sort().to_list()
        low, high = lengths[0], lengths[-1]
        told = f"{low} to {high} characters"
        return f"; all of {counted(low, 'character')}" if low == high else f"; {told}"
    if one.distinct == 1:
        return f"; all {values[0]}"
    return f"; {_plain(values.min())} to {_plain(values.max())}"


def _plain(value: object) -> str:
    return str(value).removesuffix("+00:00")


def _odd(one: ColumnGuess) -> tuple[str, ...]:
    """Tell of a number that stands far from all others, and may mean no value."""
    values = one.values["value"]
    if not values.dtype.is_numeric() or one.distinct < FAR:
        return ()
    ordered = values.cast(pl.Float64).sort()
    for edge, rest in ((ordered[0], ordered[1:]), (ordered[-1], ordered[:-1])):
        spread = float(rest.max() - rest.min()) or 1.0  # type: ignore[operator,arg-type]
        away = min(abs(edge - float(rest.min())), abs(edge - float(rest.max())))  # type: ignore[arg-type]
        if edge in SENTINELS and away > FAR * spread:
            return (
                f"{edge:g} stands far from all others: if it means no value, add it to null_tokens",
            )
    return ()
