"""JSON documents and lines as tables, held against Python's own reader."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dataflow_assets.declaration.extract import Files
from dataflow_assets.errors import HeaderError, UnreadableFileError
from dataflow_assets.extract.extractor import union_of
from dataflow_assets.extract.json import MOST_COLUMNS, JsonReader
from dataflow_assets.extract.names import column_name
from dataflow_assets_tests.unit.extract.samples import contract, good, read, rejected, snapshot

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

SMALL = {"block_bytes": 64}
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="_*^"), min_size=1, max_size=8)
NUMBERS = st.sampled_from(["0", "-0", "1.10", "1e400", "-2E-5", "9" * 200, "0.1", "1e0"])
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


class Number(str):
    """The text of a number."""

    __slots__ = ()


def written(value: Any, spaces: str) -> str:  # noqa: ANN401 - JSON of any shape
    """Return a value as JSON, in which numbers are written as they are and blanks stand about."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, list):
        return f"[{spaces}" + f"{spaces},".join(written(one, spaces) for one in value) + "]"
    if isinstance(value, dict):
        pairs = (f"{json.dumps(k)}{spaces}:{written(v, spaces)}" for k, v in value.items())
        return "{" + spaces + f",{spaces}".join(pairs) + spaces + "}"
    return json.dumps(value, ensure_ascii=len(spaces) == 1)


def shown(value: Any, spaces: str) -> str | None:  # noqa: ANN401 - JSON of any shape
    """Return the text that a value's column must hold."""
    if value is None:
        return None
    return value if type(value) is str else written(value, spaces)


VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS.map(Number) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
RECORDS = st.lists(st.dictionaries(NAMES, VALUES, max_size=5), max_size=12)
RELAXED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def rows_of(table: pa.Table) -> list[dict[str, str]]:
    """Return the values of each record that has any."""
    listed = table.drop_columns(["_file", "_version", "_line", "_reject", "_text"]).to_pylist()
    return [{name: value for name, value in row.items() if value is not None} for row in listed]


def expected(records: list[dict[str, Any]], spaces: str) -> list[dict[str, str]]:
    each = ({name: shown(value, spaces) for name, value in one.items()} for one in records)
    return [{name: value for name, value in one.items() if value is not None} for one in each]


@RELAXED
@given(
    RECORDS, st.sampled_from(["", " ", "\t \t", "     "]), st.sampled_from(["\n", "\r\n", "\n\n"])
)
@example([{"a": {}}, {}, {"": ""}, {"a": [{}]}], "", "\n")
def test_lines_are_what_python_reads(
    tmp_path: Path, records: list[dict[str, Any]], spaces: str, end: str
) -> None:
    lines = [written(one, spaces) for one in records]
    content = end.join([*lines, ""]).encode()
    table = read(snapshot(tmp_path, content), format="jsonl", sizes=SMALL)
    named = [{name or "column_": value for name, value in one.items()} for one in records]
    assert rows_of(table) == expected(named, spaces)
    assert rejected(table) == []
    assert table["_line"].to_pylist() == [1 + n * end.count("\n") for n in range(len(records))]
    for line, row in zip(lines, rows_of(table), strict=True):
        assert {k: v for k, v in json.loads(line).items() if isinstance(v, str)}.items() <= {
            (k if k != "column_" else ""): v for k, v in row.items()
        }.items()


EVEN = st.dictionaries(NAMES, st.none(), min_size=1, max_size=4).flatmap(
    lambda names: st.lists(st.fixed_dictionaries(dict.fromkeys(names, VALUES)), min_size=2)
)


@RELAXED
@given(EVEN, st.sampled_from(["", " ", "\t \t"]), st.integers(0, 20))
def test_records_with_the_same_names_and_one_that_differs(
    tmp_path: Path, records: list[dict[str, Any]], spaces: str, odd: int
) -> None:
    """Same names in the same order take a shorter way; one record may end that anywhere."""
    if odd < len(records):
        last = list(records[odd])[-1]
        records[odd][last[:-1] + chr(ord(last[-1]) ^ 1)] = records[odd].pop(last)  # as long
    content = "\n".join(written(one, spaces) for one in records).encode()
    table = read(snapshot(tmp_path, content), format="jsonl", sizes={"block_bytes": 1 << 20})
    assert rejected(table) == []
    kept = [{column_name(name): value for name, value in one.items()} for one in records]
    assert rows_of(table) == expected(kept, spaces)


