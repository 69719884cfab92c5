"""The rules that a contract implies, and the mistakes that are seen before there is data."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from dataflow_assets.declaration.contract import Contract
from dataflow_assets.errors import DeclarationError, ExpressionError
from dataflow_assets.transform.clean import CleaningPlan
from dataflow_assets.transform.rules import check_contract, contract_rules, contract_schema
from dataflow_assets_tests.unit.transform.raw_rows import raw_rows

COLUMNS = {"id": "int64", "depth": "float64", "status": "string", "at": "timestamp"}


def contract(columns: dict[str, Any] | None = None, **words: Any) -> Contract:  # noqa: ANN401 - YAML
    return Contract.model_validate({"columns": columns or COLUMNS, **words})


def test_every_promise_is_a_rule_with_its_severity() -> None:
    declared = contract(
        {
            "id": {"type": "int64", "severity": "warn"},
            "name": {"required": True, "min_length": 1, "pattern": "[a-z]+", "severity": "block"},
            "kind": {"one_of": ["a", "b"]},
            "size": {"type": "decimal(5,2)", "max": 10},
        },
        key=["id"],
        rules={"small": {"sql": "size < 5", "severity": "warn", "description": "is small"}},
    )
    assert [(rule.id, rule.severity) for rule in contract_rules(declared)] == [
        ("id__type", "quarantine"),
        ("id__required", "quarantine"),
        ("name__required", "block"),
        ("name__length", "block"),
        ("name__pattern", "block"),
        ("name__nul_byte", "block"),
        ("kind__one_of", "quarantine"),
        ("size__type", "quarantine"),
        ("size__range", "quarantine"),
        ("small", "warn"),
        ("csv__ragged", "quarantine"),
        ("csv__quote", "quarantine"),
        ("csv__encoding", "quarantine"),
        ("csv__too_long", "quarantine"),
    ]
    words = {rule.id: rule.description for rule in contract_rules(declared)}
    assert words["size__range"] == "size is at most 10"
    assert words["small"] == "is small"


@pytest.mark.parametrize(
    ("column", "kept", "broken"),
    [
        ({"type": "int64", "above": 3, "below": 6}, ["4", "5", ""], ["3", "6"]),
        ({"type": "float64", "above": 0.5, "max": 2}, ["0.6", "2"], ["0.5", "2.1"]),
        ({"type": "date", "below": "2024-03-01"}, ["2024-02-29"], ["2024-03-01"]),
        ({"type": "int8", "multiple_of": 3}, ["-6", "0", "9", ""], ["-5", "1"]),
        ({"type": "uint64", "multiple_of": 7}, ["18446744073709551614"], ["18446744073709551612"]),
        ({"type": "decimal(6, 2)", "multiple_of": 0.25}, ["-1.25", "7.5", "0"], ["0.3", "-0.01"]),
        ({"type": "float64", "multiple_of": 0.1}, ["0.3", "-0.7", "1e6"], ["0.35", "-0.05"]),
    ],
)
def test_bounds_left_out_and_multiples(
    column: dict[str, Any], kept: list[str], broken: list[str]
) -> None:
    declared = contract({"n": column, "m": "string"})
    plan = CleaningPlan(declared, ["n"])
    found = plan.clean(raw_rows({"n": [*kept, *broken]})).findings.collect()
    assert found["_row"].to_list() == list(range(len(kept), len(kept) + len(broken)))


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ({"type": "int64", "above": 3, "below": 3}, "above 3 and below 3 leave no value"),
        ({"type": "int64", "min": 4, "below": 4}, "min 4 and below 4 leave no value"),
        ({"type": "int64", "multiple_of": 2.5}, "'2.5' is no value of type int64"),
    ],
)
def test_bounds_that_leave_nothing(column: dict[str, Any], says: str) -> None:
    with pytest.raises(DeclarationError, match=says):
        check_contract(contract({"n": column}))


def test_the_schema_follows_the_contract() -> None:
    assert contract_schema(contract()) == pl.Schema(
        {
            "id": pl.Int64(),
            "depth": pl.Float64(),
            "status": pl.String(),
            "at": pl.Datetime("us", "UTC"),
        }
    )


@pytest.mark.parametrize(
    "sql",
    [
        "depth >= -10 and status in ('a', 'b')",
        "at > timestamptz '2024-01-01T00:00:00Z' or at is null",
        "cast(at as date) > date '2024-01-01'",
        "status like 'x%' or regexp_like(status, '^y')",
        "status = 'now()'",
        "id % 2 = 0",
        "null",
    ],
)
def test_conditions_over_a_row_are_taken(sql: str) -> None:
    check_contract(contract(where=sql, rules={"some_rule": {"sql": sql}}))


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("depht > 1", "depht"),
        ("depth >", "unable to parse"),
        ("depth", "not true or false"),
        ("at > '2024-01-01'", "string"),
        ("status > 5", "string"),
        ("sum(depth) > 5", "other rows"),
        ("depth > max(depth)", "other rows"),
        ("row_number() over (order by id) = 1", "other rows"),
        ("rank() over (order by id) < 3", "other rows"),
        ("id = 1 or exists (select 1)", "no expression"),
        ("at < now()", "clock"),
        ("cast(status as date) > date '2024-01-01'", "not supported"),
        ("unheard_of(depth)", "unheard_of"),
        ("*", "no expression"),
        ("", "no expression"),
    ],
)
def test_other_conditions_are_refused_with_their_place(sql: str, says: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        check_contract(Contract.model_construct(**{**contract().__dict__, "where": sql}))
    assert says in raised.value.problem
    assert raised.value.place == ("contract", "where")
    if sql:
        with pytest.raises(ExpressionError) as raised:
            check_contract(contract(rules={"some_rule": {"sql": sql}}))
        assert says in raised.value.problem
        assert "some_rule" in raised.value.problem
        assert sql in raised.value.problem
        assert raised.value.place == ("contract", "rules", "some_rule", "sql")


def test_the_mend_lists_the_columns() -> None:
    with pytest.raises(ExpressionError, match="id, depth, status, at"):
        check_contract(contract(where="nope = 1"))


@pytest.mark.parametrize(
    ("column", "culprit"),
    [
        ({"type": "int8", "max": 200}, "200"),
        ({"type": "date", "min": "soon"}, "soon"),
        ({"type": "decimal(5,2)", "min": 0.125}, "0.125"),
        ({"type": "int64", "one_of": [1, 2.5]}, "2.5"),
        ({"type": "boolean", "one_of": ["maybe"]}, "maybe"),
        ({"type": "timestamp", "formats": ["%Y-%m-%d %H:%M %Z"]}, "%Z"),
        ({"type": "date", "formats": ["yyyy-mm-dd"]}, "yyyy"),
        ({"pattern": "(unclosed"}, "unclosed"),
        ({"pattern": "(?=ahead)x"}, "ahead"),
        ({"pattern": "[a-z"}, "[a-z"),
        ({"type": "int8", "default": 300}, "300"),
        ({"type": "int8", "default": "n/a"}, "'n/a' is no value of type int8"),
        ({"type": "string", "default": 5}, "The default 5 is no value of type string"),
        ({"type": "boolean", "default": 1}, "The default 1 is no value of type boolean"),
        ({"type": "int8", "default": -1, "min": 0}, "breaks odd__range: odd is at least 0"),
        ({"default": "c", "one_of": ["a", "b"]}, "breaks odd__one_of: odd is one of a, b"),
        ({"default": "", "min_length": 1}, "breaks odd__length"),
    ],
)
def test_words_that_do_not_fit_the_type_are_refused(column: dict[str, Any], culprit: str) -> None:
    with pytest.raises(DeclarationError) as raised:
        check_contract(contract({"odd": column}))
    assert culprit in raised.value.problem
    assert raised.value.place == ("contract", "columns", "odd")


def test_allowed_values_are_values_and_not_texts_of_a_file() -> None:
    """Marks and steps are about what stands in the file."""
    columns = {
        "share": {"type": "float64", "decimal_mark": ",", "one_of": [0.5, 1], "default": 0.5},
        "sex": {"clean": [{"map": {"m": "male"}}], "one_of": ["male"], "default": "male"},
        "on": {"type": "boolean", "formats": ["ja/nein"], "one_of": ["ja"], "default": True},
    }
    check_contract(contract(columns))
