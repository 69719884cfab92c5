"""From the text of a field to a typed value, or to null where the text is no such value.

What belongs here: trimming, null tokens, defaults, and one parser per declared type, as Polars
expressions that work on any number of rows at once. What does not: clean-up steps (`steps`), marks
of numbers (`numbers`), what one format reads (`formats`), clocks (`zones`), and what becomes of a
row whose text does not parse; that is `rules`.

Texts are read strictly and never guessed at. Whole numbers are digits with an optional sign;
numbers are finite (`NaN` and `inf` are no values; list them in `null_tokens` where they mean none);
decimals have no more digits after the point than declared and no exponent; dates lie in the years 1
to 9999, and so do timestamps; a local time that the clock skips or shows twice is no value, unless
the column says what is meant. The first format that fits a text decides what it says. Timestamps
have microseconds: further digits are cut off. A leap second is the second after it.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.declaration.database import EPOCHS
from dataflow_assets.errors import DeclarationError
from dataflow_assets.transform.formats import (
    ISO,
    NAIVE,
    OFFSET,
    UTC,
    in_utc,
    read_by,
    since_1970,
)
from dataflow_assets.transform.numbers import number_of, reads_plainly
from dataflow_assets.transform.steps import REFUSED, steps_of
from dataflow_assets.transform.types import literal, polars_type
from dataflow_assets.transform.zones import by_zone, in_zone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dataflow_assets.declaration.contract import Column

TRUE_WORDS = ("true", "t", "yes", "y", "1")
FALSE_WORDS = ("false", "f", "no", "n", "0")
DATE_FORMATS = ("%Y-%m-%d",)
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
UNREAD = pl.when(pl.col("value").is_null()).then("text")
"""The texts that no reader could read so far."""

EXAMPLE = dt.datetime(2024, 12, 31, 13, 5, 6, tzinfo=dt.UTC)
YEARS: dict[pl.DataType, tuple[dt.date, dt.date]] = {
    pl.Date(): (dt.date.min, dt.date.max),
    UTC: (dt.datetime.min.replace(tzinfo=dt.UTC), dt.datetime.max.replace(tzinfo=dt.UTC)),
}
"""The years 1 to 9999, by type."""
NO_MOMENT = pl.Series([2**63 - 1]).cast(UTC)
"""Stands for a local time that is read but no moment, so that no other format is tried on it."""


def text_of(raw: pl.Expr, column: Column, null_tokens: Sequence[str]) -> pl.Expr:
    """Return the text of a field: cleaned up as declared, and null where it means no value.

    Null tokens are looked for before the clean-up steps and after them; so is white space around.

    Args:
        raw: The field as received, a string.
        column: What the contract says about it.
        null_tokens: The contract's null tokens; the column's own take their place.
    """
    text = _meant(raw, column, null_tokens)
    if not column.clean:
        return text
    stepped = text.map_batches(steps_of(column), return_dtype=pl.String, is_elementwise=True)
    return _meant(stepped, column, null_tokens)


def _meant(raw: pl.Expr, column: Column, null_tokens: Sequence[str]) -> pl.Expr:
    """Trim texts if declared so, and drop null tokens."""
    tokens = null_tokens if column.null_tokens is None else column.null_tokens
    text = raw.str.strip_chars() if column.trim else raw
    if not tokens:
        return text
    compared = text
    if column.ignore_case:
        compared, tokens = text.str.to_lowercase(), _lowered(tokens)
    means_none = compared == tokens[0] if len(tokens) == 1 else compared.is_in(list(tokens))
    return pl.when(~means_none).then(text)


def _lowered(texts: Sequence[str]) -> Sequence[str]:
    """Return texts in lower case as Polars writes it, which is not always as Python does."""
    return pl.Series(texts, dtype=pl.String).str.to_lowercase().to_list()


def value_of(
    raw: pl.Expr, column: Column, null_tokens: Sequence[str], zones: pl.Expr | None = None
) -> pl.Expr:
    """Return the value of a field in the column's type; null where there is none to be read.

    Args:
        raw: The field as received, a string.
        column: What the contract says about it.
        null_tokens: The contract's null tokens; the column's own take their place.
        zones: The zone of each row, where another column says it.
    """
    if zones is not None:
        return by_zone(raw, zones, lambda zone: reader_of(column.in_zone(zone), null_tokens))
    return raw.map_batches(
        reader_of(column, null_tokens), return_dtype=polars_type(column.type), is_elementwise=True
    )


def unread_of(raw: pl.Expr, value: pl.Expr, column: Column, null_tokens: Sequence[str]) -> pl.Expr:
    """Return the text of a field that should have a value in the column's type but has none.

    Args:
        raw: The field as received.
        value: Its value, as `value_of` returns it.
        column: What the contract says about it.
        null_tokens: As in `value_of`.
    """
    trimmed = text_of(UNREAD, column, null_tokens)

    def rest(both: Sequence[pl.Series]) -> pl.Series:
        texts, values = both
        if column.default is None and texts.null_count() == values.null_count():
            return pl.repeat(None, len(texts), dtype=pl.String(), eager=True)
        return pl.select(text=texts, value=values).select(trimmed).to_series()

    return pl.map_batches([raw, value], rest, return_dtype=pl.String, is_elementwise=True)


def default_of(column: Column) -> pl.Expr:
    """Return the value of rows that have none: null unless the contract declares another.

    Raises:
        DeclarationError: The default is no value of the column's type.
    """
    default, dtype = column.default, polars_type(column.type)
    if default is None:
        return pl.lit(None, dtype)
    if column.type not in ("string", "boolean"):
        return literal(default, column.type, timezone=column.timezone)
    if isinstance(default, str if column.type == "string" else bool):
        return pl.lit(default, dtype)
    raise DeclarationError(
        f"The default {default!r} is no value of type {column.type}.",
        mend="Write a text in quotes, a truth value as true or false.",
    )


def check_formats(column: Column) -> None:
    """Refuse formats that would be misread, or that no text can fulfil.

    Raises:
        DeclarationError: Naming the format.
    """
    words = (ISO, *EPOCHS) if column.type == "timestamp" else (ISO,)
    for text in column.formats if column.type != "boolean" else ():
        problem = None if text in words else _format_problem(text, column.type)
        if problem is not None:
            raise DeclarationError(
                f"The format {text!r} {problem[0]}.", mend=problem[1], culprit=text
            )


def _format_problem(text: str, kind: str) -> tuple[str, str] | None:
    dtype = polars_type(kind)
    if text in EPOCHS:
        return "counts time since 1970, which gives a timestamp", "Declare type: timestamp."
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


def reader_of(column: Column, null_tokens: Sequence[str]) -> Callable[[pl.Series], pl.Series]:
    """Return what reads texts as values of the column's type."""
    if column.type == "string":
        return _text_reader(column, null_tokens)
    return _value_reader(column, null_tokens)


