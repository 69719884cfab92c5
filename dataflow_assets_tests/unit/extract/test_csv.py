from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataflow_assets.declaration.extract import CsvDialect, Files
from dataflow_assets.errors import ConservationError, HeaderError
from dataflow_assets.extract.csv import CsvReader
from dataflow_assets.extract.extractor import raw_schema
from dataflow_assets_tests.unit.extract.samples import (
    ANY,
    contract,
    good,
    rejected,
    snapshot,
    table,
)

if TYPE_CHECKING:
    from pathlib import Path


def texts(*names: str) -> pa.Schema:
    return pa.schema([pa.field(name, pa.string()) for name in names])


def header(taken: Any, promised: Any = ANY, **dialect: Any) -> list[str]:  # noqa: ANN401
    files = Files(path="x", csv=CsvDialect(**dialect))
    return list(CsvReader(files, promised).schema(taken).names)


def test_a_row_carries_where_it_came_from(tmp_path: Path) -> None:
    taken = snapshot(tmp_path, b"id,note\n1,\n2,b\n")
    rows = table(taken)
    assert rows.schema == raw_schema(["id", "note"])
    assert rows.to_pylist() == [
        {
            "id": str(line - 1),
            "note": note,
            "_file": "sample.csv",
            "_version": taken.version,
            "_line": line,
            "_reject": None,
            "_text": None,
        }
        for line, note in [(2, ""), (3, "b")]
    ]


def test_polars_reads_the_written_rows_as_strings(tmp_path: Path) -> None:
    rows = table(snapshot(tmp_path, b"id\n1\n"))
    pq.write_table(rows, tmp_path / "rows.parquet")
    kinds = pl.read_parquet_schema(tmp_path / "rows.parquet")
    assert kinds.pop("_line") == pl.Int64
    assert set(kinds.values()) == {pl.String}


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n\r\n", b"\0\0\0", b"\xef\xbb\xbf", b"id,b"])
def test_a_file_without_rows_has_none(tmp_path: Path, content: bytes) -> None:
    assert table(snapshot(tmp_path, content)).num_rows == 0


def test_a_stray_quote_costs_its_own_line_alone(tmp_path: Path) -> None:
    body = b'id,b,c\n1,2,3\n4,"stray,6\n7,"8",9\n10,"11\n11",12\n13,"x"y,15\n16,17,18\n19,20,"open'
    rows = table(snapshot(tmp_path, body))
    assert good(rows) == [
        ("1", "2", "3"),
        ("7", "8", "9"),
        ("10", "11\n11", "12"),
        ("16", "17", "18"),
    ]
    assert rejected(rows) == [
        (3, "quote", '4,"stray,6'),
        (7, "quote", '13,"x"y,15'),
        (9, "quote", '19,20,"open'),
    ]
    assert rows["_line"].to_pylist() == [2, 3, 4, 5, 7, 8, 9]


def test_a_quote_that_takes_in_rows_is_stray(tmp_path: Path) -> None:
    rows = table(snapshot(tmp_path, b'id,b,c\n1,2,"3\n4,5,6\n7,8,9\n10",11,12\n'))
    assert rejected(rows) == [(2, "ragged", '1,2,"3')]
    rows = table(snapshot(tmp_path, b'id,b,c\n1,2,"3\n4,5,6\n7,8,9\n10,11,12"\n'))
    assert rejected(rows) == [(2, "quote", '1,2,"3')]
    assert good(rows) == [("4", "5", "6"), ("7", "8", "9"), ("10", "11", '12"')]


def test_text_of_several_lines_is_trusted(tmp_path: Path) -> None:
    rows = table(snapshot(tmp_path, b'id,b,c\n1,2,"3,4\r\n5,6\n\n7"\n8,9,10\n'))
    assert good(rows) == [("1", "2", "3,4\r\n5,6\n\n7"), ("8", "9", "10")]
    assert rows["_line"].to_pylist() == [2, 6]


