"""The dialect of a text whose lines are records: delimiter, quotes, preamble, header.

What belongs here: weighing dialects against each other. What does not: encodings, and reading; what
is guessed here is tried by the reader of CSV afterwards.

Each candidate splits the beginning of the text, and is weighed by how many records then have one
width, how wide they are, and how many fields look like one value. Measured against DuckDB, Python
and CleverCSV on real files: see documentation/decisions.md.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice, product
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DELIMITERS = (",", ";", "\t", "|", "||", "::", "^", "~", "\x1f", "\x01", ":", " ")
RARE = (":", " ")
"""Marks that stand in texts of any kind: taken only if all records agree."""
ESCAPE = "\\"
QUOTE = '"'
RARE_QUOTE = "'"
"""Mostly an apostrophe: taken for a quote only if fields are enclosed in it."""
SEPARATOR = re.compile(r"#separator \\x([0-9a-f]{2})\s")
COMMENTS = ("#", "//", "--", "%")
MOST_RECORDS = 2_000
HEADER_RECORDS = 200
STAND_IN = "\x1d"
VALUE = re.compile(
    r"""
    \s*(?:
      [-+]?[$€£¥]?\s?\d[\d.,'\u00a0\u202f ]*(?:[eE][-+]?\d+)?\s?[%€$£¥]?   # a number
    | \d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[T\ ]\d{1,2}:\d\d.*)?              # a day, a moment
    | \d{1,2}:\d\d(?::\d\d)?(?:\.\d+)?                                     # a time
    | [^\W\d_][\w .'()&+-]*                                                # words
    | [\w.+-]+@[\w.-]+ | \w+://\S+ | \\N | [-?]                            # an address, no value
    )?\s*""",
    re.VERBOSE,
)
NUMERIC = re.compile(r"\s*[-+]?[$€£¥]?\s?[\d.,' ]*\d[\d.,' ]*(?:[eE][-+]?\d+)?\s?[%€$£¥]?\s*")
DATED = re.compile(r"\s*\d{1,4}[-/.:]\d{1,2}[-/.:]\d{1,4}.*")
CLOCK = re.compile(r"(?<!\d)\d{1,2}:\d\d(?!\d)")
NAME = re.compile(r"\s*[^\W\d][\w\s.()/%$€#&:+'*?\[\]-]{0,79}")
HEADER_YEAR = re.compile(r"\s*(?:19|20)\d\d\s*")
CONSISTENT = 0.9
PROSE = 0.7
FILLED = 0.5
TYPED = 0.8
LONG_WORDS = 6
FEW_LINES = 10
ENCLOSED = 0.9
"""Share of fields that begin with a rare quote and end with it, from which on it is one."""


@dataclass(frozen=True)
class CsvGuess:
    """How a delimited text is written.

    Attributes:
        delimiter: What stands between fields.
        quote: What encloses them; none where the mark itself stands in fields.
        escape: What stands before a quote within quotes, besides doubling it.
        header: Whether the first record names the columns.
        skip_lines: Lines before it.
        comment: What lines begin with that are no records.
        names: The columns' names, where a comment gives them (``#fields`` of Zeek and W3C logs).
        width: How many fields a record has.
        ragged: Share of records with another number of fields.
        remarks: What was seen.
    """

    delimiter: str
    quote: str | None
    escape: str | None
    header: bool
    skip_lines: int
    comment: str | None
    names: tuple[str, ...]
    width: int
    ragged: float
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """A record, and the number of the line before it."""

    fields: list[str]
    line: int


@dataclass
class Split:
    """A text, split in one way.

    Attributes:
        delimiter: The delimiter.
        quote: The quote, or none.
        records: The records that are neither blank nor comments.
        escape: What stands before a quote within quotes, or none.
    """

    delimiter: str
    quote: str | None
    records: list[Record]
    escape: str | None = None

    @cached_property
    def width(self) -> int:
        """How many fields most records have; of records that are cut in none, 1."""
        counts = Counter(len(one.fields) for one in self.records)
        return max(counts, key=lambda width: (counts[width] * min(width, 2), width), default=0)

    @cached_property
    def consistency(self) -> float:
        """Share of records with that width, the preamble left out."""
        begin = next((n for n, one in enumerate(self.records) if len(one.fields) == self.width), 0)
        body = self.records[begin:]
        same = sum(len(one.fields) == self.width for one in body)
        return same / len(body) if body else 0.0

    @cached_property
    def plausible(self) -> float:
        """Share of fields that look like one value."""
        fields = [field for one in self.records for field in one.fields]
        good = sum(VALUE.fullmatch(field[:200]) is not None for field in fields)
        return good / len(fields) if fields else 0.0

    @property
    def weight(self) -> float:
        """How likely the text is meant so."""
        if self.width < 2:  # noqa: PLR2004 - one field is no division
            return 0.01
        if self.delimiter in RARE and self.consistency < 1:
            return 0.0
        wide = 1 - 1 / self.width**2
        rare = 0.5 if self.delimiter in RARE else 1
        return self.consistency**2 * (0.2 + self.plausible) * wide * rare * (1 - self.void / 2)

    @cached_property
    def void(self) -> float:
        """Share of columns without any value, as half of a double delimiter makes them."""
        same = [one.fields for one in self.records if len(one.fields) == self.width]
        return (
            sum(not any(map(str.strip, column)) for column in zip(*same, strict=True)) / self.width
        )


def guess_dialect(text: str) -> CsvGuess | None:
    """Return how a text is delimited; none if it is no table.

    Args:
        text: The text, or its beginning up to a line's end, without a byte order mark.
    """
    comment = _comment(text)
    clocks = _has_clocks(text)
    splits = [
        _split(text, delimiter, quote, comment)
        for delimiter, quote in product(_told(text) or DELIMITERS, (QUOTE, None))
        if delimiter in text and (quote is None or quote in text)
        if delimiter not in RARE or not clocks
    ]
    if RARE_QUOTE in text:
        plain = [one for one in splits if one.quote is None]
        splits += [one for other in plain if (one := _rarely_quoted(other, text, comment))]
    escaped = [
        _split(text, one.delimiter, one.quote, comment, ESCAPE)
        for one in splits
        if one.quote is not None and ESCAPE + one.quote in text
    ]
    best = max((*splits, *escaped), key=_preference, default=None)
    if _told(text) and splits:
        return _described(max(splits, key=_preference), text, comment)
    if best is None or best.weight <= 0.01 or best.consistency < _least(best):  # noqa: PLR2004 - one column
        best = _split(text, ",", QUOTE if QUOTE in text else None, comment)
        if best.width > 1 or _is_prose(best):
            best = _one_column(text, comment)
    if best is None or not best.records or (best.width > 1 and _is_wordy(best)):
        return None
    return _described(best, text, comment)


def _rarely_quoted(plain: Split, text: str, comment: str | None) -> Split | None:
    """Return a text split with the rare quote, if fields are enclosed in it.

    Names such as O'Hare are no reason. Fields that begin with the quote must end with it, and
    either they hold delimiters at which records would have other widths, or each record has one.
    """
    opened, whole = _enclosed(text, plain.delimiter)
    if not whole or whole < ENCLOSED * opened:
        return None
    quoted = _split(text, plain.delimiter, RARE_QUOTE, comment)
    is_even = quoted.consistency > plain.consistency
    everywhere = quoted.consistency >= plain.consistency and whole >= len(quoted.records) - 1
    return quoted if is_even or everywhere else None


def _enclosed(text: str, delimiter: str) -> tuple[int, int]:
    """Return how many fields begin with the rare quote, and how many of them end with it."""
    mark = re.escape(delimiter)
    opened = re.findall(rf"(?:^|{mark})'", text, re.MULTILINE)
    whole = re.findall(
        rf"(?:^|{mark})'(?:[^'\\]|''|\\.)*'(?=$|\r|{mark})", text, re.MULTILINE | re.DOTALL
    )
    return len(opened), len(whole)


def _told(text: str) -> tuple[str, ...]:
    """Return the delimiter that a log of Zeek says it has."""
    told = SEPARATOR.match(text)
    return (chr(int(told[1], 16)),) if told else ()


def _has_clocks(text: str) -> bool:
    """Whether most lines hold a time of day, whose colons and blanks part no fields."""
    lines = [line for line in _lines(text)[:HEADER_RECORDS] if line.strip()]
    return sum(CLOCK.search(line) is not None for line in lines) >= FILLED * len(lines)


def guess_table(rows: Sequence[Sequence[str]]) -> tuple[int, bool]:
    """Return how many rows stand before a table, and whether its first row names the columns.

    Args:
        rows: The first rows of a sheet, all of one length.
    """
    split = Split(",", None, [Record(list(row), number) for number, row in enumerate(rows)])
    split.records = [one for one in split.records if _filled(one)]
    if not split.records:
        return 0, True
    start = _first_of_table(split)
    return (split.records[start].line if start else 0), _has_header(split, start)


def _least(split: Split) -> float:
    """Return the share of records that must have one width."""
    return 0.5 if split.width > 2 else PROSE  # noqa: PLR2004 - pairs come about by chance


def _preference(split: Split) -> tuple[float, bool, bool, int]:
    """Order splits: by weight; where quoting makes no difference, with the usual quote."""
    usual = (split.quote == QUOTE, split.escape is None)
    return (round(split.weight, 6), *usual, -DELIMITERS.index(split.delimiter))


def _one_column(text: str, comment: str | None) -> Split | None:
    """Return a text as one column, unless it is prose."""
    mark = next(mark for mark in (",", ";", "\t", "|", *map(chr, range(1, 9))) if mark not in text)
    split = _split(text, mark, QUOTE if QUOTE in text else None, comment)
    return None if _is_prose(split) else split


def _is_prose(split: Split) -> bool:
    """Whether most records are sentences, or pieces of them."""
    words = [len(" ".join(one.fields).split()) for one in split.records]
    return bool(words) and sorted(words)[len(words) // 2] >= LONG_WORDS


def _is_wordy(split: Split) -> bool:
    """Whether a few lines are sentences that have as many commas by chance."""
    if len(split.records) > FEW_LINES:
        return False
    fields = [field for one in split.records for field in one.fields]
    words = sum(len(field.split()) for field in fields)
    return not any(map(_is_measured, fields)) and words > LONG_WORDS * len(split.records)


def _split(
    text: str, delimiter: str, quote: str | None, comment: str | None, escape: str | None = None
) -> Split:
    if len(delimiter) > 1:
        text, delimiter_used = text.replace(delimiter, STAND_IN), STAND_IN
    else:
        delimiter_used = delimiter
    options: dict[str, Any] = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    options["escapechar"] = escape
    lines = _lines(text)
    reader = csv.reader(lines, delimiter=delimiter_used, strict=False, **options)
    records, before = [], 0
    try:
        for fields in islice(reader, MOST_RECORDS):
            is_comment = bool(comment) and fields and fields[0].startswith(comment or "")
            if any(field.strip() for field in fields) and not is_comment:
                records.append(Record(fields, before))
            before = reader.line_num
    except csv.Error:  # a field beyond the module's limit: what came before it tells enough
        pass
    return Split(delimiter, quote, records, escape)


def _lines(text: str) -> list[str]:
    r"""Return lines with their ends: only ``\r\n``, ``\n`` and ``\r`` end one."""
    return re.findall(r"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+\Z", text)


def _comment(text: str) -> str | None:
    """Return what lines begin with that are no records: the first lines, and never many."""
    lines = [line for line in _lines(text)[:MOST_RECORDS] if line.strip()]
    for mark in COMMENTS:
        flags = [line.startswith(mark) for line in lines]
        if flags and flags[0] and not all(flags) and sum(flags) <= max(1, len(flags) // 2):
            return mark
        if (
            flags
            and flags[0]
            and not all(flags)
            and all(not flag for flag in flags[flags.index(False) : -1])
        ):  # a long head of few records
            return mark
    return None


def _described(split: Split, text: str, comment: str | None) -> CsvGuess:
    start = _first_of_table(split)
    body = split.records[start:]
    names = _commented_names(text, split, comment) if comment else ()
    header = not names and _has_header(split, start)
    ragged = sum(len(one.fields) != split.width for one in body) / len(body)
    quote = split.quote or _unquoted(split, text)
    guess = CsvGuess(
        delimiter=split.delimiter,
        quote=quote,
        escape=split.escape,
        header=header,
        skip_lines=body[0].line if start else 0,
        comment=comment,
        names=names,
        width=split.width,
        ragged=ragged,
        remarks=(),
    )
    return replace(guess, remarks=tuple(_remarks(guess, len(body), text)))


def _remarks(guess: CsvGuess, records: int, text: str) -> Iterator[str]:
    """Yield on what evidence each word of the dialect is guessed that is not the usual one."""
    yield from _remarks_on_fields(guess, records, text)
    if guess.skip_lines:
        yield f"the table begins behind line {guess.skip_lines:,}: what is before has other fields"
    if guess.comment:
        count = sum(line.startswith(guess.comment) for line in _lines(text))
        yield f"lines that begin with {guess.comment!r} are no records: there are {count:,}"
    if guess.names:
        yield "the columns' names stand in a comment"
    elif not guess.header:
        yield "no header: the first record is like the others; columns are taken in order"


def _remarks_on_fields(guess: CsvGuess, records: int, text: str) -> Iterator[str]:
    """Yield on what evidence delimiter, quote and escape are guessed."""
    if guess.width > 1:
        yield f"{1 - guess.ragged:.1%} of {records:,} records have {guess.width} fields"
    if _told(text):
        yield f"the log says that {guess.delimiter!r} separates its fields"
    elif guess.width <= 1 and guess.delimiter != ",":
        yield f"one column: {guess.delimiter!r} stands nowhere in the text, as commas do"
    if guess.quote == RARE_QUOTE:
        opened, whole = _enclosed(text, guess.delimiter)
        yield f"{whole:,} of {opened:,} fields that begin with ' end with it, too"
    elif guess.quote is None:
        yield f"{QUOTE} stands in the text, but encloses no fields"
    if guess.escape is not None:
        yield "a backslash stands before quotes within quotes"


def _unquoted(split: Split, text: str) -> str | None:
    """Return the usual quote, where the text has none at all: a later file may."""
    return None if QUOTE in text or split.delimiter == QUOTE else QUOTE


def _first_of_table(split: Split) -> int:
    """Return the number of the first record that belongs to the table, its header."""
    wide = [one for one in split.records if len(one.fields) == split.width]
    usual = sorted(_filled(one) for one in wide)[len(wide) // 2] if wide else 0
    least = max(1, FILLED * usual) if split.width > 1 else 1
    for number, one in enumerate(split.records[:HEADER_RECORDS]):
        if len(one.fields) == split.width and _filled(one) >= least:
            return number
    return 0


def _filled(record: Record) -> int:
    return sum(bool(field.strip()) for field in record.fields)


def _commented_names(text: str, split: Split, comment: str | None) -> tuple[str, ...]:
    """Return the names that the last comment before the records gives to all columns."""
    mark = comment or ""
    heads = [line.rstrip("\r\n") for line in _lines(text)[:HEADER_RECORDS] if line.startswith(mark)]
    for line in heads:
        fields = line.removeprefix(mark).strip().split(split.delimiter)
        if len(fields) == split.width + 1 and fields[0].strip(":").lower() in ("fields", "columns"):
            return tuple(fields[1:])
    return ()


def _has_header(split: Split, start: int) -> bool:
    """Weigh, column by column, whether the first record is unlike those that follow."""
    first, *others = [one.fields for one in split.records[start : start + HEADER_RECORDS]]
    body = [fields for fields in others if len(fields) == len(first)]
    if not any(field.strip() for field in first) or any(map(_is_measured, first)):
        return False
    if not body:
        return len(set(first)) == len(first) and all(map(NAME.fullmatch, filter(str.strip, first)))
    named = [field.strip() for field in first if field.strip()]
    if len(named) > 1 and len({field.rstrip("0123456789") for field in named}) == 1:
        return True  # field1, field2 and so on
    if len(set(named)) < len(named) * FILLED:
        return False
    votes = [
        _vote(field, [fields[place] for fields in body if fields[place].strip()])
        for place, field in enumerate(first)
    ]
    return sum(votes) > 0


def _is_measured(field: str) -> bool:
    """Whether a field is a number or a day, which name no column; a year may."""
    if HEADER_YEAR.fullmatch(field):
        return False
    return (NUMERIC.fullmatch(field) or DATED.fullmatch(field)) is not None


def _vote(name: str, values: list[str]) -> float:
    """Return whether a field seems to name the values below it: more than 0 for yes."""
    if not values:
        return 0.1 if NAME.fullmatch(name) else 0
    if not name.strip():
        return -0.3 if len(values) > FILLED * HEADER_RECORDS else 0
    typed = sum(_is_measured(value) or HEADER_YEAR.fullmatch(value) is not None for value in values)
    if typed > TYPED * len(values):
        years = sum(HEADER_YEAR.fullmatch(value) is not None for value in values)
        return -1 if HEADER_YEAR.fullmatch(name) and years > FILLED * len(values) else 2
    return -2 if name in values else _vote_of_text(name, values)


def _vote_of_text(name: str, values: list[str]) -> float:
    """Return the vote of a column of text: values are alike, and a name is unlike them."""
    shapes = {_shape(value) for value in values}
    if len(shapes) == 1 and len(values) > 1:
        return -1.5 if _shape(name) in shapes else 1.5
    lengths = {len(value) for value in values}
    if len(lengths) == 1 and len(values) > 2:  # noqa: PLR2004 - of two nothing can be told
        return -1 if len(name) in lengths else 1
    digits = re.search(r"\d", name) is not None
    return 0.4 if NAME.fullmatch(name) and not digits else -0.4


def _shape(value: str) -> str:
    """Return a text with each letter and digit replaced by its sort."""
    return re.sub(r"\d", "0", re.sub(r"[^\W\d_a-z]", "A", re.sub(r"[a-z]", "a", value)))
