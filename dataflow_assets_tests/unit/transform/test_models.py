"""Pydantic models as contracts, against Pydantic itself."""

from __future__ import annotations

import datetime as dt
import enum
import re
import uuid
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from dataflow_assets.declaration.contract import Contract
from dataflow_assets.errors import DeclarationError, PluginError
from dataflow_assets.transform import model_rows
from dataflow_assets.transform.clean import CleaningPlan
from dataflow_assets.transform.models import model_of, with_model
from dataflow_assets.transform.rules import check_contract, contract_rules
from dataflow_assets_tests.unit.transform.models import Careful, Plain
from dataflow_assets_tests.unit.transform.raw_rows import raw_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MODULE = "dataflow_assets_tests.unit.transform.models"
GOOD = {
    "whole": "1",
    "count": "1",
    "ratio": "1",
    "price": "1",
    "flag": "1",
    "day": "2024-01-01",
    "The Code": "AB1",
    "kind": "cargo",
}
LOOSE = re.compile(
    r"\d{4}-\d{1,2}-\d{1,2}([T ]\d{1,2}:\d{1,2}(:\d{1,2}(\.\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})?)?"
    r"|\d{1,2}:\d{1,2}(:\d{1,2}(\.\d+)?)?"
)
"""Dates and times without leading zeros, with a blank before the offset, or with a leap second:
these are read, though Pydantic does not take them."""


def contract(name: str, **words: Any) -> Contract:  # noqa: ANN401 - YAML
    return with_model(Contract.model_validate({"model": f"{MODULE}:{name}", **words}))


def clean(
    declared: Contract, rows: Sequence[Mapping[str, str | None]]
) -> tuple[pl.DataFrame, dict[int, list[dict[str, Any]]]]:
    """Return the good rows, and the reasons of the others, having found both ways to agree."""
    names = [column.source_name or name for name, column in declared.columns.items()]
    raw = raw_rows({name: [row.get(name) for row in rows] for name in names})
    plan = CleaningPlan(declared, names)
    found = [plan.clean(raw), plan.clean_in_memory(raw.collect())]
    good, again = (one.good.collect() for one in found)
    findings, twice = (one.findings.collect() for one in found)
    assert good.equals(again)
    assert findings.equals(twice)
    return good, dict(findings.select("_row", "reasons").iter_rows())


NUMBERS = st.one_of(
    st.integers(-2000, 2000).map(str),
    st.integers().map(str),
    st.floats().map(str),
    st.floats(-200, 200).map("{:.2f}".format),
    st.sampled_from(["+5", "007", "1_000", "1.0", " 5", "0x1", "-0", "5.", "²", "१२", "1e400"]),
    st.text("0123456789+-._eE ", max_size=8),
)
MOMENTS = st.one_of(
    st.datetimes().map(dt.datetime.isoformat),
    st.dates().map(str),
    st.times().map(str),
    st.datetimes(timezones=st.just(dt.timezone(dt.timedelta(hours=5, minutes=30)))).map(str),
    st.sampled_from(
        ["2024-1-5", "2024-01-05T10:00Z", "2024-02-30", "1700000000", "9:30", "12:30Z"]
    ),
    st.sampled_from(["2024-01-05T23:59:60Z", "2024-01-05T10:00:00 +02:00", "2024-01-05T24:00:00"]),
    st.text("0123456789-:TZ+. ", max_size=22),
)
WORDS = st.one_of(
    st.sampled_from(["true", "YES", "f", "on", "0", "Y", "cargo", "Cargo", "dark", "1", "3", "2"]),
    st.sampled_from(["AB1", "AB12345", "xAB1", "AB1\n", "ÄB1", "AB٣", "a", "ab"]),
    st.uuids().map(str),
    st.uuids(version=4).map(lambda one: str(one).upper()),
    st.uuids().map(lambda one: one.hex),
    st.text(max_size=6),
)


