"""The ways in which a column of text can be read as something else, in the order of preference.

What belongs here: one function for each sort of value, and the list of them: whoever adds a sort
adds an entry. What does not: choosing between them for a column (`columns`), and how days and
moments are written (`moments`).
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from dataflow_assets.transform.guessing.evidence import counted, listed, shown
from dataflow_assets.transform.guessing.moments import (
    compact_day_formats,
    day_formats,
    moment_formats,
    other_order,
    rises,
    second_formats,
    time_formats,
)
from dataflow_assets.transform.guessing.numbers import number_formats
from dataflow_assets.transform.parse import FALSE_WORDS, TRUE_WORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dataflow_assets.transform.guessing.evidence import Evidence
    from dataflow_assets.transform.guessing.moments import Moments, Order

MOST_DIGITS = 18
FLOAT_DIGITS = 15
MOST_SCALE = 4
BOOLEAN_WORDS = (
    *("true/false", "yes/no", "y/n", "t/f", "ja/nein", "oui/non", "si/no", "sí/no", "on/off"),
    *("wahr/falsch", "vrai/faux", "sim/não", "j/n"),
)
CODE_NAME = re.compile(
    r"zip|post|plz|phone|fax|\btel|mobile|fips|iban|isbn|issn|ean\b|gtin|upc|account|konto|ssn|"
    r"tax_?id|vat|passport",
    re.IGNORECASE,
)
"""Names of columns whose numbers are no quantities, but written with digits."""
DAY_NAME = re.compile(r"date|day|datum|tag\b|\bdt\b|_dt", re.IGNORECASE)
ID_NAME = re.compile(r"(?:^|[\W_])(?:id|key|no|nr|number)$|[a-z]I[dD]$", re.IGNORECASE)
MOMENT_NAME = re.compile(
    r"time|\bts\b|_ts\b|epoch|date|_at\b|created|updated|modified|seen|when", re.IGNORECASE
)
ENOUGH = 20
"""Distinct texts from which on a chance is out of the question."""
WHOLE = r"^[+-]?[0-9]+$"
NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
COUNTS = {"epoch_ms": "milliseconds", "epoch_us": "microseconds"}
LIKELY_YEARS = (1990, 2099)
LEAST_SPAN, MOST_SPAN = dt.timedelta(days=1), dt.timedelta(days=15 * 365)
"""Between the first and the last of some numbers that are moments, though no name says so."""


@dataclass(frozen=True)
class Reading:
    """A way to read a column.

    Attributes:
        words: What the contract would say of the column.
        read: By distinct text, whether it is read so.
        remarks: What to tell of the choice.
        orders: Where day and month may be exchanged: the reading for each order.
        settles: Which order the column's own texts decide, if they do.
        is_text: Whether the column is to stay text, although it could be read otherwise.
    """

    words: Mapping[str, Any]
    read: pl.Series
    remarks: tuple[str, ...] = ()
    orders: Mapping[Order, Mapping[str, Any]] = field(default_factory=dict)
    settles: Order | None = None
    is_text: bool = False


def readings(evidence: Evidence) -> Iterator[Reading]:
    """Yield the ways in which a column's texts are read, the most telling first."""
    if evidence.texts.is_empty():
        return
    for reader in READERS:
        yield from (one for one in reader(evidence) if one.read.any())


def _booleans(evidence: Evidence) -> Iterator[Reading]:
    """Words for true and false: both are there, or they can mean nothing else."""
    words = {text.casefold(): text for text in evidence.distinct.head(16)}
    for pair in BOOLEAN_WORDS:
        true, false = pair.split("/")
        both = true in words and false in words
        if not both and not (pair == "true/false" and {true, false} & words.keys()):
            continue
        said: dict[str, Any] = {"type": "boolean"}
        if true not in TRUE_WORDS or false not in FALSE_WORDS:
            said |= {"formats": [pair], "ignore_case": True}
        read = evidence.read(said).is_not_null()
        read &= evidence.distinct.str.to_lowercase().is_in([true, false])
        yield Reading(said, read)


def _compact_days(evidence: Evidence) -> Iterator[Reading]:
    """Numbers that are days: all of them, and too many for chance, or the name says so."""
    for way in compact_day_formats(evidence.distinct):
        if len(evidence.distinct) >= ENOUGH or DAY_NAME.search(evidence.name):
            years = evidence.read({"type": "date", "formats": list(way.formats)}).dt.year()
            likely = years.is_between(1900, 2100).fill_null(value=False)
            yield Reading(
                {"type": "date", "formats": list(way.formats)},
                way.read & likely,
                ("numbers that are all days",),
            )