def _text_reader(column: Column, null_tokens: Sequence[str]) -> Callable[[pl.Series], pl.Series]:
    text = pl.col("text")
    meant = text_of(text, column, null_tokens)
    if column.default is not None:
        meant = meant.fill_null(default_of(column))
    if column.refuses_texts:
        meant = pl.when(meant != REFUSED).then(meant)
    return lambda texts: texts.to_frame("text").select(meant).to_series()


def _value_reader(column: Column, null_tokens: Sequence[str]) -> Callable[[pl.Series], pl.Series]:
    """Return what reads texts of a type other than string.

    It takes texts as they are, and trims, compares and cleans up only those that it cannot read so.
    """
    usual = _usual_reader(column, null_tokens)
    meant = text_of(UNREAD, column, null_tokens)
    readers = _readers(column, UNREAD)
    default = default_of(column)

    def read(texts: pl.Series) -> pl.Series:
        frame = texts.to_frame("text")
        frame = frame.with_columns(value=representable(frame.select(usual).to_series()))
        if frame["value"].null_count() != texts.null_count():
            frame = _attempt(frame.with_columns(text=meant), readers)
        if column.default is not None:
            has_none = pl.col("text").is_null() & pl.col("value").is_null()
            frame = frame.with_columns(value=pl.when(has_none).then(default).otherwise("value"))
        return _without_no_moments(frame["value"]) if _knows_no_moments(column) else frame["value"]

    return read


def _attempt(frame: pl.DataFrame, readers: Sequence[pl.Expr]) -> pl.DataFrame:
    """Give each `text` its `value`, trying readers of `UNREAD` in their order until all have."""
    for reader in readers:
        if not (frame["value"].is_null() & frame["text"].is_not_null()).any():
            break
        found = representable(frame.select(reader).to_series())
        frame = frame.with_columns(value=pl.coalesce("value", found))
    return frame


