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
USUAL_ISO = 9
"""How many of the readers of ISO 8601 are those of a fixed width."""

UNREAD = pl.when(pl.col("value").is_null()).then("text")
"""The texts that no reader could read so far."""

MOMENTS = (dt.datetime.min.replace(tzinfo=dt.UTC), dt.datetime.max.replace(tzinfo=dt.UTC))
EXAMPLE = dt.datetime(2024, 12, 31, 13, 5, 6, tzinfo=dt.UTC)
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


def value_of(raw: pl.Expr, column: Column, null_tokens: Sequence[str]) -> pl.Expr:
    """Return the value of a field in the column's type; null where there is none to be read.

    Args:
        raw: The field as received, a string.
        column: What the contract says about it.
        null_tokens: The contract's null tokens; the column's own take their place.
    """
    if column.type == "string":
        return text_of(raw, column, null_tokens)
    readers = _readers(column)
    trimmed = text_of(UNREAD, column, null_tokens)
    # Nearly all texts can be read as they are; only the others are trimmed and compared.
    tokens = pl.Series(null_tokens if column.null_tokens is None else column.null_tokens)
    usual = readers[: USUAL_ISO if column.type == "timestamp" and not column.formats else None]
    if _attempt(tokens.cast(pl.String).to_frame("text"), usual, column)["value"].count():
        usual = []

    def read(texts: pl.Series) -> pl.Series:
        frame = _attempt(texts.to_frame("text"), usual, column)
        if _is_unread(frame):
            frame = _attempt(frame.with_columns(text=trimmed), readers, column)
        return frame["value"].alias(texts.name)

    return raw.map_batches(read, return_dtype=polars_type(column.type), is_elementwise=True)


def unread_of(raw: pl.Expr, value: pl.Expr, column: Column, null_tokens: Sequence[str]) -> pl.Expr:
    """Return the text of a field that should have a value in the column's type but has none.

    Args:
        raw: The field as received.
        value: Its value, as `value_of` returns it.
        column: What the contract says about it.
        null_tokens: As in `value_of`.
    """
    return text_of(pl.when(value.is_null()).then(raw), column, null_tokens)


def check_formats(column: Column) -> None:
    """Refuse formats that would be misread, or that no text can fulfil.

    Raises:
        DeclarationError: Naming the format.
    """
    for text in column.formats if column.type != "boolean" else ():
        problem = _format_problem(text, column.type)
        if problem is not None:
            raise DeclarationError(
                f"The format {text!r} {problem[0]}.", mend=problem[1], culprit=text
            )


def _format_problem(text: str, kind: str) -> tuple[str, str] | None:
    dtype = polars_type(kind)
    if "%Z" in text:
        return "holds %Z, names of zones, which say no offset", "Use %z, or set timezone."
    if re.search(r"(?<![%.])\.?%f", text):
        return "holds %f, which reads .5 as 5 nanoseconds", "Write %.f in place of .%f."
    try:
        written = pl.lit(EXAMPLE).dt.strftime(text.replace("%#z", "%z"))
        read = pl.select(written.str.strptime(dtype, text, strict=False)).item()  # type: ignore[arg-type]
    except pl.exceptions.PolarsError as error:
        return f"cannot be read: {str(error).splitlines()[0]}", "Write strptime codes."
    if read is None or (isinstance(read, dt.date) and read.year != EXAMPLE.year):
        return f"does not say a whole {kind}", "Write strptime codes for all its parts."
    return None


def _attempt(frame: pl.DataFrame, readers: Sequence[pl.Expr], column: Column) -> pl.DataFrame:
    """Give texts their values, trying readers in their order until all are read.

    Args:
        frame: `text`, and `value` where there are some already.
        readers: Expressions over `UNREAD`.
        column: What the contract says about the texts.
    """
    if "value" not in frame.columns:
        frame = frame.with_columns(value=pl.lit(None, polars_type(column.type)))
    for reader in readers:
        if not _is_unread(frame):
            break
        frame = frame.with_columns(value=pl.coalesce("value", reader))
    return frame


