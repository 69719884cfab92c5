"""Texts of files, read strictly."""

from __future__ import annotations

import datetime as dt
import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.declaration.contract import Column
from dataflow_assets.errors import DeclarationError
from dataflow_assets.transform.parse import check_formats, unread_of, value_of

if TYPE_CHECKING:
    from collections.abc import Sequence

UNHURRIED = settings(deadline=None)


def read(
    texts: Sequence[str | None], tokens: tuple[str, ...] = ("",), **column: object
) -> list[Any]:
    declared = Column.model_validate(column)
    frame = pl.DataFrame({"raw": texts}, schema={"raw": pl.String})
    return frame.select(value=value_of(pl.col("raw"), declared, tokens))["value"].to_list()


def unread(texts: list[str], tokens: tuple[str, ...] = ("",), **column: object) -> list[str | None]:
    declared = Column.model_validate(column)
    value = value_of(pl.col("raw"), declared, tokens)
    frame = pl.DataFrame({"raw": texts}).with_columns(value=value)
    rest = unread_of(pl.col("raw"), pl.col("value"), declared, tokens)
    return frame.select(rest=rest)["rest"].to_list()


def utc(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)  # type: ignore[misc,arg-type]


@pytest.mark.parametrize(
    ("kind", "good"),
    [
        (
            "int64",
            {"5": 5, "+5": 5, "-0": 0, "007": 7, " 5\t": 5, "9223372036854775807": 2**63 - 1},
        ),
        ("int8", {"-128": -128, "127": 127}),
        ("uint64", {"18446744073709551615": 2**64 - 1}),
        ("float64", {"1.5": 1.5, ".5": 0.5, "5.": 5.0, "-1e3": -1000.0, "1E-3": 0.001}),
        ("float32", {"0.5": 0.5, "3e38": pytest.approx(3e38, rel=1e-6)}),
        ("decimal(7,2)", {"1.25": Decimal("1.25"), "-.5": Decimal("-0.5"), "5.": Decimal(5)}),
        ("decimal(38,0)", {"9" * 38: Decimal("9" * 38), "-1": Decimal(-1)}),
        ("boolean", {"true": True, "T": True, "YES": True, "1": True, "No": False, "0": False}),
        ("date", {"2024-02-29": dt.date(2024, 2, 29), "9999-12-31": dt.date.max}),
        ("time", {"23:59:59.5": dt.time(23, 59, 59, 500_000), "07:30": dt.time(7, 30)}),
        ("string", {"  é ": "é", "a b": "a b", "\u00a0x": "x"}),
    ],
)
def test_good_texts_have_values(kind: str, good: dict[str, Any]) -> None:
    assert read(list(good), type=kind) == list(good.values())
    assert unread(list(good), type=kind) == [None] * len(good)


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        ("int64", ["9223372036854775808", "1,000"]),
        ("int64", ["1.5", "0x10", "1_000", "1e3", "٣", "-", "+-5", "5."]),
        ("int8", ["128", "-129"]),
        ("uint8", ["-1", "256"]),
        ("float64", ["NaN", "inf", "-Infinity", "1e999", "1,5", "0x10", "1_0", "++1", "1f"]),
        ("float32", ["1e39"]),
        ("decimal(7,2)", ["1.255", "1.250", "100000", "1e3", "1_0", ".", "-", "--1", "٣"]),
        ("decimal(5,0)", ["1.", "1.0", "100000"]),
        ("boolean", ["2", "on", "truee", "ja"]),
        ("date", ["2023-02-29", "2024-01-01x", "20240101", "0000-01-01", "-001-01-01"]),
        ("date", ["10000-01-01", "31.12.2024", "+"]),
        ("time", ["24:00:00", "23:59:60", "12", "12:30:00.", "25:00", "12:30:00.000000001"]),
        ("timestamp", ["2024-01-01", "2024-02-30T00:00:00Z", "2024-01-01T24:00:00Z", "1704067200",
                       "2024-01-01T00:00:00.+12Z", "2024-01-01T00:00:00+99:00", "now",
                       "2024-01-01T00:00:00Z!", "0000-01-01T00:00:00Z"]),
    ],
)  # fmt: skip
def test_bad_texts_have_none_and_are_kept_as_unread(kind: str, bad: list[str]) -> None:
    assert read(bad, type=kind) == [None] * len(bad)
    assert unread(bad, type=kind) == bad


