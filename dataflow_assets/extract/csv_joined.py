"""Many small CSV files, read as if they were one.

What belongs here: telling which files can be read together, and giving their rows back to them.
What does not: splitting rows (`csv_rows`), and reading a file by itself (`csv`).

To open a file, find its header and split a few rows takes milliseconds, nearly all of them for what
is the same in each file of a source. So files with the very same first line are joined behind it,
up to a block, and split at once. Where that could give other rows than each file by itself does,
they are read one by one: compressed files, encodings other than UTF-8, NUL bytes, quotes that break
the rules or are still open where a file ends.
"""

from __future__ import annotations

import codecs
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from dataflow_assets.extract.compression import MAGIC, members
from dataflow_assets.extract.csv_head import Marks
from dataflow_assets.extract.csv_rows import Splitter
from dataflow_assets.extract.framing import are_whole, find_frame
from dataflow_assets.extract.text import MARKS, Utf8Reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dataflow_assets.declaration.extract import CsvDialect, Files
    from dataflow_assets.extract.csv_head import Body
    from dataflow_assets.extract.files import Snapshot

SMALL_BYTES = 256 << 10
"""Files above are read by themselves: what is the same in each does not matter there."""

NOT_PLAIN = (*MAGIC, *MARKS)
"""How a file begins that is compressed, or is not UTF-8."""


@dataclass(frozen=True, slots=True)
class Part:
    """Files that are read together, or one that is read by itself.

    Attributes:
        places: Where they stand among the files that were asked for.
        body: What their first line says; none if it is one file to be read by itself.
        contents: What follows that line in each of them, with a line end behind the last row.
    """

    places: range
    body: Body | None = None
    contents: tuple[bytes, ...] = ()


class SmallFiles:
    """Remembers the first lines of plain files, and joins the small ones.

    Args:
        files: How they are written.
        block_bytes: About how many bytes of text are joined.
        most_record_bytes: The longest record that is accepted; longer files are not joined.
    """

    def __init__(self, files: Files, block_bytes: int, most_record_bytes: int) -> None:
        self._dialect = files.dialect
        self._is_usable = _is_plain(files.dialect) and files.compression in ("auto", "none")
        self._block_bytes = block_bytes
        self._most_record_bytes = most_record_bytes
        self._bodies: dict[bytes, Body] = {}

    def first_line(self, content: bytes) -> bytes | None:
        """Return the first line of a plain file with its line end; none if there is none.

        Args:
            content: The file's bytes, or their beginning.
        """
        if not self._is_usable or content.startswith(NOT_PLAIN) or b"\0" in content:
            return None
        return content[: content.find(b"\n") + 1] or None

    def remember(self, line: bytes, body: Body) -> None:
        """Remember what was learned from a first line that is the header, all of it."""
        self._bodies[line] = body

    def recall(self, line: bytes | None) -> Body | None:
        """Return what was learned from another file that begins with the same line."""
        return None if line is None else self._bodies.get(line)

    def parts(self, snapshots: Sequence[Snapshot]) -> Iterator[Part]:
        """Yield the files in their order, those together that can be read together."""
        names: set[str] = set()
        waiting: list[bytes] = []
        body: Body | None = None
        size = begin = 0
        for place, snapshot in enumerate(snapshots):
            line, rest = self._split(snapshot)
            now = self.recall(line)
            if waiting and (
                now is not body or size >= self._block_bytes or snapshot.file.name in names
            ):
                yield Part(range(begin, place), body, tuple(waiting))
                names, waiting, size = set(), [], 0
            if now is None:
                yield Part(range(place, place + 1))
                continue
            if not waiting:
                begin, body = place, now
            names.add(snapshot.file.name)
            waiting.append(rest)
            size += len(rest)
        if waiting:
            yield Part(range(begin, begin + len(waiting)), body, tuple(waiting))

    def _split(self, snapshot: Snapshot) -> tuple[bytes | None, bytes]:
        """Return the first line of a small file, and what follows it up to a line end."""
        most = min(SMALL_BYTES, self._most_record_bytes)
        if not self._is_usable or snapshot.file.size > most:
            return None, b""
        (member,) = members(snapshot, "none")
        with member.open() as stream:
            content = stream.read(most + 1)
        line = self.first_line(content)
        if line is None or len(content) > most:
            return None, b""
        rest = content[len(line) :]
        return line, rest if not rest or rest.endswith(b"\n") else rest + b"\n"

    def rows(
        self, part: Part, snapshots: Sequence[Snapshot], columns: Sequence[str]
    ) -> pa.Table | None:
        """Return the rows of joined files in their order; none if each must be read by itself.

        Args:
            part: Files that can be read together.
            snapshots: The files that were asked for.
            columns: The user columns of the table, all text.
        """
        if part.body is None:
            return None
        content, grammar = Marks(self._dialect).prepare(b"".join(part.contents), "")
        sizes = np.array([len(one) for one in part.contents])
        begins = (np.cumsum(sizes) - sizes).astype(np.int32)
        if grammar.quote in content and not are_whole(content, grammar, begins):
            return None
        frame = find_frame(content, grammar, len(part.body.names), first_line=1, last=True)
        names = [snapshots[place].file.name for place in part.places]
        decode = Utf8Reader(io.BytesIO(), "utf-8").decode
        splitter = Splitter(decode, self._dialect, part.body, columns, (names[0], ""))
        table = splitter.split((frame, grammar))
        versions = [snapshots[place].version for place in part.places]
        origins = {"_file": pa.array(names), "_version": pa.array(versions)}
        return _given_back(table, origins, frame.line_of(begins), part.body.first_line)


def _is_plain(dialect: CsvDialect) -> bool:
    """Whether records of files in the dialect stay what they are when files are joined."""
    encoding = dialect.encoding
    return (
        dialect.header is True
        and not dialect.skip_lines
        and dialect.comment is None
        and len(dialect.delimiter.encode()) == 1
        and (encoding == "auto" or codecs.lookup(encoding).name in ("utf-8", "utf-8-sig"))
    )


def _given_back(
    table: pa.Table, origins: dict[str, pa.Array], first_lines: np.ndarray, first_line: int
) -> pa.Table:
    """Tell each row of joined files its own file and its line there.

    Args:
        table: Raw rows with the lines of the joined text.
        origins: What each file has in its columns.
        first_lines: The line of the joined text with which each file begins.
        first_line: The line of each file with which its rows begin.
    """
    lines = table.column("_line").to_numpy()
    owners = np.searchsorted(first_lines, lines, side="right") - 1
    columns = {name: values.take(pa.array(owners)) for name, values in origins.items()}
    columns["_line"] = pa.array(lines - first_lines[owners] + first_line, pa.int64())
    for name, values in columns.items():
        table = table.set_column(table.column_names.index(name), name, values)
    return table
