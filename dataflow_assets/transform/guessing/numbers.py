"""How numbers are written for people: marks, currencies, units, brackets.

What belongs here: which marks and symbols a column's texts have, and what a contract says of them.
What does not: plain numbers (`readings`), and reading itself (`parse`).

``1,234`` is a thousand in one country and little more than one in another. Nothing is guessed of a
column that could be both.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dataflow_assets.transform.guessing.evidence import Evidence

CURLED = "\u2019"
SPACES = " \u00a0\u2009\u202f"
TEXT = re.compile(
    rf"""
    (?P<bracket>\()? (?P<sign>[-+])? \s*
    (?P<before>[^\s\d.,'{CURLED}()+-]{{1,4}})? \s* (?P<sign_too>[-+])? \s*
    (?P<number>\d[\d.,'{CURLED}{SPACES}]*\d|\d)
    (?P<gap>\s*) (?P<after>[^\s\d.,'{CURLED}()+-][^\s\d.,'{CURLED}()+-]{{0,5}})?
    (?P<minus>-)? (?(bracket)\)|)""",
    re.VERBOSE,
)
CURRENCIES = frozenset(
    ("$", "€", "£", "¥", "₹", "₽", "₩", "₪", "₫", "₴", "₺", "zł", "kr", "Kč", "Ft", "lei", "R$")
) | frozenset(
    (
        *("USD", "EUR", "GBP", "CHF", "JPY", "CNY", "CAD", "AUD", "NZD", "SEK", "NOK", "DKK"),
        *("PLN", "CZK", "HUF", "INR", "BRL", "MXN", "ZAR", "TRY", "RUB", "KRW", "SGD", "HKD"),
    )
)
UNITS = frozenset(
    (
        *("%", "‰", "°", "°C", "°F", "km", "cm", "mm", "mi", "ft", "kg", "mg", "lb", "lbs", "oz"),
        *("ml", "cl", "dl", "ms", "min", "sec", "hrs", "Hz", "kHz", "MHz", "GHz", "kW", "MW", "GW"),
        *("kWh", "MWh", "kV", "mV", "KB", "MB", "GB", "TB", "kB", "ha", "m²", "m2", "km²", "km2"),
        *("m³", "m3", "px", "pt", "bpm", "mph", "km/h", "kmh", "m/s", "hPa", "mbar", "bar", "psi"),
        *("kcal", "kJ", "dB", "ppm", "days", "yrs"),
    )
)
LETTER_UNITS = frozenset("mgtsshdlVWAKJN")
"""Units of one letter: they stand apart from the number, else 12A may be a seat."""
PERCENT = {"%": 0.01, "‰": 0.001}
SAME = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "zł": "PLN", "Kč": "CZK", "Ft": "HUF"}
"""Symbols that stand beside their codes in one column; of two currencies no column can be made."""
MARKS: tuple[tuple[str, str | None], ...] = (
    *((".", ","), (".", " "), (".", "'"), (".", None)),
    *((",", "."), (",", " "), (",", None)),
)
"""Decimal and thousands marks that are tried."""
MOST_SYMBOLS = 3
LOOKED_AT = 2_000
MONEY_SCALE = 2
SURE = 5
"""Groups of three digits from which on they are no decimals by chance."""


@dataclass(frozen=True)
class Numbers:
    """How a column writes numbers.

    Attributes:
        words: What the contract says of it.
        read: By distinct text, whether it is read so.
        remarks: What to tell of the choice.
        unclear: Whether other marks would read other numbers.
    """

    words: Mapping[str, Any]
    read: pl.Series
    remarks: tuple[str, ...]
    unclear: bool = False


@dataclass(frozen=True)
class Parts:
    """What a column's numbers are made of.

    Attributes:
        numbers: The digits with their marks.
        currencies: The symbols beside them.
        units: The units behind them; an empty one for numbers alone.
        brackets: Whether some stand in brackets.
        minus: Whether some have their minus behind them.
    """

    numbers: tuple[str, ...]
    currencies: tuple[str, ...]
    units: tuple[str, ...]
    brackets: bool
    minus: bool


def number_formats(evidence: Evidence) -> Iterator[Numbers]:
    """Yield the way in which texts are numbers; where two give others, it is unclear."""
    parts = _parts(evidence.distinct)
    if parts is None:
        return
    ways = [way for marks in MARKS if (way := _way(evidence, parts, marks)) is not None]
    most = max((int(way.read.sum()) for way in ways), default=0)
    best = [way for way in ways if int(way.read.sum()) == most]
    values = {tuple(evidence.read(way.words).cast(pl.Float64)) for way in best}
    if len(values) == 1 or (best and _are_thousands(parts, best)):
        yield best[0]
    elif best:
        told = tuple(f"{remark}?" for way in best for remark in way.remarks[:1])
        remark = f"text, as nothing tells which mark is which: {' '.join(told)}"
        yield replace(best[0], remarks=(remark,), unclear=True)


def _parts(texts: pl.Series) -> Parts | None:
    """Take texts apart; those that are no numbers may be null tokens."""
    matches = [found for text in texts.head(LOOKED_AT) if (found := TEXT.fullmatch(text))]
    if not matches:
        return None
    symbols: dict[str, None] = {}
    units: dict[str, None] = {}
    for match in matches:
        before, after = match["before"], match["after"]
        for symbol in filter(None, (before, after)):
            if symbol in CURRENCIES:
                symbols[symbol] = None
        unit = after if after not in CURRENCIES else None
        if (before and before not in CURRENCIES) or (unit and not _is_unit(unit, match["gap"])):
            return None
        units[unit or ""] = None
    if len({SAME.get(symbol, symbol) for symbol in symbols}) > 1 or len(units) > MOST_SYMBOLS:
        return None
    return Parts(
        tuple(match["number"] for match in matches),
        tuple(symbols),
        tuple(units) if any(units) else (),
        any(match["bracket"] for match in matches),
        any(match["minus"] for match in matches),
    )


def _is_unit(text: str, gap: str) -> bool:
    return text in UNITS or (text in LETTER_UNITS and bool(gap))


def _way(evidence: Evidence, parts: Parts, marks: tuple[str, str | None]) -> Numbers | None:
    """Return what the contract says of numbers with some marks; none if there are no such."""
    decimal, thousands = marks
    has_thousands = thousands is not None and any(_has(thousands, one) for one in parts.numbers)
    fractions = [one.rpartition(decimal)[2] for one in parts.numbers if decimal in one]
    if thousands is not None and not has_thousands:
        return None
    units = _units(parts.units)
    if units is None:
        return None
    scales = {len(one) for one in fractions}
    words: dict[str, Any] = {"type": _type(parts, scales, units)}
    if decimal != "." and (units or words["type"] != "int64"):
        words["decimal_mark"] = decimal
    if has_thousands:
        words["thousands_mark"] = thousands
    signs = (("parentheses", parts.brackets), ("trailing_minus", parts.minus))
    if any(there for _, there in signs):
        words["negatives"] = [name for name, there in signs if there]
    if parts.currencies:
        words["currency"] = list(parts.currencies)
    if units:
        words["units"] = units
    if set(words) == {"type"}:  # a plain number
        return None
    read = evidence.read(words).is_not_null()
    return Numbers(words, read, tuple(_told(evidence, read, words))) if read.any() else None


def _has(mark: str, number: str) -> bool:
    alike = {" ": SPACES, "'": f"'{CURLED}"}.get(mark, mark)
    return any(one in number for one in alike)


def _units(units: tuple[str, ...]) -> dict[str, float] | None:
    """Return the factor of each unit; none if they cannot be brought to one."""
    named = [one for one in units if one]
    if len(named) > 1:
        return None
    factors = {one: PERCENT.get(one, 1) for one in named}
    if len(units) > len(named) and any(one in PERCENT for one in named):
        return None  # 5 and 5 %: nobody knows whether the first is a share
    return {**factors, **({"": 1} if len(units) > len(named) else {})}


def _type(parts: Parts, scales: set[int], units: Mapping[str, float]) -> str:
    if any(factor != 1 for factor in units.values()):
        return "float64"
    if not scales:
        return "int64"
    if scales == {MONEY_SCALE} or (parts.currencies and max(scales) <= MONEY_SCALE):
        digits = max(sum(char.isdigit() for char in one) for one in parts.numbers)
        return f"decimal({min(max(digits + 2, 12), 38)}, {MONEY_SCALE})"
    return "float64"


def _told(evidence: Evidence, read: pl.Series, words: Mapping[str, Any]) -> Iterator[str]:
    example = evidence.distinct.filter(read)[0]
    value = evidence.read(words).filter(read)[0]
    yield f"{example!r} is read as {value}"
    percent = [one for one in words.get("units", {}) if one in PERCENT]
    if percent:
        yield f"{percent[0]} becomes a share: a factor of 1 keeps the number as it is"


def _are_thousands(parts: Parts, ways: list[Numbers]) -> bool:
    """Whether groups of three digits are so many that they are no decimals by chance."""
    if "thousands_mark" not in ways[0].words:
        return False
    mark = str(ways[0].words["thousands_mark"])
    grouped = {one for one in parts.numbers if _has(mark, one)}
    return len(grouped) >= SURE and ways[0].words["type"] == "int64"
