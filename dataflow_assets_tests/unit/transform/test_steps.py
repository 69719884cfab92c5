"""Clean-up steps, against what plain Python does to one text after another."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.declaration.contract import Column, Contract
from dataflow_assets.errors import ExpressionError
from dataflow_assets.transform.clean import CleaningPlan
from dataflow_assets.transform.rules import check_contract
from dataflow_assets.transform.steps import REFUSED, check_steps, steps_of
from dataflow_assets_tests.unit.transform.raw_rows import raw_rows

if TYPE_CHECKING:
    from collections.abc import Callable

TEXTS = st.lists(
    st.none() | st.text(st.sampled_from("abAB12 -/\t\n\u00a0ßéÉ①ﬁ\u0301<>&;"), max_size=12),
    min_size=1,
)
THOROUGH = settings(max_examples=60, deadline=None)
SPACE = r"[\s\x85]+"


def cleaned_up(texts: list[str | None], *steps: Any, **column: Any) -> list[str | None]:  # noqa: ANN401 - YAML
    declared = Column.model_validate({"clean": steps, "trim": False, **column})
    return steps_of(declared)(pl.Series(texts, dtype=pl.String)).to_list()


def replaced(pieces: dict[str, str]) -> Callable[[str], str]:
    longest_first = "|".join(map(re.escape, sorted(pieces, key=len, reverse=True)))
    return lambda text: re.sub(longest_first, lambda found: pieces[found[0]], text)


def part(by: str, number: int) -> Callable[[str], str | None]:
    def take(text: str) -> str | None:
        parts = text.split(by)
        place = number - 1 if number > 0 else len(parts) + number
        return parts[place] if 0 <= place < len(parts) else None

    return take


MAP = {"a": "b", "b": "A", "1": None}
REFERENCE: list[tuple[Any, Callable[[str], str | None]]] = [
    ("trim", lambda text: text.strip()),
    ("collapse", lambda text: re.sub(r"\s+", " ", text)),
    ("upper", lambda text: text.upper()),
    ("nfc", lambda text: unicodedata.normalize("NFC", text)),
    ("nfkc", lambda text: unicodedata.normalize("NFKC", text)),
    ({"replace": {"a": "bb"}}, replaced({"a": "bb"})),
    ({"replace": {"a": "b", "b": "a", "ab": "-"}}, replaced({"a": "b", "b": "a", "ab": "-"})),
    ({"replace_pattern": {"[a-b]+(1?)": "<$1>"}}, lambda t: re.sub("[a-b]+(1?)", r"<\1>", t)),
    ({"map": MAP, "others": "keep"}, lambda text: MAP.get(text, text)),
    ({"map": MAP, "others": "none"}, MAP.get),
    ({"map": MAP}, lambda text: MAP.get(text, REFUSED)),
    ({"split": "-", "part": 1}, part("-", 1)),
    ({"split": "a", "part": 2}, part("a", 2)),
    ({"split": "/", "part": -2}, part("/", -2)),
]


@pytest.mark.parametrize(("step", "reference"), REFERENCE)
@THOROUGH
@given(TEXTS)
def test_a_step_does_what_python_does(
    step: Any,  # noqa: ANN401 - YAML
    reference: Callable[[str], str | None],
    texts: list[str | None],
) -> None:
    texts = [*texts, "a", "b", "1"]
    assert cleaned_up(texts, step) == [None if one is None else reference(one) for one in texts]


@THOROUGH
@given(TEXTS, st.lists(st.sampled_from(REFERENCE), max_size=4))
def test_steps_follow_one_another(texts: list[str | None], chosen: list[Any]) -> None:
    expected = []
    for one in texts:
        text, refused = one, False
        for step, reference in chosen:
            if text is None or refused:
                break
            text = reference(text)
            refused = text == REFUSED and isinstance(step, dict) and "map" in step
        expected.append(text)
    assert cleaned_up(texts, *(step for step, _ in chosen)) == expected


@pytest.mark.parametrize(
    ("step", "text", "result"),
    [
        ("lower", "ÀB Straße", "àb straße"),
        ("title", "new YORK o'neil-smith", "New York O'Neil-Smith"),
        ("collapse", "a\u00a0\n b", "a b"),
        ({"replace_pattern": {"(?P<n>[0-9]+)kg": "${n} $$"}}, "12kg", "12 $"),
        ({"replace": {".": ""}}, "a.b.", "ab"),
    ],
)
def test_what_steps_do(step: Any, text: str, result: str) -> None:  # noqa: ANN401 - YAML
    assert cleaned_up([text], step) == [result]


def test_white_space_that_a_step_leaves_around_is_dropped_before_the_next() -> None:
    steps = ["strip_html", {"map": {"yes": "y"}}]
    assert cleaned_up(["<p>yes</p>"], *steps, trim=True) == ["y"]
    assert cleaned_up(["<p>yes</p>"], *steps) == [REFUSED]
    split = [{"split": ":", "part": 2}, {"replace_pattern": {"^": "-"}}]
    assert cleaned_up(["k: v", "k"], *split, trim=True) == ["-v", None]


def test_case_may_not_count_for_maps() -> None:
    step = {"map": {"Ml": "local", "ÄB": "x"}}
    assert cleaned_up(["ML", "äb", "mb", None], step, ignore_case=True) == [
        "local", "x", REFUSED, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "new", "says"),
    [
        ("(unclosed", "", "no regular expression"),
        ("(?=ahead)", "", "no regular expression"),
        ("([0-9])", "$2", "the group '2'"),
        ("([0-9])", "$1kg", "the group '1kg'"),
        ("(?<n>a)", "${m}", "the group 'm'"),
    ],
)
def test_patterns_that_cannot_be_meant_are_refused(pattern: str, new: str, says: str) -> None:
    column = {"clean": ["lower", {"replace_pattern": {pattern: new}}]}
    with pytest.raises(ExpressionError) as raised:
        check_steps(Column.model_validate(column))
    assert says in raised.value.problem
    with pytest.raises(ExpressionError) as raised:
        check_contract(Contract.model_validate({"columns": {"c": column}}))
    assert raised.value.place == ("contract", "columns", "c", "clean", "1")


@pytest.mark.parametrize("new", ["", "$0", "$1", "${1}kg", "$$1", "$n", "a $ b"])
def test_replacements_that_can_be_meant_are_taken(new: str) -> None:
    check_steps(Column.model_validate({"clean": [{"replace_pattern": {"(?P<n>a)(b)": new}}]}))


def fates(columns: dict[str, Any], raw: dict[str, list[str | None]]) -> tuple[list[Any], list[Any]]:
    """Return the good rows, and the reasons of the others, the same in memory and streamed."""
    contract = Contract.model_validate({"columns": columns, "null_tokens": ["", "-"]})
    plan, rows = CleaningPlan(contract, list(raw)), raw_rows(raw)
    found = []
    for cleaned in (plan.clean(rows), plan.clean_in_memory(rows.collect())):
        good = cleaned.good.select(*columns).collect().rows()
        bad = cleaned.findings.sort("_row").collect()["reasons"].to_list()
        found.append((good, [[(one["rule"], one["value"]) for one in row] for row in bad]))
    assert found[0] == found[1]
    return found[0]


def test_a_text_that_the_map_does_not_know_is_quarantined_as_it_was_received() -> None:
    known = {"clean": ["lower", {"map": {"m": "male", "x": "-"}}, "upper"], "required": True}
    good, bad = fates({"sex": known}, {"sex": [" M ", "F", "-", None, "x", "\0"]})
    assert good == [("MALE",)]
    assert bad == [
        [("sex__type", "F")],
        [("sex__required", "-")],
        [("sex__required", None)],
        [("sex__required", "x")],
        [("sex__type", "\0")],
    ]


def test_a_text_that_the_map_does_not_know_is_no_number_though_it_could_be_one() -> None:
    rank = {"type": "int64", "clean": [{"map": {"first": "1", "last": "-"}}], "default": 0}
    good, bad = fates({"rank": rank}, {"rank": ["first", "2", "", "last"]})
    assert good == [(1,), (0,), (0,)]
    assert bad == [[("rank__type", "2")]]


def test_null_tokens_are_looked_for_before_the_steps_and_after_them() -> None:
    columns = {
        "a": {"clean": [{"replace": {"-": "x"}}]},
        "b": {"clean": [{"split": ":", "part": 2}]},
    }
    good, bad = fates(columns, {"a": ["-", "a-b", " "], "b": ["k: -", "k: v", "k"]})
    assert good == [(None, None), ("axb", "v"), (None, None)]
    assert bad == []


def test_a_default_stands_for_no_value_and_never_for_one_that_cannot_be_read() -> None:
    columns = {
        "n": {"type": "int8", "default": 7},
        "s": {"default": "none"},
        "gone": {"type": "date", "default": "2024-01-01"},
    }
    good, bad = fates(columns, {"n": ["1", " - ", None, "x"], "s": ["a", "", None, "b"]})
    day = good[0][2]
    assert (str(day), good) == (
        "2024-01-01", [(1, "a", day), (7, "none", day), (7, "none", day)],
    )  # fmt: skip
    assert bad == [[("n__type", "x")]]


def test_values_that_have_a_type_are_taken_as_they_are() -> None:
    columns = {
        "n": {"type": "int64", "thousands_mark": ".", "clean": [{"map": {"1": "2"}}]},
        "f": {"type": "float64", "units": {"%": 0.01}},
        "d": {"type": "decimal(9, 3)", "decimal_mark": ",", "thousands_mark": ".", "default": 5},
        "s": {"clean": [{"map": {"1": "one", "2": "-"}}], "null_tokens": ["-"]},
        "b": {"type": "boolean", "clean": ["upper"], "default": False},
        "c": {"type": "int64", "thousands_mark": ","},
    }
    contract = Contract.model_validate({"columns": columns})
    values = {
        "n": pl.Series([1.0, 1.234, 3.0]),
        "f": pl.Series([0.5, 12.5, None]),
        "d": pl.Series([1.234, 1.5, None]),
        "s": pl.Series([1, 2, 3]),
        "b": pl.Series([True, None, False]),
        "c": pl.Series(["1,000", "2", None], dtype=pl.Categorical),
    }
    schema = pl.Schema({name: series.dtype for name, series in values.items()})
    raw = raw_rows({"n": [None] * 3}).drop("n").with_columns(**values)
    plan = CleaningPlan(contract, schema, "parquet")
    rows = plan.clean(raw).good.select(*columns).collect().rows()
    assert [tuple(map(str, row)) for row in rows] == [("1", "0.5", "1.234", "one", "True", "1000")]
    found = plan.clean(raw).findings.sort("_row").collect()["reasons"].to_list()
    assert [[(one["rule"], one["value"]) for one in row] for row in found] == [
        [("n__type", "1.234")],
        [("s__type", "3")],
    ]
