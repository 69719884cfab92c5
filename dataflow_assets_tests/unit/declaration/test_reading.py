"""Words about reading text: what goes together, and what a digest makes of them."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from dataflow_assets.builders.stores import digest_of
from dataflow_assets.declaration.contract import Column, Contract

KINDS = "trim, collapse, lower, upper, title, strip_html, nfc, nfkc"


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ({"type": "string", "decimal_mark": ","}, "decimal_mark does not apply to st"),
        ({"type": "int64", "decimal_mark": ","}, "only to float and decimal; to whole"),
        ({"type": "date", "thousands_mark": ","}, "thousands_mark does not apply to d"),
        ({"type": "boolean", "units": {"kg": 1}}, "units does not apply to boolean, o"),
        ({"type": "date", "ambiguous": "later"}, "ambiguous does not apply to date,"),
        ({"type": "string", "timezone_from": "z"}, "timezone_from does not apply to s"),
        ({"type": "timestamp", "ambiguous": "later"}, "ambiguous needs a timezone: th"),
        ({"type": "timestamp", "skipped": "later"}, "skipped needs a timezone: th"),
        (
            {"type": "timestamp", "timezone": "Asia/Tokyo", "ambiguous": "earliest"},
            "should be 'earlier' or 'later'",
        ),
        (
            {"type": "timestamp", "timezone": "UTC", "timezone_from": "z"},
            "give timezone or timezone_from, not both",
        ),
        ({"type": "float64", "decimal_mark": "; "}, "'; ' is no mark: it is one character"),
        ({"type": "float64", "decimal_mark": "e"}, "'e' is no mark"),
        ({"type": "float64", "decimal_mark": "-"}, "'-' is no mark"),
        ({"type": "float64", "decimal_mark": " "}, "decimal_mark cannot be white space"),
        ({"type": "float64", "thousands_mark": "."}, "'.' is the decimal mark too; se"),
        ({"type": "float64", "grouping": "indian"}, "grouping says where thousands_mark stands"),
        (
            {"type": "float64", "thousands_mark": ",", "grouping": "chinese"},
            "'thousands' or 'indian'",
        ),
        ({"type": "float64", "negatives": "brackets"}, "'parentheses' or 'trailing_minus'"),
        ({"type": "float64", "currency": ["$", "$"]}, "currency and units name '$' twice"),
        ({"type": "float64", "currency": ""}, "numbers without one are read anyway"),
        ({"type": "float64", "currency": "1st"}, "must not begin with a digit"),
        ({"type": "float64", "currency": "(x"}, "a sign or a bracket"),
        ({"type": "float64", "currency": " $"}, "white space"),
        ({"type": "float64", "currency": "US1"}, "the currency 'US1' ends with a digit"),
        ({"type": "float64", "currency": ".x"}, "'.x' begins with a mark of numbers"),
        ({"type": "float64", "currency": 5}, "valid tuple"),
        ({"type": "float64", "percent": True}, 'percent is a unit: write units: {"%": 0.01}'),
        ({"type": "float64", "units": {}}, "at least 1 item"),
        ({"type": "float64", "units": {"kg": 0}}, "0 is no factor"),
        ({"type": "float64", "units": {"kg": "1e30"}}, "is no factor: a number but 0,"),
        ({"type": "float64", "units": {"kg": "many"}}, "valid decimal"),
        ({"type": "float64", "units": {True: 1}}, "True is no text to YAML"),
        (
            {"type": "float64", "units": {"kg": 1, "KG": 2}, "ignore_case": True},
            "currency and units name 'KG' twice",
        ),
        ({"type": "boolean", "formats": ["a/b", "c/a"]}, "'a' stands for true and for false"),
        (
            {"type": "boolean", "formats": ["a/b", "B/c"], "ignore_case": True},
            "'b' stands for true and for false",
        ),
        ({"default": [1]}, "a default is one value"),
        ({"clean": "lower"}, "valid tuple"),
        ({"clean": ["lwer"]}, f"'lwer' is no step; there are {KINDS}, and with words"),
        ({"clean": [{}]}, f"a step is exactly one of {KINDS}, replace"),
        ({"clean": [{"replace": {"a": "b"}, "map": {"a": "b"}}]}, "begin another with a dash"),
        ({"clean": [{"replace": {}}]}, "at least 1 item"),
        ({"clean": [{"replace": {"": "b"}}]}, "replace has nothing to look for"),
        ({"clean": [{"replace": {1: "b"}}]}, "1 is no text to YAML: write what"),
        ({"clean": [{"replace_pattern": {"a": "b", "c": "d"}}]}, "at most 1 item"),
        ({"clean": [{"map": {True: "b"}}]}, "True is no text to YAML"),
        ({"clean": [{"map": {"a": 1}}]}, "1 is no text to YAML"),
        ({"clean": [{"map": {"a": "b"}, "others": "drop"}]}, "'quarantine', 'keep' or 'none'"),
        ({"clean": [{"map": {"a": "b", "A": "c"}}], "ignore_case": True}, "maps 'A' twice"),
        ({"clean": [{"replace": {"a": "b"}, "others": "keep"}]}, "others belongs to map"),
        ({"clean": [{"split": "/"}]}, "split and part belong together"),
        ({"clean": [{"step": "lower", "part": 1}]}, "split and part belong together"),
        ({"clean": [{"split": "/", "part": 0}]}, "parts count from 1, or from -1 backwards"),
        ({"clean": [{"split": "", "part": 1}]}, "at least 1 item"),
    ],
)  # fmt: skip
def test_words_that_do_not_go_together(column: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(reason)):
        Column.model_validate(column)


@pytest.mark.parametrize(
    "column",
    [
        {"type": "int64", "decimal_mark": ",", "thousands_mark": ".", "units": {"t": 1000}},
        {"type": "int64", "thousands_mark": "."},
        {"type": "float64", "currency": "Rs."},
        {"type": "float64", "units": {"sq ft": 0.09290304, "m2": 1, "\u00b0C": 1, "": 1}},
        {"type": "timestamp", "timezone_from": "zone", "ambiguous": "earlier"},
        {"type": "boolean", "formats": ["ja/nein", "wahr/nein"]},
        {"clean": [{"map": {"a": None}}]},
    ],
)
def test_words_that_go_together(column: dict[str, Any]) -> None:
    Column.model_validate(column)


def test_a_factor_is_what_is_written() -> None:
    column = Column.model_validate({"type": "float64", "units": {"lb": 0.45359237}})
    assert column.units == {"lb": Decimal("0.45359237")}


@pytest.mark.parametrize(
    ("zone", "reason"),
    [
        ({}, "timezone_from of at names 'zone', which is no column; columns are at"),
        (
            {"zone": "int64"},
            "timezone_from of at names 'zone', a int64; names of",
        ),
    ],
)
def test_the_column_of_zones_must_be_there(zone: dict[str, Any], reason: str) -> None:
    columns = {"at": {"type": "timestamp", "timezone_from": "zone"}, **zone}
    with pytest.raises(ValidationError, match=reason):
        Contract.model_validate({"columns": columns})


def digest_with(**words: Any) -> str:  # noqa: ANN401 - YAML
    return digest_of(Contract.model_validate({"columns": {"a": {"type": "float64", **words}}}))


def test_a_contract_that_says_nothing_of_reading_is_what_it_was() -> None:
    """Its digest stands beside what it published before there were the words."""
    assert digest_with() == digest_with(ignore_case=False, clean=[], currency=[], default=None)
    assert digest_of(Contract.model_validate({"columns": {"a": "string"}})) == "72278f2b9f1a85ff"


@pytest.mark.parametrize(
    "words",
    [
        {"thousands_mark": ","},
        {"default": 0},
        {"ignore_case": True},
        {"units": {"a": 1, "b": 2}},
        {"units": {"a": 2, "b": 1}},
        {"currency": "$"},
        {"clean": ["lower"]},
        {"clean": ["lower", "trim"]},
        {"clean": ["trim", "lower"]},
        {"clean": [{"map": {"description": "x"}}]},
        {"clean": [{"map": {"description": "y"}}]},
    ],
)
def test_every_word_counts(words: dict[str, Any]) -> None:
    others: list[dict[str, Any]] = [
        {},
        {"clean": [{"map": {"description": "z"}}]},
        {"default": 1},
        {"units": {"a": 1, "b": 3}},
    ]
    assert digest_with(**words) not in [digest_with(**other) for other in others]


def test_only_descriptions_do_not_count() -> None:
    def described(kind: str, description: str) -> str:
        column = {"type": kind, "description": description}
        return digest_of(Contract.model_validate({"columns": {"description": column}}))

    assert described("string", "a") == described("string", "b") != described("int64", "a")
