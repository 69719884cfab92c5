"""Headers of files, each once."""

from __future__ import annotations

import pyarrow as pa

from dataflow_assets.builders.headers import headers_of

TEXT, NUMBER = pa.string(), pa.int64()


def test_each_set_of_columns_is_kept_once_in_its_order() -> None:
    one = pa.schema([("a", TEXT), ("b", NUMBER)])
    other = pa.schema([("b", NUMBER), ("a", TEXT)])
    typed = pa.schema([("a", TEXT), ("b", TEXT)])
    found = headers_of(iter([one, pa.schema([]), one, other, typed, one, pa.schema([])]))
    assert found.numbers == (0, None, 0, 1, 2, 0, None)
    assert found.schemas == (one, other, typed)
    assert [list(header.columns.items()) for header in found.headers] == [
        [("a", "string"), ("b", "int64")],
        [("b", "int64"), ("a", "string")],
        [("a", "string"), ("b", "string")],
    ]


def test_files_without_columns_have_no_header() -> None:
    assert headers_of([]).numbers == ()
    assert headers_of([pa.schema([])]).headers == ()
