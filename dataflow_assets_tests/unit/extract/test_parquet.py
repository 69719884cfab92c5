"""Parquet files of every type, from reading to cleaning."""

from __future__ import annotations

import datetime as dt
import io
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataflow_assets.errors import UnreadableFileError
from dataflow_assets.extract.extractor import union_of
from dataflow_assets.extract.tables import fitted
from dataflow_assets_tests.unit.extract.samples import ANY, contract, good, read, snapshot

if TYPE_CHECKING:
    from pathlib import Path

MOMENT = dt.datetime(2024, 5, 6, 7, 8, 9, 123456)  # noqa: DTZ001 - as in a file without zones
LATEST = MOMENT.replace(year=9999)


def packed(table: pa.Table, **options: Any) -> bytes:  # noqa: ANN401 - whatever pyarrow takes
    content = io.BytesIO()
    pq.write_table(table, content, **options)
    return content.getvalue()


ARRAYS = {
    "int8": pa.array([1, None], pa.int8()),
    "uint64": pa.array([2**64 - 1, 0], pa.uint64()),
    "float": pa.array([1.5, float("nan")], pa.float32()),
    "flag": pa.array([True, None]),
    "decimal": pa.array([Decimal("1.50"), None], pa.decimal128(10, 2)),
    "seconds": pa.array([MOMENT.replace(microsecond=0), None], pa.timestamp("ms")),
    "micros": pa.array([MOMENT, None], pa.timestamp("us", "UTC")),
    "nanos": pa.array([1_704_067_200_123_456_789, None], pa.timestamp("ns", "Europe/Berlin")),
    "day": pa.array([MOMENT.date(), None]),
    "time": pa.array([MOMENT.time(), None], pa.time64("us")),
    "bytes": pa.array([b"\xff\x00", None]),
    "list": pa.array([[1, None], None], pa.list_(pa.int64())),
    "struct": pa.array([{"a": 1, "b": ["x"]}, None]),
    "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
    "text": pa.array(["x", None]),
}


def test_types_arrive_as_they_are(tmp_path: Path) -> None:
    table = pa.table(ARRAYS)
    rows = read(snapshot(tmp_path, packed(table)), format="parquet")
    for name, array in ARRAYS.items():
        assert rows.schema.field(name).type == array.type, name
        assert rows.column(name).combine_chunks().equals(array) or name == "float", name
    assert rows["_line"].to_pylist() == [1, 2]
    assert rows["_reject"].null_count == 2


def test_types_that_nothing_later_holds_are_replaced(tmp_path: Path) -> None:
    table = pa.table(
        {
            "half": pa.array([np.float16(0.5)], pa.float16()),
            "coded": pa.array(["x"]).dictionary_encode(),
            "wide": pa.array([Decimal("1" * 50)], pa.decimal256(60, 2)),
            "large": pa.array(["x"], pa.large_string()),
            "fixed": pa.array([b"ab"], pa.binary(2)),
            "nothing": pa.nulls(1),
        }
    )
    rows = read(snapshot(tmp_path, packed(table)), format="parquet")
    assert good(rows) == [(0.5, "x", "1" * 50 + ".00", "x", b"ab", None)]
    assert rows.schema.field("half").type == pa.float32()
    assert rows.schema.field("wide").type == pa.string()


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
def test_compression_is_the_formats_own(tmp_path: Path, compression: str) -> None:
    content = packed(pa.table({"a": [1, 2]}), compression=compression, row_group_size=1)
    assert good(read(snapshot(tmp_path, content), format="parquet")) == [(1,), (2,)]


def test_old_timestamps_are_read(tmp_path: Path) -> None:
    content = packed(pa.table({"at": [LATEST]}), use_deprecated_int96_timestamps=True)
    assert good(read(snapshot(tmp_path, content), format="parquet")) == [(LATEST,)]


def test_what_the_contract_names_with_a_dot_is_flattened(tmp_path: Path) -> None:
    table = pa.table({"id": [1, 2], "place": [{"city": "Graz", "geo": {"lat": 1.5}}, None]})
    promised = contract("id", "place.city", "place.geo.lat")
    rows = read(snapshot(tmp_path, packed(table)), promised, format="parquet")
    assert rows.column_names[:3] == ["id", "place.city", "place.geo.lat"]
    assert good(rows) == [(1, "Graz", 1.5), (2, None, None)]


def test_names_are_ones_that_columns_can_have(tmp_path: Path) -> None:
    table = pa.table([pa.array([1]), pa.array([2]), pa.array([3])], names=["_file", "a", "a"])
    rows = read(snapshot(tmp_path, packed(table)), format="parquet")
    assert rows.column_names[:3] == ["column_file", "a", "a_2"]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (pa.array([1], pa.int32()), pa.array([2**40]), [1, 2**40]),
        (pa.array([2**60 + 1]), pa.array([3.0, 0.5]), [str(2**60 + 1), "3", "0.5"]),
        (pa.array([2**64 - 1], pa.uint64()), pa.array([-1]), [str(2**64 - 1), "-1"]),
        (pa.array([1], pa.int32()), pa.array([0.5]), [1.0, 0.5]),
        (pa.nulls(1), pa.array([1]), [None, 1]),
        (pa.array([True]), pa.array(["x"]), ["true", "x"]),
        (
            pa.array([dt.date(2024, 1, 2)]),
            pa.array([MOMENT]),
            ["2024-01-02", "2024-05-06T07:08:09.123456"],
        ),
        (pa.array([Decimal("1.50")]), pa.array([0.5]), ["1.50", "0.5"]),
        (pa.array([[1]]), pa.array([{"a": 1}]), ["[1]", '{"a":1}']),
        (pa.array(["x"]), pa.array([b"y"]), ["x", "y"]),
    ],
)
def test_files_of_several_types_lose_nothing_together(
    one: pa.Array, other: pa.Array, expected: list[Any]
) -> None:
    tables = [pa.table({"a": array}) for array in (one, other)]
    wanted = union_of(table.schema for table in tables)
    assert [
        value for table in tables for value in fitted(table, wanted, {}).column("a").to_pylist()
    ] == expected


def test_what_is_no_parquet_is_an_error(tmp_path: Path) -> None:
    whole = packed(pa.table({"a": list(range(1000))}))
    for content in (b"", b"PAR1", whole[:-10], whole[:400] + b"\xff" * 300 + whole[700:]):
        with pytest.raises(UnreadableFileError, match=r"sample\.csv"):
            read(snapshot(tmp_path, content), ANY, format="parquet")
