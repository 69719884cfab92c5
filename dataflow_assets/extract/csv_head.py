"""The beginning of a CSV file: its marks, its header, and the columns that it names.

What belongs here: a dialect's marks as bytes, finding the header, and what was learned from it.
What does not: names that tables can have (`names`), and the rows behind the header (`csv_rows`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataflow_assets.errors import HeaderError, UnreadableFileError
from dataflow_assets.extract.framing import (
    LINE_END,
    MOST_RECORD_BYTES,
    Frame,
    Grammar,
    find_frame,
    grammar_of,
)
from dataflow_assets.extract.names import unique_names
from dataflow_assets.extract.text import Utf8Reader, is_decodable

if TYPE_CHECKING:
    from dataflow_assets.declaration.contract import Contract
    from dataflow_assets.declaration.extract import CsvDialect

HEAD_BYTES = 1 << 14
LINES_TO_SEARCH = 100
SPARE_BYTES = bytes([0x1F, 0x1E, 0x1D, 0x1C, *range(1, 9), *range(14, 28), *range(32, 128)])


@dataclass(frozen=True, slots=True)
class Body:
    """What was learned from the head of a file.

    Attributes:
        names: The columns' names; none if the file holds no record.
        header: The header's fields as they are written, empty if there is no header.
        first_line: The physical line with which the rows begin.
    """

    names: tuple[str, ...]
    header: tuple[str, ...]
    first_line: int


class Marks:
    """A dialect's marks as bytes, with a stand-in for a delimiter that is not one ASCII byte."""

    def __init__(self, dialect: CsvDialect) -> None:
        self._delimiter = dialect.delimiter.encode()
        self._quote = (dialect.quote or "").encode()
        self._escape = (dialect.escape or "").encode()
        self._comment = (dialect.comment or "").encode()
        self._is_plain = len(self._delimiter) == 1

    def prepare(self, content: bytes, name: str) -> tuple[bytes, Grammar]:
        """Return the content with a delimiter of one byte, and the grammar for it."""
        if self._is_plain:
            return content, self._grammar(self._delimiter)
        taken = self._quote + self._escape
        for code in SPARE_BYTES:
            spare = bytes([code])
            if spare not in taken and spare not in content:
                return content.replace(self._delimiter, spare), self._grammar(spare)
        raise UnreadableFileError(
            f"{name} holds every ASCII character, so that none can stand for its delimiter.",
            mend="Look at the file: it seems to be no text. If it is, use a delimiter of one byte.",
            culprit=name,
        )

    def _grammar(self, delimiter: bytes) -> Grammar:
        comment = self._comment.replace(self._delimiter, delimiter)
        return grammar_of(delimiter, self._quote, self._escape, comment)

    def half_delimiter(self, content: bytes, grammar: Grammar) -> bytes:
        """Return the end of prepared content, if that may be the beginning of a delimiter."""
        end = content[1 - len(self._delimiter) :] if not self._is_plain else b""
        end = end[end.rfind(grammar.delimiter) + 1 :]
        parts = (end[begin:] for begin in range(len(end)))
        return next((part for part in parts if self._delimiter.startswith(part)), b"")

    def restore(self, content: bytes, grammar: Grammar) -> bytes:
        """Return content as it was received."""
        return content if self._is_plain else content.replace(grammar.delimiter, self._delimiter)

    def restore_columns(self, table: pa.Table, grammar: Grammar) -> pa.Table:
        """Return fields as they were received; within quotes, delimiters are text."""
        if self._is_plain or not self._quote:
            return table
        spare, delimiter = grammar.delimiter.decode(), self._delimiter.decode()
        arrays = [pc.replace_substring(column, spare, delimiter) for column in table.columns]
        return pa.table(arrays, names=table.column_names)


