"""Sources whose columns change over the years: what is made of them, and what is said and shown."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import dagster as dg
import openpyxl
import polars as pl
import pytest
import yaml

from dataflow_assets.builders.cleaning import Cleaner
from dataflow_assets.builders.receiving import Receiver
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets_tests.commands import command
from dataflow_assets_tests.scenario import changed

if TYPE_CHECKING:
    from pathlib import Path

    from dataflow_assets.builders.cleaning import Cleaned
    from dataflow_assets_tests.scenario import World

# A declaration as a person writes it: comments, both styles, odd spaces.
WRITTEN = """\
# Readings of the river, one file a year.
type: dataflow_assets.Source
attributes:
  name: river
  partitions: {every: month, start: 2020-01-01, end: 2027-01-01}   # the year's January
  extract:
    files: {path: "harbour/{date:%Y-%m}*.csv"}
  contract:
    key: [id]
    columns:
      id:      string      # the gauge and the day
      level:   {type: float64, min: -5, required: true}
      # how warm it was
      temperature:
        type: int64
        min: -10          # colder is ice
        required: true

      station: {type: string, required: true}
      note: string

  checks:
    quarantined: {max_share: 0.9}
"""
RIVER: dict[str, Any] = yaml.safe_load(WRITTEN)["attributes"]
YEARS = {
    "2020-01": "id,level,temperature,station,note\na1,1.5,10,north,\na2,1.75,12,south,x\n",
    # renamed
    "2021-01": "id,water_level,temperature,station,note\nb1,1.6,11,north,\nb2,1.8,12,south,x\n",
    # one more
    "2022-01": "id,level,temperature,station,note,wind\nc1,1.5,10,north,,4\nc2,1.7,12,south,x,5\n",
    # one less
    "2023-01": "id,level,temperature,station\nd1,1.5,10,north\nd2,1.7,12,south\n",
    # from int to text
    "2024-01": "id,level,temperature,station,note\ne1,1.5,10 C,north,\ne2,1.7,12 C,south,x\n",
    # in another order
    "2025-01": "station,id,level,temperature,note\nnorth,f1,1.5,10,\nsouth,f2,1.7,12,x\n",
    # nobody writes notes any more
    "2026-01": "id,level,temperature,station,note\ng1,1.5,10,north,\ng2,1.7,12,south,\n",
}


def drop_years(world: World, *years: str) -> None:
    for year in years or YEARS:
        world.drop(f"{year}.csv", YEARS[year])


def clean(world: World, source: dict[str, Any], *partitions: str) -> dict[str, Cleaned]:
    """Receive and clean partitions of a source as a run does, without Dagster."""
    declared = SourceDeclaration.model_validate(source)
    stores = world.stores
    with Receiver(declared, stores, partitions) as receiver, Cleaner(declared, stores) as cleaner:
        found = {}
        for partition in partitions:
            receiver.record([receiver.receive(partition)])
            found[partition] = cleaner.clean(partition)
            if found[partition].failure is None:
                cleaner.record([found[partition]])
        return found


def kinds(cleaned: Cleaned) -> list[tuple[str, str]]:
    return [(one.kind, one.column) for one in cleaned.found.changed]


def declare_as_written(world: World, written: str = WRITTEN) -> Path:
    path = world.root / "defs" / "declared" / "defs.yaml"
    path.write_text(written, encoding="utf-8")
    world.forget_definitions()
    return path


ALL_ALLOWED = changed(
    RIVER, contract__columns__level={"type": "float64", "aliases": ["water_level"]}
)


def test_each_year_is_told_apart_from_the_one_before(world: World) -> None:
    drop_years(world)
    found = clean(world, ALL_ALLOWED, *YEARS)
    assert all(one.failure is None for year, one in found.items() if year != "2024-01")
    assert {year: kinds(one) for year, one in found.items()} == {
        "2020-01": [],
        "2021-01": [("renamed", "level")],
        "2022-01": [("new", "wind"), ("renamed", "level")],
        "2023-01": [("gone", "note"), ("gone", "wind")],
        "2024-01": [("back", "note"), ("retyped", "temperature")],
        "2025-01": [("back", "note"), ("reordered", "")],  # 2024 was refused: compared with 2023
        "2026-01": [("reordered", ""), ("emptied", "note")],
    }
    assert found["2024-01"].failure is not None  # no row is left
    assert found["2025-01"].found.before == "2023-01"


def test_types_are_those_of_the_values_and_back_is_what_was_there(world: World) -> None:
    """Of text the raw type says nothing; what comes for the first time is not back."""
    drop_years(world, "2020-01", "2021-01", "2022-01")
    source = changed(RIVER, contract__columns__level__required=False)
    found = clean(world, source, "2020-01", "2021-01", "2022-01")
    told = [(one.kind, one.column, one.old, one.new) for one in found["2022-01"].found.changed]
    assert told == [
        ("gone", "water_level", "float64", None),
        ("back", "level", None, "float64"),
        ("new", "wind", None, "int64"),
    ]
    patched = changed(source, contract__columns__wind="int64")
    again = clean(world, patched, "2021-01", "2022-01")
    assert ("gone", "wind") not in kinds(again["2021-01"])  # it had never been there
    assert ("new", "wind") in kinds(again["2022-01"])
    assert not any(one.column == "wind" for one in again["2022-01"].found.undeclared)


def test_a_table_under_both_headers_is_one(world: World) -> None:
    drop_years(world)
    clean(world, ALL_ALLOWED, "2020-01", "2021-01")
    for year, levels in (("2020-01", [1.5, 1.75]), ("2021-01", [1.6, 1.8])):
        rows = world.rows("cleaned", year, "river")
        assert rows["level"].to_list() == levels
        assert [name for name in rows.columns if "level" in name] == ["level"]


def test_files_of_one_partition_are_resolved_by_their_own_headers(world: World) -> None:
    world.drop("2020-01-a.csv", YEARS["2020-01"])
    world.drop("2020-01-b.csv", YEARS["2021-01"])
    both = (
        "id,level,water_level,temperature,station\nz1,,7,1,n\nz2,8,,1,n\nz3,9,9.0,1,n\nz4,1,2,1,n\n"
    )
    world.drop("2020-01-c.csv", both)
    (cleaned,) = clean(world, ALL_ALLOWED, "2020-01").values()
    assert cleaned.failure is None
    rows = world.rows("cleaned", "2020-01", "river")
    assert rows["level"].to_list() == [1.5, 1.75, 1.6, 1.8, 7, 8, 9]
    (bad,) = world.rows("quarantine", "2020-01", "river").to_dicts()
    assert bad["rules"] == ["level__names"]
    assert json.loads(bad["reasons"][0]["value"]) == {"level": "1", "water_level": "2"}
    assert [(one.kind, one.column, one.file, one.files) for one in cleaned.found.undeclared] == [
        ("gone", "note", "harbour/2020-01-c.csv", 1)
    ]


@pytest.mark.parametrize(
    ("policy", "year", "code"),
    [
        ({"unknown_columns": "freeze"}, "2022-01", "DA203"),
        ({"missing_columns": "freeze"}, "2023-01", "DA203"),
        ({"changed_types": "freeze"}, "2024-01", "DA310"),
    ],
)
def test_what_is_frozen_is_refused(
    world: World, policy: dict[str, str], year: str, code: str
) -> None:
    drop_years(world)
    source = changed(ALL_ALLOWED, **{f"contract__{word}": one for word, one in policy.items()})
    found = clean(world, source, "2020-01", year)
    failure = found[year].failure
    assert failure is not None
    assert (failure.code, failure.transient, failure.partition) == (code, False, year)
    assert world.stores.lake.manifest("cleaned", "river", year) is None
    noted = world.query("select kind, published from dataflow.drift").rows()
    assert noted
    assert not any(published for _, published in noted)


@pytest.mark.parametrize("policy", ["evolve", "discard", "quarantine"])
def test_a_changed_type(world: World, policy: str) -> None:
    drop_years(world)
    rows = "e1,1.5,10 C,north,\ne2,1.7,12 C,south,x\ne3,1.7,12,south,x\n"
    world.drop("2024-01.csv", f"id,level,temperature,station,note\n{rows}")
    warm = {"type": "int64"}
    source = changed(
        ALL_ALLOWED, contract__changed_types=policy, contract__columns__temperature=warm
    )
    found = clean(world, source, "2020-01", "2024-01")["2024-01"]
    assert found.failure is None
    assert found.counts.lost == 0
    (drift,) = found.found.undeclared
    assert (drift.kind, drift.old, drift.new, drift.rows) == ("retyped", "int64", "string", 2)
    cleaned = world.rows("cleaned", "2024-01", "river")
    if policy == "quarantine":
        assert cleaned["id"].to_list() == ["e3"]
        assert "temperature_text" not in cleaned.columns
        return
    assert cleaned["temperature"].to_list() == [None, None, 12]
    assert ("temperature_text" in cleaned.columns) == (policy == "evolve")
    if policy == "evolve":
        assert cleaned["temperature_text"].to_list() == ["10 C", "12 C", None]


def test_a_few_values_of_another_type_are_no_changed_type(world: World) -> None:
    world.drop("2020-01.csv", "id,level,temperature,station,note\na,1,x,n,\nb,1,1,n,\nc,1,2,n,\n")
    source = changed(ALL_ALLOWED, contract__changed_types="evolve")
    (found,) = clean(world, source, "2020-01").values()
    assert (found.counts.quarantined, found.counts.loaded) == (1, 2)
    assert found.found.undeclared == ()
    source = changed(ALL_ALLOWED, contract__changed_types={"policy": "discard", "share": 0.1})
    source = changed(source, contract__columns__temperature="int64")
    (found,) = clean(world, source, "2020-01").values()
    assert (found.counts.quarantined, found.counts.loaded) == (0, 3)


def test_what_lasts_says_since_when(world: World) -> None:
    text = YEARS["2022-01"].replace("x", "12 C")
    source = changed(ALL_ALLOWED, contract__columns__note="int64")
    world.drop("2020-01.csv", YEARS["2020-01"].replace("x", "12"))
    for year in ("2022-01", "2023-01", "2024-01"):
        world.drop(f"{year}.csv", text)
    clean(world, source, "2020-01", "2022-01")
    clean(world, source, "2023-01")  # another run, which has nothing in mind
    found = clean(world, source, "2024-01")["2024-01"]
    assert found.found.changed == ()
    assert [(one.kind, one.column, one.since) for one in found.found.undeclared] == [
        ("new", "wind", "2022-01"),
        ("retyped", "note", "2022-01"),
    ]
    events = world.query('select "partition", "before", kind, "column" from dataflow.drift').rows()
    assert events == [
        ("2022-01", "2020-01", "new", "wind"),
        ("2022-01", "2020-01", "retyped", "note"),
    ]


def test_members_of_json_come_and_go(world: World) -> None:
    source = changed(
        RIVER,
        contract__columns={"id": "string", "level": "float64", "note": "string"},
        extract={"files": {"path": "harbour/{date:%Y-%m}.json", "format": "jsonl"}},
    )
    records = [
        '{"id": "a", "level": 1, "note": "x", "gust": 3}',
        '{"level": 2, "id": "b"}',
        '{"id": "c", "level": 1, "note": "y", "gust": 3}',
        '{"id": "d", "level": 1}',
        '{"id": "e", "level": "1", "squall": 4}',
    ]
    months = [f"2020-0{number}" for number in range(1, 6)]
    for month, record in zip(months, records, strict=True):
        world.drop(f"{month}.json", record)
    found = clean(world, source, *months)
    assert [kinds(found[month]) for month in months] == [
        [],
        [("gone", "note")],
        [("back", "note")],
        [],  # it comes and goes
        [("new", "squall")],
    ]
    assert found["2020-04"].found.undeclared == ()


def test_files_without_a_header_get_more_columns_or_fewer(world: World) -> None:
    source = changed(
        RIVER,
        extract={"files": {"path": "harbour/{date:%Y-%m}.csv", "csv": {"header": False}}},
        contract__columns={"id": "string", "level": "float64", "note": "string"},
    )
    for month, row in (("2020-01", "a,1,x"), ("2020-02", "b,1,x,9"), ("2020-03", "c,1")):
        world.drop(f"{month}.csv", f"{row}\n")
    found = clean(world, source, "2020-01", "2020-02", "2020-03")
    assert kinds(found["2020-02"]) == [("new", "column_4")]
    assert kinds(found["2020-03"]) == [("gone", "note"), ("gone", "column_4")]


def drop_parquet(world: World, month: str, **columns: pl.Series) -> None:
    path = world.drop(f"{month}.parquet", b"")
    pl.DataFrame(columns).write_parquet(path)


PARQUET = changed(
    RIVER,
    extract={"files": {"path": "harbour/{date:%Y-%m}.parquet"}},
    contract__columns={"id": "string", "level": "int64"},
)


def test_a_type_of_a_typed_format_changes(world: World) -> None:
    drop_parquet(world, "2020-01", id=pl.Series(["a"]), level=pl.Series([1]))
    drop_parquet(world, "2020-02", id=pl.Series(["b"]), level=pl.Series(["2"]))
    drop_parquet(world, "2020-03", id=pl.Series(["c"]), level=pl.Series([3], dtype=pl.Int32))
    found = clean(world, PARQUET, "2020-01", "2020-02", "2020-03")
    assert kinds(found["2020-02"]) == [("retyped", "level")]
    assert found["2020-02"].failure is None
    assert world.rows("cleaned", "2020-02", "river")["level"].to_list() == [2]
    frozen = changed(PARQUET, contract__changed_types="freeze")
    drop_parquet(world, "2020-04", id=pl.Series(["d"]), level=pl.Series(["4"]))
    found = clean(world, frozen, "2020-02", "2020-03", "2020-04")
    assert found["2020-02"].failure is None  # it stood like that, which somebody allowed
    assert found["2020-03"].failure is None  # of the declared kind
    assert getattr(found["2020-04"].failure, "code", None) == "DA310"


def test_an_item_of_a_list_is_compared_with_itself(world: World) -> None:
    source = changed(
        RIVER,
        partitions={"values": ["all"]},
        extract={"files": {"path": "harbour/river.csv"}},
    )
    world.drop("river.csv", YEARS["2020-01"])
    assert kinds(clean(world, source, "all")["all"]) == []
    world.drop("river.csv", YEARS["2022-01"])
    assert kinds(clean(world, source, "all")["all"]) == [("new", "wind")]
    assert kinds(clean(world, source, "all")["all"]) == [("new", "wind")]  # of the same bytes
    world.drop("river.csv", YEARS["2022-01"].replace("c2", "c3"))
    assert kinds(clean(world, source, "all")["all"]) == []
    assert world.query("select count(*) from dataflow.drift").item() == 1
    typed = changed(source, contract__columns__note="int64")
    for text, is_new in (("y", True), ("z", False)):
        world.drop("river.csv", YEARS["2022-01"].replace("x", text))
        found = clean(world, typed, "all")["all"].found
        assert [one.changed for one in found.drift if one.kind == "retyped"] == [is_new]


@pytest.mark.parametrize(
    ("extract", "old", "new"),
    [
        ({"format": "jsonl"}, '{"id": "a", "at": {"town": "x"}}', '{"id": "b", "place": "y"}'),
        ({"format": "json"}, '[{"id": "a", "at": {"town": "x"}}]', '[{"place": "y", "id": "b"}]'),
        ({"format": "csv"}, "id,at.town\na,x\n", "place,id\ny,b\n"),
        (
            {"format": "csv", "csv": {"header": "find"}},
            "of 2020\nid,at.town\na,x\n",
            "id,place\nb,y\n",
        ),
        ({"format": "excel"}, {"id": ["a"], "at.town": ["x"]}, {"place": ["y"], "id": ["b"]}),
        (
            {"format": "parquet"},
            {"id": ["a"], "at": [{"town": "x"}]},
            {"place": ["y"], "id": ["b"]},
        ),
    ],
)
def test_every_format_has_names_of_today_and_of_before(
    world: World, extract: dict[str, Any], old: object, new: object
) -> None:
    town = {"source_name": "place", "aliases": ["at.town"], "required": True}
    source = changed(
        RIVER,
        extract={"files": {"path": "harbour/{date:%Y-%m}*.bin", **extract}},
        contract__columns={"id": "string", "town": town},
    )
    for month, content in (("2020-01", old), ("2020-02", new)):
        for name in (f"{month}.bin", f"2020-03-{month}.bin"):
            path = world.drop(name, content if isinstance(content, str) else "")
            if not isinstance(content, dict):
                continue
            if extract["format"] == "parquet":
                pl.DataFrame(content).write_parquet(path)
            else:
                book = openpyxl.Workbook()
                for line in (list(content), *zip(*content.values(), strict=True)):
                    book.worksheets[0].append(line)
                book.save(path)
    found = clean(world, source, "2020-01", "2020-02", "2020-03")
    towns = {month: world.rows("cleaned", month, "river")["town"].to_list() for month in found}
    assert towns == {"2020-01": ["x"], "2020-02": ["y"], "2020-03": ["x", "y"]}
    assert not any(one.found.undeclared for one in found.values())


# What the Dagster UI shows


def evaluations(world: World, check: str) -> dict[str, dg.AssetCheckEvaluation]:
    """Return what a check found, by partition, the latest of each."""
    key = dg.AssetCheckKey(dg.AssetKey(["cleaned", "river"]), check)
    records = world.instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
    found: dict[str, dg.AssetCheckEvaluation] = {}
    for record in reversed(records):
        if isinstance(record.evaluation, dg.AssetCheckEvaluation):
            found[str(record.evaluation.metadata["partition"].value)] = record.evaluation
    return found


def patch_of(world: World, year: str) -> str:
    return str(evaluations(world, "columns_as_declared")[year].metadata["patch"].value)


def test_the_ui_shows_what_drifted_and_when(world: World) -> None:
    declare_as_written(world, WRITTEN.replace("min: -5, required: true", "min: -5"))
    drop_years(world)
    for year in ("2020-01", "2021-01", "2022-01", "2025-01"):
        assert world.materialize(year, select='key:"*/river"').success
    before = evaluations(world, "columns_as_before")
    assert {year: one.passed for year, one in before.items()} == {
        "2020-01": True,
        "2021-01": False,
        "2022-01": False,
        "2025-01": False,
    }
    assert before["2021-01"].description == (
        "other than in 2020-01: gone: level; new: water_level; perhaps renamed: level"
    )
    history = str(before["2025-01"].metadata["history"].value)
    assert "| 2022-01 | 2021-01 | new | wind |" in history
    declared = evaluations(world, "columns_as_declared")["2021-01"]
    assert declared.description == "not declared: water_level; not received: level"
    table = str(declared.metadata["drift"].value)
    assert "| gone | level | float64 |  | 2021-01 | harbour/2021-01.csv | 1 | 2 |" in table
    assert "water_level (names" in table


def test_what_is_refused_is_shown_not_retried_and_leaves_what_stood(world: World) -> None:
    declare_as_written(
        world, WRITTEN.replace("key: [id]", "key: [id]\n    unknown_columns: freeze")
    )
    drop_years(world, "2020-01")
    assert world.materialize("2020-01", select='key:"*/river"').success
    stood = world.rows("cleaned", "2020-01", "river")
    world.drop("2020-01.csv", YEARS["2022-01"])
    result = world.materialize("2020-01", select='key:"*/river"')
    assert not result.success
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert "[DA203] source 'river', partition '2020-01', at 'wind'" in str(
        failed.step_failure_data.error
    )
    assert not [
        event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"
    ]
    assert world.rows("cleaned", "2020-01", "river").equals(stood)
    assert evaluations(world, "columns_as_declared")["2020-01"].passed is False
    assert "wind: int64" in patch_of(world, "2020-01")


def test_a_range_says_in_which_of_its_partitions(world: World) -> None:
    declare_as_written(world, WRITTEN.replace("min: -5, required: true", "min: -5"))
    for month, year in (("2020-01", "2020-01"), ("2020-02", "2021-01"), ("2020-04", "2022-01")):
        world.drop(f"{month}.csv", YEARS[year])
    assert world.materialize("2020-01", "2020-04", select='key:"*/river"').success
    key = dg.AssetCheckKey(dg.AssetKey(["cleaned", "river"]), "columns_as_before")
    records = world.instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
    found = [
        one for record in records if isinstance(one := record.evaluation, dg.AssetCheckEvaluation)
    ]
    descriptions = {one.partition: one.description for one in found if one.partition}
    assert descriptions == {
        "2020-02": "other than in 2020-01: gone: level; new: water_level; perhaps renamed: level",
        "2020-04": "other than in 2020-03: gone: water_level; back: level; new: wind",
    }  # nothing came for March, which looks as February did
    (summary,) = (one for one in found if not one.partition)
    assert summary.description == "2 of 4 partitions pass"
    declared = dg.AssetCheckKey(key.asset_key, "columns_as_declared")
    records = world.instance.event_log_storage.get_asset_check_execution_history(declared, limit=9)
    patched = [
        one.partition
        for record in records
        if isinstance(one := record.evaluation, dg.AssetCheckEvaluation) and "patch" in one.metadata
    ]
    assert patched == ["2020-04"]


def test_a_declaration_that_has_gone_has_no_patch(world: World) -> None:
    file = declare_as_written(world)
    drop_years(world, "2022-01")
    assert world.definitions
    file.unlink()
    assert world.materialize("2022-01", select='key:"*/river"').success
    evaluation = evaluations(world, "columns_as_declared")["2022-01"]
    assert not evaluation.passed
    assert "patch" not in evaluation.metadata


def test_what_cannot_be_in_a_patch_is_said(world: World) -> None:
    rules = "rules: {warm: {sql: temperature > -20}}"
    declare_as_written(world, WRITTEN.replace("  checks:", f"    {rules}\n  checks:"))
    drop_years(world, "2020-01")
    text = (
        YEARS["2024-01"]
        .replace("note", "note,wind")
        .replace("\n", ",3\n")
        .replace("wind,3", "wind")
    )
    world.drop("2024-01.csv", text)
    world.materialize("2024-01", select='key:"*/river"')
    metadata = evaluations(world, "columns_as_declared")["2024-01"].metadata
    assert "+      wind: int64" in str(metadata["patch"].value)
    assert "temperature of type string: rule warm" in str(metadata["not_in_patch"].value)


APPLIED = [["git", "apply"], ["patch", "-p0"]]


@pytest.mark.parametrize("year", ["2021-01", "2022-01", "2023-01", "2024-01"])
def test_a_patched_declaration_takes_the_partition(world: World, year: str) -> None:
    file = declare_as_written(world)
    drop_years(world, "2020-01", year)
    if year == "2023-01":
        world.drop(f"{year}.csv", "id,level,temperature,note\nd1,1.5,10,x\n")
    assert world.materialize("2020-01", select='key:"*/river"').success
    world.materialize(year, select='key:"*/river"')
    patch = patch_of(world, year)
    patched = set()
    for words in APPLIED:
        file.write_text(WRITTEN, encoding="utf-8")
        subprocess.run(words, cwd=file.parent, input=patch, text=True, check=True)
        patched.add(file.read_text(encoding="utf-8"))
    (text,) = patched - {WRITTEN}
    assert set(comments(text)) >= set(comments(WRITTEN)) - {"# colder is ice"}
    world.forget_definitions()
    result = world.materialize(year, select='key:"*/river"')
    assert result.success
    assert evaluations(world, "columns_as_declared")[year].passed == (year != "2023-01")
    assert world.rows("quarantine", year, "river").is_empty()
    assert world.materialize("2020-01", select='key:"*/river"').success
    assert world.rows("quarantine", "2020-01", "river").is_empty()


def test_the_command_lists_drift_and_prints_the_patch(world: World) -> None:
    file = declare_as_written(world)
    drop_years(world, "2020-01", "2021-01", "2022-01")
    assert not command(world, "drift", "river", "--patch").out  # nothing has been received yet
    assert world.materialize("2020-01", select='key:"*/river"').success
    assert not world.materialize("2021-01", select='key:"*/river"').success
    assert world.materialize("2022-01", select='key:"*/river"').success

    listed = command(world, "drift", "river")
    assert listed.code == 0, listed.err
    heads, *lines = listed.out.splitlines()
    assert heads.split()[:4] == ["partition", "before", "kind", "column"]
    assert [line.split()[0] for line in lines] == ["2022-01"] + ["2021-01"] * 3
    one = command(world, "drift", "river", "--partition", "2022-01").out
    assert one.splitlines()[1].split()[:5] == ["2022-01", "2020-01", "new", "wind", "int64"]

    newest = command(world, "drift", "river", "--patch")
    assert "+      wind: int64" in newest.out
    assert f"git -C {file.parent} apply" in newest.err
    refused = command(world, "drift", "river", "--patch", "--partition", "2021-01")
    assert refused.out == patch_of(world, "2021-01")
    apply = ["git", "-C", str(file.parent), "apply"]
    subprocess.run(apply, input=newest.out, text=True, check=True)
    assert "wind: int64" in file.read_text(encoding="utf-8")
    assert not command(world, "drift", "river", "--patch").out


def comments(text: str) -> list[str]:
    return [line[line.index("#") :] for line in text.splitlines() if "#" in line]
