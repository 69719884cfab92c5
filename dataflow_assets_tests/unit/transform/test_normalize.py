"""Mappings from a source's cleaned columns to an entity's."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from dataflow_assets.declaration.entity import EntityDeclaration
from dataflow_assets.errors import ExpressionError
from dataflow_assets.transform.normalize import Mapping, entity_schema

SCHEMA = pl.Schema(
    {
        "id": pl.String(),
        "at": pl.Datetime("us", "UTC"),
        "mag": pl.Float64(),
        "count": pl.Int32(),
        "big": pl.UInt64(),
        "price": pl.Decimal(10, 2),
        "day": pl.Date(),
        "odd name": pl.String(),
    }
)
ROWS = pl.LazyFrame(
    {
        "id": ["A", "b"],
        "at": [dt.datetime(2024, 1, 1, tzinfo=dt.UTC), None],
        "mag": [1.5, None],
        "count": [3, None],
        "big": [2**64 - 1, 0],
        "price": [Decimal("1.25"), None],
        "day": [dt.date(2024, 1, 1), None],
        "odd name": [" x ", None],
        "_file": ["f", "f"],
        "_version": ["00ff", "00ff"],
        "_line": [2, 3],
    },
    schema={**SCHEMA, "_file": pl.String(), "_version": pl.String(), "_line": pl.Int64()},
)


def mapping(kind: str, sql: str) -> tuple[Mapping, EntityDeclaration]:
    entity = EntityDeclaration.model_validate(
        {
            "name": "events",
            "key": ["event_id"],
            "columns": {"event_id": "string", "unmapped": "date", "value": kind},
            "from": {"usgs": {"event_id": "'usgs:' || id", "value": sql}},
        }
    )
    return Mapping(entity, "usgs", SCHEMA), entity


def values(kind: str, sql: str) -> list[Any]:
    mapped, entity = mapping(kind, sql)
    result = mapped.apply(ROWS).collect(engine="streaming")
    assert result.schema == {
        **entity_schema(entity),
        "_source": pl.String(),
        "_raw_ref": pl.String(),
    }
    return result["value"].to_list()


def test_rows_are_mapped_one_to_one_with_their_origin() -> None:
    mapped, _ = mapping("string", 'lower(trim("odd name"))')
    assert mapped.apply(ROWS).collect().rows() == [
        ("usgs:A", None, "x", "usgs", "00ff:2"),
        ("usgs:b", None, None, "usgs", "00ff:3"),
    ]
    assert mapped.lineage == {"event_id": ("id",), "value": ("odd name",)}


def test_a_constant_key_does_not_collapse_the_rows() -> None:
    entity = EntityDeclaration.model_validate(
        {
            "name": "one",
            "key": ["k"],
            "columns": {"k": "string"},
            "from": {"usgs": {"k": "'same'"}},
        }
    )
    mapped = Mapping(entity, "usgs", SCHEMA)
    assert mapped.apply(ROWS).collect()["k"].to_list() == ["same", "same"]
    assert mapped.apply(ROWS.head(0)).collect().height == 0


@pytest.mark.parametrize(
    ("kind", "sql", "expected"),
    [
        ("string", "id", ["A", "b"]),
        ("string", "null", [None, None]),
        ("string", "'it''s'", ["it's", "it's"]),
        ("int64", "count", [3, None]),
        ("float64", "count", [3.0, None]),
        ("float64", "0.5", [0.5, 0.5]),
        ("float32", "2", [2.0, 2.0]),
        ("int8", "-7", [-7, -7]),
        ("decimal(12,3)", "price", [Decimal("1.250"), None]),
        ("decimal(20,0)", "big", [Decimal(2**64 - 1), Decimal(0)]),
        ("boolean", "mag > 1 and count = 3", [True, None]),
        ("string", "case when mag > 1 then 'big' else 'small' end", ["big", "small"]),
        ("float64", "coalesce(mag, 0)", [1.5, 0.0]),
        ("int64", "cast(mag as bigint)", [1, None]),
        ("date", "cast(at as date)", [dt.date(2024, 1, 1), None]),
        ("timestamp", "at", [dt.datetime(2024, 1, 1, tzinfo=dt.UTC), None]),
        ("int32", "extract(year from at)", [2024, None]),
        ("float64", "cast(price as double) * 2", [2.5, None]),
        ("timestamp", "cast(day as timestamptz)", [dt.datetime(2024, 1, 1, tzinfo=dt.UTC), None]),
    ],
)
def test_expressions_give_values_of_the_declared_type(
    kind: str, sql: str, expected: list[Any]
) -> None:
    assert values(kind, sql) == expected


@pytest.mark.parametrize(
    ("kind", "sql", "says"),
    [
        ("int16", "count", "int32, but int16"),
        ("float32", "count", "int32, but float32"),
        ("float64", "big", "uint64, but float64"),
        ("int64", "big", "uint64, but int64"),
        ("uint64", "count", "int32, but uint64"),
        ("decimal(10,3)", "price", "decimal(10, 2), but decimal(10, 3)"),
        ("decimal(19,0)", "big", "uint64"),
        ("float64", "price", "decimal(10, 2), but float64"),
        ("int8", "128", "int32, but int8"),
        ("int64", "0.5", "but int64"),
        ("string", "count", "int32, but string"),
        ("float64", "id", "string, but float64"),
        ("timestamp", "day", "date, but timestamp"),
        ("timestamp", "strptime(id, '%Y')", "timestamp without a zone, but timestamp"),
        ("float64", "sum(mag)", "other rows"),
        ("int64", "count(*)", "other rows"),
        ("string", "unnest(id)", "other rows"),
        ("int64", "row_number() over ()", "other rows"),
        ("float64", "sum(mag) over (partition by id)", "other rows"),
        ("float64", "mag - lag(mag) over (order by at)", "other rows"),
        ("string", "nope", "nope"),
        ("string", "_file", "_file"),
        ("date", "current_date", "clock"),
        ("string", "id, id", "no expression"),
        ("string", "select id", "no expression"),
    ],
)
def test_what_does_not_fit_is_refused_at_load(kind: str, sql: str, says: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        mapping(kind, sql)
    assert says in raised.value.problem
    assert "events.value from usgs" in raised.value.problem
    assert sql in raised.value.problem
    assert raised.value.place == ("from", "usgs", "value")


def test_the_mend_of_a_wrong_type_is_a_cast_that_works() -> None:
    with pytest.raises(ExpressionError) as raised:
        mapping("int16", "count")
    assert "cast(... as smallint)" in raised.value.mend
    assert values("int16", "cast(count as smallint)") == [3, None]
