"""From the text of a field to a typed value, or to null where the text is no such value.

What belongs here: trimming, null tokens, and one parser per declared type, as Polars expressions
that work on any number of rows at once. What does not: what becomes of a row whose text does not
parse; that is `rules`.

Texts are read strictly and never guessed at. Whole numbers are digits with an optional sign;
numbers are finite (`NaN` and `inf` are no values; list them in `null_tokens` where they mean none);
decimals have no more digits after the point than declared and no exponent; dates lie in the years 1
to 9999, and so do timestamps; a local time that the clock skips or shows twice is no value.
Timestamps have microseconds: further digits are cut off. A leap second is the second after it.
"""

from __future__ import annotations

import datetime as dt
import re
from functools import cache, partial
from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.errors import DeclarationError
from dataflow_assets.transform.types import polars_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dataflow_assets.declaration.contract import Column

TRUE_WORDS = ("true", "t", "yes", "y", "1")
FALSE_WORDS = ("false", "f", "no", "n", "0")
TIME_FORMATS = ("%H:%M:%S%.f", "%H:%M")
ISO_FORMATS = (
    "%Y-%m-%dT%H:%M:%S%.fZ",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%+",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M%#z",
    "%Y-%m-%d %H:%M%#z",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
)
ZONE_CODE = re.compile(r"%[:#]*z|%\+")
CODE_WIDTHS = {"Y": 4, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2}
FRACTIONS = {"": 0, ".%3f": 4, ".%6f": 7}
LEFT = pl.when(pl.col("moment").is_null()).then("text")
"""What no format could read so far, while a timestamp is read."""

MOMENTS = (dt.datetime.min.replace(tzinfo=dt.UTC), dt.datetime.max.replace(tzinfo=dt.UTC))
NAIVE = pl.Datetime("us")
UTC = pl.Datetime("us", "UTC")


def text_of(raw: pl.Expr, column: Column, null_tokens: Sequence[str]) -> pl.Expr:
    """Return the text of a field: trimmed if declared so, and null where it means no value.

    Args:
        raw: The field as received, a string.
        column: What the contract says about it.
        null_tokens: The contract's null tokens; the column's own take their place.
    """
    tokens = null_tokens if column.null_tokens is None else column.null_tokens
    text = raw.str.strip_chars() if column.trim else raw
    if not tokens:
        return text
    means_none = text == tokens[0] if len(tokens) == 1 else text.is_in(list(tokens))
    return pl.when(~means_none).then(text)


def parse(text: pl.Expr, column: Column) -> pl.Expr:
    """Return the value of a text in the column's type; null where it is no such value."""
    kind = column.type
    if kind == "string":
        return text
    if kind == "boolean":
        return _boolean(text, column.formats)
    if kind == "date":
        formats = column.formats or ("%Y-%m-%d",)
        dates = [text.str.strptime(pl.Date, f, strict=False, cache=True) for f in formats]
        return _in_years(_first(dates), dt.date.min, dt.date.max)
    if kind == "time":
        formats = column.formats or TIME_FORMATS
        return _first([text.str.strptime(pl.Time, f, strict=False, cache=True) for f in formats])
    if kind == "timestamp":
        return _in_years(_timestamp(text, column), *MOMENTS)
    return _number(text, kind)


def check_formats(column: Column) -> None:
    """Refuse formats that would be misread, or that no text can fulfil.

    Raises:
        DeclarationError: Naming the format.
    """
    for text in column.formats if column.type != "boolean" else ():
        problem = _format_problem(text, polars_type(column.type))
        if problem is not None:
            raise DeclarationError(
                f"The format {text!r} {problem[0]}.", mend=problem[1], culprit=text
            )


def _format_problem(text: str, dtype: pl.DataType) -> tuple[str, str] | None:
    if "%Z" in text:
        return "holds %Z, names of zones, which say no offset", "Use %z, or set timezone."
    if re.search(r"(?<![%.])\.?%f", text):
        return "holds %f, which reads .5 as 5 nanoseconds", "Write %.f in place of .%f."
    target = NAIVE if dtype == UTC else dtype
    try:
        pl.select(pl.lit("x").str.strptime(target, text, strict=False))  # type: ignore[arg-type]
    except pl.exceptions.PolarsError as error:
        return f"cannot be read: {str(error).splitlines()[0]}", "Write strptime codes."
    return None