def plain(value: Any) -> Any:  # noqa: ANN401 - of any type
    """Return what Pydantic made of a text as a column holds it."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dt.datetime) and value.tzinfo is None:
        return value.replace(tzinfo=dt.UTC)
    return str(value) if isinstance(value, uuid.UUID) else value


def test_a_clock_speaks_before_pydantic_and_pydantic_where_it_is_silent() -> None:
    declared = contract("Plain", columns={"naive": {"timezone": "Europe/Berlin"}})
    rows = [{**GOOD, "naive": "2024-03-31T02:30:00"}, {**GOOD, "naive": "nonsense"}]
    _, reasons = clean(declared, rows)
    assert reasons[0][0]["message"] == "the clock of Europe/Berlin skips it that day"
    assert "valid datetime" in reasons[1][0]["message"]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(list(Plain.model_fields)), st.one_of(NUMBERS, MOMENTS, WORDS))
def test_what_is_taken_pydantic_takes_with_the_same_value(field: str, text: str) -> None:
    declared = contract("Plain")
    name = declared.columns[field].source_name or field
    row = {**GOOD, name: text}
    good, reasons = clean(declared, [row])
    given = {key: value.strip() for key, value in row.items() if value.strip()}
    try:
        theirs: Any = Plain.model_validate({"count": None, **given})
    except ValidationError as error:
        if good.height:  # only what is documented
            assert LOOSE.fullmatch(text.strip())
        else:
            (first, *_) = (one for one in error.errors() if one["loc"] == (name,))
            assert first["msg"] in [reason["message"] for reason in reasons[0]]
    else:
        if good.height:
            assert good[field].item() == plain(getattr(theirs, field))


def test_a_model_becomes_columns() -> None:
    declared = contract("Plain", key=["whole"], rules={"cheap": {"sql": "price < 100"}})
    check_contract(declared)
    said = {
        name: one.model_dump(exclude_unset=True, exclude={"type"})
        for name, one in declared.columns.items()
    }
    assert {name: one.type for name, one in declared.columns.items()} == {
        "whole": "int64",
        "even": "int64",
        "count": "int64",
        "ratio": "float64",
        "price": "decimal(7, 2)",
        "flag": "boolean",
        "day": "date",
        "moment": "timestamp",
        "aware": "timestamp",
        "naive": "timestamp",
        "clock": "time",
        "code": "string",
        "note": "string",
        "kind": "string",
        "level": "int64",
        "shade": "string",
        "ident": "string",
        "fresh": "string",
    }
    assert said["whole"] == {"required": True, "min": -5, "below": 1000}
    assert said["even"] == {"multiple_of": 2}
    assert said["count"] == {"above": 0}
    assert said["code"]["source_name"] == "The Code"
    assert said["kind"] == {"required": True, "one_of": ("cargo", "tanker")}
    assert said["level"] == {"one_of": (1, 3), "default": 1}
    model = model_of(declared)
    assert model is not None
    assert not model.validates
    assert not model.note


def test_defaults_fill_what_is_missing_or_not_sent() -> None:
    declared = contract("Plain")
    plan = CleaningPlan(declared, list(GOOD))
    good = plan.clean(raw_rows({name: [text] for name, text in GOOD.items()})).good.collect()
    assert good.select("level", "shade", "note").row(0) == (1, "dark", None)
    given, _ = clean(declared, [{**GOOD, "level": "3", "shade": ""}])
    assert given.select("level", "shade").row(0) == (3, "dark")


CAREFUL = [
    ({"number": "1", "price": "$3.5", "name": "anna maria", "site": "http://a.b"}, None),
    ({"number": "5", "price": "4", "name": "b"}, ("model", "Value error, price is below number")),
    (
        {"number": "-1", "price": "4", "name": "b"},
        ("number__range", "Input should be greater than or equal to 0"),
    ),
    (
        {"number": "1", "price": "€4", "name": "b"},
        ("price__model", "Input should be a valid number, unable to parse string as a number"),
    ),
    ({"number": "1", "price": "", "name": "b"}, ("price__required", "Field required")),
    (
        {"number": "1", "price": "4", "name": "b", "odd": "2"},
        ("odd__model", "Predicate test_models"),
    ),
    (
        {"number": "1", "price": "4", "name": "b", "tenth": "0.15"},
        ("tenth__model", "Input should be a multiple of 0.1"),
    ),
    (
        {"number": "1", "price": "4", "name": "b", "site": "nowhere"},
        ("site__model", "Input should be a valid URL, relative URL without a base"),
    ),
    ({"number": "2", "price": "4", "name": "b", "odd": "3", "tenth": "0.3"}, None),
]


def test_validators_of_a_model_see_every_row_and_give_its_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(model_rows, "BATCH", 4)
    declared = contract("Careful", key=["name"])
    check_contract(declared)
    good, reasons = clean(declared, [row for row, _ in CAREFUL])
    for number, (_, wanted) in enumerate(CAREFUL):
        if wanted is not None:
            (reason,) = reasons[number]
            assert reason["rule"] == wanted[0]
            assert reason["message"].startswith(wanted[1].partition(" test_models")[0])
    assert good.drop("_file", "_version", "_line").rows() == [
        (1, 3.5, "Anna Maria", None, 1, "http://a.b/"),
        (2, 4.0, "B", 0.3, 3, None),
    ]
    model = model_of(declared)
    assert model is not None
    assert "price" in model.note
    assert "the row as a whole" in model.note


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "number": st.sampled_from(["1", "5", "-2", "x", ""]),
                "price": st.sampled_from(["$3", "3", "7.5", "$", "", "€"]),
                "name": st.sampled_from(["anna", "BERTA", ""]),
                "odd": st.sampled_from(["", "1", "2", "3", "x"]),
                "site": st.sampled_from(["", "http://x", "x"]),
            }
        ),
        min_size=1,
        max_size=12,
    )
)
def test_the_slow_way_agrees_with_pydantic(rows: list[dict[str, str]]) -> None:
    good, reasons = clean(contract("Careful"), rows)
    taken = []
    for number, row in enumerate(rows):
        given = {name: text for name, text in row.items() if text}
        try:
            one = Careful.model_validate(given)
        except ValidationError as error:
            fields = {str(part["loc"][0]) if part["loc"] else None for part in error.errors()}
            told = {reason["column"] for reason in reasons[number]}
            assert told <= fields  # rules of columns come first, validators after them
        else:
            site = None if one.site is None else str(one.site)
            taken.append((one.number, one.price, one.name, one.tenth, one.odd, site))
    assert good.drop("_file", "_version", "_line").rows() == taken


def test_a_validator_of_the_row_as_received_gets_text() -> None:
    good, reasons = clean(contract("Whole"), [{"a": "1/2"}, {"a": "1", "b": "7"}, {"a": "x/2"}])
    assert good.select("a", "b").rows() == [(1, 2), (1, 7)]
    assert [one["rule"] for one in reasons[2]] == ["a__model"]


def test_mistakes_of_a_validator_are_those_of_a_row() -> None:
    good, reasons = clean(contract("Faulty"), [{"a": "13"}, {"a": "14"}, {"a": "15"}])
    assert good["a"].to_list() == [15]
    assert reasons[0][0]["message"] == "KeyError: 'thirteen'"
    assert reasons[1][0]["message"] == "the validated value 'none' is no int64"


def test_the_yaml_adds_to_a_model() -> None:
    declared = contract(
        "Plain",
        columns={
            "day": {"formats": ["%d.%m.%Y"], "description": "When"},
            "whole": {"type": "int16", "severity": "warn", "limit": {"rows": 3}},
            "code": {"source_name": "Code", "min_length": 1},
            "even": {"required": True},
            "more": "int8",
        },
        where="more is null or more < 5",
        null_tokens=["", "-"],
    )
    check_contract(declared)
    assert list(declared.columns)[-1] == "more"
    rows = [{**GOOD, "Code": "AB1", "day": "05.03.2024", "even": "2", "more": "-"}]
    good, _ = clean(declared, [*rows, {**rows[0], "more": "7"}])
    assert good.select("day", "whole", "more").rows() == [(dt.date(2024, 3, 5), 1, None)]
    assert good.schema["whole"] == pl.Int16()
    assert contract("Sparse", columns={"total": {"type": "decimal(9, 3)"}}).columns["total"].type


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"whole": {"min": 3}}, "the model says min: -5 of whole, and the YAML min: 3"),
        ({"whole": "string"}, "the model says type: int64"),
        ({"whole": {"type": "float64"}}, "the model says type: int64"),
        ({"whole": {"required": False}}, "the model says required: True"),
        ({"kind": {"one_of": ["cargo"]}}, "the model says one_of"),
        ({"whole": {"max": 5}}, "max and below say the same"),
    ],
)
def test_the_yaml_must_not_contradict_a_model(columns: dict[str, Any], says: str) -> None:
    with pytest.raises(DeclarationError, match=re.escape(says)) as raised:
        contract("Plain", columns=columns)
    assert raised.value.place[:2] == ("contract", "columns")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Listed", "has the field tags, which is of a type that no column has (list)"),
        ("Clock", "has the field born, which reads the clock"),
        ("Chosen", "has several aliases, or a position, for the field name"),
        ("Drawn", "has the field ident, whose default_factory"),
        ("Loose", "has the field both, which is of a type that no column has (union)"),
        ("Sparse", "has the field total, which is a Decimal without decimal_places"),
    ],
)
def test_what_no_column_can_be_is_refused(name: str, says: str) -> None:
    with pytest.raises(DeclarationError, match=re.escape(says)) as raised:
        contract(name)
    assert raised.value.place == ("contract", "model")
    assert "Decimal with max_digits" in raised.value.mend


def test_of_other_types_the_yaml_can_say_what_they_are() -> None:
    declared = contract("Loose", columns={"both": "string"})
    good, _ = clean(declared, [{"both": "5"}, {"both": "x"}])
    assert good["both"].to_list() == ["5", "x"]


def test_names_of_columns_are_checked_with_those_of_the_model() -> None:
    with pytest.raises(DeclarationError, match=r"key names 'nope'.*columns are whole, even"):
        contract("Plain", key=["nope"])
    with pytest.raises(DeclarationError, match="Pydantic, which validates each row"):
        contract("Careful", columns={"number": {"severity": "warn"}})


@pytest.mark.parametrize(
    ("words", "idle"),
    [
        ({"decimal_mark": ",", "type": "float64"}, "decimal_mark would do nothing"),
        ({"default": 3.0}, "default would do nothing"),
        ({"clean": [{"map": {"a": "1"}}]}, "map without others would do nothing"),
    ],
)
def test_words_that_would_do_nothing_are_refused(words: dict[str, Any], idle: str) -> None:
    with pytest.raises(DeclarationError, match=f"Pydantic reads price from its text, .*{idle}"):
        contract("Careful", columns={"price": words})
    steps = contract("Careful", columns={"price": {"clean": [{"replace": {"EUR ": ""}}]}})
    good, _ = clean(steps, [{"number": "1", "price": "EUR 2.5", "name": "a"}])
    assert good["price"].to_list() == [2.5]


def test_extra_columns_follow_the_model() -> None:
    words: dict[str, Any] = {"columns": {"total": {"type": "decimal(9, 3)"}}}
    assert contract("Sparse", **words).unknown_columns == "freeze"
    assert contract("Sparse", **words, unknown_columns="discard").unknown_columns == "discard"
    assert contract("Sparse", **words).columns["city"].source_name == "address.city"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("nowhere.at_all:Order", "ModuleNotFoundError: No module named 'nowhere'"),
        (f"{MODULE}:Missing", "AttributeError"),
        (f"{MODULE}:NOT_A_MODEL", "is no BaseModel, but int"),
        (f"{MODULE}:Kind", "is no BaseModel, but EnumType Kind"),
    ],
)
def test_a_model_that_cannot_be_imported(path: str, says: str) -> None:
    with pytest.raises(PluginError, match=re.escape(says)):
        with_model(Contract.model_validate({"model": path}))


def test_a_model_is_named_by_module_and_class() -> None:
    for path in ("models", "models:", "shop/models:Order", "a.b.C"):
        with pytest.raises(ValidationError, match="String should match pattern"):
            Contract.model_validate({"model": path})


def test_rules_are_the_same_with_and_without_data() -> None:
    declared = contract("Careful")
    ids = [rule.id for rule in contract_rules(declared)]
    assert ids == [rule.id for rule in CleaningPlan(declared, list(declared.columns)).rule_ids]
    assert {"price__model", "name__model", "model", "number__range"} <= {*ids}
    assert "number__model" not in ids
    assert issubclass(Careful, BaseModel)


def test_what_a_validator_forgets_to_return_is_no_value() -> None:
    names = ["good", "good", "nul", "half", "lost"]
    rows = [
        {"number": "9" if n == 1 else "1", "name": name, "note": "-"}
        for n, name in enumerate(names)
    ]
    good, bad = clean(contract("Forgetful"), rows)
    assert good.select("number", "name", "note").rows() == [(1, "good", None)]
    assert [bad[row][0]["rule"] for row in range(1, 5)] == [
        "number__model",
        "name__model",
        "name__model",
        "model",
    ]


@pytest.mark.parametrize(("meant", "hour"), [("earlier", 0), ("later", 1)])
def test_an_hour_that_comes_twice_stays_the_one_that_is_meant(meant: str, hour: int) -> None:
    at = {"timezone": "Europe/Berlin", "ambiguous": meant}
    good, _ = clean(contract("LocalTime", columns={"at": at}), [{"at": "2024-10-27T02:30:00"}])
    assert good["at"].item() == dt.datetime(2024, 10, 27, hour, 30, tzinfo=dt.UTC)


def test_a_module_that_ends_the_process_is_told_like_one_that_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_script_of_ours.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match="SystemExit: 3"):
        with_model(Contract.model_validate({"model": "a_script_of_ours:Order"}))
