"""Rows of any lengths, cut anywhere while they arrive, come out as they went in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pymysql
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.extract.databases import mysql_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

END = b"\xfe\x00\x00\x02\x00"
VALUES = st.one_of(
    st.none(),
    st.binary(max_size=20),
    st.sampled_from([0, 250, 251, 252, 254, 255, 256, 65_535, 65_536]).map(lambda n: b"x" * n),
)
TABLES = st.integers(1, 4).flatmap(
    lambda count: st.lists(st.lists(VALUES, min_size=count, max_size=count), max_size=20)
)


class Stream:
    """Gives content in blocks of given sizes, over and over."""

    def __init__(self, content: bytes, sizes: Sequence[int]) -> None:
        self.content, self.sizes, self.turn = content, sizes, 0

    def read1(self, size: int) -> bytes:
        size = min(size, self.sizes[self.turn % len(self.sizes)])
        self.turn += 1
        block, self.content = self.content[:size], self.content[size:]
        return block


class Connection:
    """What is used of PyMySQL's."""

    def __init__(self, content: bytes, sizes: Sequence[int], count: int) -> None:
        self._rfile = Stream(content, sizes)
        self._result = type("Result", (), {"field_count": count, "unbuffered_active": True})()

    def query(self, _: str, *, unbuffered: bool) -> None:
        assert unbuffered


def _field(value: bytes | None) -> bytes:
    if value is None:
        return b"\xfb"
    size = len(value)
    if size < 251:
        return bytes([size]) + value
    mark, width = next(one for one in ((0xFC, 2), (0xFD, 3), (0xFE, 8)) if size < 1 << 8 * one[1])
    return bytes([mark]) + size.to_bytes(width, "little") + value


def _packets(payload: bytes) -> bytes:
    """Cut a payload into packets as the server does."""
    longest = mysql_rows.LONGEST_PACKET
    pieces = [payload[at : at + longest] for at in range(0, len(payload) + 1, longest)]
    return b"".join(len(one).to_bytes(3, "little") + b"\1" + one for one in pieces)


def _read(payloads: Sequence[bytes], sizes: Sequence[int], count: int) -> list[tuple[Any, ...]]:
    content = b"".join(map(_packets, payloads))
    connection: Any = Connection(content, sizes, count)
    rows: list[tuple[Any, ...]] = []
    for columns in mysql_rows.rows_of(connection, "select"):
        rows += zip(*(one.to_pylist() for one in columns), strict=True)
    return rows


@settings(deadline=None)
@given(TABLES, st.lists(st.integers(1, 70_000), min_size=1, max_size=5))
def test_rows_come_out_as_they_went_in(table: list[list[bytes | None]], sizes: list[int]) -> None:
    sizes = [max(size, 50) for size in sizes]
    payloads = [b"".join(map(_field, row)) for row in table]
    count = len(table[0]) if table else 1
    assert _read([*payloads, END], sizes, count) == list(map(tuple, table))


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(1, 9))
def test_rows_of_several_packets(beyond: int, size: int) -> None:
    longest = mysql_rows.LONGEST_PACKET
    mysql_rows.LONGEST_PACKET = 20  # packets of 16 MB would take seconds
    try:
        table = [[b"a"], [b"y" * (20 * beyond - 1)], [b"z" * (20 * beyond)], [b"b"]]
        payloads = [b"".join(map(_field, row)) for row in table]
        assert _read([*payloads, END], [size], 1) == list(map(tuple, table))
    finally:
        mysql_rows.LONGEST_PACKET = longest


def test_what_is_cut_off_or_an_error_is_never_the_end() -> None:
    row = _field(b"value")
    with pytest.raises(pymysql.OperationalError, match="closed"):
        _read([row, row], [7], 1)
    error = b"\xff" + (1927).to_bytes(2, "little") + b"#70100Connection was killed"
    with pytest.raises(pymysql.Error, match="killed"):
        _read([row, error], [7], 1)