def _number(text: pl.Expr, kind: str) -> pl.Expr:
    dtype = polars_type(kind)
    if isinstance(dtype, pl.Decimal):
        # Polars rounds what has too many digits, and reads exponents: neither is exact.
        shape = rf"^[+-]?(?:[0-9]+(?:\.[0-9]{{0,{dtype.scale}}})?|\.[0-9]{{1,{dtype.scale or 1}}})$"
        shape = shape if dtype.scale else r"^[+-]?[0-9]+$"
        return pl.when(text.str.contains(shape)).then(text).cast(dtype, strict=False)
    number = text.cast(dtype, strict=False)
    return pl.when(number.is_finite()).then(number) if dtype.is_float() else number


def _boolean(text: pl.Expr, pairs: Sequence[str]) -> pl.Expr:
    if pairs:
        words = text
        true, false = zip(*(pair.split("/") for pair in pairs), strict=True)
    else:
        words = text.str.to_lowercase()
        true, false = TRUE_WORDS, FALSE_WORDS
    return pl.when(words.is_in(true)).then(True).when(words.is_in(false)).then(False)  # noqa: FBT003


def _timestamp(text: pl.Expr, column: Column) -> pl.Expr:
    """Try the formats in their order, each on what the former ones could not read."""
    zone = column.timezone
    if column.formats:
        each = [(*_by_width(declared), (declared, LEFT)) for declared in column.formats]
        attempts = [_in_zone(chosen, pattern, zone) for pair in each for pattern, chosen in pair]
    else:
        attempts = _iso_attempts(zone)
    return text.map_batches(partial(_read, attempts), return_dtype=UTC, is_elementwise=True)


@cache
def _iso_attempts(zone: str) -> list[pl.Expr]:
    """Return readers of ISO 8601: first of the usual shapes, all of a fixed width, then of any."""
    usual = [pair for pattern in ISO_FORMATS for pair in _by_width(pattern)]
    rest = [(pattern, LEFT) for pattern in ISO_FORMATS]
    return [_in_zone(chosen, pattern, zone) for pattern, chosen in (*usual, *rest)]


def _read(attempts: Sequence[pl.Expr], texts: pl.Series) -> pl.Series:
    frame = texts.to_frame("text").with_columns(moment=pl.lit(None, UTC))
    for attempt in attempts:
        if frame["moment"].null_count() == texts.null_count():
            break
        frame = frame.with_columns(moment=pl.coalesce("moment", attempt))
    return frame["moment"]


def _in_zone(text: pl.Expr, pattern: str, zone: str) -> pl.Expr:
    """Read one format; what is written without an offset is in the zone."""
    if ZONE_CODE.search(pattern):
        return text.str.strptime(UTC, pattern, strict=False, cache=True)
    moment = text.str.strptime(NAIVE, pattern, strict=False, cache=True)
    if zone == "UTC" or pattern.endswith("Z") or "%s" in pattern:
        return moment.dt.replace_time_zone("UTC")
    local = moment.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    return local.dt.convert_time_zone("UTC")


def _by_width(pattern: str) -> Iterator[tuple[str, pl.Expr]]:
    """Split a format with an optional fraction into some of a fixed width.

    Polars reads formats of a fixed width about seven times as fast as others, so each text that is
    left to read is given to the one that has its width.
    """
    head, mark, tail = pattern.partition("%.f")
    width = _width(head + tail)
    if mark and width is not None:
        size = pl.col("text").str.len_bytes()
        for fraction, digits in FRACTIONS.items():
            yield head + fraction + tail, pl.when(size == width + digits).then(LEFT)


def _width(pattern: str) -> int | None:
    """Return how many bytes a format reads, or None where that varies."""
    codes = re.findall(r"%(.)", pattern)
    if not pattern.isascii() or not set(codes) <= CODE_WIDTHS.keys():
        return None
    return len(pattern) - 2 * len(codes) + sum(CODE_WIDTHS[code] for code in codes)


def _in_years(moment: pl.Expr, least: dt.date, most: dt.date) -> pl.Expr:
    """Keep what every reader down the line can hold: the years 1 to 9999."""
    return pl.when(moment.is_between(least, most)).then(moment)


def _first(values: Sequence[pl.Expr]) -> pl.Expr:
    return values[0] if len(values) == 1 else pl.coalesce(values)