def test_ragged_rows_are_rejected_or_filled(tmp_path: Path) -> None:
    taken = snapshot(tmp_path, b'id,b,c\n1,2\n1,2,3\n1,2,3,,\n1,2,3,x\n"a\nb",2\n')
    rows = table(taken)
    assert good(rows) == [("1", "2", "3")]
    assert [kind for _, kind, _ in rejected(rows)] == ["ragged"] * 4
    assert rejected(rows)[-1] == (6, "ragged", '"a\nb",2')
    rows = table(taken, ragged="fill")
    three, short = ("1", "2", "3"), ("1", "2", None)
    assert good(rows) == [short, three, three, ("a\nb", "2", None)]
    assert rejected(rows) == [(5, "ragged", "1,2,3,x")]
    assert rows["_line"].to_pylist() == [2, 3, 4, 5, 6]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_line_ends_may_be_of_any_kind(tmp_path: Path, ending: str) -> None:
    lines = ["id,b", "1,2", "", '3,"4\r\n5"', "6,7"]
    rows = table(snapshot(tmp_path, ending.join(lines).encode()))
    assert good(rows) == [("1", "2"), ("3", "4\r\n5"), ("6", "7")]
    assert rows["_line"].to_pylist() == [2, 4, 6]


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [
        ("utf-8-sig", "auto"),
        ("utf-16", "auto"),
        ("utf-16-le", "auto"),
        ("utf-16-be", "auto"),
        ("utf-32", "auto"),
        ("cp1252", "cp1252"),
        ("utf-16-le", "utf-16-le"),
        ("utf-8-sig", "utf-8"),
    ],
)
def test_encodings_are_detected_or_declared(tmp_path: Path, encoding: str, declared: str) -> None:
    content = "id,name of the place\n1,Málaga\n2,Größe\n".encode(encoding)
    rows = table(snapshot(tmp_path, content), encoding=declared)
    assert rows.column_names[0] == "id"
    assert good(rows) == [("1", "Málaga"), ("2", "Größe")]


@pytest.mark.parametrize(
    ("content", "encoding", "text"),
    [
        (b"id,b\n1,a\n2,\xff\xc3\n3,c\n", "auto", r"2,\xff\xc3"),
        (b"id,b\n1,a\n2,\x81\n3,c\n", "cp1252", r"2,\x81"),
        (b"id,b\n1,a\n2,\xe9\n3,c\n", "ascii", r"2,\xe9"),
        (
            "id,b\n1,a\n2,".encode("utf-16-le") + b"\x00\xdc" + "\n3,c\n".encode("utf-16-le"),
            "auto",
            r"2,\x00\xdc",
        ),
    ],
)
def test_undecodable_bytes_cost_their_record_alone(
    tmp_path: Path, content: bytes, encoding: str, text: str
) -> None:
    rows = table(snapshot(tmp_path, content), encoding=encoding)
    assert good(rows) == [("1", "a"), ("3", "c")]
    assert rejected(rows) == [(3, "encoding", text)]


def test_nul_characters_stay_unless_they_only_pad_the_file(tmp_path: Path) -> None:
    rows = table(snapshot(tmp_path, b"id,b\n1,a\0b\n2,c\n" + bytes(100)))
    assert good(rows) == [("1", "a\0b"), ("2", "c")]
    rows = table(snapshot(tmp_path, b"id,b\n2,c" + bytes(2)))
    assert good(rows) == [("2", "c\0\0")]


def test_padding_larger_than_a_record_is_padding_still(tmp_path: Path) -> None:
    sizes = {"block_bytes": 16, "most_record_bytes": 32}
    rows = table(snapshot(tmp_path, b"id,b\n1,a\n" + bytes(1000)), sizes=sizes)
    assert rows.num_rows == 1
    rows = table(snapshot(tmp_path, b"id,b\n1,a\n" + bytes(1000) + b"\n2,b\n"), sizes=sizes)
    assert [kind for _, kind, _ in rejected(rows)] == ["too_long"]
    assert good(rows) == [("1", "a"), ("2", "b")]


def test_a_delimiter_may_have_several_characters(tmp_path: Path) -> None:
    body = b'id||b||c\n1||"x||y"||a|b\n\x1f||\x1e||"\x1f||"\n1|2||3\n'
    rows = table(snapshot(tmp_path, body), delimiter="||")
    assert good(rows) == [("1", "x||y", "a|b"), ("\x1f", "\x1e", "\x1f||")]
    assert rejected(rows) == [(4, "ragged", "1|2||3")]
    rows = table(snapshot(tmp_path, 'id¦b\n1¦"¦"\n'.encode()), delimiter="¦")
    assert good(rows) == [("1", "¦")]


def test_an_escape_character_acts_within_quotes_alone(tmp_path: Path) -> None:
    body = rb"id,b" + b"\n" + rb'"a\"b","c\\"' + b"\n" + rb'\N,"\N"' + b"\n" + rb'a\",5" \"' + b"\n"
    rows = table(snapshot(tmp_path, body), escape="\\")
    assert good(rows) == [('a"b', "c\\"), ("\\N", "\\N"), ('a\\"', '5" \\"')]


def test_without_a_quote_character_quotes_are_text(tmp_path: Path) -> None:
    rows = table(snapshot(tmp_path, b'id,b\n"1,2"\n'), quote=None)
    assert good(rows) == [('"1', '2"')]