def test_rows_are_kept_until_they_are_wanted(tmp_path: Path) -> None:
    """A file's columns are asked for first: its rows are made then, and not again."""
    scratch = tmp_path / "scratch"
    declared = Files.model_validate({"path": "x", "format": "jsonl"})
    reader = JsonReader(declared, contract("a"), scratch=scratch, block_bytes=1 << 20)
    lines = b"".join(b'{"a": "%d", "b": "%s"}\n' % (n, b"x" * 90) for n in range(300_000))
    big, small = snapshot(tmp_path, lines, "big"), snapshot(tmp_path, b'{"c": 1}\n', "small")
    columns = union_of([reader.schema(big), reader.schema(small), reader.schema(big)])
    assert columns.names == ["a", "b", "c"]
    assert list(scratch.iterdir()) == []  # the file has no name
    for taken in (big, small):
        taken.path.unlink()
    assert sum(table.num_rows for table in reader.rows(big, columns)) == 300_000
    (table,) = reader.rows(small, columns)
    assert good(table) == [(None, None, "1")]
    with pytest.raises(UnreadableFileError):
        list(reader.rows(small, columns))


@RELAXED
@given(RECORDS, st.sampled_from(["", " ", "\n  "]), st.sampled_from([(), ("data", "a.b")]))
def test_documents_are_what_python_reads(
    tmp_path: Path, records: list[dict[str, Any]], spaces: str, path: tuple[str, ...]
) -> None:
    document: Any = records
    for name in reversed(path):
        document = {"b": [{name: 1}], "more": "x" * 90, name: document, "after": {"c": [None]}}
    content = f"{spaces}{written(document, spaces)}{spaces}".encode()
    table = read(snapshot(tmp_path, content), format="json", json={"records": path}, sizes=SMALL)
    named = [{name or "column_": value for name, value in one.items()} for one in records]
    assert rows_of(table) == expected(named, spaces)
    assert table["_line"].to_pylist() == list(range(1, len(records) + 1))


DOCUMENT = b'{"n": [1, "]"], "d": {"i": [{"a": "\\"x,", "b": {"c": [1]}}, {"a": 2.50}], "k": {}}}'


@pytest.mark.parametrize("block", [7, 1 << 20])
def test_a_document_that_breaks_off_keeps_its_whole_records(tmp_path: Path, block: int) -> None:
    ends = (DOCUMENT.index(b"}, {") + 1, DOCUMENT.index(b"}], ") + 1)
    records = [{"a": '"x,', "b": '{"c": [1]}'}, {"a": "2.50"}]
    for cut in range(1, len(DOCUMENT)):
        taken = snapshot(tmp_path, DOCUMENT[:cut])
        sizes = {"block_bytes": block}
        table = read(taken, format="json", json={"records": "d.i"}, sizes=sizes)
        whole = sum(end <= cut for end in ends)
        assert rows_of(table)[:whole] == records[:whole], cut
        numbers = [(number, kind) for number, kind, _ in rejected(table)]
        assert numbers == [(whole + 1, "truncated")], cut


def test_a_whole_document_has_no_rejects(tmp_path: Path) -> None:
    table = read(snapshot(tmp_path, DOCUMENT), format="json", json={"records": "d.i"})
    assert table.num_rows == 2
    assert rejected(table) == []


LINES = b'{"a": 1, "b": "x"}\n{"a": [{}], "b": null}\n{"a": "\\u00e9"}'


