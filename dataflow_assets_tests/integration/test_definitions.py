"""What Dagster is given: assets with all that is known of them, and mistakes with their mends."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
import yaml

from dataflow_assets.components.loading import COMPONENTS, PACKAGE, load_declarations, load_location
from dataflow_assets.errors import DeclarationError
from dataflow_assets.settings import Settings
from dataflow_assets_tests.scenario import (
    ARRIVALS,
    DAY,
    HARBOUR,
    NEXT_DAY,
    changed,
    documents,
    ship_rows,
    ships,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflow_assets_tests.scenario import World


# --- mistakes ------------------------------------------------------------------------------------

COLUMNS = "contract__columns__"
SOURCE_MISTAKES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    # what is changed; at which word; what is wrong; what is allowed or to be done
    "a typo in a word": (
        {"contract__colums": {}},
        "contract.colums",
        "there is no word 'colums'",
        "Did you mean 'columns'? Words here are columns, key, keep",
    ),
    "a typo deep down": (
        {f"{COLUMNS}ship__maxlength": 3},
        "contract.columns.ship.maxlength",
        "there is no word 'maxlength'",
        "Did you mean 'max_length'?",
    ),
    "an unknown type": (
        {f"{COLUMNS}order": "int46"},
        "contract.columns.order.type",
        "'int46' is no type",
        "allowed are string, int8",
    ),
    "a decimal with more digits after the point than in all": (
        {f"{COLUMNS}order": "decimal(4, 5)"},
        "contract.columns.order.type",
        "'decimal(4, 5)' is no type",
        "decimal(precision, scale)",
    ),
    "a typo in a clean-up step": (
        {f"{COLUMNS}kind__clean": ["lower", {"replce": {"a": "b"}}]},
        "contract.columns.kind.clean.1.replce",
        "there is no word 'replce'",
        "Did you mean 'replace'? Words here are step, replace, replace_pattern, map, others",
    ),
    "a clean-up step that is none": (
        {f"{COLUMNS}kind__clean": ["lowr"]},
        "contract.columns.kind.clean.0.step",
        "'lowr' is no step",
        "there are trim, collapse, lower",
    ),
    "a replacement that names no group": (
        {f"{COLUMNS}kind__clean": ["trim", {"replace_pattern": {"(a)": "$1b"}}]},
        "column kind",
        "names the group '1b'",
        "Write ${1}",
    ),
    "a mark for numbers on a time": (
        {f"{COLUMNS}arrived_at__decimal_mark": ","},
        "contract.columns.arrived_at",
        "decimal_mark does not apply to timestamp",
        "only to whole numbers, unsigned ones, float, decimal",
    ),
    "a default that its own rule refuses": (
        {f"{COLUMNS}draught__default": 30},
        "column draught",
        "The default 30 breaks draught__range",
        "Give a default that the column's own rules allow",
    ),
    "a decimal with too many digits": (
        {f"{COLUMNS}order": "decimal(50, 2)"},
        "contract.columns.order.type",
        "'decimal(50, 2)' is no type",
        "a decimal has up to 38 digits",
    ),
    "a decimal that a comma ends": (
        {f"{COLUMNS}order": "decimal(10"},
        "contract.columns.order.type",
        "'decimal(10' is no type",
        'write it in quotes: "decimal(10, 2)"',
    ),
    "a duration that is none": (
        {"checks__freshness": "26 hours"},
        "checks.freshness.within",
        "'26 hours' is no duration",
        "such as 30s, 15m, 26h or 2d",
    ),
    "an anomaly of a column that is not there": (
        {"checks__anomalies": {"columns": {"drauht": ["nulls"]}}},
        "",
        "anomalies names 'drauht', which is no column",
        "columns are ship, arrived_at",
    ),
    "a figure that is none": (
        {"checks__anomalies": {"columns": {"draught": ["mean"]}}},
        "checks.anomalies.columns.draught.0",
        "Input should be 'nulls', 'distinct' or 'distribution'",
        "",
    ),
    "a volume anomaly that is none": (
        {"checks__volume_anomaly": "error"},
        "checks.volume_anomaly",
        "'error' is none of true, false, warn and block",
        "",
    ),
    "freshness of a column that says no time": (
        {"checks__freshness": {"of": "ship", "within": "1h"}},
        "",
        "of needs a timestamp or a date; ship is string",
        "",
    ),
    "freshness of less than a minute": (
        {"checks__freshness": "30s"},
        "checks.freshness",
        "within must be at least 1m",
        "",
    ),
    "a deadline that is no schedule": (
        {"checks__freshness": {"by": "61 9 * * *"}},
        "61 9 * * *",
        "'61 9 * * *' is no cron schedule",
        "Write five fields",
    ),
    "an age and a deadline": (
        {"checks__freshness": {"by": "0 9 * * *", "within": "1h"}},
        "checks.freshness",
        "give either within (an age) or by (a cron schedule)",
        "",
    ),
    "a rule over a column that is not there": (
        {"contract__rules__deep": {"sql": "drauht > 5"}},
        "rule deep",
        'unable to find column "drauht"',
        "Columns are ship, arrived_at, draught, kind, order",
    ),
    "a rule that is no SQL": (
        {"contract__rules__deep": {"sql": "draught >> > 5"}},
        "rule deep",
        "'draught >> > 5' is no expression",
        "Columns are ship",
    ),
    "a rule that is no condition": (
        {"contract__rules__deep": {"sql": "draught + 5"}},
        "rule deep",
        "gives float64, not true or false",
        "Write a condition",
    ),
    "a rule that looks at other rows": (
        {"contract__rules__deep": {"sql": "draught > max(draught)"}},
        "rule deep",
        "'draught > max(draught)' is no expression",
        "Columns are ship",
    ),
    "a key that is no column": (
        {"contract__key": ["shp"]},
        "contract",
        "key names 'shp', which is no column",
        "columns are ship, arrived_at",
    ),
    "the latest by no column": (
        {"contract__keep": {"latest_by": "updated"}},
        "contract",
        "keep names 'updated', which is no column",
        "columns are ship, arrived_at",
    ),
    "a pattern that is none": (
        {f"{COLUMNS}ship__pattern": "[a-"},
        "column ship",
        "'[a-' is no regular expression",
        "syntax of Rust's regex",
    ),
    "a pattern that Polars cannot run": (
        {f"{COLUMNS}ship__pattern": "(?<=a)b"},
        "column ship",
        "'(?<=a)b' is no regular expression",
        "no look-around",
    ),
    "bounds that no value keeps": (
        {f"{COLUMNS}draught": {"type": "float64", "min": 10, "max": 9.5}},
        "column draught",
        "min 10 is above max 9.5",
        "correct them",
    ),
    "a variable that is not set": (
        {"extract__files__path": "{{ env.NOT_THERE }}/{date:%Y-%m-%d}*"},
        "{{ env.NOT_THERE }}/{date:%Y-%m-%d}*",
        "the environment variable NOT_THERE is not set",
        "a default",
    ),
    "a bound that is no number": (
        {f"{COLUMNS}draught__min": "deep"},
        "column draught",
        "'deep' is no value of type float64",
        "Write a value that float64 holds",
    ),
    "a bound of a text": (
        {f"{COLUMNS}kind__min": 3},
        "contract.columns.kind",
        "min and max do not apply to string",
        "use min_length",
    ),
    "an allowed value of another type": (
        {f"{COLUMNS}order": {"type": "int64", "one_of": [1, "two"]}},
        "column order",
        "one_of lists 'two', which is no value of type int64",
        "change the type",
    ),
    "a path without a date": (
        {"extract__files__path": "harbour/*.csv"},
        "",
        "need a {date:...} in the path",
        "",
    ),
    "a path that leaves its folder": (
        {"extract__files__path": "../{date:%Y-%m-%d}.csv"},
        "extract.files.path",
        "'..' is not allowed",
        "",
    ),
    "a brace that is no placeholder": (
        {"extract__files__path": "harbour/{day}.csv"},
        "extract.files.path",
        "allowed are {date:%Y-%m-%d}",
        "",
    ),
    "a zone that is none": (
        {"partitions__timezone": "Berlin"},
        "partitions.timezone",
        "'Berlin' is no IANA time zone",
        "such as UTC or Europe/Berlin",
    ),
    "windows and values at once": (
        {"partitions__values": ["a"]},
        "partitions",
        "give either every and start",
        "",
    ),
    "an owner that is none": ({"owners": ["me"]}, "owners.0", "String should match", "team:"),
    "a name with a capital": ({"name": "Harbour"}, "name", "String should match", "[a-z]"),
    "a word that is missing": ({"partitions": {}}, "partitions", "give either every", ""),
    "a mode that is none": (
        {"contract__unknown_columns": "ignore"},
        "contract.unknown_columns",
        "'evolve', 'freeze', 'discard' or 'quarantine'",
        "",
    ),
    "an encoding that is none": (
        {"extract__files__csv__encoding": "utf-9"},
        "extract.files.csv.encoding",
        "'utf-9' is no encoding",
        "such as utf-8",
    ),
    "a rule with the name of a check": (
        {"contract__rules__row_count": {"sql": "true"}},
        "row_count",
        "stands for two checks",
        "Give the rule another name",
    ),
}
MAPPING = "from__harbour__"
ENTITY_MISTAKES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "an unknown source": (
        {"from": {"harbor": {"arrival_id": "ship"}}},
        "harbor",
        "there is no source 'harbor'",
        "map one of harbour",
    ),
    "an unknown column in a mapping": (
        {f"{MAPPING}draught": "drauht"},
        "arrivals.draught from harbour",
        'unable to find column "drauht"',
        "Columns are ship, arrived_at",
    ),
    "a mapping of another type": (
        {f"{MAPPING}rank": "ship"},
        "arrivals.rank from harbour",
        "'ship' gives string, but int64 is declared",
        "cast(... as bigint)",
    ),
    "a mapping to no column": (
        {f"{MAPPING}rnk": "ship"},
        "",
        "from harbour maps 'rnk', no column",
        "there are arrival_id",
    ),
    "a key that is no column": ({"key": ["id"]}, "", "key names 'id'", "columns are arrival_id"),
    "a key that is not mapped": (
        {"from": {"harbour": {"rank": "1"}}},
        "",
        "must map 'arrival_id'",
        "",
    ),
    "a preferred source that is not mapped": (
        {"prefer": ["airport"]},
        "",
        "prefer names 'airport'",
        "",
    ),
    "a write mode that is none": (
        {"write": "merge"},
        "write.mode",
        "Input should be 'replace', 'append', 'upsert' or 'history'",
        "",
    ),
    "a word of another write mode": (
        {"write": {"mode": "append", "latest_by": "rank"}},
        "write",
        "latest_by belongs to mode: upsert, not to mode: append",
        "",
    ),
    "a typo in a word of write": (
        {"write": {"mode": "upsert", "lastest_by": "rank"}},
        "write.lastest_by",
        "no word 'lastest_by'",
        "mean 'latest_by'?",
    ),
    "a typo in a word": ({"preferred": []}, "preferred", "no word 'preferred'", "mean 'prefer'?"),
}
LINES = {
    "checks.freshness.within": "freshness",
    "checks.anomalies.columns.draught.0": "mean",
    "61 9 * * *": "by",
    "contract.columns.kind.clean.0.step": "lowr",
    "column kind": "replace_pattern",
    "{{ env.NOT_THERE }}/{date:%Y-%m-%d}*": "path",
    "rule deep": "sql",
    "owners.0": "me",
    "": "attributes",
}
"""What begins the line of a mistake, where it is not the last of the words that lead to it."""
LINE = re.compile(r"^(?P<file>/.*defs\.yaml):(?P<line>\d+): \[DA10[12]\] ")


def mistake(world: World, *declarations: dict[str, Any]) -> DeclarationError:
    world.declare(*declarations)
    with pytest.raises(DeclarationError) as raised:
        load_declarations(world.root / "defs")
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    return raised.value


def check_told(error: DeclarationError, at: str, wrong: str, allowed: str) -> None:
    match = LINE.match(str(error))
    assert match is not None, str(error)
    line = Path(match["file"]).read_text(encoding="utf-8").splitlines()[int(match["line"]) - 1]
    begins = line.strip(" -").partition(":")[0]
    assert begins == LINES.get(at) or begins in re.split(r"[.\s]", at), line
    assert f"at '{at}'" in str(error) or not at
    assert wrong in error.problem
    assert allowed in f"{error.problem} {error.mend}"


@pytest.mark.parametrize("kind", SOURCE_MISTAKES)
def test_a_mistake_in_a_source(world: World, kind: str) -> None:
    changes, at, wrong, allowed = SOURCE_MISTAKES[kind]

    error = mistake(world, changed(HARBOUR, **changes))

    check_told(error, at, wrong, allowed)
    assert error.source == changes.get("name", "harbour")


@pytest.mark.parametrize("kind", ENTITY_MISTAKES)
def test_a_mistake_in_an_entity(world: World, kind: str) -> None:
    changes, at, wrong, allowed = ENTITY_MISTAKES[kind]

    error = mistake(world, HARBOUR, changed(ARRIVALS, **changes))

    check_told(error, at, wrong, allowed)
    assert error.source == "arrivals"
    assert "entity 'arrivals'" in str(error)


def test_sources_of_one_entity_with_other_partitions(world: World) -> None:
    airport = changed(HARBOUR, name="airport", partitions__start="2024-01-01")
    arrivals = changed(ARRIVALS, from__airport=ARRIVALS["from"]["harbour"])

    error = mistake(world, HARBOUR, airport, arrivals)

    assert error.problem == "airport has other partitions than harbour."
    assert LINE.match(str(error))


@pytest.mark.parametrize(
    ("write", "wrong", "allowed"),
    [
        ("history", "cannot tell when its rows became valid", "valid_from: column"),
        (
            {"mode": "history", "valid_from": "arrived_at", "deletes": "close"},
            "deletes: close needs windows of time",
            "Leave deletes out",
        ),
    ],
)
def test_a_history_that_cannot_be_dated(
    world: World, write: object, wrong: str, allowed: str
) -> None:
    path = "harbour/{partition}*"
    harbour = changed(HARBOUR, partitions={"values": ["north"]}, extract__files__path=path)
    del harbour["automation"]

    check_told(mistake(world, harbour, changed(ARRIVALS, write=write)), "write", wrong, allowed)


def test_all_mistakes_of_all_files_are_told_at_once(world: World) -> None:
    for name in ("one", "two"):
        path = world.root / "defs" / name / "defs.yaml"
        path.parent.mkdir()
        path.write_text(documents(changed(HARBOUR, name=name, nonsense=1, contract__nonsense=2)))

    told = str(mistake(world, HARBOUR))

    assert "there are 4 mistakes" in told
    for place in ("one/defs.yaml", "two/defs.yaml"):
        assert place in told


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("type: dataflow_assets.Source\nattributes:\n  name: [a\n  b: c\n", "this is no YAML"),
        ("type: dataflow_assets.Sorce\nattributes: {}\n", "no type 'dataflow_assets.Sorce'"),
        ("- a\n- b\n", "this should be a map"),
        ("attributes: {}\n", "Field required"),
        ("", "the file declares nothing"),
        ("# to be written\n", "the file declares nothing"),
        ("type: dataflow_assets.Source\n", "the source says nothing"),
        ("type: dataflow_assets.Entity\nattributes:\n", "the entity says nothing"),
    ],
)
def test_a_file_that_is_no_declaration(world: World, text: str, wrong: str) -> None:
    (world.root / "defs/declared/defs.yaml").write_text(text)

    with pytest.raises(DeclarationError, match=wrong) as raised:
        load_declarations(world.root / "defs")

    assert LINE.match(str(raised.value))


@pytest.mark.parametrize(
    ("place", "first", "again"),
    [
        ("contract.columns.ship", "ship: string", "ship: int64"),
        ("contract.columns.order.max", "order: {type: int64, max: 2,", "max: 3}"),
        ("contract.rules.deep.sql", "deep: {sql: draught > 5,", "'sql': draught > 6}"),
        ("extract", "extract: {files: {path: a}}", "extract: {files: {path: b}}"),
    ],
)
def test_a_word_twice_is_told_with_both_lines(
    world: World, place: str, first: str, again: str
) -> None:
    above = place.split(".")[: -2 if first.endswith(",") else -1]
    lines = ["attributes:", "  name: twice", *(f"{'  ' * n}{w}:" for n, w in enumerate(above, 1))]
    lines += [f"{'  ' * (len(above) + 1)}{one}" for one in (first, again)]
    if first.endswith(","):
        lines[-1] = f"  {lines[-1]}"
    path = world.root / "defs/declared/defs.yaml"
    path.write_text("\n".join(["type: dataflow_assets.Source", *lines]))

    with pytest.raises(DeclarationError) as raised:
        load_declarations(world.root / "defs")

    word, told = place.rpartition(".")[2], str(raised.value)
    end = len(lines) + 1
    assert f"{path}:{end}: [DA101] source 'twice', at '{place}'" in told
    assert f"the word '{word}' is here twice: on line {end - 1} and on line {end}." in told


def test_words_of_an_anchor_may_be_written_anew(world: World) -> None:
    world.declare(HARBOUR)
    path = world.root / "defs/declared/defs.yaml"
    text = path.read_text().replace(
        "columns:\n",
        "columns:\n      more: &text {type: string, max_length: 3}\n      "
        "most: {<<: *text, max_length: 9}\n",
        1,
    )
    path.write_text(text)

    load_declarations(world.root / "defs")


REST = {"rest": {"url": "https://ships.example/api"}}


@pytest.mark.parametrize(
    ("extract", "at", "told"),
    [
        ({"params": {"x": "{day}"}}, "params.x", "'{day}' is no placeholder"),
        ({"params": {"x": [1]}}, "params.x", "should be a text, a whole number, a number, true or"),
        ({"params": {"x": {"nev": "A"}}}, "params.x.nev", "no word 'nev' here. Mend: Did you mean"),
        ({"params": {"x": {"env": 5}}}, "params.x.env", "should be a text"),
        ({"headers": {"a b": "c"}}, "headers.a b", "should match pattern"),
        ({"headers": {"a": ["c"]}}, "headers.a", "this should be a text or a map."),
    ],
)
def test_what_fits_none_of_several_types_is_one_mistake(
    world: World, extract: dict[str, Any], at: str, told: str
) -> None:
    declared = {"rest": {**REST["rest"], **extract}}

    text = str(mistake(world, changed(HARBOUR, extract=declared)))

    assert f"at 'extract.rest.{at}': " in text
    assert told in text
    assert "\n" not in text
    assert "function" not in text


def test_records_that_are_a_number_are_one_mistake(world: World) -> None:
    files = {"path": "{date:%Y-%m-%d}.json", "json": {"records": 5}}

    text = str(mistake(world, changed(HARBOUR, extract={"files": files})))

    assert "at 'extract.files.json.records': this should be a text or a list. Mend" in text
    assert "\n" not in text


def test_two_sources_of_one_name(world: World) -> None:
    assert "2 declarations have this name" in mistake(world, HARBOUR, HARBOUR).problem


# --- what is declared is what is meant -----------------------------------------------------------


def test_texts_are_taken_as_they_are_written(world: World) -> None:
    harbour = changed(HARBOUR, contract__null_tokens=["", "-1", "[]"], description="{'a': 1}")
    arrivals = changed(ARRIVALS, columns__place="string", from__harbour__place="'Husum'")
    world.declare(harbour, arrivals)
    world.drop(f"{DAY}.csv", ships(DAY, "Anna", "-1", draught="[]"))

    assert world.materialize(DAY).success

    rows = world.query("select place, draught from normalized.arrivals").rows()
    assert rows == [("Husum", None)]


def test_templates_are_filled_in(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHIPS", "harbour")
    path = "{{ env.SHIPS }}/{date:%Y-%m-%d}*"
    world.declare(changed(HARBOUR, extract__files__path=path, checks__freshness="26h"), ARRIVALS)
    world.drop(f"{DAY}.csv", ships(DAY, "Anna"))

    assert world.materialize(DAY).success

    assert world.query("select count(*) from normalized.arrivals").item() == 1


def declared_documents() -> Iterator[Any]:
    for path in sorted((PACKAGE / "defs").rglob("*.yaml")):
        for number, document in enumerate(yaml.safe_load_all(path.read_text(encoding="utf-8"))):
            yield pytest.param(document, id=f"{path.parent.name}-{number}")


@pytest.mark.parametrize("document", declared_documents())
def test_every_document_is_a_declaration_and_says_what_it_is(document: dict[str, Any]) -> None:
    model = COMPONENTS[document["type"]].get_model_cls()

    declared: Any = model.model_validate(document["attributes"])

    assert declared.description
    assert declared.owners


@pytest.mark.parametrize("kind", COMPONENTS)
def test_the_short_form_of_a_column_is_in_the_json_schema(kind: str) -> None:
    schema = COMPONENTS[kind].get_model_cls().model_json_schema()
    column = schema["$defs"]["Column" if kind.endswith("Source") else "EntityColumn"]

    assert {"type": "string"} in column["anyOf"]


# --- what Dagster shows --------------------------------------------------------------------------


def test_the_keys_of_all_assets_stay_what_they_are() -> None:
    graph = load_location(Settings()).resolve_asset_graph()

    assert sorted(key.to_user_string() for key in graph.get_all_asset_keys()) == [
        "cleaned/alpine_network",
        "cleaned/coastal_network",
        "cleaned/island_network",
        "cleaned/ocean_network",
        "files/alpine_network",
        "files/coastal_network",
        "files/island_network",
        "files/ocean_network",
        "normalized/seismic_events",
        "quarantine/alpine_network",
        "quarantine/coastal_network",
        "quarantine/island_network",
        "quarantine/ocean_network",
        "raw/alpine_network",
        "raw/coastal_network",
        "raw/island_network",
        "raw/ocean_network",
    ]


def test_the_lineage_leads_from_the_files_to_the_entity(world: World) -> None:
    graph = world.definitions.resolve_asset_graph()

    upstream = {
        node.key.to_user_string(): sorted(key.to_user_string() for key in node.parent_keys)
        for node in graph.asset_nodes
    }

    assert upstream == {
        "files/harbour": [],
        "raw/harbour": ["files/harbour"],
        "cleaned/harbour": ["raw/harbour"],
        "quarantine/harbour": ["raw/harbour"],
        "normalized/arrivals": ["cleaned/harbour"],
    }


@pytest.mark.parametrize(
    ("asset", "group", "kinds", "text"),
    [
        ("files/harbour", "harbour", {"csv"}, "harbour/{date:%Y-%m-%d}*"),
        ("raw/harbour", "harbour", {"raw", "parquet", "polars"}, "Ships that entered the harbour"),
        ("cleaned/harbour", "harbour", {"cleaned", "parquet", "polars"}, "honour the contract"),
        (
            "quarantine/harbour",
            "harbour",
            {"quarantine", "parquet", "polars"},
            "break the contract",
        ),
        ("normalized/arrivals", "arrivals", {"duckdb", "table"}, "Every arrival once."),
    ],
)
def test_an_asset_says_what_it_is(
    world: World, asset: str, group: str, kinds: set[str], text: str
) -> None:
    node = world.definitions.resolve_asset_graph().get(dg.AssetKey(asset.split("/")))

    assert (node.group_name, node.kinds) == (group, kinds)
    assert list(node.owners) == ["team:harbour"]
    assert node.partitions_def is not None
    assert node.partitions_def.get_partition_keys()[-1] == "2024-04-30"
    assert text in (node.description or "")
    if asset != "normalized/arrivals":
        assert node.tags["region"] == "north"


def test_columns_and_their_lineage_are_shown(world: World) -> None:
    graph = world.definitions.resolve_asset_graph()
    cleaned = graph.get(dg.AssetKey(["cleaned", "harbour"])).metadata
    normalized = graph.get(dg.AssetKey(["normalized", "arrivals"])).metadata

    schema = {one.name: one for one in cleaned["dagster/column_schema"].columns}
    assert (schema["ship"].type, schema["ship"].description) == ("string", "Name on the bow")
    assert not schema["ship"].constraints.nullable
    assert "max: 25" in schema["draught"].constraints.other
    lineage = cleaned["dagster/column_lineage"].deps_by_column
    assert [(one.asset_key.to_user_string(), one.column_name) for one in lineage["arrived_at"]] == [
        ("raw/harbour", "Arrived at")
    ]
    lineage = normalized["dagster/column_lineage"].deps_by_column
    assert {one.column_name for one in lineage["arrival_id"]} == {"ship", "arrived_at"}
    assert {one.asset_key.to_user_string() for one in lineage["rank"]} == {"cleaned/harbour"}


def shown(world: World, asset: str, partition: str = DAY) -> dict[str, Any]:
    records = world.instance.fetch_materializations(
        dg.AssetRecordsFilter(
            asset_key=dg.AssetKey(asset.split("/")), asset_partitions=[partition]
        ),
        limit=1,
    ).records
    metadata = records[0].asset_materialization.metadata  # type: ignore[union-attr]
    return {name: value.value for name, value in metadata.items()}


@pytest.mark.parametrize("last", [None, NEXT_DAY], ids=["one day", "a range"])
def test_a_materialization_shows_what_was_published(world: World, last: str | None) -> None:
    world.drop(f"{DAY}.csv", ships(DAY, "Anna", "Berta") + ship_rows(DAY, "", "Clara"))
    world.drop(f"{NEXT_DAY}.csv", ships(NEXT_DAY, "Anna"))
    world.materialize(DAY, last)

    raw, cleaned = shown(world, "raw/harbour"), shown(world, "cleaned/harbour")
    quarantine, normalized = shown(world, "quarantine/harbour"), shown(world, "normalized/arrivals")

    assert (raw["received"], raw["files"], raw["unchanged"]) == (4, 1, False)
    assert f"harbour/{DAY}.csv" in raw["file_list"]
    counts = ("received", "loaded", "quarantined", "duplicate", "filtered")
    assert [cleaned[count] for count in counts] == [4, 3, 1, 0, 0]
    assert cleaned["dagster/partition_row_count"] == 3
    assert quarantine["dagster/partition_row_count"] == 1
    assert quarantine["rules"] == {"ship__required": 1}
    assert (normalized["dagster/partition_row_count"], normalized["by_source"]) == (
        3,
        {"harbour": 3},
    )
    path = world.settings.lake / "cleaned" / "harbour" / f"{DAY}.parquet"
    assert cleaned["dagster/uri"] == path.as_uri()
    assert cleaned["size_bytes"] == path.stat().st_size
    assert "| Anna |" in cleaned["preview"]
    assert "| ship | arrived_at |" in cleaned["preview"]


def test_unchanged_files_leave_what_hangs_on_them_fresh(filled: World) -> None:
    key = dg.AssetKey(["raw", "harbour"])
    first = filled.instance.get_latest_materialization_event(key)
    filled.drop(f"{DAY}.csv", ships(DAY, "Anna", "Berta"), age_s=5)  # sent again, the same bytes
    filled.materialize(DAY)
    second = filled.instance.get_latest_materialization_event(key)

    versions = [
        (event.asset_materialization.tags or {})["dagster/data_version"]
        for event in (first, second)
        if event is not None and event.asset_materialization is not None
    ]
    assert len(versions) == 2
    assert versions[0] == versions[1]


def test_every_promise_is_a_check(world: World) -> None:
    graph = world.definitions.resolve_asset_graph()

    names = {key.name for key in graph.asset_check_keys if key.asset_key.path[0] == "cleaned"}

    assert names == {
        "conservation",
        "row_count",
        "quarantined_share",
        "columns_as_declared",
        "columns_as_before",
        "decisions_applied",
        "ship__required",
        "ship__length",
        "ship__nul_byte",
        "arrived_at__type",
        "arrived_at__required",
        "draught__type",
        "draught__range",
        "kind__required",
        "kind__nul_byte",
        "order__type",
        "loaded_ships_are_deep",
        "csv__ragged",
        "csv__quote",
        "csv__encoding",
        "csv__too_long",
    }