def _seconds(evidence: Evidence) -> Iterator[Reading]:
    """Seconds since 1970, where the name speaks of time."""
    if MOMENT_NAME.search(evidence.name):
        for way in second_formats(evidence.distinct):
            yield Reading(
                {"type": "timestamp", "formats": list(way.formats)},
                way.read,
                ("seconds since 1970, in UTC",),
            )


def _since_1970(evidence: Evidence) -> Iterator[Reading]:
    """Milliseconds and microseconds since 1970, where the name or the values speak of time."""
    for word, unit in COUNTS.items():
        moments = _likely_moments(evidence, word)
        if moments.count() and _are_moments(evidence, moments):
            words = {"type": "timestamp", "formats": [word]}
            yield Reading(words, moments.is_not_null(), (f"{unit} since 1970, in UTC",))


def _likely_moments(evidence: Evidence, word: str) -> pl.Series:
    """Return what whole numbers are in a unit since 1970, where that is a moment of our times."""
    moments = evidence.read({"type": "timestamp", "formats": [word]})
    likely = moments.dt.year().is_between(*LIKELY_YEARS) & evidence.distinct.str.contains(WHOLE)
    return moments.zip_with(likely, moments.clear(len(moments)))


def _are_moments(evidence: Evidence, moments: pl.Series) -> bool:
    """Whether the name says so, or many values that neither follow each other nor lie far apart."""
    if ID_NAME.search(evidence.name):  # made of the time, or by chance: it stands for no moment
        return False
    span: dt.timedelta = moments.max() - moments.min()  # type: ignore[assignment,operator]
    close = LEAST_SPAN < span < MOST_SPAN and moments.count() >= ENOUGH
    return close or bool(MOMENT_NAME.search(evidence.name))


def _whole_numbers(evidence: Evidence) -> Iterator[Reading]:
    """Whole numbers, unless they are written with digits only, as postcodes are."""
    texts = evidence.distinct
    whole = texts.str.contains(WHOLE)
    if not whole.any():
        return
    why = _why_text(evidence.name, texts.filter(whole))
    if why is not None:
        yield Reading({"type": "string"}, whole, (why,), is_text=True)
        return
    remarks: tuple[str, ...] = ()
    numbers = set(texts.filter(whole).head(3))
    if numbers <= {"0", "1"}:
        remarks = ("only 0 and 1: boolean may be meant",)
    for word, unit in COUNTS.items():
        if _likely_moments(evidence, word).count() == whole.sum():
            remarks = (f"may be {unit} since 1970, which type: timestamp, formats: [{word}] reads",)
    words = {"type": "int64"}
    yield Reading(words, whole & evidence.read(words).is_not_null(), remarks)


def _why_text(name: str, numbers: pl.Series) -> str | None:
    """Return why digits are no number, if they are none."""
    led = numbers.filter(numbers.str.contains(r"^[+-]?0[0-9]"))
    if len(led):
        return f"digits, but text: {shown(led[0])} begins with a zero, which a number would lose"
    if len(dialled := numbers.filter(numbers.str.contains(r"^\+[0-9]{7,}$"))):
        return f"digits, but text: {shown(dialled[0])} looks like a phone number"
    lengths = numbers.str.strip_chars_start("+-").str.len_chars()
    longest = int(lengths.max() or 0)  # type: ignore[arg-type]
    if longest > MOST_DIGITS:
        return f"digits, but text: {shown(numbers.filter(lengths == longest)[0])} is no int64"
    if CODE_NAME.search(name) and lengths.min() == longest and longest > 3:  # noqa: PLR2004 - such as 5-digit postcodes
        return f"digits, but text: all have {longest}, and the name speaks of a code"
    return None


def _decimals(evidence: Evidence) -> Iterator[Reading]:
    """Numbers of which all have as many digits behind the point, as amounts of money have."""
    texts = evidence.distinct
    fixed = texts.str.contains(r"^[+-]?[0-9]{1,15}\.[0-9]{1,4}$")
    if len(texts.filter(fixed)) < 3:  # noqa: PLR2004 - of two numbers nothing can be told
        return
    scales = texts.filter(fixed).str.split(".").list.last().str.len_chars()
    scale = int(scales[0])
    if scales.n_unique() != 1 or scale < 2 or _has_zero_ahead(texts.filter(fixed)):  # noqa: PLR2004 - tenths are measured
        return
    whole = texts.filter(fixed).str.strip_chars_start("+-").str.split(".").list.first()
    digits = int(whole.str.len_chars().max())  # type: ignore[arg-type]
    words = {"type": f"decimal({max(digits + scale + 2, 10)}, {scale})"}
    remark = f"all have {counted(scale, 'digit')} behind the point"
    yield Reading(words, fixed & evidence.read(words).is_not_null(), (remark,))