def test_lines_that_break_off_keep_the_others(tmp_path: Path) -> None:
    ends = (18, 41, len(LINES))
    for cut in range(1, len(LINES) + 1):
        content = LINES[:cut]
        table = read(snapshot(tmp_path, content), format="jsonl", sizes=SMALL)
        whole = sum(end <= cut for end in ends)
        kept = [row["_line"] for row in table.to_pylist() if row["_reject"] is None]
        assert kept == list(range(1, whole + 1)), cut
        rest = [one.decode() for one in content.split(b"\n")[whole:] if one]
        found = [(kind, text) for _, kind, text in rejected(table)]
        assert found == [("truncated", text) for text in rest], cut


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b'{"a": 01}', "invalid"),
        (b'{"a": 1,}', "invalid"),
        (b"{'a': 1}", "invalid"),
        (b'{"a": "\t"}', "invalid"),
        (b'{"a": 1} {"a": 2}', "invalid"),
        (b'{"a": tru}', "invalid"),
        (b"<html>", "invalid"),
        (b"[1, 2]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"a": 1, "a": 2}', "duplicate_key"),
        (b'{"a": 1, "\\u0061": 2}', "duplicate_key"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"a": "\xff"}', "encoding"),
        (b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", "too_deep"),
    ],
)
def test_a_bad_line_does_not_hurt_its_neighbours(tmp_path: Path, line: bytes, kind: str) -> None:
    content = b'{"a": "before"}\n' + line + b'\n\n{"a": "after"}\n'
    table = read(snapshot(tmp_path, content), format="jsonl")
    assert [(number, why) for number, why, _ in rejected(table)] == [(2, kind)]
    assert rejected(table)[0][2].encode("utf-8", "backslashreplace").startswith(line[:6])
    assert good(table) == [("before",), ("after",)]
    assert table["_line"].to_pylist() == [1, 2, 4]


def test_lines_are_not_counted_alone(tmp_path: Path) -> None:
    content = b'{"a": 1} {"a": 2}\n{"a": [3\n,4]}\n'
    table = read(snapshot(tmp_path, content), format="jsonl")
    assert [(number, kind) for number, kind, _ in rejected(table)] == [
        (1, "invalid"),
        (2, "invalid"),
        (3, "invalid"),
    ]
    content = b'{"a": [1\n2]}\n{"a": 3}  \n'
    table = read(snapshot(tmp_path, content), format="jsonl")
    assert [number for number, _, _ in rejected(table)] == [1, 2]
    assert good(table) == [("3",)]


def test_an_element_that_is_no_record_does_not_hurt_its_neighbours(tmp_path: Path) -> None:
    content = b'[{"a": 1}, 7, {"a": tru}, [{"a": 2}], {"a": 1, "a": 1}, {"a": 3},]'
    table = read(snapshot(tmp_path, content), format="json")
    assert good(table) == [("1",), ("3",)]
    assert rejected(table) == [
        (2, "not_an_object", "7"),
        (3, "invalid", '{"a": tru}'),
        (4, "not_an_object", '[{"a": 2}]'),
        (5, "duplicate_key", '{"a": 1, "a": 1}'),
        (7, "invalid", ""),
    ]


@pytest.mark.parametrize(
    ("content", "rows", "kinds"),
    [
        (b"", [], []),
        (b" \n", [], []),
        (b"[]", [], []),
        (b'{"a": 1}', ["1"], []),
        (b'{"a": 1}\n{"a": 2}\n', ["1", "2"], []),
        (b'[{"a": 1}][{"a": 2}]', ["1", "2"], []),
        (b'[{"a": 1}}', ["1"], ["truncated"]),
        (b'[{"a": 1}] x', ["1"], ["invalid"]),
        (b"7", [], ["invalid"]),
        (b'{"a": 1}\0\0\0', ["1"], []),
        (codecs.BOM_UTF8 + b'[{"a": 1}]', ["1"], []),
        ('[{"a": "\u20ac"}]'.encode("utf-16"), ["\u20ac"], []),
        ('[{"a": "\u20ac"}]'.encode("utf-16-le"), ["\u20ac"], []),
    ],
)
def test_documents_of_every_form(
    tmp_path: Path, content: bytes, rows: list[str], kinds: list[str]
) -> None:
    table = read(snapshot(tmp_path, content), format="json")
    assert [row[0] for row in good(table)] == rows
    assert [kind for _, kind, _ in rejected(table)] == kinds


