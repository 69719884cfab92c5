"""Quarantine, replay and decisions by hand, through the command line and real Dagster runs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import dagster as dg
import duckdb
import pytest

from dataflow_assets_tests.commands import command
from dataflow_assets_tests.scenario import (
    ARRIVALS,
    DAY,
    HARBOUR,
    LAST_DAY,
    NEXT_DAY,
    changed,
    ship_rows,
    ships,
)

if TYPE_CHECKING:
    from dataflow_assets_tests.scenario import World

THIRD_DAY = "2024-04-03"
WRONG = changed(
    HARBOUR,
    contract__columns__kind__pattern="cargo",
    checks__quarantined__max_share=1,
    contract__columns__draught__max=10,
)
MENDED = changed(WRONG, contract__columns__kind__pattern="cargo|ferry")
REASON = ("--reason", "seen with my own eyes", "--by", "the harbour master")
COUNTS = (
    "select received, loaded, quarantined, duplicate, filtered from dataflow.ledger "
    "where asset = 'cleaned/harbour' and partition = '{}'"
)


@pytest.fixture
def wrong(world: World) -> World:
    """Three days under a contract with a wrong pattern: two have ferries, one has a deep ship."""
    world.declare(WRONG, ARRIVALS)
    for day in (DAY, NEXT_DAY):
        ferries = ships(day, "Anna", "Berta") + "Cora;{2}.{1}.{0} 20:00;3.5;ferry;7\n".format(
            *day.split("-")
        )
        world.drop(f"{day}.csv", ferries)
    deep = ships(THIRD_DAY, "Dora") + "Emmy;03.04.2024 20:00;12.5;cargo;7\n"
    world.drop(f"{THIRD_DAY}.csv", deep)
    assert world.materialize(DAY, THIRD_DAY).success
    return world


def counts(world: World, day: str) -> tuple[int, ...]:
    return tuple(world.query(COUNTS.format(day)).row(0))


def stamps(world: World, day: str) -> list[tuple[str, int]]:
    lake = world.root / "data" / "lake"
    return [
        (layer, (lake / layer / "harbour" / f"{day}.parquet").stat().st_mtime_ns)
        for layer in ("raw", "cleaned", "quarantine")
    ]


def test_a_mended_pattern_gives_rows_back_and_leaves_the_rest_alone(wrong: World) -> None:
    untouched = stamps(wrong, THIRD_DAY)
    raw = stamps(wrong, DAY)[0]
    before = wrong.query("select * from dataflow.ledger_history order by all")
    wrong.declare(MENDED, ARRIVALS)

    dry = command(wrong, "replay", "harbour", "--dry-run")
    assert dry.code == 0, dry.err
    assert f"{DAY}: 1 of 1 open entries pass now" in dry.out
    assert f"{THIRD_DAY}: 0 of 1 open entries pass now" in dry.out
    assert "2 of 3 partitions of harbour are affected, nothing was run" in dry.out
    assert wrong.query("select * from dataflow.ledger_history order by all").equals(before)

    done = command(wrong, "replay", "harbour")
    assert done.code == 0, done.out + done.err
    assert done.out.count("run ") == 1  # the two days adjoin
    assert f"over {DAY}...{NEXT_DAY}: done" in done.out
    assert counts(wrong, DAY) == (3, 3, 0, 0, 0)
    assert counts(wrong, THIRD_DAY) == (2, 1, 1, 0, 0)
    assert stamps(wrong, THIRD_DAY) == untouched
    assert stamps(wrong, DAY)[0] == raw
    names = wrong.query("select arrival_id from normalized.arrivals order by 1")
    assert names.height == 7
    assert wrong.query("select count(*) from dataflow.conservation where lost <> 0").item() == 0
    closed = wrong.rows("closed", DAY)
    manifest = wrong.stores.lake.manifest("cleaned", "harbour", DAY)
    assert manifest is not None
    assert closed.select("_line", "how", "person").rows() == [(4, "passed", None)]
    assert closed["declaration"].item() == manifest.declaration
    assert closed["run_id"].item() in done.out
    assert command(wrong, "replay", "harbour").out.endswith(
        "0 of 3 partitions of harbour are affected\n"
    )


def test_only_the_partitions_of_a_rule_and_of_a_range(wrong: World) -> None:
    wrong.declare(changed(MENDED, contract__columns__draught__max=25), ARRIVALS)
    one = command(wrong, "replay", "harbour", "--rule", "draught__range")
    assert one.code == 0, one.out + one.err
    assert f"over {THIRD_DAY}: done" in one.out
    assert one.out.count("run ") == 1
    assert counts(wrong, DAY)[2] == 1
    two = command(wrong, "replay", "harbour", "--partition-range", f"{NEXT_DAY}...{LAST_DAY}")
    assert f"over {NEXT_DAY}: done" in two.out
    assert counts(wrong, DAY)[2] == 1
    assert counts(wrong, NEXT_DAY)[2] == 0


def test_a_declaration_that_would_fail_is_not_run(wrong: World) -> None:
    wrong.declare(changed(MENDED, checks__rows__min=5), ARRIVALS)
    done = command(wrong, "replay", "harbour")
    assert done.code == 1
    assert "it would not be published: [DA304]" in done.out
    assert "0 of 3 partitions" in done.out


def test_a_released_row_stays_loaded_and_a_discarded_one_stays_recorded(wrong: World) -> None:
    line = ("--line", f"harbour/{DAY}.csv:4")
    done = command(wrong, "quarantine", "release", "harbour", "--partition", DAY, *line, *REASON)
    assert done.code == 0, done.out + done.err
    assert counts(wrong, DAY) == (3, 3, 0, 0, 0)
    done = command(
        wrong, "quarantine", "discard", "harbour", "--partition", NEXT_DAY, *line[:1], ":4", *REASON
    )
    assert done.code == 0, done.out + done.err
    assert counts(wrong, NEXT_DAY) == (3, 2, 1, 0, 0)
    assert wrong.rows("quarantine", NEXT_DAY)["state"].to_list() == ["discarded"]

    assert wrong.materialize(DAY, NEXT_DAY).success  # again, as any run
    assert counts(wrong, DAY) == (3, 3, 0, 0, 0)
    assert counts(wrong, NEXT_DAY) == (3, 2, 1, 0, 0)
    assert wrong.rows("cleaned", DAY).filter(ship="Cora")["kind"].item() == "ferry"
    assert wrong.query("select * from normalized.arrivals").height == 6
    how = [
        wrong.rows("closed", day).select("how", "person", "reason").row(0)
        for day in (DAY, NEXT_DAY)
    ]
    assert how == [(word, REASON[3], REASON[1]) for word in ("released", "discarded")]
    assert wrong.check_history("cleaned/harbour", "kind__pattern")[0]  # nobody waits for them
    back = command(wrong, "quarantine", "reopen", "harbour", "--partition", DAY, *line, *REASON)
    assert back.code == 0, back.out + back.err
    assert counts(wrong, DAY) == (3, 2, 1, 0, 0)
    assert wrong.rows("decisions", DAY)["action"].to_list().count("release") == 1
    assert wrong.rows("closed", DAY).height == 1


def test_of_equal_rows_in_a_new_file_as_many_stay_released_and_discarded(world: World) -> None:
    declared = changed(HARBOUR, contract__key=[], checks__quarantined__max_share=1)
    del declared["contract"]["keep"]
    world.declare(declared)
    deep = "Frida;01.04.2024 20:00;99;cargo;1\n"
    world.drop(f"{DAY}.csv", ships(DAY, "Anna") + deep * 2)
    assert world.materialize(DAY).success
    for action, line in (("release", ":3"), ("discard", ":4")):
        words = (action, "harbour", "--partition", DAY, "--line", line, *REASON)
        done = command(world, "quarantine", *words)
        assert done.code == 0, done.out + done.err
    assert counts(world, DAY) == (3, 2, 1, 0, 0)

    world.drop(f"{DAY}.csv", ships(DAY, "Anna", "Berta") + deep * 3)
    assert world.materialize(DAY).success

    assert counts(world, DAY) == (5, 3, 2, 0, 0)
    states = world.rows("quarantine", DAY).sort("_line")["state"].to_list()
    assert states == ["discarded", "open"]  # nobody has seen the third
    assert world.rows("cleaned", DAY).filter(ship="Frida").height == 1


def test_what_cannot_be_read_is_null_in_a_released_row(world: World) -> None:
    world.declare(changed(HARBOUR, checks__quarantined__max_share=1), ARRIVALS)
    rows = "Frida;01.04.2024 20:00;deep;cargo;1\n;01.04.2024 21:00;4;cargo;1\nIda;torn\n"
    world.drop(f"{DAY}.csv", ships(DAY, "Anna") + rows)
    assert world.materialize(DAY).success
    for line, rule in ((4, "ship__required"), (5, "csv__ragged")):
        no = command(
            world,
            "quarantine",
            "release",
            "harbour",
            "--partition",
            DAY,
            "--line",
            f":{line}",
            *REASON,
        )
        assert no.code == 1
        assert rule in no.err
    done = command(
        world,
        "quarantine",
        "release",
        "harbour",
        "--partition",
        DAY,
        "--rule",
        "draught__type",
        *REASON,
    )
    assert done.code == 0, done.out + done.err
    assert world.rows("cleaned", DAY).filter(ship="Frida")["draught"].to_list() == [None]
    # of a new version of the file the same row is released, though it is on another line
    world.drop(f"{DAY}.csv", ships(DAY, "Anna", "Berta") + rows.splitlines()[0] + "\n")
    assert world.materialize(DAY).success
    assert counts(world, DAY) == (3, 3, 0, 0, 0)
    assert sorted(world.rows("closed", DAY)["how"]) == ["gone", "gone", "released"]


def test_released_rows_take_part_in_what_follows(wrong: World) -> None:
    """A released row may lose against another of its key."""
    double = ships(DAY, "Anna") + "Anna;01.04.2024 10:00;3.5;ferry;9\n"
    wrong.drop(f"{DAY}.csv", double)
    assert wrong.materialize(DAY).success
    assert counts(wrong, DAY) == (2, 1, 1, 0, 0)
    done = command(
        wrong, "quarantine", "release", "harbour", "--partition", DAY, "--line", ":3", *REASON
    )
    assert done.code == 0, done.out + done.err
    assert counts(wrong, DAY) == (2, 1, 0, 1, 0)
    assert wrong.rows("cleaned", DAY)["order"].to_list() == [9]


def test_entries_are_shown_with_their_line(wrong: World) -> None:
    shown = command(wrong, "quarantine", "show", "harbour", "--format", "json")
    assert shown.code == 0, shown.err
    entries = json.loads(shown.out)
    assert [one["partition"] for one in entries] == [THIRD_DAY, NEXT_DAY, DAY]
    assert entries[2]["received"] == "Cora;01.04.2024 20:00;3.5;ferry;7"
    assert (entries[2]["line"], entries[2]["state"]) == (4, "open")
    table = command(wrong, "quarantine", "show", "harbour", "--rule", "draught__range").out
    assert len(table.splitlines()) == 2
    assert "Emmy;03.04.2024 20:00;12.5;cargo;7" in table
    rows = command(wrong, "quarantine", "show", "harbour", "--format", "csv", "--limit", "1").out
    assert len(rows.splitlines()) == 2
    nobody = command(wrong, "quarantine", "show", "harbor")
    assert nobody.code == 1
    assert "DA111" in nobody.err


def test_the_query_of_the_documentation(wrong: World) -> None:
    query = (
        "select rule, count(*) as rows, count(distinct _partition) as partitions\n"
        "from (select *, unnest(rules) as rule\n"
        "      from read_parquet('data/lake/quarantine/harbour/*.parquet', union_by_name = true))\n"
        "where state = 'open' group by rule order by rows desc, rule;"
    )
    found = duckdb.sql(query.replace("data/lake", str(wrong.root / "data" / "lake"))).fetchall()
    assert found == [("kind__pattern", 2, 2), ("draught__range", 1, 1)]


KILLED = """
import os, sys
from dataflow_assets.io.duckdb_warehouse import DuckDBWarehouse
from dataflow_assets.io.lake import Lake
from dataflow_assets.__main__ import main
publish = Lake.publish
def killed(self, staged, layer, *rest, **more):
    if layer == sys.argv[1]:
        os._exit(9)
    return publish(self, staged, layer, *rest, **more)