def _is_unread(frame: pl.DataFrame) -> bool:
    return bool((frame["value"].is_null() & frame["text"].is_not_null()).any())


def _readers(column: Column) -> list[pl.Expr]:
    """Return what reads texts of a type other than string: one expression or, of formats, many."""
    kind = column.type
    if kind == "boolean":
        return [_boolean(UNREAD, column.formats)]
    if kind == "date":
        dates = [_strptime(UNREAD, pl.Date(), f) for f in column.formats or ("%Y-%m-%d",)]
        return [_in_years(date, dt.date.min, dt.date.max) for date in dates]
    if kind == "time":
        return [_strptime(UNREAD, pl.Time(), f) for f in column.formats or TIME_FORMATS]
    if kind == "timestamp":
        patterns = _by_width(column.formats) if column.formats else _iso()
        moments = [_in_zone(text, pattern, column.timezone) for pattern, text in patterns]
        return [_in_years(moment, *MOMENTS) for moment in moments]
    return [_number(UNREAD, kind)]


def _strptime(text: pl.Expr, dtype: pl.Date | pl.Time | pl.Datetime, pattern: str) -> pl.Expr:
    # Dates repeat, so that remembering them pays; moments hardly do.
    return text.str.strptime(dtype, pattern, strict=False, cache=not isinstance(dtype, pl.Datetime))


def _number(text: pl.Expr, kind: str) -> pl.Expr:
    dtype = polars_type(kind)
    if isinstance(dtype, pl.Decimal):
        # Polars rounds what has too many digits, and reads exponents: neither is exact.
        shape = rf"^[+-]?(?:[0-9]+(?:\.[0-9]{{0,{dtype.scale}}})?|\.[0-9]{{1,{dtype.scale}}})$"
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


def _iso() -> list[tuple[str, pl.Expr]]:
    """Return ISO 8601's formats with their texts: first those of a fixed width, then all."""
    usual = [pair for pattern in ISO_FORMATS for pair in _fixed_widths(pattern)]
    return [*usual, *((pattern, UNREAD) for pattern in ISO_FORMATS)]


def _by_width(patterns: Sequence[str]) -> list[tuple[str, pl.Expr]]:
    """Return declared formats with their texts, in their order, each's fixed widths first."""
    return [pair for one in patterns for pair in (*_fixed_widths(one), (one, UNREAD))]


def _in_zone(text: pl.Expr, pattern: str, zone: str) -> pl.Expr:
    """Read one format; what is written without an offset is in the zone."""
    if ZONE_CODE.search(pattern):
        return _strptime(text, UTC, pattern)
    moment = _strptime(text, NAIVE, pattern)
    if zone == "UTC" or pattern.endswith("Z") or "%s" in pattern:
        return moment.dt.replace_time_zone("UTC")
    local = moment.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    return local.dt.convert_time_zone("UTC")


def _fixed_widths(pattern: str) -> Iterator[tuple[str, pl.Expr]]:
    """Split a format with an optional fraction into formats of a fixed width, with their texts.

    Polars reads those about seven times as fast as others, so each text is given to the one that
    has its width.
    """
    head, mark, tail = pattern.partition("%.f")
    width = _width(head + tail)
    if mark and width is not None:
        for fraction, digits in FRACTIONS.items():
            fits = pl.col("text").str.len_bytes() == width + digits
            yield head + fraction + tail, pl.when(fits).then(UNREAD)


def _width(pattern: str) -> int | None:
    """Return how many bytes a format reads, or None where that varies."""
    codes = re.findall(r"%(.)", pattern)
    if not pattern.isascii() or not set(codes) <= CODE_WIDTHS.keys():
        return None
    return len(pattern) - 2 * len(codes) + sum(CODE_WIDTHS[code] for code in codes)


def _in_years(moment: pl.Expr, least: dt.date, most: dt.date) -> pl.Expr:
    """Keep what every reader down the line can hold: the years 1 to 9999."""
    return pl.when(moment.is_between(least, most)).then(moment)
