"""Reading a date or a moment by one format.

What belongs here: what a format's codes and words mean, where Polars alone would read them
otherwise. What does not: which formats are tried in which order (`parse`), and clocks (`zones`).

Polars reads `%Y` of fewer than four digits and `%y` of one, so that 21.03.26 would be a day of the
year 26. Here a year has the digits that its code says: four, or two, of which 69 to 99 are 1969 to
1999 and 00 to 68 are 2000 to 2068, as in Python and POSIX (Polars takes 69 for 2069).
"""

from __future__ import annotations

import datetime as dt
import re
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.declaration.database import EPOCHS
from dataflow_assets.texts import END, FIRST

if TYPE_CHECKING:
    from collections.abc import Sequence

ISO = "iso"
"""The word for what is read where no formats are declared."""
NAIVE = pl.Datetime("us")
UTC = pl.Datetime("us", "UTC")
MICROSECONDS = 6
"""Digits of a second that a timestamp has."""

CODE = re.compile(r"(%[-_0]?[.:#]*[0-9]?[A-Za-z%+])")
OFFSET = re.compile(r"%:?z")
COMPOSED = {
    "F": "%Y-%m-%d",
    "D": "%m/%d/%y",
    "x": "%m/%d/%y",
    "v": "%e-%b-%Y",
    "c": "%a %b %e %H:%M:%S %Y",
    "T": "%H:%M:%S",
    "X": "%H:%M:%S",
    "R": "%H:%M",
    "r": "%I:%M:%S %p",
    "+": "%Y-%m-%d",
}
"""Codes that stand for several; of `%+`, what comes after the day does not matter here."""
DIGITS = {**dict.fromkeys("CdeHkIlMmSUWVgy", 2), **dict.fromkeys("uwq", 1), "j": 3, "G": 4, "Y": 4}
FIXED = "CgyGY"
"""The codes of years: they have all their digits."""
SHAPES = {
    **dict.fromkeys("aAbBhpP", r"\s*[A-Za-z]+"),
    **dict.fromkeys("nt", r"\s*"),
    "z": r"\s*[+-][0-9]{2}[:\s]*(?:[0-9]{2})?",
    "s": r"\s*[+-]?[0-9]+",
    "f": r"(?:[.]?[0-9]+)?",
    "%": "%",
}
"""Codes that are not of a few digits."""

SURE = dt.datetime(1000, 1, 2)  # noqa: DTZ001 - local times are compared with it
SURE_FROM: dict[pl.DataType, dt.date] = {
    pl.Date(): SURE.date(),
    NAIVE: SURE,
    UTC: SURE.replace(tzinfo=dt.UTC),
}
"""From when on a year has four digits, also a day away, as the clock of a zone may be."""
LATE = dt.datetime(2068, 12, 31)  # noqa: DTZ001 - as above
LATE_FROM: dict[pl.DataType, dt.date] = {
    pl.Date(): LATE.date(),
    NAIVE: LATE,
    UTC: LATE.replace(tzinfo=dt.UTC),
}
"""From when on a year of two digits may be 69."""
CENTURY = dt.timedelta(days=36525)
"""From any day of 1969 to that of 2069."""


def read_by(text: pl.Expr, dtype: pl.Date | pl.Time | pl.Datetime, pattern: str) -> pl.Expr:
    """Return what strptime codes read, over a frame whose column `text` has the whole texts."""
    # Dates repeat, so that remembering them pays; moments hardly do.
    cache = not isinstance(dtype, pl.Datetime)
    values = text.str.strptime(dtype, pattern, strict=False, cache=cache)
    codes = {piece[-1] for piece in _pieces(pattern) if piece[:1] == "%"}
    if dtype == pl.Time() or not codes.intersection(FIXED):
        return values
    check = _with_whole_years if codes.isdisjoint("Cgy") else _with_short_years
    moves = "y" in codes and codes.isdisjoint("CYG")
    return pl.map_batches(
        [values, pl.col("text")],
        partial(check, shape_of(pattern), shape_of(pattern, short="69") if moves else None),
        return_dtype=dtype,
        is_elementwise=True,
    )


