"""JSON text cut into blocks of whole records, and what is no record told apart.

What belongs here: where lines and elements of an array begin and end, the way to the array, and
telling whether each is a JSON object. What does not: names and values (`json_members`), files and
tables (`json`).

Nothing that was received is passed over in silence: what is no record is a reject, with its text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from dataflow_assets.errors import HeaderError
from dataflow_assets.extract.json_marks import Marks
from dataflow_assets.extract.json_members import decode_text
from dataflow_assets.extract.text import is_decodable

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from dataflow_assets.extract.json_marks import Indexes
    from dataflow_assets.extract.text import Utf8Reader

BLANKS = b" \t\r\n"
LINE_END, RETURN, OPEN, CLOSE = b"\n\r{}"
STAND_INS = (
    (b"-Infinity", b"[       ]"),
    (b"Infinity", b"[      ]"),
    (b"NaN", b"[ ]"),
)
"""What Python, JavaScript and others write for numbers that JSON does not know, and valid values
of the same length, which stand in their place while a text is being checked."""
MOST_TEXT_BYTES = 64 << 10


class Record(msgspec.Struct, gc=False):
    """Any object: its members are checked, but not kept."""


@dataclass(frozen=True)
class Reject:
    """What is no record.

    Attributes:
        number: Its line, or its number among the records of a document.
        kind: Why, in a word.
        text: What was received.
    """

    number: int
    kind: str
    text: bytes


@dataclass(frozen=True)
class Block:
    """Records that are known to be JSON objects.

    Attributes:
        content: Their text, with blanks or commas between them.
        numbers: The line or the number of each.
        rejects: What stood between them.
    """

    content: bytes
    numbers: Indexes
    rejects: Sequence[Reject]


@dataclass
class Frame:
    """A block of text that holds whole records, not yet checked.

    Attributes:
        content: The text.
        first: The number of its first line or record.
        count: How many lines or records it has.
        separator: What stands between two records: a line end, or a comma.
        last: Whether the text ends where its last record should still go on.
        rejects: What was found to be no record already.
    """

    content: bytes
    first: int
    count: int
    separator: bytes = b"\n"
    last: bool = False
    rejects: list[Reject] = field(default_factory=list)

    def decode(self, kind: type[Any]) -> int:
        """Return how many records there are, all of which are of a type.

        Raises:
            msgspec.DecodeError: One of them is not, or no JSON.
            RecursionError: One of them is nested too deeply.
        """
        return _decode(self.content, self.separator, kind)

    def judged(self) -> Block:
        """Return the records, those that are none parted from them."""
        if is_decodable(self.content):
            try:
                if self.decode(Record) == self.count and self._has_one_a_line():
                    numbers = np.arange(self.first, self.first + self.count)
                    return Block(self.content, numbers, self.rejects)
            except (msgspec.DecodeError, RecursionError):
                pass
        return self._judged_one_by_one()

    def _has_one_a_line(self) -> bool:
        """Whether each line is one record, where there are as many records as lines.

        Where a record ends before a line end and another begins behind it, the line end is between
        them: within a record there would be a comma.
        """
        if self.separator == b",":
            return True
        codes = np.frombuffer(self.content, np.uint8)
        ends = np.flatnonzero(codes == LINE_END)
        if len(ends) == self.count:  # the last line has ended, too
            ends = ends[:-1]
        if len(ends) != self.count - 1 or not (codes[ends + 1] == OPEN).all():
            return False
        ends = ends - (codes[ends - 1] == RETURN)
        return bool((ends[:1] > 0).all() and (codes[ends - 1] == CLOSE).all())

    def _judged_one_by_one(self) -> Block:
        pieces = self._pieces()
        lines = self.separator == b"\n"
        filled = [n for n, piece in enumerate(pieces) if piece.strip(BLANKS) or not lines]
        bad = _not_records(pieces, filled, self.separator)
        rejects = [self._reject(n, pieces[n], last=self.last and n == len(pieces) - 1) for n in bad]
        wrong = set(bad)
        good = [n for n in filled if n not in wrong]
        return Block(
            self.separator.join([pieces[n] for n in good]),
            np.array(good, np.int64) + self.first,
            [*rejects, *self.rejects],
        )

    def _pieces(self) -> list[bytes]:
        if self.separator == b"\n":
            return self.content.removesuffix(b"\n").split(b"\n")
        cuts = [-1, *Marks(self.content).commas(0).tolist(), len(self.content)]
        return [self.content[a + 1 : b] for a, b in pairwise(cuts)]

    def _reject(self, index: int, piece: bytes, *, last: bool) -> Reject:
        text = piece.strip(BLANKS) if self.separator == b"," else piece.rstrip(b"\r")
        return Reject(self.first + index, _why(piece, last=last), text)


def _decode(content: bytes, separator: bytes, kind: type[Any]) -> int:
    try:
        return _decode_strictly(content, separator, kind)
    except msgspec.DecodeError:
        plain = _without_literals(content)
        if plain is content:
            raise
    return _decode_strictly(plain, separator, kind)


def _without_literals(content: bytes) -> bytes:
    for literal, stand_in in STAND_INS:
        content = content.replace(literal, stand_in)
    return content


def _decode_strictly(content: bytes, separator: bytes, kind: type[Any]) -> int:
    if separator == b"\n":
        return len(msgspec.json.Decoder(kind).decode_lines(content))
    return len(msgspec.json.Decoder(list[kind]).decode(b"[" + content + b"]"))  # type: ignore[valid-type]


def _not_records(pieces: list[bytes], indexes: list[int], separator: bytes) -> list[int]:
    """Return those pieces that are no records, looking into halves only where one is."""
    if _are_records([pieces[index] for index in indexes], separator):
        return []
    if len(indexes) <= 1:
        return indexes
    half = len(indexes) // 2
    return [
        *_not_records(pieces, indexes[:half], separator),
        *_not_records(pieces, indexes[half:], separator),
    ]


def _are_records(pieces: list[bytes], separator: bytes) -> bool:
    """Whether each of some texts is a record.

    Of lines, that is so if they can be parted by commas as well as by line ends: by neither alone,
    as a line may hold two records, and an array may be parted by a line end.
    """
    whole = separator.join(pieces)
    if not is_decodable(whole):
        return False
    try:
        return all(
            _decode(mark.join(pieces), mark, Record) == len(pieces) for mark in {separator, b","}
        )
    except (msgspec.DecodeError, RecursionError):
        return False


def _why(piece: bytes, *, last: bool) -> str:
    """Return in a word why a text is no record."""
    try:
        value = json.loads(piece.decode(), parse_int=str)
    except UnicodeDecodeError:
        return "encoding"
    except RecursionError:
        return "too_deep"
    except ValueError:
        return "truncated" if last else "invalid"
    return "surrogate" if isinstance(value, dict) else "not_an_object"


@dataclass(frozen=True)
class Sizes:
    """How much is read at once.

    Attributes:
        block: About how many bytes of text make one table.
        record: The longest record that is accepted.
    """

    block: int
    record: int


class _Source:
    """Text that is read block by block, with what is held of it.

    Args:
        reader: The text.
        sizes: How much is read at once.
    """

    def __init__(self, reader: Utf8Reader, sizes: Sizes) -> None:
        self._reader = reader
        self.sizes = sizes
        self.held = b""

    @property
    def ended(self) -> bool:
        """Whether nothing is left but what is held."""
        return self._reader.ended

    def fill(self) -> None:
        """Hold one block more, or as much again as is held."""
        self.held += self._reader.read(max(self.sizes.block, len(self.held)))
        if self.ended:
            self.held = self._without_padding()

    def _without_padding(self) -> bytes:
        """Drop NUL bytes at the end: the padding of a file whose room was reserved beforehand."""
        return self.held.rstrip(b"\0")

    @property
    def too_long(self) -> bool:
        """Whether a record that has not ended within what is held is too long."""
        return len(self.held) > self.sizes.record


def line_frames(reader: Utf8Reader, sizes: Sizes) -> Iterator[Frame]:
    """Cut text with one record per line.

    Args:
        reader: The text, at its beginning.
        sizes: How much is read at once.
    """
    source, line = _Source(reader, sizes), 1
    while True:
        source.fill()
        end = source.held.rfind(b"\n") + 1
        if source.ended and end < len(source.held):
            end, last = len(source.held), True
        else:
            last = False
        if end:
            content, source.held = source.held[:end], source.held[end:]
            count = int(np.count_nonzero(np.frombuffer(content, np.uint8) == LINE_END)) + last
            yield Frame(content, line, count, last=last)
            line += count
        elif source.too_long and not source.ended:
            yield Frame(b"", line, 0, rejects=[Reject(line, "too_long", _cut(source.held))])
            _skip_line(source)
            line += 1
        if source.ended and not source.held:
            return


def _skip_line(source: _Source) -> None:
    while b"\n" not in source.held and not source.ended:
        source.held = b""
        source.fill()
    source.held = source.held.partition(b"\n")[2]


def _cut(text: bytes) -> bytes:
    return text[:MOST_TEXT_BYTES]


class Document:
    """JSON documents, mostly one, whose records are the elements of an array, or objects.

    Args:
        reader: The text, at its beginning.
        sizes: How much is read at once.
        path: The names that lead to the records; none: they are the document itself.
        name: The file's name, for messages.
    """

    def __init__(self, reader: Utf8Reader, sizes: Sizes, path: Sequence[str], name: str) -> None:
        self._source = _Source(reader, sizes)
        self._path = path
        self._name = name
        self._number = 1

    def frames(self) -> Iterator[Frame]:
        """Yield the records in blocks, and what is none."""
        while (first := self._next_byte()) is not None:
            opened = self._open_path() if self._path else 0
            first = self._next_byte()
            if opened is None or first is None:
                yield self._rest("truncated")
                return
            if first == b"[":
                closed = yield from self._array()
            elif first == b"{":
                closed = yield from self._object()
            elif self._path and self._is_null():
                closed = True
            else:
                yield self._rest("invalid" if not self._path else "not_an_object")
                return
            if not closed or not self._close(opened):
                yield self._rest("truncated")
                return

    def _next_byte(self) -> bytes | None:
        """Hold text that begins with no blank; none at the end."""
        source = self._source
        source.held = source.held.lstrip(BLANKS)
        while not source.held:
            if source.ended:
                return None
            source.fill()
            source.held = source.held.lstrip(BLANKS)
        return source.held[:1]

    def _open_path(self) -> int | None:
        """Go to where the path leads; return how many objects are open, none at the text's end."""
        for opened, key in enumerate(self._path):
            first = self._next_byte()
            if first is None:
                return None
            if first != b"{" or (found := self._find_member(key)) is False:
                raise HeaderError(
                    f"{self._name} has no {'.'.join(self._path)}: there is no {key!r} "
                    f"{'at the top' if not opened else 'in ' + '.'.join(self._path[:opened])}.",
                    mend="Correct json.records in the declaration; a name that holds a dot is "
                    "written as one of a list.",
                    culprit=self._name,
                )
            if found is None:
                return None
        return len(self._path)

    def _find_member(self, key: str) -> bool | None:
        """Go behind a member's colon; false if there is none, none at the text's end."""
        source = self._source
        while True:
            marks = Marks(source.held)
            ended = marks.closes(0)
            limit = ended[0] if len(ended) else len(source.held)
            for colon in marks.colons(1).tolist():
                if colon < limit and _spelled(marks, colon) == key:
                    source.held = source.held[colon + 1 :]
                    return True
            if len(ended):
                return False
            passed = marks.commas(1)
            if len(passed):
                source.held = b"{" + source.held[int(passed[-1]) + 1 :]
            elif source.too_long and self._skip(1) is not None:
                source.held = b"{" + source.held.removeprefix(b",")
                continue
            if source.ended:
                return None
            source.fill()

    def _array(self) -> Generator[Frame, None, bool]:
        """Yield an array's elements; return whether it is closed."""
        source, first = self._source, self._number
        source.held = source.held[1:]
        while True:
            marks = Marks(source.held)
            ends, closes = marks.ends(0), marks.closes(-1)
            if len(closes):
                ends = ends[: int(np.searchsorted(ends, closes[0])) + 1]
            if len(ends):
                place = int(ends[-1])
                content, mark = source.held[:place], source.held[place : place + 1]
                source.held = source.held[place + 1 :]
                yield from self._elements(
                    content, len(ends), empty=mark == b"]" and self._number == first
                )
                if mark != b",":
                    return mark == b"]"
            if source.ended:
                yield from self._last_element()
                return False
            if not len(ends) and source.too_long:
                yield self._too_long()
                if self._skip(0) is None:
                    return False
                closed, source.held = source.held[:1] == b"]", source.held[1:]
                if closed:
                    return True
            source.fill()

    def _elements(self, content: bytes, count: int, *, empty: bool) -> Iterator[Frame]:
        if empty and count == 1 and not content.strip(BLANKS):
            return
        yield Frame(content, self._number, count, b",")
        self._number += count

    def _last_element(self) -> Iterator[Frame]:
        """Yield what is whole of an array that breaks off."""
        held = self._source.held
        ends = Marks(held).closes(0)
        if not len(ends):
            return
        place = int(ends[0]) + 1
        self._source.held = held[place:]
        yield Frame(held[:place], self._number, 1, b",")
        self._number += 1

    def _object(self) -> Generator[Frame, None, bool]:
        """Yield an object that is a record; return whether it is closed."""
        source = self._source
        while True:
            ends = Marks(source.held).closes(0)
            if len(ends):
                place = int(ends[0]) + 1
                content, source.held = source.held[:place], source.held[place:]
                yield Frame(content, self._number, 1, b",")
                self._number += 1
                return True
            if source.ended:
                return False
            if source.too_long:
                yield self._too_long()
                source.held = source.held[1:]
                if self._skip(0) is None:
                    return False
                source.held = source.held[1:]
                return True
            source.fill()

    def _too_long(self) -> Frame:
        reject = Reject(self._number, "too_long", _cut(self._source.held))
        self._number += 1
        return Frame(b"", self._number, 0, b",", rejects=[reject])

    def _skip(self, depth: int) -> int | None:
        """Drop all up to the next mark that ends a member or an element of a depth; keep that.

        Returns:
            The depth, or none at the text's end.
        """
        source, within, opened = self._source, False, 0
        while True:
            halves = len(source.held) - len(source.held.rstrip(b"\\"))
            held, later = (source.held[:-1], b"\\") if halves % 2 else (source.held, b"")
            mark = b'"' if within else b""
            marks = Marks(mark + held)
            ends = marks.ends(depth - opened)
            if len(ends):
                source.held = source.held[int(ends[0]) - len(mark) :]
                return depth
            opened += int(marks.depths[-1]) if len(marks.depths) else 0
            within, source.held = marks.within_string, later
            if source.ended:
                source.held = b""
                return None
            source.fill()

    def _is_null(self) -> bool:
        source = self._source
        while len(source.held) < len(b"null") and not source.ended:
            source.fill()
        null = source.held.startswith(b"null")
        source.held = source.held.removeprefix(b"null")
        return null

    def _close(self, opened: int | None) -> bool:
        """Drop what follows the records in the objects that are open.

        Raises:
            HeaderError: A name that led to the records is there once more.
        """
        source = self._source
        for level in reversed(range(opened or 0)):
            if self._skip(0) is None:
                return False
            if source.held[:1] == b",":
                source.held = b"{" + source.held[1:]
                found = self._find_member(self._path[level])
                if found is None:
                    source.held = b""
                    return False
                if found:
                    raise self._twice(level)
                source.held = source.held[int(Marks(source.held).closes(0)[0]) :]
            source.held = source.held[1:]
        return True

    def _twice(self, level: int) -> HeaderError:
        within = f"in {'.'.join(self._path[:level])}" if level else "at the top"
        return HeaderError(
            f"{self._name} has {self._path[level]!r} twice {within}: the records below one of them "
            "would be lost.",
            mend="Have it sent with every name once.",
            culprit=self._name,
        )

    def _rest(self, kind: str) -> Frame:
        """Reject all that is left of the text."""
        source = self._source
        text = _cut(source.held.strip(BLANKS))
        while not source.ended:
            source.held = b""
            source.fill()
        source.held = b""
        return Frame(b"", self._number, 0, b",", rejects=[Reject(self._number, kind, text)])


def _spelled(marks: Marks, colon: int) -> str | None:
    """Return the name before a colon, if it is one."""
    behind = int(np.searchsorted(marks.quotes, colon))
    if behind < 2:  # noqa: PLR2004 - a string has two
        return None
    begin, end = marks.quotes[behind - 2 : behind].tolist()
    if marks.content[end + 1 : colon].strip(BLANKS):
        return None
    try:
        return decode_text(marks.content[begin : end + 1])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