class Head:
    """The beginning of a file, up to its header."""

    def __init__(
        self, reader: Utf8Reader, name: str, dialect: CsvDialect, contract: Contract
    ) -> None:
        self._reader = reader
        self._name = name
        self._dialect = dialect
        self._contract = contract
        self._marks = Marks(dialect)
        self._held = b""

    def find_body(self) -> Body:
        """Read up to the first row; what follows is still to be read from the reader."""
        text = b""
        wanted = HEAD_BYTES
        while True:
            text += self._reader.read(wanted - len(text))
            last = self._reader.ended
            body = self._search(text, last=last)
            if body is not None:
                return body
            if last:
                return Body((), (), 1)
            if wanted > 2 * MOST_RECORD_BYTES:
                raise self._no_header("its first record has no end")
            wanted *= 4

    def _search(self, text: bytes, *, last: bool) -> Body | None:
        """Look for the first row in what has been read; None if that holds no record yet."""
        skip = self._dialect.skip_lines
        ends = [match.end() for match in islice(LINE_END.finditer(text), skip)]
        if len(ends) < skip:
            return None
        text = text[ends[-1] :] if ends else text
        content, grammar = self._marks.prepare(text, self._name)
        content = without_padding(content) if last else content
        self._held = b"" if last else self._marks.half_delimiter(content, grammar)
        content = content.removesuffix(self._held)
        if not content:
            return None
        if self._dialect.header == "find":
            return self._find(content, grammar, last=last)
        frame = find_frame(content, grammar, 0, first_line=skip + 1, last=last)
        if self._dialect.header is False:
            return self._headerless(frame, grammar)
        return self._headed(frame, grammar)

    def _headed(self, frame: Frame, grammar: Grammar) -> Body | None:
        """Take the first record as the header."""
        begins = frame.records()
        begin = int(begins[0]) if len(begins) else len(frame.content)
        if frame.rejects and frame.rejects[0].begin < begin:
            kind = frame.rejects[0].kind
            if kind == "encoding":
                raise self._undecodable()
            raise self._no_header(f"its first record is broken ({kind})")
        if not len(begins):
            return None
        return self._body_after(frame, grammar, begin)

    def _find(self, content: bytes, grammar: Grammar, *, last: bool) -> Body | None:
        """Take the first line that names all required columns as the header."""
        columns = self._contract.columns
        wanted = set(self._contract.received_names)
        required = [self._contract.names_of(n) for n in columns if self._contract.is_required(n)]
        frame = Frame(content, self._dialect.skip_lines + 1)
        ends = [match.end() for match in islice(LINE_END.finditer(content), LINES_TO_SEARCH)]
        frame.line_ends = np.array(ends, np.int32)
        for begin in [0, *ends][:LINES_TO_SEARCH]:
            fields = self._fields(content, grammar, begin)
            names = {field.strip() for field in fields} | set(unique_names(fields))
            if not any(map(names.isdisjoint, [wanted, *required])):
                return self._body_after(frame, grammar, begin)
        if not content.strip() or (len(ends) < LINES_TO_SEARCH and not last):
            return None
        listed = ", ".join(sorted({names[0] for names in required} or wanted))
        raise self._no_header(f"none of its first {LINES_TO_SEARCH} lines names {listed}")

    def _body_after(self, frame: Frame, grammar: Grammar, begin: int) -> Body:
        match = grammar.record.match(frame.content, begin)
        end = match.end() if match else begin
        if not is_decodable(frame.content[begin:end]):
            raise self._undecodable()
        header = self._fields(frame.content, grammar, begin)
        self._push_back(frame.content[end:], grammar)
        line = int(frame.line_of(np.array([end], np.int32))[0])
        return Body(tuple(unique_names(header)), tuple(header), line)

    def _headerless(self, frame: Frame, grammar: Grammar) -> Body | None:
        """Take as many of the contract's columns as the rows have fields."""
        begins = frame.records()[:LINES_TO_SEARCH].tolist()
        if not begins and not frame.rejects:
            return None
        widths = Counter(len(grammar.fields(frame.content, begin)) for begin in begins)
        names = list(self._contract.columns)
        width = len(names)
        if widths and width not in widths:
            width = max(widths, key=lambda width: (widths[width], width))
        names += [f"column_{position}" for position in range(len(names) + 1, width + 1)]
        self._push_back(frame.content, grammar)
        return Body(tuple(names[:width]), (), frame.first_line)

    def _push_back(self, content: bytes, grammar: Grammar) -> None:
        self._reader.push_back(self._marks.restore(content, grammar) + self._held)

    def _fields(self, content: bytes, grammar: Grammar, begin: int) -> list[str]:
        if grammar.record.match(content, begin) is None:
            return []
        values = (grammar.value(content[slice(*span)]) for span in grammar.fields(content, begin))
        return [self._reader.decode(self._marks.restore(value, grammar)) for value in values]

    def _undecodable(self) -> HeaderError:
        return HeaderError(
            f"The header of {self._name} holds bytes that its encoding does not know.",
            mend="Set csv.encoding in the declaration, such as cp1252, "
            "or have the file sent again if it is no text.",
            culprit=self._name,
        )

    def _no_header(self, why: str) -> HeaderError:
        return HeaderError(
            f"{self._name} has no header: {why}.",
            mend="Correct csv in the declaration (header, skip_lines, delimiter, quote), "
            "or have the file sent again.",
            culprit=self._name,
        )


def without_padding(content: bytes) -> bytes:
    """Drop NUL bytes that stand alone after the last line end."""
    rest = content.rstrip(b"\0")
    return rest if not rest or rest.endswith((b"\n", b"\r")) else content