def _with_whole_years(shape: str, _: str | None, both: Sequence[pl.Series]) -> pl.Series:
    """Drop early years that are not written with four digits; hardly ever there is one."""
    values, texts = both
    early = values < SURE_FROM[values.dtype]
    if not early.any():
        return values
    asked = texts.zip_with(early, texts.clear(len(texts)))
    return values.zip_with(~early | asked.str.contains(shape), values.clear(len(values)))


def _with_short_years(shape: str, of_69: str | None, both: Sequence[pl.Series]) -> pl.Series:
    """Drop years that are not written with two digits, and read 69 as 1969."""
    values, texts = both
    values = values.zip_with(texts.str.contains(shape), values.clear(len(values)))
    late = values >= LATE_FROM[values.dtype]
    if of_69 is None or not late.any():
        return values
    asked = texts.zip_with(late, texts.clear(len(texts)))
    moved = asked.str.contains(of_69).fill_null(value=False)
    return values.zip_with(~moved, values - CENTURY)


def shape_of(pattern: str, short: str = "[0-9]{2}") -> str:
    """Return a regular expression of the texts in which a format's years have all their digits.

    Of texts that Polars reads by the format, it matches those and no others.

    Args:
        pattern: The format.
        short: What a year of two digits looks like.
    """
    pieces = _pieces(pattern)
    solid = [piece for piece in pieces if not piece.isspace()]
    followers = iter([*solid[1:], ""])
    shapes = [
        r"\s*" if piece.isspace() else _shape(piece, next(followers), short) for piece in pieces
    ]
    end = ".*" if "%+" in pattern else "$"
    return "(?s)^" + "".join(shapes) + end


def _pieces(pattern: str) -> list[str]:
    """Return the codes of a format, white space, and what stands between them."""
    whole = CODE.sub(lambda match: COMPOSED.get(match[0][-1], match[0]), pattern)
    parts = (re.split(r"(\s+)", piece) for piece in CODE.split(whole))
    return [part for some in parts for part in some if part]


def _shape(piece: str, follower: str, short: str) -> str:
    code = piece[-1]
    if piece[0] != "%":
        return re.escape(piece)
    if code not in DIGITS:
        return SHAPES.get(code, ".*")
    if code == "y":
        return rf"\s*{short}"
    most = DIGITS[code]
    if code in FIXED or most == 1:
        return rf"\s*[0-9]{{{most}}}"
    if follower[:1] == "%" and follower[-1] in DIGITS:  # a digit more would be this one's
        return rf"\s*(?:[0-9]{{{most}}}|[0-9]{{1,{most - 1}}}\s+)"
    return rf"\s*[0-9]{{1,{most}}}"


def in_utc(text: pl.Expr, pattern: str) -> pl.Expr:
    """Return what a format with `%z` reads where a `Z` stands for the offset."""
    return read_by(text, NAIVE, OFFSET.sub("Z", pattern)).dt.replace_time_zone("UTC")


def since_1970(text: pl.Expr, word: str) -> list[pl.Expr]:
    """Return what reads whole numbers, and what reads others, as the time since 1970.

    Args:
        text: The numbers' texts.
        word: The unit, one of `EPOCHS`.
    """
    number = r"^([+-]?[0-9]+)\.([0-9]+)$"
    places = MICROSECONDS - len(str(EPOCHS[word])) + 1
    whole = _units(text, word)
    digits = pl.lit("0") + text.str.extract(number, 2).str.pad_end(places, "0").str.head(places)
    part = digits.cast(pl.Int64).cast(pl.Duration("us"))
    unit = _units(text.str.extract(number, 1), word)
    back = text.str.starts_with("-")
    return [whole, pl.when(back).then(unit - part).otherwise(unit + part)]


def _units(text: pl.Expr, word: str) -> pl.Expr:
    per_second = EPOCHS[word]
    units = text.cast(pl.Int64, strict=False)
    fits = units.is_between(FIRST * per_second, END * per_second - 1)
    scaled = pl.when(fits).then(units) * pl.lit(10**MICROSECONDS // per_second)
    return scaled.cast(UTC)