Lake.publish = killed
if sys.argv[1] == "normalized":
    DuckDBWarehouse.publish = lambda *_: os._exit(9)
sys.exit(main(["replay", "harbour"]))
"""


@pytest.mark.parametrize("layer", ["closed", "quarantine", "cleaned", "normalized"])
def test_a_replay_that_is_killed_is_taken_up_again(wrong: World, layer: str) -> None:
    wrong.declare(MENDED, ARRIVALS)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, layer],
        env=wrong.environment,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert killed.returncode == 9, killed.stderr.decode()[-2000:]
    again = command(wrong, "replay", "harbour")
    assert again.code == 0, again.out + again.err
    for day in (DAY, NEXT_DAY):
        assert counts(wrong, day) == (3, 3, 0, 0, 0)
        assert wrong.rows("closed", day)["how"].to_list() == ["passed"]
    assert wrong.query("select * from normalized.arrivals").height == 7
    assert command(wrong, "replay", "harbour").out.startswith(f"{THIRD_DAY}: 0 of 1")


def test_what_the_ui_shows(wrong: World) -> None:
    """Counts by rule, samples with their place, states; a check about what people decided."""
    discard = ("quarantine", "discard", "harbour", "--partition", DAY, "--line", ":4")
    assert command(wrong, *discard, *REASON).code == 0
    key = dg.AssetKey(["quarantine", "harbour"])
    event = wrong.instance.get_latest_materialization_event(key)
    assert event is not None
    assert event.asset_materialization is not None
    shown = event.asset_materialization.metadata
    assert (shown["open"].value, shown["discarded"].value) == (0, 1)
    assert shown["closed"].value == {"discarded": 1}
    run = wrong.materialize(THIRD_DAY)
    (made,) = (
        one
        for one in run.asset_materializations_for_node("cleaned__harbour")
        if one.asset_key == key
    )
    assert "| draught__range | 1 |" in str(made.metadata["by_rule"].value)
    sample = f"| draught__range | harbour/{THIRD_DAY}.csv | 3 | draught | 12.5 |"
    assert sample in str(made.metadata["samples"].value)
    check = dg.AssetCheckKey(dg.AssetKey(["cleaned", "harbour"]), "decisions_applied")
    record = wrong.instance.event_log_storage.get_asset_check_execution_history(check, limit=2)[1]
    assert isinstance(record.evaluation, dg.AssetCheckEvaluation)
    assert record.evaluation.description == "0 rows released, 1 discarded by hand"


def test_the_sensor_asks_once_for_what_was_cleaned_under_another_contract(wrong: World) -> None:
    def ask() -> dg.SensorResult:
        sensor = wrong.definitions.resolve_sensor_def("harbour_replay")
        context = dg.build_sensor_context(
            wrong.instance,
            definitions=wrong.definitions,
            resources={"stores": wrong.resource},
        )
        result = sensor(context)
        assert isinstance(result, dg.SensorResult)
        return result

    assert not ask().run_requests
    wrong.declare(MENDED, ARRIVALS)
    (request,) = ask().run_requests or ()
    assert request.tags["dagster/asset_partition_range_start"] == DAY
    assert request.tags["dagster/asset_partition_range_end"] == THIRD_DAY
    assert [one.run_key for one in ask().run_requests or ()] == [request.run_key]
    assert command(wrong, "replay", "harbour").code == 0
    (request,) = ask().run_requests or ()
    assert request.partition_key == THIRD_DAY


HISTORY = changed(ARRIVALS, write={"mode": "history"}, name="states")


def test_a_history_is_applied_anew_from_the_first_replayed_partition_on(world: World) -> None:
    world.declare(WRONG, HISTORY)
    for day in (DAY, NEXT_DAY):
        date = ".".join(reversed(day.split("-")))
        kind = "ferry" if day == DAY else "cargo"
        world.drop(f"{day}.csv", ships(day, "Anna") + f"Cora;{date} 20:00;3.5;{kind};7\n")
    assert world.materialize(DAY, NEXT_DAY).success
    world.declare(MENDED, HISTORY)
    done = command(world, "replay", "harbour")
    assert done.code == 0, done.out + done.err
    assert f"over {DAY}: done" in done.out
    assert f"over {DAY}...{NEXT_DAY}: done" in done.out
    assert world.query("select * from normalized.states").height == 4


def test_a_row_is_released_from_a_rule_across_rows(world: World) -> None:
    unique = {"one_of_a_draught": {"unique": ["draught"]}}
    world.declare(
        changed(HARBOUR, contract__rules=unique, checks__quarantined__max_share=1), ARRIVALS
    )
    world.drop(f"{DAY}.csv", ships(DAY, "Anna", "Berta"))
    world.drop(f"{DAY}-b.csv", ships(DAY, "Cora", draught="6"))
    assert world.materialize(DAY).success
    broken = counts(world, DAY)[2]
    assert broken
    where = ("--partition", DAY, "--rule", "one_of_a_draught")
    done = command(world, "quarantine", "release", "harbour", *where, *REASON)
    assert done.code == 0, done.out + done.err
    assert counts(world, DAY) == (3, 3, 0, 0, 0)
    assert world.rows("closed", DAY)["how"].to_list() == ["released"] * broken


@pytest.mark.parametrize("rule", [{"unique": ["order"]}, {"monotonic": "order"}])
def test_what_breaks_a_rule_only_beside_a_released_row_is_released_too(
    world: World, rule: dict[str, object]
) -> None:
    world.declare(
        changed(HARBOUR, contract__columns__draught__max=10, contract__rules={"across": rule}),
        ARRIVALS,
    )
    deep = ships(DAY, "Anna", draught="99", order=7)
    other = ship_rows(DAY, "Anna", "Berta", order=7 if "unique" in rule else 3).splitlines()[1]
    world.drop(f"{DAY}.csv", f"{deep}{other}\n")
    assert world.materialize(DAY).success
    assert counts(world, DAY) == (2, 1, 1, 0, 0)
    for line, held in ((2, 1), (3, 0)):
        place = ("--partition", DAY, "--line", f":{line}")
        done = command(world, "quarantine", "release", "harbour", *place, *REASON)
        assert done.code == 0, done.out + done.err
        assert counts(world, DAY) == (2, 2 - held, held, 0, 0)
    assert world.materialize(DAY).success
    assert counts(world, DAY) == (2, 2, 0, 0, 0)
