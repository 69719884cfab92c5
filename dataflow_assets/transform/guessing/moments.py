"""How dates, times and timestamps are written.

What belongs here: the formats that are tried, which of them a column's texts bear out, and what
tells day-first from month-first. What does not: numbers, words, and reading itself (`parse`).

A format is borne out by a text if the text has its shape, so that a year has four digits where the
format says so, and if the reader that cleaning uses reads it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Literal

import polars as pl

from dataflow_assets.transform.guessing.evidence import read

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Order = Literal["day first", "month first"]
MOST_FORMATS = 4
LOOKED_AT = 40
"""Distinct texts that are compared with every shape; the rest, with those that fit."""

SHAPES = {
    "Y": r"\d{4}",
    "y": r"\d{2}",
    "m": r"\d{1,2}",
    "d": r"\d{1,2}",
    "H": r"\d{1,2}",
    "I": r"\d{1,2}",
    "M": r"\d{2}",
    "S": r"\d{2}",
    "b": r"[A-Za-z]{3,9}",
    "a": r"[A-Za-z]{3}",
    "p": r"[AaPp][Mm]",
    "z": r"[+-]\d{2}:?\d{2}",
    "s": r"\d{9,10}",
}
DAYS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d.%m.%y"),
    *("%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y"),
    *("%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%m-%d-%y"),
    *("%d %b %Y", "%b %d %Y", "%b %d, %Y", "%d-%b-%Y", "%d-%b-%y", "%d %b %y", "%Y-%b-%d"),
    *("%d. %b %Y", "%d/%b/%Y", "%a, %d %b %Y"),
)
COMPACT_DAYS = ("%Y%m%d",)
MONTHS = ("%Y-%m",)
CLOCKS = ("%H:%M:%S%.f", "%H:%M", "%I:%M:%S %p", "%I:%M %p")
ZONES = ("", "Z", "%z", " %z", " UTC", " GMT")
OTHER_MOMENTS = (
    "%Y%m%dT%H%M%S%.f",
    "%Y%m%dT%H%M%S%.fZ",
    "%d/%b/%Y:%H:%M:%S %z",
    "%a %b %d %H:%M:%S %Y",
    "%a %b %d %H:%M:%S %z %Y",
)
SECONDS = ("%s", "%s%.f")
FIRST_YEAR, LAST_YEAR = 1000, 3000


@dataclass(frozen=True)
class Moments:
    """How a column writes days, times or moments.

    Attributes:
        type: ``date``, ``time`` or ``timestamp``.
        formats: The formats to declare; none where the type's own are enough.
        seen: The formats that are borne out, the one of most texts first.
        order: What the formats say of day and month, where their order was in question.
        decided: Whether the texts themselves decide it: they have numbers above 12.
        read: By distinct text, whether the formats read it.
    """

    type: str
    formats: tuple[str, ...]
    seen: tuple[str, ...]
    order: Order | None
    decided: bool
    read: pl.Series

    @property
    def has_zone(self) -> bool:
        """Whether the texts say in which zone they are."""
        return all(re.search(r"%z|%s|Z$|UTC$|GMT$", one) for one in self.seen)

    @property
    def has_short_years(self) -> bool:
        """Whether years have two digits."""
        return any("%y" in one for one in self.seen)


def other_order(order: Order) -> Order:
    """Return the other one."""
    return "month first" if order == "day first" else "day first"


def order_of(form: str) -> Order | None:
    """Return which comes first in a format of numbers, the day or the month."""
    found = re.match(r"%([dm])([/-])%[dm]\2%[Yy]", form)
    if found is None:
        return None
    return "day first" if found[1] == "d" else "month first"


def day_formats(texts: pl.Series) -> list[Moments]:
    """Return the ways in which texts are days, of which all read the same texts."""
    return _ways(texts, "date", (*DAYS, *MONTHS), defaults=("%Y-%m-%d",))


def compact_day_formats(texts: pl.Series) -> list[Moments]:
    """Return the ways in which numbers are days, such as 20240301."""
    return _ways(texts, "date", COMPACT_DAYS)


def time_formats(texts: pl.Series) -> list[Moments]:
    """Return the ways in which texts are times of day."""
    return _ways(texts, "time", CLOCKS, defaults=("%H:%M:%S%.f", "%H:%M"))


def second_formats(texts: pl.Series) -> list[Moments]:
    """Return the ways in which numbers are seconds since 1970."""
    return _ways(texts, "timestamp", SECONDS)


def moment_formats(texts: pl.Series) -> list[Moments]:
    """Return the ways in which texts are moments; some may be days alone."""
    return _ways(texts, "timestamp", _moments(), extra=DAYS, defaults=_iso())


@cache
def _moments() -> tuple[str, ...]:
    composed = tuple(
        f"{day}{gap}{clock}{zone}"
        for day, gap, clock, zone in product(DAYS, (" ", "T", ", "), CLOCKS, ZONES)
        if gap != "T" or day == "%Y-%m-%d"
    )
    return (*composed, *OTHER_MOMENTS)


@cache
def _iso() -> tuple[str, ...]:
    """Return the formats that a timestamp has by default."""
    clocks, zones = ("%H:%M:%S%.f", "%H:%M"), ("", "Z", "%z")
    return tuple(
        f"%Y-%m-%d{gap}{clock}{zone}"
        for gap, clock, zone in product((" ", "T"), clocks, zones)
        if (gap, zone) != (" ", "Z")
    )


def _ways(
    texts: pl.Series,
    kind: str,
    formats: Sequence[str],
    *,
    extra: Sequence[str] = (),
    defaults: Sequence[str] = (),
) -> list[Moments]:
    """Return how texts may be written: one way, or two where day and month may be exchanged.

    Args:
        texts: Distinct texts.
        kind: The type.
        formats: The formats of which one at least must be borne out.
        extra: Formats that may stand beside these.
        defaults: Formats that need not be declared, if all that are borne out are among them.
    """
    borne = dict(_borne_out(texts, kind, formats))
    if not borne:
        return []
    borne.update(_borne_out(texts, kind, extra))
    orders = {order_of(form) for form in borne} - {None}
    ways = [
        _way(kind, borne, order, defaults)
        for order in (("day first", "month first") if orders else (None,))
    ]
    most = max(int(way.read.sum()) for way in ways)
    best = [way for way in ways if most and int(way.read.sum()) == most]
    if len(best) == 1 and best[0].order is not None:
        best = [_decided(best[0])]
    return best


def _decided(way: Moments) -> Moments:
    return replace(way, decided=True)


def _way(
    kind: str, borne: dict[str, pl.Series], order: Order | None, defaults: Sequence[str]
) -> Moments:
    """Return the fewest formats of one order that read as many texts as all of them."""
    left = {form: flags for form, flags in borne.items() if order_of(form) in (None, order)}
    whole = pl.Series([False] * len(next(iter(borne.values()))))
    chosen: list[str] = []
    while left and len(chosen) < MOST_FORMATS:
        form = max(left, key=lambda one: int((left[one] & ~whole).sum()))
        new = left.pop(form) & ~whole
        if not new.any():
            break
        chosen.append(form)
        whole = whole | new
    named = next((order_of(form) for form in chosen if order_of(form)), None)
    declared = () if set(chosen) <= set(defaults) else tuple(chosen)
    return Moments(kind, declared, tuple(chosen), named, decided=False, read=whole)


def _borne_out(
    texts: pl.Series, kind: str, formats: Sequence[str]
) -> Iterator[tuple[str, pl.Series]]:
    """Yield formats with the texts that have their shape and are read, by flags."""
    some = [str(text) for text in texts.filter(texts.str.contains(r"\d")).head(LOOKED_AT)]
    for form in formats:
        shape = shape_of(form)
        if not any(map(_compiled(form).fullmatch, some)):
            continue
        fits = texts.str.contains(f"^(?:{shape})$")
        values = read(texts, {"type": kind, "formats": [form]})
        if kind != "time":
            fits &= values.dt.year().is_between(FIRST_YEAR, LAST_YEAR)
        fits &= values.is_not_null()
        if fits.fill_null(value=False).any():
            yield form, fits.fill_null(value=False)


@cache
def _compiled(form: str) -> re.Pattern[str]:
    return re.compile(shape_of(form))


@cache
def shape_of(form: str) -> str:
    """Return the regular expression of texts that a format may read."""
    pieces = re.split(r"(%\.f|%.)", form)
    return "".join(
        r"(?:[.]\d{1,9})?"
        if piece == "%.f"
        else SHAPES[piece[1:]]
        if piece[:1] == "%"
        else re.escape(piece)
        for piece in pieces
    )


def rises(values: pl.Series) -> bool:
    """Whether days or moments go up all the way, or down, as rows of a log do."""
    filled = values.drop_nulls()
    return filled.n_unique() > 2 and (filled.is_sorted() or filled.is_sorted(descending=True))  # noqa: PLR2004 - two are always in order
