from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.errors import SampleError
from dataflow_assets.extract.sniffing.documents import guess_records, member_names, parse
from dataflow_assets.extract.sniffing.formats import Head, sort_of_bytes, sort_of_text

ROWS = [{"id": 1}, {"id": 2}]


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (ROWS, ()),
        ({"items": ROWS}, ("items",)),
        ({"data": {"items": ROWS}, "meta": {"n": 2}}, ("data", "items")),
        ({"few": ROWS, "many": ROWS * 3}, ("many",)),
        ({"a.b": ROWS}, ("a.b",)),
        ({"width": 3, "values": [1, 2, 3]}, ()),
    ],
)
def test_records_are_found(document: object, path: tuple[str, ...]) -> None:
    guess = guess_records(document)
    assert guess is not None
    assert guess.path == path


@pytest.mark.parametrize("document", [[1, 2], [], "x", None, 3, [[1], [2]]])
def test_no_records(document: object) -> None:
    assert guess_records(document) is None


def test_other_lists_are_told_of() -> None:
    guess = guess_records({"few": ROWS, "many": ROWS * 3})
    assert guess is not None
    assert guess.others == ((("few",), 2),)


@settings(deadline=None)
@given(st.integers(0, 400))
def test_a_document_that_is_cut_off_keeps_its_whole_records(cut: int) -> None:
    rows = [
        {"id": n, "name": 'a "quoted" [x]', "in": {"list": [1, 2, {"a": None}]}} for n in range(6)
    ]
    whole = json.dumps({"meta": {"n": 6}, "items": rows})
    text = whole[: len(whole) - cut]
    document = parse(text)
    if document is not None and "items" in document:
        kept = document["items"]
        assert kept[:-1] == rows[: len(kept) - 1]


def test_members() -> None:
    assert member_names(['{"a": 1}', '{"b": {"c": 2}}']) == ["a", "b"]
    assert member_names(['{"a": 1}', "[1]"]) == []
    assert member_names(['{"a": 1}', "{"]) == []


@pytest.mark.parametrize(
    ("name", "text", "sort"),
    [
        ("a.json", '{"a": 1}', "json"),
        ("a.jsonl", '{"a": 1}', "jsonl"),
        ("a.json", '{"a": 1}\n{"a": 2}\n', "jsonl"),
        ("a.json.gz", '[{"a": 1}]', "json"),
        ("a.json", '{\n "a": 1}', "json"),
        ("a.log", "[2024-01-01] INFO x\n[2024-01-02] INFO y\n", "json"),
        ("a.log", "[main] INFO x\n", "delimited"),
        ("a.csv", "a,b\n", "delimited"),
        ("a.xml", "<?xml version='1.0'?><rss/>", "xml"),
    ],
)
def test_sorts_of_text(name: str, text: str, sort: str) -> None:
    assert sort_of_text(name, text) == sort


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("a.csv", b"", "it is empty"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "PNG image"),
        ("a.pdf", b"%PDF-1.4", "PDF"),
        ("a.arrow", b"ARROW1\0\0", "write it as Parquet"),
        ("a.bz2", b"BZh91AY", "use gzip"),
    ],
)
def test_what_is_no_data_is_refused(name: str, content: bytes, why: str) -> None:
    with pytest.raises(SampleError, match=why):
        sort_of_bytes(Head(name, content, cut=False))


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("README.md", "# Title\n", "Markdown"),
        ("x", "<!DOCTYPE html>\n<html>", "web page"),
        ("dump.sql", "CREATE TABLE a (b int);", "SQL"),
        ("dump", "-- x\nINSERT INTO a VALUES (1);", "SQL"),
        ("x.bin", "a\0\0b", "no text"),
    ],
)
def test_texts_that_are_no_data_are_refused(name: str, text: str, why: str) -> None:
    with pytest.raises(SampleError, match=why):
        sort_of_text(name, text)
