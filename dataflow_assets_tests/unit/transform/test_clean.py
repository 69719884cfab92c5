"""What becomes of raw rows: good, quarantined, filtered or duplicate."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.declaration.contract import Contract
from dataflow_assets.errors import HeaderError
from dataflow_assets.transform.clean import CleaningPlan
from dataflow_assets.transform.quarantine import quarantine_rows
from dataflow_assets.transform.rules import contract_rules
from dataflow_assets_tests.unit.transform.raw_rows import raw_rows

EVENTS: dict[str, Any] = {
    "key": ["id"],
    "keep": {"latest_by": "at"},
    "columns": {
        "id": "int64",
        "at": "timestamp",
        "mag": {"type": "float64", "source_name": "magnitude", "min": -2, "max": 10},
        "kind": {"one_of": ["quake", "blast"]},
        "note": {"max_length": 5, "severity": "warn"},
    },
    "where": "kind <> 'blast'",
    "rules": {"mag_is_no_id": {"sql": "mag <> id"}},
}


def plan_for(
    texts: dict[str, list[str | None]] | list[str],
    **words: Any,  # noqa: ANN401 - YAML
) -> CleaningPlan:
    return CleaningPlan(Contract.model_validate({**EVENTS, **words}), list(texts))


def outcome_of(
    texts: dict[str, list[str | None]],
    rejects: list[str | None] | None = None,
    losers: list[bool] | None = None,
    **words: Any,  # noqa: ANN401 - YAML
) -> tuple[pl.DataFrame, pl.DataFrame]:
    plan = plan_for(texts, **words)
    flags = None if losers is None else np.array(losers, dtype=np.bool_)
    cleaned = plan.clean(raw_rows(texts, rejects), flags)
    good, findings = pl.collect_all([cleaned.good, cleaned.findings], engine="streaming")
    assert good.schema == plan.cleaned_schema
    return good, findings


def broken(findings: pl.DataFrame) -> list[list[str]]:
    return [[reason["rule"] for reason in reasons] for reasons in findings["reasons"].to_list()]


def test_good_rows_are_typed_and_say_where_they_come_from() -> None:
    good, findings = outcome_of(
        {
            "id": [" 7 "],
            "at": ["2024-01-01T00:00:00Z"],
            "magnitude": ["1.5"],
            "kind": ["quake"],
            "note": [""],
            "extra": [" as is "],
        }
    )
    assert findings.height == 0
    assert good.row(0, named=True) == {
        "id": 7,
        "at": dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        "mag": 1.5,
        "kind": "quake",
        "note": None,
        "extra": " as is ",
        "_file": "a.csv",
        "_version": "00ff00ff00ff00ff",
        "_line": 2,
    }


def test_each_finding_shows_its_outcome_reasons_and_row() -> None:
    good, findings = outcome_of(
        {
            "id": ["1", "x", "3", "4", None, None, "7", "5"],
            "at": [None] * 8,
            "magnitude": ["1", "11", "3", None, None, None, None, "5.5"],
            "kind": ["quake", "flood", "quake", "blast", None, None, "quake", "quake"],
            "note": ["fine", None, None, None, None, None, None, "too long"],
        },
        rejects=[None, None, None, None, "quote", "repeated_header", None, None],
        losers=[False] * 6 + [True, False],
    )
    assert good["id"].to_list() == [5]
    by_row = {row["_row"]: row for row in findings.iter_rows(named=True)}
    assert {number: row["outcome"] for number, row in by_row.items()} == {
        0: "quarantined",
        1: "quarantined",
        2: "quarantined",
        3: "filtered",
        4: "quarantined",
        5: "filtered",
        6: "duplicate",
        7: "warned",
    }
    assert by_row[1]["reasons"] == [
        {
            "column": "id",
            "rule": "id__type",
            "severity": "quarantine",
            "value": "x",
            "message": None,
        },
        {
            "column": "mag",
            "rule": "mag__range",
            "severity": "quarantine",
            "value": "11",
            "message": None,
        },
        {
            "column": "kind",
            "rule": "kind__one_of",
            "severity": "quarantine",
            "value": "flood",
            "message": None,
        },
    ]
    assert json.loads(by_row[1]["row"]) == {
        "id": "x", "at": None, "magnitude": "11", "kind": "flood", "note": None,
    }  # fmt: skip
    (reason,) = by_row[2]["reasons"]
    assert (reason["rule"], reason["column"]) == ("mag_is_no_id", None)
    assert json.loads(reason["value"]) == {"mag": "3", "id": "3"}
    assert by_row[4]["row"] == "torn quote"
    assert by_row[4]["reasons"] == [
        {
            "column": None,
            "rule": "csv__quote",
            "severity": "quarantine",
            "value": "torn quote",
            "message": None,
        }
    ]
    assert [r["rule"] for r in by_row[7]["reasons"]] == ["note__length"]
    assert all(by_row[n]["reasons"] == [] and by_row[n]["row"] is None for n in (3, 5, 6))
    assert by_row[7]["row"] is None
    assert [row["_line"] for row in by_row.values()] == [row["_row"] + 2 for row in by_row.values()]


def test_the_quarantine_lists_rule_ids_beside_reasons() -> None:
    _, findings = outcome_of(
        {"id": ["x", "2"], "at": ["never", ""], "magnitude": ["", ""], "kind": ["quake", "blast"]}
    )
    rows = quarantine_rows(findings.lazy(), "p").collect()
    assert rows.drop("_partition", "state").columns == [
        "_file",
        "_version",
        "_line",
        "rules",
        "reasons",
        "row",
    ]
    assert rows.select("_partition", "state").rows() == [("p", "open")]
    assert rows["rules"].to_list() == [["id__type", "at__type"]]


def test_a_rule_or_filter_that_is_null() -> None:
    good, findings = outcome_of(
        {"id": ["1", "2"], "at": ["", ""], "magnitude": ["", ""], "kind": ["quake", ""]}
    )
    assert good["id"].to_list() == [1]
    assert findings["outcome"].to_list() == ["filtered"]


def test_the_key_has_a_value_even_where_its_column_only_warns() -> None:
    words: dict[str, Any] = {
        "columns": {"id": {"type": "int64", "severity": "warn"}},
        "where": None,
        "rules": {},
    }
    good, findings = outcome_of({"id": ["1", "", "x"]}, keep="last", **words)
    assert good["id"].to_list() == [1]
    assert broken(findings) == [["id__required"], ["id__type"]]


def test_a_column_that_only_warns_keeps_the_row_without_the_value() -> None:
    words: dict[str, Any] = {
        "columns": {"n": {"type": "int8", "severity": "warn", "required": True}}
    }
    good, findings = outcome_of(
        {"n": ["1", "900", ""]}, key=[], keep="last", where=None, rules={}, **words
    )
    assert good["n"].to_list() == [1, None, None]
    assert findings["outcome"].to_list() == ["warned"] * 2
    assert broken(findings) == [["n__type"], ["n__required"]]


def simple(column: dict[str, Any], texts: list[str | None]) -> tuple[list[Any], list[list[str]]]:
    words: dict[str, Any] = {
        "columns": {"c": column},
        "key": [],
        "keep": "last",
        "where": None,
        "rules": {},
    }
    good, findings = outcome_of({"c": texts}, **words)
    return good["c"].to_list(), broken(findings)


@pytest.mark.parametrize(
    ("column", "good", "bad", "rule"),
    [
        ({"pattern": "[a-z]+|x1"}, ["abc", "x1"], ["abc1", "a\nb", "ab\n\u2028x"], "pattern"),
        ({"pattern": "(?i)ab$"}, ["AB"], ["abab"], "pattern"),
        ({"min_length": 2, "max_length": 3}, ["äö", "äöü"], ["ä", "äöüß"], "length"),
        ({"one_of": [1, True, "x"]}, ["1", "true", "x"], ["True", "2"], "one_of"),
        ({"type": "int64", "one_of": [1, 2]}, ["1", "+2"], ["3"], "one_of"),
        ({"type": "decimal(4,1)", "one_of": [0.5]}, [".5"], ["0.6"], "one_of"),
        ({"type": "date", "min": "2024-01-01"}, ["2024-01-01"], ["2023-12-31"], "range"),
        ({"type": "decimal(5,2)", "max": 0.1}, ["0.1", "0.10"], ["0.11"], "range"),
        ({"type": "time", "min": "08:00", "max": "17:00"}, ["08:00"], ["17:00:01"], "range"),
        ({"type": "timestamp", "timezone": "Europe/Berlin", "min": "2024-07-01T00:00:00"},
         ["2024-07-01T00:00:00", "2024-06-30T22:00:00Z"], ["2024-06-30T23:59:59"], "range"),
        ({"type": "uint64", "max": 2**64 - 1, "min": 2**63}, [str(2**64 - 1)], ["5"], "range"),
        ({"required": True}, ["x"], ["", "  ", None], "required"),
        ({}, ["x"], ["a\0b", "\0"], "nul_byte"),
    ],
)  # fmt: skip
def test_each_rule_tells_good_from_bad(
    column: dict[str, Any], good: list[str], bad: list[str], rule: str
) -> None:
    values, none = simple(column, list(good))
    assert len(values) == len(good)
    assert none == []
    values, found = simple(column, list(bad))
    assert values == []
    assert found == [[f"c__{rule}"]] * len(bad)


def test_a_long_value_is_cut_in_the_reason_but_not_in_the_row() -> None:
    words: dict[str, Any] = {
        "columns": {"c": "int64"},
        "key": [],
        "keep": "last",
        "where": None,
        "rules": {},
    }
    _, findings = outcome_of({"c": ["é" * 1000]}, **words)
    assert findings["reasons"][0][0]["value"] == "é" * 200
    assert json.loads(findings["row"][0]) == {"c": "é" * 1000}


def test_unknown_columns_follow_the_contract() -> None:
    columns: dict[str, list[str | None]] = {
        "id": ["1", "2"], "at": ["", ""], "magnitude": ["", ""], "kind": ["quake", "quake"],
        "new": ["", "x"], "mag": ["raw", "raw"],
    }  # fmt: skip
    good, _ = outcome_of(columns)
    assert good.columns[5:] == ["new", "mag_2", "_file", "_version", "_line"]
    assert good["mag_2"].to_list() == ["raw", "raw"]
    good, _ = outcome_of(columns, unknown_columns="discard")
    assert "new" not in good.columns
    with pytest.raises(HeaderError, match="'new', 'mag'"):
        outcome_of(columns, unknown_columns="freeze")
    columns["mag"] = ["", " "]
    good, findings = outcome_of(columns, unknown_columns="quarantine")
    assert good["id"].to_list() == [1]
    assert broken(findings) == [["new__unknown"]]
    assert findings["reasons"][0][0]["value"] == "x"
    assert plan_for(list(columns)).unknown_columns == ("new", "mag")


def test_a_missing_optional_column_is_null_and_said() -> None:
    plan = plan_for(["id", "kind"])
    assert plan.missing_columns == ("at", "mag", "note")
    good, _ = outcome_of({"id": ["1"], "kind": ["quake"]})
    assert good.select("at", "mag", "note").row(0) == (None, None, None)


def test_a_missing_required_column_is_named_with_what_is_there() -> None:
    words: dict[str, Any] = {
        "columns": {**EVENTS["columns"], "mag": {"source_name": "magnitude", "required": True}}
    }
    with pytest.raises(HeaderError) as raised:
        plan_for(["id", "at", "Magnitude"], rules={}, **words)
    assert "'magnitude'" in raised.value.problem
    assert "aliases" in raised.value.mend
    assert "'Magnitude'" in raised.value.mend
    with pytest.raises(HeaderError) as raised:
        plan_for(["id;at;magnitude"])
    assert "delimiter" in raised.value.mend
    assert "';'" in raised.value.mend


def test_columns_with_awkward_names() -> None:
    words: dict[str, Any] = {
        "columns": {'a "b"': "int64", "Ünï 1": "float64"},
        "key": ['a "b"'], "keep": "last", "where": None,
        "rules": {"sum_fits": {"sql": '"a ""b""" < "Ünï 1"'}},
    }  # fmt: skip
    good, findings = outcome_of({'a "b"': ["1", "5"], "Ünï 1": ["2", "2"]}, **words)
    assert good.row(0)[:2] == (1, 2.0)
    assert broken(findings) == [["sum_fits"]]