def test_numbers_that_json_does_not_know_are_kept(tmp_path: Path) -> None:
    content = b'{"a": NaN, "b": [Infinity], "c": "NaN"}\n{"a": -Infinity}\n{"a": 1NaN}\n'
    table = read(snapshot(tmp_path, content), format="jsonl")
    assert rows_of(table)[:2] == [{"a": "NaN", "b": "[Infinity]", "c": "NaN"}, {"a": "-Infinity"}]
    assert rejected(table) == [(3, "invalid", '{"a": 1NaN}')]


def test_a_nul_escape_stays_for_the_contract_to_judge(tmp_path: Path) -> None:
    table = read(snapshot(tmp_path, b'{"a": "x\\u0000y"}\n'), format="jsonl")
    assert good(table) == [("x\0y",)]


def test_what_the_contract_names_with_a_dot_is_flattened(tmp_path: Path) -> None:
    content = b"""{"id": 1, "address": {"city": "Graz", "geo": {"lat": 1.50, "lon": null}}}
{"id": 2, "address": {"city": "Wien", "zip": "1010", "geo": []}, "address.note": "literal"}
{"id": 3, "address": "unknown"}
{"id": 4, "address": {}}
{"id": 5, "address": {"city": "A"}, "address.city": "B"}
"""
    promised = contract("id", "address.city", "address.geo.lat", "address.geo")
    table = read(snapshot(tmp_path, content), promised, format="jsonl")
    assert rows_of(table.slice(0, 4)) == [
        {
            "id": "1",
            "address.city": "Graz",
            "address.geo": '{"lat": 1.50, "lon": null}',
            "address.geo.lat": "1.50",
        },
        {
            "id": "2",
            "address.city": "Wien",
            "address.zip": "1010",
            "address.geo": "[]",
            "address.note": "literal",
        },
        {"id": "3", "address": "unknown"},
        {"id": "4"},
    ]
    assert [(number, kind) for number, kind, _ in rejected(table)] == [(5, "duplicate_key")]


def test_reserved_names_become_names_of_columns(tmp_path: Path) -> None:
    table = read(snapshot(tmp_path, b'{"_id": 1, "^x$": 2, "*": 3, "": 4}\n'), format="jsonl")
    assert table.column_names[:4] == ["column_id", "column^x$", "column*", "column_"]
    assert good(table) == [("1", "2", "3", "4")]


def test_a_record_that_is_too_long_is_passed_over(tmp_path: Path) -> None:
    sizes = {"block_bytes": 64, "most_record_bytes": 512}
    long = b'{"a": "' + b'\\"[,' * 1_000 + b'"}'
    lines = b'{"a": 1}\n' + long + b'\n{"a": 2}\n'
    table = read(snapshot(tmp_path, lines), format="jsonl", sizes=sizes)
    assert good(table) == [("1",), ("2",)]
    assert [(number, kind) for number, kind, _ in rejected(table)] == [(2, "too_long")]
    document = b'{"x": ' + long + b', "r": [{"a": 1}, ' + long + b', {"a": 2}]}'
    taken = snapshot(tmp_path, document)
    table = read(taken, format="json", json={"records": "r"}, sizes=sizes)
    assert good(table) == [("1",), ("2",)]
    assert [(number, kind) for number, kind, _ in rejected(table)] == [(2, "too_long")]


