"""Where the records of a CSV text begin and end, and which of them cannot be split.

What belongs here: the rules of quoting, decided fast over whole blocks with numpy and carefully,
record by record, only around trouble. What does not: splitting good records into fields, which
pyarrow does, and encodings.

The rules. A field whose first character is the quote is quoted: inside, a doubled quote is a quote,
an escape character takes the quote or escape character after it literally, and after the closing
quote only a delimiter or a line end may follow. Anywhere else a quote is text. A record that breaks
this, or whose quote never closes, is not trusted any further than its first line: that line is
rejected, and the next line begins a new record. So a stray quote never swallows its neighbours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from dataflow_assets.extract.text import is_decodable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Positions = NDArray[np.int32]
    Indexes = NDArray[np.signedinteger[Any]]
    Flags = NDArray[np.bool_]

LF, CR = 10, 13
NOTHING = re.compile(rb"(?!)")
LINE_END = re.compile(rb"\r\n|\n|\r")
MOST_RECORD_BYTES = 16 << 20
FEWEST_FIELDS_OF_A_ROW = 3
CAREFUL_RECORDS = 64
CAREFUL_LINES = 256

Kind = Literal["good", "blank", "comment", "ragged", "quote", "encoding", "too_long", "unfinished"]


class Grammar:
    """The marks of a dialect as bytes, and regular expressions made of them.

    Attributes:
        delimiter: One ASCII byte.
        quote: One ASCII byte, or empty where nothing is quoted.
        escape: One ASCII byte, or empty.
        comment: What a line that is no row begins with, or empty.
        record: Matches one well-formed record with its line end, at most.
        quoted: Matches a quoted field where a field begins.
    """

    def __init__(self, delimiter: bytes, quote: bytes, escape: bytes, comment: bytes) -> None:
        self.delimiter, self.quote, self.escape, self.comment = delimiter, quote, escape, comment
        comma = re.escape(delimiter)
        bare = rb"[^" + comma + rb"\r\n]*+"
        self._body: re.Pattern[bytes] | None = None
        self.quoted: re.Pattern[bytes] = NOTHING
        item = bare
        if quote:
            body = _quoted_body(re.escape(quote), re.escape(escape))
            mark = re.escape(quote)
            self._body = re.compile(body)
            quoted = body + mark + rb"(?=[" + comma + rb"\r\n]|\Z)"
            self.quoted = re.compile(rb"(?:\A|(?<=[" + comma + rb"\r\n]))" + quoted)
            item = rb"(?:" + quoted + rb"|(?!" + mark + rb")" + bare + rb")"
        self._field = re.compile(item)
        self._lead = re.compile(rb"(?:" + item + comma + rb")*+")
        self.record = re.compile(item + rb"(?:" + comma + item + rb")*+(?:\r\n|\n|\r|\Z)")

    def fields(self, content: bytes, begin: int = 0) -> list[tuple[int, int]]:
        """Return where the fields of the well-formed record that begins here begin and end."""
        spans = []
        match = self._field.match(content, begin)
        while match:
            spans.append(match.span())
            if content[match.end() : match.end() + 1] != self.delimiter:
                break
            match = self._field.match(content, match.end() + 1)
        return spans

    def value(self, text: bytes) -> bytes:
        """Return what a field says, without its quotes and escapes."""
        if not self.quote or not text.startswith(self.quote):
            return text
        marks = re.escape(self.escape + self.quote)
        inner = text[1:-1]
        if not self.escape:
            return inner.replace(self.quote * 2, self.quote)
        escape = re.escape(self.escape)
        pairs = escape + rb"([" + marks + rb"])|" + re.escape(self.quote) * 2
        return re.sub(pairs, lambda match: match[1] or self.quote, inner)

    def requoted(self, text: bytes) -> bytes:
        """Return a quoted field in which quotes are doubled and nothing else is escaped."""
        inner = self.value(text).replace(self.quote, self.quote * 2)
        return self.quote + inner + self.quote

    def is_row(self, line: bytes, width: int) -> bool:
        """Whether a line by itself is a well-formed record of `width` fields."""
        match = self.record.match(line)
        return match is not None and match.end() == len(line) and len(self.fields(line)) == width

    def fault(self, content: bytes, begin: int) -> int:
        """Return where the record that begins here breaks the rules; the end if it might go on."""
        lead = self._lead.match(content, begin)
        body = self._body.match(content, lead.end()) if self._body and lead else None
        return min(body.end() + 1, len(content)) if body else len(content)


def _quoted_body(quote: bytes, escape: bytes) -> bytes:
    """Return the pattern of a quoted field from its opening quote up to the closing one."""
    doubled = quote + quote
    if not escape:
        return quote + rb"(?:[^" + quote + rb"]++|" + doubled + rb")*+"
    escaped = escape + rb"[" + quote + escape + rb"]|" + escape
    return quote + rb"(?:[^" + quote + escape + rb"]++|" + doubled + rb"|" + escaped + rb")*+"


@lru_cache(maxsize=256)
def grammar_of(delimiter: bytes, quote: bytes, escape: bytes, comment: bytes) -> Grammar:
    """Return the grammar for these marks; compiling one takes longer than reading a small file."""
    return Grammar(delimiter, quote, escape, comment)


class Piece(NamedTuple):
    """What was found at a place: its kind, and where what follows begins."""

    kind: Kind
    end: int


UNFINISHED = Piece("unfinished", -1)


class Reject(NamedTuple):
    """A record, or its first line, that cannot be split."""

    kind: Kind
    begin: int
    end: int


class Run(NamedTuple):
    """Good records one after the other, with blank lines between them at most.

    `records` says where each begins; None says that each line that is not blank is one.
    """

    begin: int
    end: int
    records: Positions | None


@dataclass(slots=True)
class Frame:
    """A block of whole records.

    Attributes:
        content: The text; what stands from `end` on belongs to the next block.
        first_line: Number of the physical line with which it begins.
        end: Where the last whole record of the block ends.
        line_ends: Where each physical line of the block ends (the next one's beginning).
        runs: The good records.
        rejects: The others.
        skipping: Whether the block ends within a line too long to be held, whose rest is to be
            skipped.
    """

    content: bytes
    first_line: int
    end: int = 0
    line_ends: Positions = field(default_factory=lambda: np.empty(0, np.int32))
    runs: list[Run] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    skipping: bool = False

    @property
    def lines(self) -> int:
        """Number of physical lines up to the end."""
        whole = _count_up_to(self.line_ends, self.end)
        return whole + (self.end > (int(self.line_ends[whole - 1]) if whole else 0))

    def line_of(self, positions: Positions) -> Indexes:
        """Return the physical line numbers of positions."""
        return self.first_line + np.searchsorted(self.line_ends, positions, side="right")

    def records(self) -> Positions:
        """Return where the good records begin."""
        return np.concatenate([self._records_of(run) for run in self.runs] or [self.line_ends[:0]])

    def _records_of(self, run: Run) -> Positions:
        if run.records is not None:
            return run.records
        low, high = (_count_up_to(self.line_ends, place) for place in (run.begin, run.end))
        begins = _prepend(run.begin, self.line_ends[low:high])
        begins = begins[begins < run.end]
        codes = np.frombuffer(self.content, np.uint8)[begins]
        records: Positions = begins[(codes != LF) & (codes != CR)]
        return records


def find_frame(
    content: bytes,
    grammar: Grammar,
    width: int,
    *,
    first_line: int,
    last: bool,
    most_bytes: int = MOST_RECORD_BYTES,
) -> Frame:
    """Find the records of a block that begins where a record begins.

    Args:
        content: The block.
        grammar: The marks of the dialect.
        width: Number of fields that a record should have; 0 where that is not known yet.
        first_line: Number of the block's first physical line.
        last: Whether the text ends with this block.
        most_bytes: The longest record that is accepted.
    """
    framer = _Framer(content, grammar, width, last=last, most_bytes=most_bytes)
    frame = Frame(content, first_line, line_ends=framer.marks.line_ends)
    framer.run(frame)
    return frame


def _places(flags: Flags) -> Positions:
    """Return where flags are set; blocks are small enough for four bytes a place."""
    return np.flatnonzero(flags).astype(np.int32)


def _prepend(first: int, places: Positions) -> Positions:
    return np.concatenate([np.array([first], np.int32), places])


def _count_up_to(places: Positions, last: int) -> int:
    """Return how many of the sorted places are `last` at most.

    Asked with an integer of another size, numpy would convert all of them first.
    """
    return int(places.searchsorted(np.int32(last), side="right"))


class _Marks:
    """Where the line ends and quotes of a block are, and where quoting cannot be right."""

    def __init__(self, content: bytes, grammar: Grammar, *, last: bool) -> None:
        self._content = content
        self._codes = np.frombuffer(content, np.uint8)
        self._grammar = grammar
        self._last = last
        self._broken: dict[int, Positions] = {}

    @cached_property
    def line_ends(self) -> Positions:
        """Where each line's end ends; a CR at the very end may yet be half of a CRLF."""
        feeds = _places(self._codes == LF)
        if b"\r" not in self._content:
            return feeds + 1
        returns = _places(self._codes == CR)
        following = self._codes[np.minimum(returns + 1, len(self._codes) - 1)]
        alone = returns[following != LF]
        if len(alone) and not self._last and alone[-1] == len(self._codes) - 1:
            alone = alone[:-1]
        return np.sort(np.concatenate([feeds, alone])) + 1 if len(alone) else feeds + 1

    @cached_property
    def quotes(self) -> Positions:
        """Where the quotes are that may open or close a field, or be half of a doubled one."""
        return self._unescaped[~self._loose] if self._loose.any() else self._unescaped

    @cached_property
    def _loose(self) -> Flags:
        """Whether text is on both sides of a quote.

        Outside of quotes such a quote is text; within them it breaks the rules.
        """
        marks, final = self._unescaped, len(self._codes) - 1
        follows = self._ends_field[self._codes[marks - 1]] | (marks == 0)
        precedes = self._ends_field[self._codes[np.minimum(marks + 1, final)]] | (marks == final)
        doubled = np.diff(marks) == 1
        follows[1:] |= doubled
        precedes[:-1] |= doubled
        loose: Flags = ~(follows | precedes)
        return loose

    @cached_property
    def _unescaped(self) -> Positions:
        """Where the quotes are that no escape character takes literally."""
        quote, escape = self._grammar.quote, self._grammar.escape
        if not quote or quote not in self._content:
            return np.empty(0, np.int32)
        found = _places(self._codes == ord(quote))
        if escape and escape in self._content:
            found = found[~self._escaped(found, ord(escape))]
        return found

    def _escaped(self, positions: Positions, escape: int) -> Flags:
        """Whether an odd number of escape characters stands before each position."""
        escapes = _places(self._codes == escape)
        begins = escapes[np.diff(escapes, prepend=-2) != 1]
        before = np.searchsorted(escapes, positions) - 1
        follows = (before >= 0) & (escapes[before] == positions - 1)
        begin = begins[np.searchsorted(begins, positions) - 1]
        escaped: Flags = follows & ((positions - begin) % 2 == 1)
        return escaped

    @property
    def is_regular(self) -> bool:
        """Whether each quote plays its part, from the beginning to the end of the block."""
        return not len(self._broken_quotes(0))

    def acting_escapes(self) -> Positions:
        """Return where an escape character within quotes takes the next character literally."""
        escape, quote = ord(self._grammar.escape), ord(self._grammar.quote)
        found = _places(self._codes == escape)
        found = found[~self._escaped(found, escape) & (found < len(self._codes) - 1)]
        following = self._codes[found + 1]
        found = found[(following == escape) | (following == quote)]
        acting: Positions = found[self.insides(0, found)]
        return acting

    def first_trouble(self, position: int) -> int:
        """Return the first place from here on that needs care; the block's length if none."""
        parity = _count_up_to(self.quotes, position - 1) & 1
        troubles = (self._broken_quotes(parity), self._odd_lines)
        firsts = (places[_count_up_to(places, position - 1) :][:1] for places in troubles)
        return min((int(first[0]) for first in firsts if len(first)), default=len(self._content))

    def _broken_quotes(self, parity: int) -> Positions:
        """Return where quotes cannot play their part, if those of this parity open fields."""
        if parity not in self._broken:
            broken = [self._not_opening(parity), self._not_closing(1 - parity)]
            if self._loose.any():
                loose = self._unescaped[self._loose]
                opened = np.searchsorted(self.quotes, loose) & 1
                broken.append(loose[opened != parity])
            self._broken[parity] = np.sort(np.concatenate(broken))
        return self._broken[parity]

    def _not_opening(self, first: int) -> Positions:
        marks = self.quotes[first::2]
        suspect = ~self._ends_field[self._codes[marks - 1]] & (marks != 0)
        indexes = np.flatnonzero(suspect) * 2 + first
        places = self.quotes[indexes]
        wrong: Positions = places[self.quotes[indexes - 1] != places - 1]
        return wrong

    def _not_closing(self, first: int) -> Positions:
        marks = self.quotes[first::2]
        final = len(self._codes) - 1
        suspect = ~self._ends_field[self._codes[np.minimum(marks + 1, final)]] & (marks != final)
        indexes = np.flatnonzero(suspect) * 2 + first
        after = np.minimum(indexes + 1, len(self.quotes) - 1)
        places = self.quotes[indexes]
        wrong: Positions = places[self.quotes[after] != places + 1]
        return wrong

    @cached_property
    def _ends_field(self) -> Flags:
        table = np.zeros(256, bool)
        table[[LF, CR, ord(self._grammar.delimiter)]] = True
        return table

    @cached_property
    def _odd_lines(self) -> Positions:
        """Where lines begin that may be comments, or hold bytes that cannot be decoded."""
        odd = self._undecodable()
        if self._grammar.comment:
            begins = _prepend(0, self.line_ends[self.line_ends < len(self._content)])
            comments = begins[self._codes[begins] == self._grammar.comment[0]]
            odd = np.union1d(odd, comments)
        return odd

    def _undecodable(self) -> Positions:
        whole = int(self.line_ends[-1]) if len(self.line_ends) else 0
        size = len(self._content) if self._last else whole
        wrong: list[int] = []
        if not is_utf8(self._content, size):
            ends = self.line_ends.tolist()
            lines = zip([0, *ends], [*ends, size], strict=True)
            wrong += (begin for begin, end in lines if not is_decodable(self._content[begin:end]))
        return np.array(wrong, np.int32)

    def insides(self, begin: int, positions: Positions) -> Flags:
        """Whether positions lie within quotes, given that `begin` does not."""
        opened = np.searchsorted(self.quotes, positions) - _count_up_to(self.quotes, begin - 1)
        return (opened & 1).astype(bool)

    def delimiters(self, begin: int, end: int) -> Positions:
        """Return where delimiters stand between two places."""
        return _places(self._codes[begin:end] == ord(self._grammar.delimiter)) + begin

    def blank(self, begins: Positions) -> Flags:
        """Whether the lines that begin here are empty."""
        codes = self._codes[begins]
        blank: Flags = (codes == LF) | (codes == CR)
        return blank


def is_utf8(content: bytes, size: int) -> bool:
    """Whether the first `size` bytes are valid UTF-8, without making a text of them."""
    offsets = pa.py_buffer(np.array([0, size], np.int64))
    array = pa.LargeStringArray.from_buffers(1, offsets, pa.py_buffer(content))
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def are_whole(content: bytes, grammar: Grammar, begins: Positions) -> bool:
    """Whether every quote of a text plays its part, and none is open at these places."""
    marks = _Marks(content, grammar, last=True)
    return marks.is_regular and not marks.insides(0, begins).any()


def double_escapes(content: bytes, grammar: Grammar) -> bytes:
    """Write quotes within quoted fields of well-formed records in one way: doubled.

    Escaped quotes are doubled, escaped escape characters written once; in fields without quotes
    an escape character is text.
    """
    quote, escape = grammar.quote, grammar.escape
    if not (quote and escape) or (escape + quote not in content and escape * 2 not in content):
        return content
    marks = _Marks(content, grammar, last=True)
    if not marks.is_regular:  # quotes within unquoted fields; there, positions say nothing
        return grammar.quoted.sub(lambda match: grammar.requoted(match[0]), content)
    codes = np.frombuffer(content, np.uint8).copy()
    acting = marks.acting_escapes()
    before_quote = codes[acting + 1] == ord(quote)
    codes[acting[before_quote]] = ord(quote)
    return np.delete(codes, acting[~before_quote]).tobytes()


class _Framer:
    """Goes through a block: in strides where nothing is odd, record by record elsewhere."""

    def __init__(
        self, content: bytes, grammar: Grammar, width: int, *, last: bool, most_bytes: int
    ) -> None:
        self._content, self._grammar, self._width = content, grammar, width
        self._last, self._most_bytes = last, most_bytes
        self._has_returns = b"\r" in content
        self._stride = len(content)
        self.marks = _Marks(content, grammar, last=last)

    def run(self, frame: Frame) -> None:
        """Fill the frame."""
        position = 0
        while position < len(self._content) and not frame.skipping:
            run = self._stride_from(position)
            if run is not None:
                frame.runs.append(run)
                position = frame.end = run.end
                self._stride *= 2
                continue
            self._stride = CAREFUL_LINES
            position = self._walk_from(position, frame)
            if position == frame.end:
                break
            frame.end = position

    def _stride_from(self, begin: int) -> Run | None:
        """Return the run of records from here to the first trouble; None if that is here."""
        ends = self.marks.line_ends
        low = _count_up_to(ends, begin)
        ends = ends[low : low + self._stride]
        ends = ends[: _count_up_to(ends, self.marks.first_trouble(begin))]
        inside = self.marks.insides(begin, ends)
        if not inside.any():
            return self._short_run(begin, ends)
        whole = np.flatnonzero(~inside)
        if not len(whole):
            return None
        count = whole[-1] + 1
        return self._long_run(begin, ends[:count], inside[:count])

    def _short_run(self, begin: int, ends: Positions) -> Run | None:
        """Return a run in which every record is one line."""
        if len(ends) and ends[-1] - begin > self._most_bytes:
            long = np.flatnonzero(np.diff(_prepend(begin, ends)) > self._most_bytes)
            ends = ends[: long[0]] if len(long) else ends
        return Run(begin, int(ends[-1]), None) if len(ends) else None

    def _long_run(self, begin: int, ends: Positions, inside: Flags) -> Run | None:
        """Return a run in which some records have several lines, up to the first doubtful one."""
        record_ends = ends[~inside]
        begins = _prepend(begin, record_ends[:-1])
        doubtful = np.flatnonzero(self._doubtful(begins, record_ends, ends, inside))
        if len(doubtful):
            begins, record_ends = begins[: doubtful[0]], record_ends[: doubtful[0]]
        if not len(begins):
            return None
        return Run(begin, int(record_ends[-1]), begins[~self.marks.blank(begins)])

    def _doubtful(
        self, begins: Positions, record_ends: Positions, ends: Positions, inside: Flags
    ) -> Flags:
        """Whether records of several lines must be looked at, or are too long."""
        begin = int(begins[0])
        commas = self.marks.delimiters(begin, int(record_ends[-1]))
        outer = commas[~self.marks.insides(begin, commas)]
        bounds = np.searchsorted(outer, np.append(begins, record_ends[-1]))
        owner = np.searchsorted(record_ends, ends[inside])
        folded = np.zeros(len(begins), bool)
        folded[owner] = True
        doubtful: Flags = folded & (np.diff(bounds) + 1 != self._width)
        doubtful |= record_ends - begins > self._most_bytes
        if self._width >= FEWEST_FIELDS_OF_A_ROW:
            doubtful[self._owners_of_rows(owner, ends[inside], commas)] = True
        return doubtful

    def _owners_of_rows(self, owner: Indexes, ends: Positions, commas: Positions) -> Indexes:
        """Return the records whose first inner line has delimiters enough to be a row."""
        second = np.flatnonzero((owner[1:] == owner[:-1]) & (np.diff(owner[:-1], prepend=-1) != 0))
        counts = np.searchsorted(commas, ends[second + 1]) - np.searchsorted(commas, ends[second])
        return owner[second[counts >= self._width - 1]]

    def _walk_from(self, position: int, frame: Frame) -> int:
        """Judge some records one by one; return where the first one begins that was not judged."""
        begin, records = position, []
        for _ in range(CAREFUL_RECORDS):
            piece = self._judge(position) if position < len(self._content) else UNFINISHED
            if piece.kind == "unfinished":
                break
            if piece.kind == "good":
                records.append(position)
            elif piece.kind != "blank":
                _add_run(frame, begin, position, records)
                begin, records = piece.end, []
                if piece.kind != "comment":
                    frame.rejects.append(Reject(piece.kind, position, piece.end))
            position = piece.end
            if piece.kind == "too_long" and self._line_end(frame.rejects[-1].begin) < 0:
                frame.skipping = True
                break
        _add_run(frame, begin, position, records)
        return position

    def _judge(self, begin: int) -> Piece:
        """Say what begins here."""
        content, grammar = self._content, self._grammar
        if grammar.comment and content.startswith(grammar.comment, begin):
            return self._judge_line(begin, "comment")
        if content[begin : begin + 1] in (b"\n", b"\r"):
            return self._judge_line(begin, "blank")
        match = grammar.record.match(content, begin)
        end = match.end() if match else grammar.fault(content, begin)
        if end - begin > self._most_bytes:
            return self._first_line(begin, "too_long")
        if match is None and (end < len(content) or self._last):
            return self._first_line(begin, "quote")
        if match is None or not self._is_whole(begin, end):
            return UNFINISHED
        return self._judge_record(begin, end)

    def _is_whole(self, begin: int, end: int) -> bool:
        """Whether a match cannot become longer with what follows the block."""
        if end < len(self._content) or self._last:
            return True
        return end > begin and self._content[end - 1] == LF

    def _judge_line(self, begin: int, kind: Kind) -> Piece:
        end = self._line_end(begin)
        if (end if end >= 0 else len(self._content)) - begin > self._most_bytes:
            return self._first_line(begin, "too_long")
        if end < 0:
            return UNFINISHED
        return Piece(kind, end)

    def _judge_record(self, begin: int, end: int) -> Piece:
        content = self._content[begin:end]
        good: Kind = "good" if is_decodable(content) else "encoding"
        inner = content.rstrip(b"\r\n")
        if not self._width or (b"\n" not in inner and b"\r" not in inner):
            return Piece(good, end)
        lines = LINE_END.split(inner)
        if len(self._grammar.fields(content)) == self._width:
            return self._first_line(begin, "quote") if self._swallows(lines) else Piece(good, end)
        if any(self._grammar.is_row(line, self._width) for line in lines[1:]):
            return self._first_line(begin, "ragged")
        return Piece(good, end)  # its width is noticed when it is split, as every record's is

    def _swallows(self, lines: list[bytes]) -> bool:
        """Whether a record's inner lines are rows that a stray quote has taken in."""
        inner = lines[1:-1]
        enough = self._width >= FEWEST_FIELDS_OF_A_ROW and inner
        return bool(enough) and all(self._grammar.is_row(line, self._width) for line in inner)

    def _first_line(self, begin: int, kind: Kind) -> Piece:
        """Reject no more than the line that begins here."""
        end = self._line_end(begin)
        if (end if end >= 0 else len(self._content)) - begin > self._most_bytes:
            kind = "too_long"
        if end < 0:
            half = self._content.endswith(b"\r")  # it may yet be the first half of a line end
            return Piece(kind, len(self._content) - half) if kind == "too_long" else UNFINISHED
        if kind == "ragged" and not is_decodable(self._content[begin:end]):
            kind = "encoding"
        return Piece(kind, end)

    def _line_end(self, begin: int) -> int:
        """Return where the line that begins here ends; -1 if not within the block."""
        if not self._has_returns:
            end = self._content.find(b"\n", begin) + 1
            return end or (len(self._content) if self._last else -1)
        ends = self.marks.line_ends
        index = _count_up_to(ends, begin)
        if index < len(ends):
            return int(ends[index])
        return len(self._content) if self._last else -1


def _add_run(frame: Frame, begin: int, end: int, records: list[int]) -> None:
    if records:
        frame.runs.append(Run(begin, end, np.array(records, np.int32)))
