"""MySQL's rows off the wire, column by column.

What belongs here: splitting what the server sends into the values of each column. What does not:
what the values mean.

PyMySQL connects, proves who asks, and sends the query; reading its rows one by one would take ten
times as long as splitting the packets of many rows at once. A packet is 3 bytes of length (little
endian), 1 byte of number, and a row: for each column its length (one byte up to 250; 251 means
null; 252, 253 and 254 say that 2, 3 or 8 bytes of length follow) and its text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pymysql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

HEADER = 4
LONGEST_PACKET = 0xFFFFFF
BLOCK_BYTES = 1 << 20
NULL = 0xFB
LENGTH_BYTES = {0xFC: 2, 0xFD: 3, 0xFE: 8}
END = 0xFE
LONGEST_END = 8
ERROR = 0xFF
LOST = 2013


@dataclass(frozen=True)
class Field:
    """What the server tells of a column.

    Attributes:
        name: Its name.
        code: The number of its type.
        flags: Bits such as that for unsigned.
        length: Most bytes of its text.
        scale: Digits after the point.
        charset: The number of its character set.
    """

    name: str
    code: int
    flags: int
    length: int
    scale: int
    charset: int


def fields_of(connection: pymysql.Connection[Any], query: str) -> Sequence[Field]:
    """Return what the server tells of a query's columns; its rows are read and dropped."""
    connection.query(query)
    told = connection._result.fields  # type: ignore[attr-defined]  # noqa: SLF001 - shown nowhere else
    return [
        Field(one.name, one.type_code, one.flags, one.length, one.scale, one.charsetnr)
        for one in told
    ]


def rows_of(connection: pymysql.Connection[Any], query: str) -> Iterator[list[pa.Array]]:
    """Yield the rows of a query, some thousands at a time, as one binary array for each column.

    Raises:
        pymysql.Error: The server refuses, or breaks off.
        OSError: The connection breaks, or is silent for too long.
    """
    connection.query(query, unbuffered=True)
    result = connection._result  # type: ignore[attr-defined]  # noqa: SLF001 - its own reading of rows is replaced
    stream = connection._rfile  # type: ignore[attr-defined]  # noqa: SLF001 - as above
    waiting, ended = b"", False
    try:
        while not ended:
            block = stream.read1(BLOCK_BYTES)
            if not block:
                raise pymysql.OperationalError(LOST, "the server closed the connection")
            content, starts, used, ended = _split(waiting + block)
            waiting = content[used:]
            if starts:
                yield _columns(content, np.array(starts, np.int64), result.field_count)
    finally:  # else PyMySQL would wait for the rows that it has not seen
        result.unbuffered_active = False


def _split(content: bytes) -> tuple[bytes, list[int], int, bool]:
    """Find the rows in what was received.

    Returns:
        The content, rows that came in several packets joined; where each whole row begins; how
        much of the content they take; whether it is the last of it.
    """
    starts: list[int] = []
    position, size = 0, len(content)
    while (begin := position + HEADER) <= size:
        length = int.from_bytes(content[position : position + 3], "little")
        end = begin + length
        if length == LONGEST_PACKET:  # the row goes on in the next packet
            content, end = _joined(content, position)
            size = len(content)
        if end > size:
            break
        if content[begin] == ERROR:
            pymysql.err.raise_mysql_exception(content[begin:end])
        if content[begin] == END and length <= LONGEST_END:
            return content, starts, end, True
        starts.append(begin)
        position = end
    return content, starts, position, False


def _joined(content: bytes, position: int) -> tuple[bytes, int]:
    """Join the packets of the row that begins at a position, if all of them are there.

    Returns:
        The content, with one header for the row; where the row ends, which is beyond the content
        if that does not hold all of it.
    """
    pieces: list[bytes] = []
    end, length = position, LONGEST_PACKET
    while length == LONGEST_PACKET:
        length = int.from_bytes(content[end : end + 3], "little")
        pieces.append(content[end + HEADER : end + HEADER + length])
        end += HEADER + length
        if end > len(content):
            return content, end
    row = b"".join(pieces)
    begin = position + HEADER
    return content[:begin] + row + content[end:], begin + len(row)


def _columns(content: bytes, starts: NDArray[np.int64], count: int) -> list[pa.Array]:
    """Return the values of each column.

    The content is taken as one array of values and what lies between them, and each column's values
    are then taken out of it.
    """
    data = np.frombuffer(content, np.uint8)
    edges = np.empty((len(starts), 2 * count), np.int32)
    is_null = np.empty((len(starts), count), np.bool_)
    position = starts
    for number in range(count):
        begin, length, is_null[:, number] = _lengths(data, position)
        position = begin + length
        edges[:, 2 * number], edges[:, 2 * number + 1] = begin, position
    pieces = edges.size
    offsets = pa.py_buffer(np.append(edges.ravel(), np.int32(len(content))))
    whole = pa.Array.from_buffers(
        pa.binary(), pieces, [None, offsets, pa.py_buffer(content)], null_count=0
    )
    return [
        whole.take(pa.array(np.arange(2 * number, pieces, 2 * count), mask=is_null[:, number]))
        for number in range(count)
    ]


def _lengths(
    data: NDArray[np.uint8], position: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return where values begin whose lengths stand at positions, the lengths, and the nulls."""
    first = data[position]
    begin, length = position + 1, first.astype(np.int64)
    is_null = first == NULL
    length[is_null] = 0
    for mark, size in LENGTH_BYTES.items():
        rows = np.flatnonzero(first == mark)
        digits = [
            data[begin[rows] + number].astype(np.int64) << 8 * number for number in range(size)
        ]
        length[rows] = np.sum(digits, axis=0)
        begin[rows] += size
    return begin, length, is_null