@pytest.mark.parametrize("content", [b'{"data": {}}', b"[]", b'{"data": 1}', b"{}"])
def test_a_path_that_leads_nowhere_is_an_error(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(HeaderError, match=r"data\.items"):
        read(snapshot(tmp_path, content), format="json", json={"records": "data.items"})


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b'{"data": {"items": [{"a": 1}]}, "x": [1], "data": {"items": [{"a": 2}]}}', "at the top"),
        (b'{"data": {"items": [{"a": 1}], "x": {}, "items": [{"a": 2}]}}', "in data"),
        (b'{"data": {"items": null, "it\\u0065ms": [{"a": 2}]}}', "in data"),
        (b'{"data": {"items": {"a": 1}}}\n{"data": {"items": []}, "data" :1}', "at the top"),
    ],
)
def test_a_name_twice_on_the_way_is_an_error(
    tmp_path: Path, content: bytes, place: str, block: int
) -> None:
    taken, sizes = snapshot(tmp_path, content), {"block_bytes": block}
    with pytest.raises(HeaderError, match=f"twice {place}"):
        read(taken, format="json", json={"records": "data.items"}, sizes=sizes)


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
def test_names_of_the_way_elsewhere_are_no_error(tmp_path: Path, block: int) -> None:
    content = (
        b'{"items": {"data": 1}, "data": {"data": 2, "items": [{"a": 1}], "n": {"items": 3}}, '
        b'"n": "\\"data\\": ", "m": [{"data": 4}]} {"data": {"items": [{"a": 2}]}, "x": 1}'
    )
    taken, sizes = snapshot(tmp_path, content), {"block_bytes": block}
    table = read(taken, format="json", json={"records": "data.items"}, sizes=sizes)
    assert good(table) == [("1",), ("2",)]


def test_a_path_that_leads_to_null_gives_no_rows(tmp_path: Path) -> None:
    table = read(snapshot(tmp_path, b'{"a": null, "b": 1}'), format="json", json={"records": "a"})
    assert table.num_rows == 0


def test_names_that_are_values_are_an_error(tmp_path: Path) -> None:
    names = ", ".join(f'"user {n}": {n}' for n in range(MOST_COLUMNS + 1))
    with pytest.raises(HeaderError, match="seem to be values"):
        read(snapshot(tmp_path, f"{{{names}}}\n".encode()), format="jsonl")


def test_members_of_archives_are_read_one_by_one(tmp_path: Path) -> None:
    lines = b'{"a": 1}\n{"b": 2}\n'
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("x.jsonl", lines)
        archive.writestr("y.jsonl", b'{"a": 3}')
    table = read(snapshot(tmp_path, packed.getvalue(), "s.zip"), format="jsonl")
    assert rows_of(table) == [{"a": "1"}, {"b": "2"}, {"a": "3"}]
    assert table["_file"].to_pylist() == ["s.zip!x.jsonl"] * 2 + ["s.zip!y.jsonl"]
    assert rows_of(read(snapshot(tmp_path, gzip.compress(lines)), format="jsonl")) == [
        {"a": "1"},
        {"b": "2"},
    ]
    with pytest.raises(UnreadableFileError):
        read(snapshot(tmp_path, gzip.compress(lines * 500)[:-40]), format="jsonl")


@RELAXED
@given(st.binary(max_size=200))
@example(b"NaN")
@example(b'{"a":"\\"}')
@example(b'[{"a":{}}\\')
@example(b'{"\\":1}')
@example(b" [ ]")
def test_no_bytes_crash_a_reader(tmp_path: Path, content: bytes) -> None:
    for kind in ("json", "jsonl"):
        table = read(snapshot(tmp_path, content), format=kind, sizes=SMALL)
        bare = content.translate(None, b" \t\r\n\0")
        assert table.num_rows or bare[:2] in (b"", b"[]", b"\xff\xfe")


@RELAXED
@given(st.lists(st.sampled_from(list('{}[]:,"\\ \n1an')), max_size=40).map("".join))
def test_no_text_of_marks_is_misread(tmp_path: Path, text: str) -> None:
    table = read(snapshot(tmp_path, text.encode()), format="jsonl", sizes=SMALL)
    lines = text.split("\n")
    for row in table.to_pylist():
        line = lines[row["_line"] - 1]
        try:
            pairs = json.loads(line, object_pairs_hook=list)
            valid = line.lstrip()[:1] == "{" and len(dict(pairs)) == len(pairs)
        except ValueError:
            valid = False
        assert (row["_reject"] is None) == valid, line
    assert table.num_rows == sum(bool(line.strip()) for line in lines)
