"""Files that are read together give the rows that each gives by itself."""

from __future__ import annotations

import gzip
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dataflow_assets.declaration.extract import CsvDialect, Files
from dataflow_assets.errors import HeaderError
from dataflow_assets.extract.csv import CsvReader
from dataflow_assets.extract.extractor import raw_schema, union_of
from dataflow_assets_tests.unit.extract.samples import ANY, snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HEADERS = [
    b"id,b\n",
    b"id,b\r\n",
    b"id,b\r",
    b"id,b",
    b'"id","b"\n',
    b"\xef\xbb\xbfid,b\n",
    b"\xef\xbb\xbf\nid,b",
    b"id,b,c\n",
    b"\nid,b\n",
    b"\nid,b",
    b"\n",
    b"",
    b'"i\nd",b',
]
FIELDS = [
    b"1",
    b"",
    b"x y",
    b'"q"',
    b'"a,b"',
    b'"a\nb"',
    b'"open',
    b'end"',
    b'st"ray',
    b'"c""d"',
    b"\\",
]
FIELDS += ["ä".encode(), b"\xe4", b"\0", b"id", b"\xef\xbb\xbf"]
ROWS = st.lists(
    st.lists(st.sampled_from(FIELDS), max_size=4).map(b",".join)
    | st.sampled_from([b"id,b", b"", b'"id","b"']),
    max_size=5,
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
CONTENTS = st.builds(
    lambda header, rows, end, last: header + end.join(rows) + last,
    st.sampled_from(HEADERS),
    ROWS,
    ENDS,
    st.sampled_from([b"", b"\n", b"\r", b"\r\n", b"\0\0"]),
)
DIALECTS = st.sampled_from(
    [{}, {"ragged": "fill"}, {"quote": None}, {"escape": "\\"}, {"encoding": "utf-8"}]
)


def reader_of(block_bytes: int = 4 << 20, record: int = 1 << 20, **dialect: Any) -> CsvReader:  # noqa: ANN401
    files = Files(path="x", csv=CsvDialect(**dialect))
    return CsvReader(files, ANY, block_bytes=block_bytes, most_record_bytes=record)


def write(folder: Path, contents: Sequence[bytes]) -> list[Any]:
    return [
        snapshot(folder, content, f"{number:03}.csv") for number, content in enumerate(contents)
    ]


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(CONTENTS, min_size=2, max_size=6), st.sampled_from([1, 12, 1 << 20]), DIALECTS)
@example([b"id,b\n1,2", b"id,b\n3,4\n"], 1 << 20, {})
@example([b'id,b\n1,"open\n', b'id,b\n3,4"\n'], 1 << 20, {})
@example([b"id,b\n", b"id,b\n1,2\n", b"id,b\n"], 1 << 20, {})
@example([b"\n", b"\nid,b\n1,2\n"], 1 << 20, {})
@example([b"id,b\r1,2\r3,4\r\n"] * 2, 1 << 20, {})
@example([b"\nid,b", b"\nb,id\n1,2\n"], 1 << 20, {})
@example([b'"i\nd",b', b'"i\nd",b\n1,2\n'], 1 << 20, {})
def test_together_files_give_what_each_gives(
    tmp_path: Path, contents: list[bytes], block_bytes: int, dialect: dict[str, Any]
) -> None:
    shots = write(tmp_path, contents)
    together, places = rows_together(shots, reader_of(block_bytes, **dialect))
    assert together == rows_alone(shots, dialect)
    assert all(set(names) <= {shots[place].file.name for place in part} for part, names in places)


def rows_alone(shots: Sequence[Any], dialect: dict[str, Any]) -> Any:  # noqa: ANN401 - or an error
    """Return the rows of files, each of them read by a reader of its own; or the error."""
    try:
        schema = union_of(reader_of(**dialect).schema(shot) for shot in shots)
        return [
            row
            for shot in shots
            for table in reader_of(**dialect).rows(shot, schema)
            for row in table.to_pylist()
        ]
    except HeaderError as error:
        return str(error)


def rows_together(shots: Sequence[Any], reader: CsvReader) -> tuple[Any, list[Any]]:
    """Return the rows of files, or the error; and which files each table is of."""
    try:
        schema = union_of(map(reader.schema, shots))
        found = list(reader.rows_together(shots, schema))
    except HeaderError as error:
        return str(error), []
    assert all(table.num_rows and table.schema == raw_schema(schema) for _, table in found)
    rows = [row for _, table in found for row in table.to_pylist()]
    return rows, [(part, table["_file"].to_pylist()) for part, table in found]


def places_of(reader: CsvReader, shots: Sequence[Any]) -> list[list[int]]:
    schema = union_of(map(reader.schema, shots))
    return [list(places) for places, _ in reader.rows_together(shots, schema)]


def test_files_with_one_first_line_are_read_at_once(tmp_path: Path) -> None:
    shots = write(tmp_path, [b"id,b\n1,2\n"] * 5)
    assert places_of(reader_of(), shots) == [[0, 1, 2, 3, 4]]
    assert places_of(reader_of(block_bytes=8), shots) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(
    "other",
    [
        b"b,id\n1,2\n",
        b"id,b\n1,\0\n",
        gzip.compress(b"id,b\n1,2\n", mtime=0),  # the same in all workers
        "id,b\n1,2\n".encode("utf-16"),
        b"\n\nid,b\n1,2\n",
        b"id,b\n" + b"1,2\n" * 100_000,
    ],
)
def test_a_file_of_another_kind_is_read_by_itself(tmp_path: Path, other: bytes) -> None:
    plain = b"id,b\n1,2\n"
    shots = write(tmp_path, [plain, plain, other, plain, plain])
    places = places_of(reader_of(), shots)
    assert (places[0], places[-1]) == ([0, 1], [3, 4])
    assert set(chain.from_iterable(places[1:-1])) == {2}


def test_one_name_twice_is_not_read_at_once(tmp_path: Path) -> None:
    shot = snapshot(tmp_path, b"id,b\n1,2\n")
    assert places_of(reader_of(), [shot, shot]) == [[0], [1]]


@pytest.mark.parametrize("dialect", [{"header": False}, {"skip_lines": 1}, {"comment": "#"}])
def test_other_dialects_are_read_one_by_one(tmp_path: Path, dialect: dict[str, Any]) -> None:
    shots = write(tmp_path, [b"id,b\nid,b\n1,2\n"] * 2)
    assert places_of(reader_of(**dialect), shots) == [[0], [1]]
