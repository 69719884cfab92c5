"""Values that arrive with a type, as values of a contract's types."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.declaration.contract import Column, Contract
from dataflow_assets.texts import text_of
from dataflow_assets.transform.clean import CleaningPlan
from dataflow_assets.transform.typed import typed_unread_of, typed_value_of
from dataflow_assets.transform.types import polars_type
from dataflow_assets_tests.unit.transform.raw_rows import raw_rows

UTC = dt.UTC
BERLIN = ZoneInfo("Europe/Berlin")
MOMENT = dt.datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)
NAIVE = MOMENT.replace(tzinfo=None)
RELAXED = settings(max_examples=100, deadline=None)


def reading(
    values: pl.Series, declared: str | dict[str, Any], tokens: tuple[str, ...] = ("",)
) -> tuple[list[Any], list[Any]]:
    """Return the values of a column, and the texts of those that have none."""
    column = Column.model_validate(declared)
    raw, dtype = pl.col("raw"), values.dtype
    frame = (
        values.alias("raw")
        .to_frame()
        .with_columns(value=typed_value_of(raw, dtype, column, tokens))
    )
    frame = frame.with_columns(rest=typed_unread_of(raw, pl.col("value"), dtype, column, tokens))
    assert frame.schema["value"] == polars_type(column.type)
    return frame["value"].to_list(), frame["rest"].to_list()


@pytest.mark.parametrize(
    ("values", "declared", "expected"),
    [
        (pl.Series([3.0, 3.5, -0.0, 1e30, None]), "int64", [3, "3.5", 0, "1e+30", None]),
        (pl.Series([math.nan, math.inf, 1.5]), "float64", ["NaN", "inf", 1.5]),
        (pl.Series([300, -1, 255]), "uint8", ["300", "-1", 255]),
        (pl.Series([2**64 - 1], dtype=pl.UInt64), "int64", [str(2**64 - 1)]),
        (pl.Series([2**53 + 1, 2**53]), "float64", [float(2**53), float(2**53)]),
        (pl.Series([0.5, 1e300]), "float32", [0.5, "1e+300"]),
        (pl.Series([Decimal("1.50"), Decimal("1.55")]), "decimal(10, 1)", [Decimal("1.5"), "1.55"]),
        (pl.Series([Decimal("3.00"), Decimal("3.10")]), "int8", [3, "3.10"]),
        (pl.Series([0.1, 1.25, 1e16]), "decimal(20, 1)", [Decimal("0.1"), "1.25", Decimal(10**16)]),
        (pl.Series([7, 10**10]), "decimal(5, 2)", [Decimal(7), str(10**10)]),
        (pl.Series([1, 0, 2]), "boolean", [True, False, "2"]),
        (pl.Series([True, False]), "int8", ["true", "false"]),
        (
            pl.Series([20240506, 5]),
            {"type": "date", "formats": ["%Y%m%d"]},
            [dt.date(2024, 5, 6), "5"],
        ),
        (
            pl.Series([1714979289]),
            {"type": "timestamp", "formats": ["%s"]},
            [MOMENT.replace(microsecond=0)],
        ),
        (pl.Series([NAIVE]), "timestamp", [MOMENT]),
        (
            pl.Series([dt.datetime(2024, 3, 31, 2, 30), dt.datetime(2024, 7, 1)]),  # noqa: DTZ001
            {"type": "timestamp", "timezone": "Europe/Berlin"},
            ["2024-03-31T02:30:00", dt.datetime(2024, 6, 30, 22, tzinfo=UTC)],
        ),
        (pl.Series([MOMENT]).dt.convert_time_zone("Europe/Berlin"), "timestamp", [MOMENT]),
        (
            pl.Series([dt.date(2024, 7, 1)]),
            {"type": "timestamp", "timezone": "Europe/Berlin"},
            [dt.datetime(2024, 6, 30, 22, tzinfo=UTC)],
        ),
        (
            pl.Series([1_714_979_289_123_456_789, 10**18]).cast(pl.Datetime("ns")),
            "timestamp",
            ["2024-05-06T07:08:09.123456789", dt.datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)],
        ),
        (
            pl.Series([NAIVE, NAIVE.replace(hour=0, minute=0, second=0, microsecond=0)]),
            "date",
            ["2024-05-06T07:08:09.123456", dt.date(2024, 5, 6)],
        ),
        (pl.Series([dt.time(1, 2, 3, 4)]), "time", [dt.time(1, 2, 3, 4)]),
        (pl.Series([dt.time(1, 2)]), "timestamp", ["01:02:00"]),
        (pl.Series([dt.timedelta(hours=1)]), "int64", ["PT1H"]),
        (pl.Series([[1], None]), "int64", ["[1]", None]),
        (pl.Series([None, None]), "int64", [None, None]),
        (pl.Series(["7", "x"], dtype=pl.Categorical), "int64", [7, "x"]),
        (pl.Series([b"7", b"\xff"]), "int64", [7, "ff"]),
    ],
)
def test_a_value_is_exact_or_none(
    values: pl.Series, declared: str | dict[str, Any], expected: list[Any]
) -> None:
    found, rest = reading(values, declared)
    assert [
        text if value is None else value for value, text in zip(found, rest, strict=True)
    ] == expected
    assert all(value is None or text is None for value, text in zip(found, rest, strict=True))


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pl.Series([1.5, 3.0, None]), ["1.5", "3.0", None]),
        (pl.Series([2**63 - 1]), ["9223372036854775807"]),
        (pl.Series([True]), ["true"]),
        (pl.Series([Decimal("1.50")]), ["1.50"]),
        (pl.Series([NAIVE]), ["2024-05-06T07:08:09.123456"]),
        (
            pl.Series([MOMENT]).dt.convert_time_zone("Europe/Berlin"),
            ["2024-05-06T09:08:09.123456+02:00"],
        ),
        (pl.Series([dt.date(2024, 5, 6)]), ["2024-05-06"]),
        (pl.Series([dt.time(1, 2, 3, 4)]), ["01:02:03.000004"]),
        (pl.Series([b"x", b"\xff\x00", None]), ["x", "ff00", None]),
        (
            pl.Series([{"a": [1, None], "b": {"c": '\u20ac"'}}, None]),
            ['{"a":[1,null],"b":{"c":"\u20ac\\""}}', None],
        ),
        (pl.Series([[dt.time(1, 2, 3, 4)], []]), ['["01:02:03.000004"]', "[]"]),
        (pl.Series([[b"x", b"\xff", None]]), ['["x", "ff", null]']),
        (
            pl.Series([{"a": 1, "b": None}, None, {}], dtype=pl.Map(pl.String, pl.Int64)),
            ['{"a":1,"b":null}', None, "{}"],
        ),
        (
            pl.Series([{1: b"\xff", 2: None}], dtype=pl.Map(pl.Int64, pl.Binary)),
            ['{"1": "ff", "2": null}'],
        ),
        (
            pl.Series([{MOMENT.date(): [dt.time(1)]}], dtype=pl.Map(pl.Date, pl.List(pl.Time))),
            ['{"2024-05-06": ["01:00:00"]}'],
        ),
    ],
)
def test_every_type_has_a_text(values: pl.Series, texts: list[str | None]) -> None:
    assert text_of(values).to_list() == texts
    assert reading(values, "string")[0] == texts


@pytest.mark.parametrize("unit", ["ms", "us"])
def test_moments_far_from_now_have_no_value(unit: Any) -> None:  # noqa: ANN401 - a literal
    values = pl.Series([2**62, -(2**62)]).cast(pl.Datetime(unit))
    texts = [f"{2**62} {unit} since 1970", f"-{2**62} {unit} since 1970"]
    for declared in ("timestamp", "date", {"type": "timestamp", "timezone": "Europe/Berlin"}):
        assert reading(values, declared) == ([None, None], texts)
    days = pl.Series([2**31 - 1, -719_163, -719_162, 2_932_896, 2_932_897], dtype=pl.Int32)
    for declared in ("date", "timestamp"):
        assert reading(days.cast(pl.Date), declared)[1] == [
            "2147483647 days since 1970",
            "-719163 days since 1970",
            None,
            None,
            "2932897 days since 1970",
        ]


def test_null_tokens_mean_no_value_only_in_text() -> None:
    assert reading(pl.Series([math.nan, -1.0]), "float64", ("NaN", "-1")) == (
        [None, -1.0],
        [None, None],
    )
    assert reading(pl.Series([-1]), "string", ("-1",)) == (["-1"], [None])


@RELAXED
@given(
    st.lists(st.floats() | st.none(), min_size=1),
    st.sampled_from(["int8", "int64", "uint64", "float32", "float64", "decimal(38, 9)"]),
)
def test_no_float_becomes_another_number(values: list[float | None], declared: str) -> None:
    found, rest = reading(pl.Series(values, dtype=pl.Float64), declared)
    for given_, value, text in zip(values, found, rest, strict=True):
        assert (given_ is None) == (value is None and text is None)
        if value is not None and given_ is not None and declared == "float32":
            assert value == np.float32(given_)
        elif value is not None and given_ is not None and declared.startswith("decimal"):
            assert float(value) == given_
        elif value is not None:
            assert value == given_


@RELAXED
@given(
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1),
    st.sampled_from(
        ["int8", "int32", "uint8", "uint64", "decimal(19, 0)", "decimal(38, 2)", "string"]
    ),
)
def test_no_whole_number_becomes_another(values: list[int], declared: str) -> None:
    found, rest = reading(pl.Series(values, dtype=pl.Int64), declared)
    for given_, value, text in zip(values, found, rest, strict=True):
        if value is None:
            assert text == str(given_)
        else:
            assert str(value) == str(given_) if declared == "string" else value == given_


@RELAXED
@given(st.lists(st.integers(-(2**62), 2**62), min_size=1), st.sampled_from(["ms", "us", "ns"]))
def test_no_moment_becomes_another(numbers: list[int], unit: Any) -> None:  # noqa: ANN401 - a literal
    values = pl.Series(numbers).cast(pl.Datetime(unit, "UTC"))
    found, rest = reading(values, "timestamp")
    per_second = {"ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    for number, value, text in zip(numbers, found, rest, strict=True):
        assert (value is None) == (text is not None)
        if value is not None:
            since = value - dt.datetime(1970, 1, 1, tzinfo=UTC)
            microseconds = (since.days * 86_400 + since.seconds) * 10**6 + since.microseconds
            assert microseconds * per_second == number * 10**6


def test_typed_rows_are_judged_as_others() -> None:
    contract = Contract.model_validate(
        {
            "columns": {"id": "int64", "share": {"type": "float64", "max": 1}, "at": "timestamp"},
            "key": ["id"],
            "unknown_columns": "quarantine",
            "rules": {"small": {"sql": "share < 0.9"}},
        }
    )
    types = {
        "id": pl.Float64(),
        "share": pl.Float64(),
        "at": pl.Datetime("us"),
        "more": pl.List(pl.Int64),
    }
    rows = raw_rows({"id": [None] * 5}).drop("id").collect()
    rows = rows.with_columns(
        id=pl.Series([1.0, 2.0, 2.5, None, 5.0]),
        share=pl.Series([0.5, 2.0, 0.5, 0.5, 0.5]),
        at=pl.Series([NAIVE] * 5),
        more=pl.Series([None, None, None, None, [1]], dtype=pl.List(pl.Int64)),
    )
    plan = CleaningPlan(contract, pl.Schema(types), "parquet")
    for cleaned in (plan.clean(rows.lazy()), plan.clean_in_memory(rows)):
        assert cleaned.good.collect()["id"].to_list() == [1]
        found = cleaned.findings.sort("_row").collect()
        reasons = {
            row["_row"]: [(one["rule"], one["value"]) for one in row["reasons"]]
            for row in found.iter_rows(named=True)
        }
        assert reasons == {
            1: [("share__range", "2.0"), ("small", '{"share":"2.0"}')],
            2: [("id__type", "2.5")],
            3: [("id__required", None)],
            4: [("more__unknown", "[1]")],
        }
        assert (
            found["row"][3]
            == '{"id":"5.0","share":"0.5","at":"2024-05-06T07:08:09.123456","more":"[1]"}'
        )
    assert plan.key_hashes(rows.lazy()).collect().height == 3