def test_no_rows_and_only_rejects() -> None:
    columns: dict[str, list[str | None]] = {"id": [], "kind": []}
    good, findings = outcome_of(columns)
    assert (good.height, findings.height) == (0, 0)
    good, findings = outcome_of({"id": [None, None]}, rejects=["ragged", "repeated_header"])
    assert good.height == 0
    assert findings["outcome"].to_list() == ["quarantined", "filtered"]


NUMBERS = st.sampled_from(["", " ", "1", "2", "2.0", "-1", "7", "1e3", "x", "٣", "11", "\0"])
KINDS = st.sampled_from(["quake", "blast", "", "flood", " quake"])
ROWS = st.lists(
    st.tuples(
        NUMBERS,
        NUMBERS,
        KINDS,
        st.none() | st.sampled_from(["ragged", "repeated_header"]),
        st.booleans(),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=80)
@given(ROWS)
def test_every_row_has_exactly_the_fate_that_the_contract_says(
    rows: list[tuple[str, str, str, str | None, bool]],
) -> None:
    columns: dict[str, list[str | None]] = {
        "id": [row[0] for row in rows],
        "magnitude": [row[1] for row in rows],
        "kind": [row[2] for row in rows],
    }
    lost = [row[4] for row in rows]
    good, findings = outcome_of(columns, [row[3] for row in rows], lost)
    fates = {line - 2: "good" for line in good["_line"]}
    for number, outcome in findings.select("_row", "outcome").iter_rows():
        if outcome != "warned":
            assert number not in fates
            fates[number] = outcome
    assert fates == {number: expected_fate(*row) for number, row in enumerate(rows)}
    assert Counter(fates.values()).total() == len(rows)
    for identity, mag, kind in good.select("id", "mag", "kind").iter_rows():
        assert isinstance(identity, int)
        assert mag is None or (-2 <= mag <= 10 and mag != identity)
        assert kind == "quake"


def expected_fate(identity: str, magnitude: str, kind: str, reject: str | None, lost: bool) -> str:  # noqa: FBT001 - a row
    if reject is not None:
        return "filtered" if reject == "repeated_header" else "quarantined"
    number = {"1": 1, "2": 2, "-1": -1, "7": 7, "11": 11}.get(identity)
    size = {"1": 1.0, "2": 2.0, "2.0": 2.0, "-1": -1.0, "7": 7.0, "": None, " ": None}
    known = kind.strip() in {"quake", "blast", ""}
    if number is None or magnitude not in size or not known or size[magnitude] == number:
        return "quarantined"
    if kind.strip() != "quake":
        return "filtered"
    return "duplicate" if lost else "good"


def test_the_ids_in_findings_are_those_of_the_contract() -> None:
    contract = Contract.model_validate(EVENTS)
    known = {rule.id for rule in contract_rules(contract)}
    _, findings = outcome_of(
        {
            "id": ["x", ""],
            "at": ["x", ""],
            "magnitude": ["x", "99"],
            "kind": ["x", ""],
            "note": ["long one", "\0"],
        }
    )
    found = {rule for rules in broken(findings) for rule in rules}
    assert found == {"id__type", "id__required", "at__type", "mag__type", "mag__range",
                     "kind__one_of", "note__length", "note__nul_byte"}  # fmt: skip
    assert found <= known


def test_rules_over_columns_that_are_missing_and_over_none() -> None:
    rules = {
        "never": {"sql": "1 = 2"},
        "size": {"sql": "mag is not null or note is not null"},
        "always": {"sql": "true"},
    }
    good, findings = outcome_of(
        {"id": ["1", "2", "3"], "kind": ["quake"] * 3}, rules=rules, where=None
    )
    assert good.height == 0
    assert broken(findings) == [["never", "size"]] * 3
    assert findings["reasons"][2].to_list() == [
        {"column": None, "rule": "never", "severity": "quarantine", "value": "{}", "message": None},
        {
            "column": None,
            "rule": "size",
            "severity": "quarantine",
            "value": '{"mag":null,"note":null}',
            "message": None,
        },
    ]
