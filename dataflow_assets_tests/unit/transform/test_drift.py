"""What differs between what is declared, what was and what is."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.declaration.contract import Contract
from dataflow_assets.transform.clean import CleaningPlan
from dataflow_assets.transform.drift import Drift, Look, ReadFile, belongs, find_drift, shape_of
from dataflow_assets.transform.guessing.narrowest import types_of
from dataflow_assets.transform.guessing.renames import Sampled, guess_renamed
from dataflow_assets.transform.shape import Header, Shape

NAMES = ["a", "b", "c", "d", "e", "f"]
KINDS = ["string", "int64"]
DECLARED = {"a": "string", "b": {"aliases": ["c"]}, "x": {"source_name": "d"}}
CONTRACT = Contract.model_validate({"columns": DECLARED})
PROMISED = {"a": {"a"}, "b": {"b", "c"}, "x": {"d"}}


def look_at(
    files: list[dict[str, str]],
    before: Shape | None,
    partition: str = "p2",
    contract: Contract = CONTRACT,
    *,
    has_headers: bool = True,
) -> tuple[Shape, tuple[Drift, ...]]:
    union: dict[str, str] = {}
    for file in files:
        union.update({name: kind for name, kind in file.items() if name not in union})
    read = [ReadFile(f"{n}.csv", 1, Header(columns=one)) for n, one in enumerate(files) if one]
    look = Look(
        contract, partition, f"raw of {partition}", Header(columns=union), read, before, has_headers
    )
    shape = shape_of(look)
    return shape, find_drift(look, shape)


HEADERS = st.lists(st.sampled_from(NAMES), unique=True, min_size=1).flatmap(
    lambda names: st.fixed_dictionaries({name: st.sampled_from(KINDS) for name in names})
)


@settings(max_examples=100, deadline=None)
@given(was=HEADERS, files=st.lists(HEADERS, min_size=1, max_size=3))
def test_drift_is_what_plain_sets_say(was: dict[str, str], files: list[dict[str, str]]) -> None:
    before, first = look_at([was], None, "p1")
    assert not any(one.changed for one in first)
    shape, drift = look_at(files, before)
    found = {(one.kind, one.column) for one in drift if one.undeclared}
    union = {name for file in files for name in file}
    promised = set().union(*PROMISED.values())
    lacking = {c for c, names in PROMISED.items() if any(not names & file.keys() for file in files)}
    assert found == {("new", n) for n in union - promised} | {("gone", c) for c in lacking}
    new = {one.column for one in drift if one.kind == "new" and one.changed}
    lacked = {column for column, names in PROMISED.items() if not names & was.keys()}
    assert new == (union - promised - was.keys()) | (lacked - lacking)
    gone = {one.column for one in drift if one.kind == "gone" and one.changed and one.undeclared}
    assert gone == lacking - lacked
    assert not [one for one in drift if one.kind == "back"]  # none was there before
    unnamed = {one.column for one in drift if one.kind == "gone" and not one.undeclared}
    assert unnamed == was.keys() - promised - union
    _, third = look_at([was], shape, "p3")
    returned = {one.column for one in third if one.kind == "back"}
    assert returned == lacking - lacked
    (again, same) = look_at(files, shape, "p3")
    assert not [one for one in same if one.changed]
    assert {one.since for one in same} <= {"p1", "p2"}
    assert list(again.columns) == list(shape.columns)


@settings(max_examples=100, deadline=None)
@given(names=st.permutations(NAMES), extra=st.booleans())
def test_another_order_of_what_stays_is_told(names: list[str], *, extra: bool) -> None:
    before, _ = look_at([dict.fromkeys(NAMES, "string")], None, "p1")
    _, drift = look_at([dict.fromkeys([*names, *(["z"] if extra else [])], "string")], before)
    assert any(one.kind == "reordered" for one in drift) == (list(names) != NAMES)
    _, drift = look_at([dict.fromkeys(names, "string")], before, has_headers=False)
    assert not any(one.kind == "reordered" for one in drift)


def test_a_partition_without_columns_says_nothing() -> None:
    before, _ = look_at([{"a": "string", "q": "int64"}], None, "p1")
    empty, drift = look_at([{}], before)
    assert drift == ()
    _, drift = look_at([{"a": "string", "q": "int64"}], empty, "p3")
    assert not any(one.changed for one in drift)


def test_a_column_without_values_has_no_type_that_could_change() -> None:
    before, _ = look_at([{"a": "int64"}], None, "p1")
    shape, drift = look_at([{"a": "null"}], before)
    assert not [one for one in drift if one.kind == "retyped"]
    _, drift = look_at([{"a": "string"}], shape, "p3")
    (one,) = (one for one in drift if one.kind == "retyped")
    assert (one.old, one.new) == ("int64", "string")


@pytest.mark.parametrize(
    ("raw", "declared", "expected"),
    [
        ("int32", "int64", True),
        ("uint8", "int64", True),
        ("float64", "int64", False),
        ("int64", "float64", True),
        ("string", "int64", False),
        ("int64", "string", False),
        ("decimal(10, 2)", "decimal(12, 2)", True),
        ("float64", "decimal(12, 2)", False),
        ("datetime(time_unit='ns', time_zone='utc')", "timestamp", True),
        ("timestamp without a zone", "timestamp", True),
        ("date", "timestamp", False),
        ("date", "date", True),
    ],
)
def test_types_that_belong_to_a_declared_one(raw: str, declared: str, *, expected: bool) -> None:
    assert belongs(raw, declared) == expected


# Guesses


def guess(old: dict[str, list[str]], new: dict[str, list[str]], **columns: str) -> dict[str, str]:
    contract = Contract.model_validate({"columns": columns})
    was, now = (Sampled(list(one), pl.DataFrame(one)) for one in (old, new))
    gone = [name for name in columns if name not in new]
    extra = [name for name in new if name not in columns]
    found = guess_renamed(contract, gone, extra, now, was)
    return {name: one.received for name, one in found.items()}


CITIES = ["Bern", "Rome", "Oslo", "Riga"]


def test_a_new_name_is_supposed_by_its_letters_or_its_values() -> None:
    id_ = ["1", "2", "3", "4"]
    numbers = ["5.5", "6.5", "7", "8"]
    assert guess(
        {"id": id_, "mag": numbers}, {"id": id_, "magnitude": numbers}, id="string", mag="float64"
    ) == {"mag": "magnitude"}
    assert guess(
        {"id": id_, "city": CITIES}, {"id": id_, "Ort": CITIES[::-1]}, id="string", city="string"
    ) == {"city": "Ort"}
    assert (
        guess(
            {"id": id_, "mag": numbers}, {"mag_type": CITIES, "id": id_}, id="string", mag="float64"
        )
        == {}
    )
    assert (
        guess(
            {"id": id_, "city": CITIES},
            {"colour": ["red", "blue", "grey", "tan"], "id": id_},
            id="string",
            city="string",
        )
        == {}
    )


def test_each_new_name_is_supposed_of_one_column_only() -> None:
    found = guess(
        {"lat": ["1", "2"], "lon": ["70", "80"]},
        {"latitude": ["1", "2"], "longitude": ["70", "80"]},
        lat="float64",
        lon="float64",
    )  # fmt: skip
    assert found == {"lat": "latitude", "lon": "longitude"}


TEXTS = st.one_of(
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
    st.dates().map(str),
    st.datetimes().map(lambda one: one.isoformat()),
    st.sampled_from(["true", "false", "yes", "t", "007", "1e3", "-0", "", " 5 ", "1,5"]),
)


@settings(max_examples=80, deadline=None)
@given(values=st.one_of(st.lists(TEXTS, max_size=6), st.lists(st.integers().map(str))))
def test_a_declaration_with_the_guessed_type_takes_all_values(values: list[str]) -> None:
    rows = pl.DataFrame({"v": values}, schema={"v": pl.String})
    kind = types_of(rows.lazy(), rows.schema, [""])["v"]
    plan = CleaningPlan(Contract.model_validate({"columns": {"v": kind}}), ["v"])
    technical = {"_file": "f", "_version": "v", "_line": 1, "_reject": None, "_text": None}
    raw = rows.with_columns(
        pl.lit(v, pl.Int64 if k == "_line" else pl.String).alias(k) for k, v in technical.items()
    )
    cleaned = plan.clean(raw.with_row_index("_row").lazy())
    good = cleaned.good.collect()
    assert good.height == len(values)
    assert good["v"].null_count() == sum(not value.strip() for value in values)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-20", ""], "int64"),
        (["1", "2.5"], "float64"),
        (["007", "1"], "string"),
        (["12345678901234567.5"], "string"),
        (["t", "f"], "string"),
        (["true", "No"], "boolean"),
        (["2024-01-01"], "date"),
        (["2024-01-01T10:00:00Z"], "timestamp"),
        (["", ""], "string"),
    ],
)
def test_guessed_types(values: list[str], kind: str) -> None:
    rows = pl.DataFrame({"v": values})
    assert types_of(rows.lazy(), rows.schema, [""]) == {"v": kind}


def test_types_of_typed_columns_are_their_own() -> None:
    rows = pl.DataFrame({"n": [1], "l": [[1]], "t": pl.Series([0], dtype=pl.Datetime("ns"))})
    assert types_of(rows.lazy(), rows.schema, [""]) == {
        "n": "int64",
        "l": "string",
        "t": "timestamp",
    }


# Columns with several names


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(
        st.tuples(*[st.sampled_from([None, "", " ", "1", "1.0", "2", "x"])] * 3), min_size=1
    )
)
def test_the_first_name_with_a_value_counts_and_others_must_agree(
    rows: list[tuple[str | None, ...]],
) -> None:
    words = {"v": {"type": "float64", "aliases": ["w", "u"]}}
    plan = CleaningPlan(Contract.model_validate({"columns": words}), ["u", "v", "w"])
    raw = pl.DataFrame(rows, schema=dict.fromkeys(["v", "w", "u"], pl.String), orient="row")
    none = pl.lit(None, pl.String)
    raw = raw.with_columns(
        _file=pl.lit("f"),
        _version=pl.lit("v"),
        _line=pl.int_range(pl.len()),
        _reject=none,
        _text=none,
    )
    cleaned = plan.clean(raw.with_row_index("_row").lazy())
    good, bad = pl.collect_all([cleaned.good, cleaned.findings])
    expected: dict[int, float | None] = {}
    wrong: dict[int, list[str]] = {}
    for number, row in enumerate(rows):
        texts = [text.strip() for text in row if text is not None and text.strip()]
        values = [float(text) for text in texts if text != "x"]
        rules = (["v__type"] if "x" in texts else []) + (
            ["v__names"] if len(set(values)) > 1 else []
        )
        if rules:
            wrong[number] = rules
        else:
            expected[number] = values[0] if values else None
    assert dict(good.select("_line", "v").iter_rows()) == expected
    assert {
        line: [one["rule"] for one in reasons]
        for line, reasons in bad.select("_line", "reasons").iter_rows()
    } == wrong


def test_the_default_comes_after_all_names() -> None:
    words = {"v": {"type": "int64", "aliases": ["w"], "default": 7}}
    plan = CleaningPlan(Contract.model_validate({"columns": words, "key": ["v"]}), ["v", "w"])
    texts = {"v": ["1", None, "", "", "x"], "w": [None, "2", "", "x", ""]}
    none = pl.lit(None, pl.String)
    raw = pl.DataFrame(texts, schema=dict.fromkeys(texts, pl.String)).with_columns(
        _file=pl.lit("f"), _version=pl.lit("v"), _line=pl.int_range(5), _reject=none, _text=none
    )
    cleaned = plan.clean(raw.with_row_index("_row").lazy())
    assert cleaned.good.collect()["v"].to_list() == [1, 2, 7]
    hashes = plan.key_hashes(raw.with_row_index("_row").lazy()).collect()["_hash"]
    assert hashes.to_list() == pl.Series([1, 2, 7]).hash().to_list()