def representable(values: pl.Series) -> pl.Series:
    """Drop what not every reader down the line can hold: infinities, and years beyond 9999."""
    if values.dtype.is_float():
        fits = values.is_finite()
    elif values.dtype in YEARS:
        fits = values.is_between(*YEARS[values.dtype])
        if not fits.all() and values.dtype == UTC:
            fits |= values == NO_MOMENT
    else:
        return values
    return (
        values
        if fits.all()
        else values.zip_with(fits.fill_null(value=False), values.clear(len(values)))
    )


def _usual_reader(column: Column, null_tokens: Sequence[str]) -> pl.Expr:
    """Return what reads nearly all texts as they are, untrimmed; null for those that it cannot.

    Where a null token could be read as a value, or a clean-up step could change one, it reads
    nothing, as each text must be looked at.
    """
    text = pl.col("text")
    usual = _first_reader(column, text)
    tokens = null_tokens if column.null_tokens is None else column.null_tokens
    if column.ignore_case:
        tokens = [case for token in tokens for case in (token, token.lower(), token.upper())]
    texts = pl.DataFrame({"text": tokens}, schema={"text": pl.String})
    reads_tokens = texts.select(usual.is_not_null().any()).item()
    none = pl.lit(None, polars_type(column.type))
    return pl.when(text.is_null()).then(none) if reads_tokens or column.clean else usual


def _first_reader(column: Column, text: pl.Expr) -> pl.Expr:
    if column.has_number_words and reads_plainly(column):
        return _number(text, column.type)
    if column.type != "timestamp":
        return _readers(column, text)[0]
    leading = next(iter(column.formats), ISO)
    if leading.endswith("%z"):
        return _by_offset(leading, column, text)
    patterns = ISO_FORMATS if leading == ISO else (leading,)
    fixed = [pair for pattern in patterns for pair in _fixed_widths(pattern, text)]
    return _fixed_moments(fixed, column) if fixed else _readers(column, text)[0]


def _by_offset(pattern: str, column: Column, text: pl.Expr) -> pl.Expr:
    """Read a format that ends in an offset, each text only as what it is: with a `Z` or without.

    Polars reads a fixed width about four times as fast as an offset.
    """
    in_zulu = text.str.ends_with("Z")
    zulus, rest = pl.when(in_zulu).then(text), pl.when(~in_zulu).then(text)
    fixed = list(_fixed_widths(pattern.removesuffix("%z") + "Z", zulus))
    zulu = _fixed_moments(fixed, column) if fixed else in_utc(zulus, pattern)
    return pl.coalesce(zulu, read_by(rest, UTC, pattern))


def _readers(column: Column, text: pl.Expr) -> list[pl.Expr]:
    """Return what reads texts of a type other than string: one expression or, of formats, many."""
    kind = column.type
    if kind == "boolean":
        return [_boolean(text, column)]
    if kind == "date":
        return [read_by(text, pl.Date(), one) for one in _patterns(column, DATE_FORMATS)]
    if kind == "time":
        times = [read_by(text, pl.Time(), one) for one in _patterns(column, TIME_FORMATS)]
        # No warehouse holds a finer one: it would be cut off there, or keep all rows out.
        return [pl.when(time.dt.nanosecond() % 1000 == 0).then(time) for time in times]
    if kind == "timestamp":
        words = column.formats or (ISO,)
        return [reader for word in words for reader in _moments(word, text, column)]
    return [number_of(text, column) if column.has_number_words else _number(text, kind)]


def _patterns(column: Column, usual: Sequence[str]) -> list[str]:
    """Return the formats of a column, with those that it has by default where it says so."""
    words = column.formats or (ISO,)
    return [pattern for word in words for pattern in (usual if word == ISO else (word,))]


def _number(text: pl.Expr, kind: str) -> pl.Expr:
    dtype = polars_type(kind)
    if isinstance(dtype, pl.Decimal):
        # Polars rounds what has too many digits, and reads exponents: neither is exact.
        shape = rf"^[+-]?(?:[0-9]+(?:\.[0-9]{{0,{dtype.scale}}})?|\.[0-9]{{1,{dtype.scale}}})$"
        shape = shape if dtype.scale else r"^[+-]?[0-9]+$"
        return pl.when(text.str.contains(shape)).then(text).cast(dtype, strict=False)
    return text.cast(dtype, strict=False)