def _has_zero_ahead(texts: pl.Series) -> bool:
    return bool(texts.str.contains(r"^[+-]?0[0-9]").any())


def _floats(evidence: Evidence) -> Iterator[Reading]:
    """Numbers with a point or an exponent."""
    texts = evidence.distinct
    numbers = texts.str.contains(NUMBER)
    if _has_zero_ahead(texts.filter(numbers)):
        return
    words = {"type": "float64"}
    long = texts.filter(
        numbers & (texts.str.replace_all(r"[eE].*|\D", "").str.len_chars() > FLOAT_DIGITS + 2)
    )
    remarks = (
        (f"{shown(long[0])} has more digits than float64 keeps; a decimal keeps all",)
        if len(long)
        else ()
    )
    yield Reading(words, numbers & evidence.read(words).is_not_null(), remarks)


def _marked_numbers(evidence: Evidence) -> Iterator[Reading]:
    """Numbers with other marks, currencies or units, as people write them."""
    for way in number_formats(evidence):
        words = {"type": "string"} if way.unclear else way.words
        yield Reading(words, way.read, way.remarks, is_text=way.unclear)


def _days(evidence: Evidence) -> Iterator[Reading]:
    yield from _of_moments(evidence, day_formats(evidence.distinct))


def _times(evidence: Evidence) -> Iterator[Reading]:
    yield from _of_moments(evidence, time_formats(evidence.distinct))


def _moments(evidence: Evidence) -> Iterator[Reading]:
    yield from _of_moments(evidence, moment_formats(evidence.distinct))


def _of_moments(evidence: Evidence, ways: list[Moments]) -> Iterator[Reading]:
    """Yield the one way, or both in one reading where nothing in the column decides."""
    if not ways:
        return
    if len(ways) == 2:  # noqa: PLR2004 - both orders
        rising = [way for way in ways if rises(evidence.read(_words(way)))]
        if len(rising) != 1:
            orders = {way.order: _words(way) for way in ways if way.order is not None}
            yield Reading(_words(ways[0]), ways[0].read, orders=orders)
            return
        (way,) = rising
        remark: str | None = f"{way.order}: read so, the rows are in order, and else they are not"
    else:
        (way,) = ways
        remark = _why_order(evidence, way)
    remarks = (remark, *_about(way)) if remark else _about(way)
    yield Reading(_words(way), way.read, remarks, settles=way.order)


def _words(way: Moments) -> dict[str, Any]:
    said: dict[str, Any] = {"type": way.type}
    return {**said, "formats": list(way.formats)} if way.formats else said


def _why_order(evidence: Evidence, way: Moments) -> str | None:
    if way.order is None:
        return None
    second = "month" if way.order == "day first" else "day"
    place = 0 if way.order == "day first" else 1
    numbers = evidence.distinct.filter(way.read).str.extract_all(r"\d+").list.get(place)
    above = evidence.distinct.filter(way.read).filter(numbers.cast(pl.Int64) > 12)  # noqa: PLR2004 - months
    if not len(above):
        return f"{way.order}"
    return f"{way.order}: {listed(above.head(2))} has no {second} else"


def _about(way: Moments) -> tuple[str, ...]:
    remarks = []
    if way.has_short_years:
        remarks.append("years have two digits: 69 is 1969, 68 is 2068")
    if way.type == "timestamp" and not way.has_zone:
        remarks.append("written without a zone: taken as UTC; set timezone if it is local time")
    return tuple(remarks)


def told_order(order: Order, elsewhere: str) -> str:
    """Return the remark on an order that another column of the sample decides."""
    return (
        f"{order} or {other_order(order)}: nothing here tells, but {shown(elsewhere)} does: {order}"
    )


READERS: tuple[Callable[[Evidence], Iterator[Reading]], ...] = (
    _booleans,
    _compact_days,
    _seconds,
    _since_1970,
    _whole_numbers,
    _decimals,
    _floats,
    _marked_numbers,
    _days,
    _times,
    _moments,
)
"""The sorts of values, in the order in which they are tried: the first to read all texts wins."""
