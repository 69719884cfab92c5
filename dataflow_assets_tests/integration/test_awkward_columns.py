"""Columns whose names are awkward: spaces, quotes, other scripts, words of SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dataflow_assets.errors import DeclarationError
from dataflow_assets_tests.scenario import changed

if TYPE_CHECKING:
    from dataflow_assets_tests.scenario import World

NAMES = ["First name", "first.name", "a/b", 'say "hi"', "it's", "選挙", "地区", "select", "ß|x"]
DAY = "2024-04-01"
SOURCE: dict[str, Any] = {
    "name": "awkward",
    "partitions": {"every": "day", "start": "2024-03-29", "end": "2024-05-01"},
    "extract": {"files": {"path": "harbour/{date:%Y-%m-%d}*", "csv": {"delimiter": ";"}}},
    "contract": {
        "key": ["First name"],
        "columns": {name: {"type": "string", "max_length": 5} for name in NAMES},
        "rules": {"quoted": {"sql": '"say ""hi""" <> "it\'s" and "select" <> \'no\''}},
    },
}
ENTITY: dict[str, Any] = {
    "name": "plain",
    "key": ["select"],
    "columns": {"select": "string", "Größe (m)": "string", 'quo"ted': "string"},
    "from": {"awkward": {"select": '"First name"', "Größe (m)": '"選挙"', 'quo"ted': '"ß|x"'}},
}


def test_awkward_names_pass_every_layer(world: World) -> None:
    world.declare(SOURCE, ENTITY)
    header = ";".join(f'"{name.replace(chr(34), chr(34) * 2)}"' for name in NAMES)
    rows = ["a;b;c;d;e;f;g;h;i", "j;b;c;d;d;f;g;h;i", "k;b;c;d;e;toolong;g;h;i"]
    world.drop(f"{DAY}.csv", "\n".join([header, *rows, ""]))
    assert world.materialize(DAY).success
    assert world.rows("cleaned", DAY, "awkward").select(NAMES).rows() == [tuple("abcdefghi")]
    rules = world.rows("quarantine", DAY, "awkward")["rules"].to_list()
    assert rules == [["quoted"], ["選挙__length"]]
    table = world.query('select "select", "Größe (m)", "quo""ted" from normalized.plain')
    assert table.rows() == [("a", "f", "i")]


def test_each_rule_has_a_check_of_its_own(world: World) -> None:
    world.declare(SOURCE)
    graph = world.definitions.resolve_asset_graph()
    names = {key.name for key in graph.asset_check_keys}
    assert {"First_name__length", "first_name__length", "____length", "____length_2"} <= names


def test_entity_columns_that_the_warehouse_takes_for_one_are_refused(world: World) -> None:
    world.declare(SOURCE, {**ENTITY, "columns": {"select": "string", "Select": "string"}})
    with pytest.raises(DeclarationError, match="differ only in upper and lower case"):
        _ = world.definitions


def test_headers_that_polars_takes_for_patterns_are_plain_names(world: World) -> None:
    source = changed(SOURCE, contract={"key": ["a"], "columns": {"a": "string"}})
    world.declare(source)
    world.drop(f"{DAY}.csv", "a;*;^.*$;^a$;_file\n1;2;3;4;5\n1;3;4;5;6\n")
    assert world.materialize(DAY).success
    (row,) = world.rows("cleaned", DAY, "awkward").to_dicts()
    assert (row["column*"], row["column^.*$"], row["column^a$"]) == ("3", "4", "5")
    assert row["column_file"] == "6"


@pytest.mark.parametrize("name", ["*", "^.*$", "_file"])
def test_reserved_names_of_columns_are_refused(world: World, name: str) -> None:
    world.declare(changed(SOURCE, contract={"columns": {name: "string"}}))
    with pytest.raises(DeclarationError, match=r"DA101"):
        _ = world.definitions


def test_thousands_of_columns_of_one_name_are_told_apart_at_once(world: World) -> None:
    world.declare(changed(SOURCE, contract={"columns": {"a": "string"}}))
    count = 3000
    world.drop(f"{DAY}.csv", ";".join(["a"] * count) + "\n" + ";".join(["1"] * count) + "\n")
    assert world.materialize(DAY, select='key:"raw/awkward"').success
    assert {"a", "a_2", f"a_{count}"} <= set(world.rows("raw", DAY, "awkward").columns)


@pytest.mark.parametrize(
    ("text", "mend"),
    [("a,b\n1,2\n", "set delimiter"), ("<html>\n<body>404</body>\n</html>\n", "Columns received")],
)
def test_rows_without_any_declared_column_replace_nothing(
    world: World, text: str, mend: str
) -> None:
    world.declare(changed(SOURCE, contract={"columns": {"a": "string", "b": "string"}}))
    world.drop(f"{DAY}.csv", "a;b\n1;2\n")
    assert world.materialize(DAY).success
    world.drop(f"{DAY}.csv", text)
    run = world.materialize(DAY)
    (failed,) = [event for event in run.all_events if event.is_step_failure]
    assert "[DA203] source 'awkward'" in str(failed.step_failure_data.error)
    assert mend in str(failed.step_failure_data.error)
    assert world.rows("cleaned", DAY, "awkward").select("a", "b").rows() == [("1", "2")]