ISO = {
    "2024-03-01T12:30:45Z": utc(2024, 3, 1, 12, 30, 45),
    "2024-03-01T12:30:45.123Z": utc(2024, 3, 1, 12, 30, 45, 123_000),
    "2024-03-01T12:30:45.123456Z": utc(2024, 3, 1, 12, 30, 45, 123_456),
    "2024-03-01T12:30:45.1Z": utc(2024, 3, 1, 12, 30, 45, 100_000),
    "2024-03-01T12:30:45.123456789Z": utc(2024, 3, 1, 12, 30, 45, 123_456),
    "2024-03-01 12:30:45Z": utc(2024, 3, 1, 12, 30, 45),
    "2024-03-01T12:30:45": utc(2024, 3, 1, 12, 30, 45),
    "2024-03-01 12:30:45": utc(2024, 3, 1, 12, 30, 45),
    "2024-03-01 12:30:45.25": utc(2024, 3, 1, 12, 30, 45, 250_000),
    "2024-03-01T12:30:45+02:00": utc(2024, 3, 1, 10, 30, 45),
    "2024-03-01T12:30:45.5-0230": utc(2024, 3, 1, 15, 0, 45, 500_000),
    "2024-03-01 12:30:45+02": utc(2024, 3, 1, 10, 30, 45),
    "2024-03-01T12:30Z": utc(2024, 3, 1, 12, 30),
    "2024-03-01T12:30": utc(2024, 3, 1, 12, 30),
    "2024-03-01 12:30+01:00": utc(2024, 3, 1, 11, 30),
    " 2024-03-01T12:30:45Z ": utc(2024, 3, 1, 12, 30, 45),
}


def test_iso_timestamps_of_all_shapes_are_read_together_as_alone() -> None:
    assert read(list(ISO), type="timestamp") == list(ISO.values())
    assert [read([text], type="timestamp")[0] for text in ISO] == list(ISO.values())


def test_local_times_are_read_in_their_zone_and_never_guessed() -> None:
    texts = {
        "2024-07-01T12:00:00": utc(2024, 7, 1, 10),
        "2024-01-01 12:00": utc(2024, 1, 1, 11),
        "2024-07-01T12:00:00Z": utc(2024, 7, 1, 12),
        "2024-03-31T02:30:00": None,  # the clock skips it
        "2024-10-27T02:30:00": None,  # the clock shows it twice
    }
    zone: dict[str, Any] = {"type": "timestamp", "timezone": "Europe/Berlin"}
    assert read(list(texts), **zone) == list(texts.values())
    assert unread(list(texts), **zone)[3:] == list(texts)[3:]


def test_formats_are_tried_in_their_order() -> None:
    formats = ("%d/%m/%Y %H:%M:%S%.f", "%m/%d/%Y %H:%M:%S%.f", "%d %b %Y")
    texts = ["01/02/2024 03:04:05", "01/13/2024 03:04:05.5", "1/2/2024 3:4:5.25", "2024-01-01"]
    assert read(texts, type="timestamp", formats=formats) == [
        utc(2024, 2, 1, 3, 4, 5),
        utc(2024, 1, 13, 3, 4, 5, 500_000),
        utc(2024, 2, 1, 3, 4, 5, 250_000),
        None,
    ]
    dates = read(["31.12.2024", "12/31/2024"], type="date", formats=("%d.%m.%Y", "%m/%d/%Y"))
    assert dates == [dt.date(2024, 12, 31)] * 2


def test_a_format_that_ends_in_z_or_counts_seconds_is_utc_whatever_the_zone() -> None:
    zone: dict[str, Any] = {"type": "timestamp", "timezone": "Asia/Tokyo"}
    assert read(["2024-01-01T00:00:00.5Z"], formats=("%Y-%m-%dT%H:%M:%S%.fZ",), **zone) == [
        utc(2024, 1, 1, 0, 0, 0, 500_000)
    ]
    assert read(["1704067200"], formats=("%s",), **zone) == [utc(2024, 1, 1)]
    assert read(["2024-01-01 00:00:00"], formats=("%Y-%m-%d %H:%M:%S",), **zone) == [
        utc(2023, 12, 31, 15)
    ]