def _boolean(text: pl.Expr, column: Column) -> pl.Expr:
    true: Sequence[str] = TRUE_WORDS
    false: Sequence[str] = FALSE_WORDS
    if column.formats:
        true, false = zip(*(pair.split("/") for pair in column.formats), strict=True)
    words = text
    if column.ignore_case or not column.formats:
        words, true, false = text.str.to_lowercase(), _lowered(true), _lowered(false)
    return pl.when(words.is_in(true)).then(True).when(words.is_in(false)).then(False)  # noqa: FBT003


def _iso(text: pl.Expr) -> list[tuple[str, pl.Expr]]:
    """Return ISO 8601's formats with their texts: first those of a fixed width, then all."""
    usual = [pair for pattern in ISO_FORMATS for pair in _fixed_widths(pattern, text)]
    return [*usual, *((pattern, text) for pattern in ISO_FORMATS)]


def _moments(word: str, text: pl.Expr, column: Column) -> list[pl.Expr]:
    """Return what reads one declared format, its fixed widths first."""
    if word in EPOCHS:
        return since_1970(text, word)
    pairs = _iso(text) if word == ISO else [*_fixed_widths(word, text), (word, text)]
    readers = [_moment(part, pattern, column) for pattern, part in pairs]
    return [*readers, in_utc(text, word)] if OFFSET.search(word) else readers


def _moment(text: pl.Expr, pattern: str, column: Column) -> pl.Expr:
    """Read strptime codes; what is written without an offset is in the zone."""
    if ZONE_CODE.search(pattern):
        return read_by(text, UTC, pattern)
    return _by_clock(read_by(text, NAIVE, pattern), _zone_of(pattern, column.timezone), column)


def _zone_of(pattern: str, zone: str) -> str:
    return "UTC" if pattern.endswith("Z") or "%s" in pattern else zone


def _by_clock(local: pl.Expr, zone: str, column: Column) -> pl.Expr:
    """Return moments of a zone; what its clock does not show once is `NO_MOMENT` if need be."""
    moments = in_zone(local, zone, column)
    if zone == "UTC" or not _knows_no_moments(column):
        return moments
    nothing = local.is_not_null() & moments.is_null()
    return pl.when(nothing).then(pl.lit(NO_MOMENT).first()).otherwise(moments)


def _knows_no_moments(column: Column) -> bool:
    """Whether a later format could read what an earlier one has read as no moment of the clock."""
    return column.type == "timestamp" and column.timezone != "UTC" and len(column.formats) > 1


def _without_no_moments(values: pl.Series) -> pl.Series:
    return values.zip_with(values != NO_MOMENT, values.clear(len(values)))


def _fixed_moments(patterns: Sequence[tuple[str, pl.Expr]], column: Column) -> pl.Expr:
    """Read formats of a fixed width, none of which has an offset, in one expression."""
    by_zone: dict[str, list[pl.Expr]] = {}
    for pattern, text in patterns:
        read = read_by(text, NAIVE, pattern)
        by_zone.setdefault(_zone_of(pattern, column.timezone), []).append(read)
    moments = [_by_clock(pl.coalesce(local), zone, column) for zone, local in by_zone.items()]
    return pl.coalesce(moments)


def _fixed_widths(pattern: str, text: pl.Expr) -> Iterator[tuple[str, pl.Expr]]:
    """Split a format with an optional fraction into formats of a fixed width, with their texts.

    Polars reads those about seven times as fast as others, so each text is given to the one that
    has its width.
    """
    head, mark, tail = pattern.partition("%.f")
    width = _width(head + tail)
    if mark and width is not None:
        for fraction, digits in FRACTIONS.items():
            fits = pl.col("text").str.len_bytes() == width + digits
            yield head + fraction + tail, pl.when(fits).then(text)


def _width(pattern: str) -> int | None:
    """Return how many bytes a format reads, or None where that varies."""
    codes = re.findall(r"%(.)", pattern)
    if not pattern.isascii() or not set(codes) <= CODE_WIDTHS.keys():
        return None
    return len(pattern) - 2 * len(codes) + sum(CODE_WIDTHS[code] for code in codes)