def test_comments_preamble_and_repeated_headers_are_no_rows(tmp_path: Path) -> None:
    body = b'made by "x\n\n# a\nid,b\n#,"\n1,"#\n# in"\nid,b\n\xef\xbb\xbfid,b\n2,#\n'
    rows = table(snapshot(tmp_path, body), skip_lines=1, comment="#")
    assert good(rows) == [("1", "#\n# in"), ("2", "#")]
    assert [(line, kind) for line, kind, _ in rejected(rows)] == [
        (8, "repeated_header"),
        (9, "repeated_header"),
    ]


def test_in_one_column_the_header_may_be_a_value(tmp_path: Path) -> None:
    rows = table(snapshot(tmp_path, b"id\n1\nid\n"))
    assert good(rows) == [("1",), ("id",)]


def test_names_of_columns_are_made_usable(tmp_path: Path) -> None:
    taken = snapshot(tmp_path, b'\xef\xbb\xbf id ,"a ""b""",,_x,id,id\n')
    assert header(taken) == ["id", 'a "b"', "column_3", "column_x", "id_2", "id_3"]


def test_without_a_header_columns_are_the_contracts(tmp_path: Path) -> None:
    promised = contract("a", "b")
    taken = snapshot(tmp_path, b"1,2,3\n4,5,6\n7\n")
    assert header(taken, promised, header=False) == ["a", "b", "column_3"]
    rows = table(taken, promised, header=False)
    assert (good(rows), rows["_line"].to_pylist()) == (
        [("1", "2", "3"), ("4", "5", "6")],
        [1, 2, 3],
    )
    taken = snapshot(tmp_path, b"1\n4,5\n7\n")
    assert header(taken, promised, header=False) == ["a", "b"]
    assert header(snapshot(tmp_path, b"1\n"), promised, header=False) == ["a"]


def test_the_header_is_found_below_a_preamble(tmp_path: Path) -> None:
    promised = contract("id", "b", required=("id",))
    taken = snapshot(tmp_path, b'report\n\n"of,\nx,y\nb,id\n1,2\n')
    rows = table(taken, promised, header="find")
    assert rows.column_names[:2] == ["b", "id"]
    assert (good(rows), rows["_line"].to_pylist()) == ([("1", "2")], [6])
    with pytest.raises(HeaderError, match="names id"):
        header(snapshot(tmp_path, b"x,y\n" * 200), promised, header="find")


@pytest.mark.parametrize("content", [b'id,"b\n1,2\n', b'"id"x,b\n1,2\n', b"id,\xff\n1,2\n"])
def test_a_broken_header_is_an_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(HeaderError, match=r"sample\.csv"):
        header(snapshot(tmp_path, content))


def test_columns_that_a_file_lacks_are_null_and_none_is_dropped(tmp_path: Path) -> None:
    taken = snapshot(tmp_path, b"b,id\n1,2\n")
    files = Files(path="x")
    (rows,) = CsvReader(files, ANY).rows(taken, texts("id", "more", "b"))
    assert good(rows) == [("2", None, "1")]
    with pytest.raises(ConservationError, match="b"):
        list(CsvReader(files, ANY).rows(taken, texts("id")))


def test_a_field_of_ten_megabytes_is_read_and_a_longer_record_is_not(tmp_path: Path) -> None:
    large = b"x" * (10 << 20)
    body = b'id,b\n1,"%s\n"\n2,%s%s\n3,c\n4,"stray\n' % (large, large, large)
    rows = table(snapshot(tmp_path, body + b"5,d\n" * 10))
    assert [len(field or "") for _, field in good(rows)] == [(10 << 20) + 1, 1, *[1] * 10]
    (line, kind, text), stray = rejected(rows)
    assert (line, kind, len(text), text[-1]) == (4, "too_long", (64 << 10) + 1, "…")
    assert stray == (6, "quote", '4,"stray')


def test_blocks_of_any_size_give_the_same_rows(tmp_path: Path) -> None:
    body = "".join(f'{line},"é\r\n{line}"\r\n' for line in range(50))
    taken = snapshot(tmp_path, b"id,b\r\n" + body.encode())
    whole = table(taken)
    assert whole.num_rows == 50
    for block in (1, 7, 100):
        assert table(taken, sizes={"block_bytes": block}).to_pylist() == whole.to_pylist()


def test_whoever_stops_reading_leaves_nothing_behind(tmp_path: Path) -> None:
    taken = snapshot(tmp_path, b"id,b\n" + b"1,2\n" * 1000)
    rows = CsvReader(Files(path="x"), ANY, block_bytes=100).rows(taken, texts("id", "b"))
    assert isinstance(next(rows), pa.Table)
    del rows
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("csv")]