def test_booleans_follow_their_pairs_to_the_letter() -> None:
    assert read(["on", "off", "On", "true", "Y"], type="boolean", formats=("on/off", "Y/N")) == [
        True, False, None, None, True,
    ]  # fmt: skip


def test_null_tokens_mean_no_value_even_where_they_could_be_read() -> None:
    assert read(["-999", " -999", "-999.0", "5"], ("-999",), type="float64") == [
        None,
        None,
        -999,
        5,
    ]
    assert unread(["-999", " -999", "x"], ("-999",), type="float64") == [None, None, "x"]
    assert read(["", "NA", "n/a"], ("", "NA"), type="string") == [None, None, "n/a"]
    assert read(["", "NA", "-"], ("NA",), type="string", null_tokens=("-",)) == ["", "NA", None]
    assert read(["1900-01-01", "2024-01-01"], ("1900-01-01",), type="date") == [
        None,
        dt.date(2024, 1, 1),
    ]


def test_white_space_stays_where_trim_is_off() -> None:
    assert read([" a ", " "], type="string", trim=False) == [" a ", " "]
    assert read([" 5"], type="int64", trim=False) == [None]


@pytest.mark.parametrize(
    "kind", ["string", "int32", "decimal(9,3)", "boolean", "timestamp", "time"]
)
def test_nothing_and_nulls_are_read(kind: str) -> None:
    assert read([], type=kind) == []
    assert read([None, None], type=kind) == [None, None]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("timestamp", "%Y-%m-%dT%H:%M:%S.%f"),
        ("timestamp", "%Y-%m-%d %H:%M %Z"),
        ("timestamp", "%Y-%m-%d %H"),
        ("timestamp", "%m-%d %H:%M"),
        ("date", "%Q%"),
        ("date", "yyyy-mm-dd"),
        ("date", "%d.%m."),
        ("time", "%Y-%m-%d"),
    ],
)
def test_formats_that_would_be_misread_are_refused(kind: str, text: str) -> None:
    with pytest.raises(DeclarationError) as raised:
        check_formats(Column(type=kind, formats=(text,)))
    assert text in raised.value.problem


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("timestamp", "%Y-%m-%dT%H:%M:%S%.fZ"),
        ("timestamp", "%d %b %Y %I:%M %p"),
        ("timestamp", "%s"),
        ("timestamp", "%Y-%m-%dT%H:%M:%S%#z"),
        ("timestamp", "%Y-%m-%d"),
        ("date", "%Y-%m"),
        ("date", "%e.%m.%y"),
        ("time", "%H%M"),
    ],
)
def test_formats_that_can_be_read_are_taken(kind: str, text: str) -> None:
    check_formats(Column(type=kind, formats=(text,)))


@UNHURRIED
@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from(["", "+", " ", "00"]))
def test_whole_numbers_come_back(number: int, before: str) -> None:
    text = f"{before}{number}" if number >= 0 else str(number)
    assert read([text], type="int64") == [number]


@UNHURRIED
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_come_back_bit_by_bit(number: float) -> None:
    (value,) = read([repr(number)], type="float64")
    assert value == number
    assert math.copysign(1, value) == math.copysign(1, number)


@UNHURRIED
@given(st.decimals(-(10**15), 10**15, places=4))
def test_decimals_come_back_exactly(number: Decimal) -> None:
    assert read([format(number, "f")], type="decimal(20,4)") == [number]


@UNHURRIED
@given(st.datetimes(), st.sampled_from(["T", " "]), st.sampled_from(["Z", ""]))
def test_moments_come_back(moment: dt.datetime, between: str, zone: str) -> None:
    text = moment.isoformat(between) + zone
    assert read([text], type="timestamp") == [moment.replace(tzinfo=dt.UTC)]


VISIBLE = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=6)


@UNHURRIED
@given(st.lists(VISIBLE | st.from_regex(r"[+-]?\d{0,4}\.?\d{0,3}", fullmatch=True)))
def test_any_text_is_read_like_a_number_or_not_at_all(texts: list[str]) -> None:
    exact = re.compile(r"[+-]?[0-9]+(\.[0-9]{0,2})?|[+-]?\.[0-9]{1,2}")
    expected = [
        Decimal(text) if exact.fullmatch(text) and abs(Decimal(text)) < 10**4 else None
        for text in texts
    ]
    assert read(list(texts), type="decimal(6,2)") == expected
