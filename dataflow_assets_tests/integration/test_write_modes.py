"""Upsert and history from file to table, on real partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from dataflow_assets.builders import steps
from dataflow_assets_tests.scenario import ARRIVALS, DAY, HARBOUR, NEXT_DAY, changed, ships

if TYPE_CHECKING:
    from dataflow_assets_tests.scenario import World

LATER = "2024-04-03"
SHIPS: dict[str, Any] = changed(
    ARRIVALS,
    name="fleet",
    key=["ship"],
    columns={"ship": "string", "draught": "float64", "seen_at": "timestamp"},
    **{"from": {"harbour": {"ship": "ship", "draught": "draught", "seen_at": "arrived_at"}}},
)
ROWS = "select ship, draught, _partition from normalized.fleet order by all"
VERSIONS = (
    "select ship, draught, strftime(valid_from, '%d.%m. %H:%M'), strftime(valid_to, '%d.%m. %H:%M')"
    " from normalized.fleet order by ship, valid_from, valid_to"
)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "FIRST_WAIT_S", 0.01)


def declare(world: World, write: object, **changes: object) -> None:
    world.declare(HARBOUR, changed(SHIPS, write=write, **changes))


def drop(world: World, day: str, **draughts: str) -> None:
    """Let ships arrive at a day, one minute after another."""
    head, *_ = ships(day).splitlines()
    lines = [ships(day, name, draught=depth).splitlines()[1] for name, depth in draughts.items()]
    world.drop(f"{day}.csv", "\n".join([head, *lines, ""]))


def counts(world: World) -> list[tuple[Any, ...]]:
    return world.query(
        'select "partition", received, loaded, duplicate from dataflow.ledger '
        "where asset = 'normalized/fleet' order by all"
    ).rows()


def failure(result: dg.ExecuteInProcessResult) -> str:
    (event,) = (one for one in result.all_events if one.event_type_value == "STEP_FAILURE")
    assert event.step_failure_data.user_failure_data is not None
    return str(event.step_failure_data.user_failure_data.description)


def test_the_row_of_the_later_partition_wins_whichever_is_published_last(world: World) -> None:
    declare(world, "upsert")
    drop(world, DAY, Anna="4.5", Berta="5.0")
    drop(world, NEXT_DAY, Anna="4.8", Clara="6.0")
    wanted = [("Anna", 4.8, NEXT_DAY), ("Berta", 5.0, DAY), ("Clara", 6.0, NEXT_DAY)]
    for day in (NEXT_DAY, DAY, DAY):
        assert world.materialize(day).success
    assert world.query(ROWS).rows() == wanted
    assert counts(world) == [(DAY, 2, 1, 1), (NEXT_DAY, 2, 2, 0)]
    assert world.check_history("normalized/fleet", "conservation") == [True] * 3
    assert world.query("select * from dataflow.conservation where lost <> 0").height == 0
    event = world.instance.get_latest_materialization_event(dg.AssetKey(["normalized", "fleet"]))
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["dagster/partition_row_count"].value == 1


def test_rows_that_are_there_are_never_changed_by_an_append(world: World) -> None:
    declare(world, "append")
    drop(world, DAY, Anna="4.5")
    drop(world, NEXT_DAY, Anna="4.8", Clara="6.0")
    assert world.materialize(DAY, NEXT_DAY).success
    drop(world, DAY, Anna="9.9", Dora="3.0")
    assert world.materialize(DAY).success
    wanted = [("Anna", 4.5, DAY), ("Clara", 6.0, NEXT_DAY), ("Dora", 3.0, DAY)]
    assert world.query(ROWS).rows() == wanted
    assert counts(world) == [(DAY, 2, 1, 1), (NEXT_DAY, 2, 1, 1)]


def test_a_history_of_snapshots_from_a_range_and_again_after_a_correction(world: World) -> None:
    declare(
        world,
        "history",
        columns={"ship": "string", "draught": "float64"},
        **{"from": {"harbour": {"ship": "ship", "draught": "draught"}}},
    )
    drop(world, DAY, Anna="4.5", Berta="5.0")
    drop(world, NEXT_DAY, Anna="4.8", Berta="5.0")
    drop(world, LATER, Anna="4.8")
    assert world.materialize(DAY, LATER).success
    # Midnight in Berlin is 22:00 of the day before in UTC.
    anna = [("Anna", 4.5, "31.03. 22:00", "01.04. 22:00"), ("Anna", 4.8, "01.04. 22:00", None)]
    assert world.query(VERSIONS).rows() == [
        *anna, ("Berta", 5.0, "31.03. 22:00", "02.04. 22:00"),
    ]  # fmt: skip
    assert counts(world) == [(DAY, 2, 2, 0), (NEXT_DAY, 2, 1, 1), (LATER, 1, 0, 1)]

    drop(world, NEXT_DAY, Anna="4.8", Berta="5.5")
    alone = world.materialize(NEXT_DAY)
    assert not alone.success
    assert f"[DA403] source 'fleet', partition '{NEXT_DAY}', at '{LATER}'" in failure(alone)
    assert f"Materialize {NEXT_DAY} to {LATER} as one range" in failure(alone)
    assert world.query(VERSIONS).height == 3

    assert world.materialize(NEXT_DAY, LATER).success
    wanted = [
        *anna,
        ("Berta", 5.0, "31.03. 22:00", "01.04. 22:00"),
        ("Berta", 5.5, "01.04. 22:00", "02.04. 22:00"),
    ]
    assert world.query(VERSIONS).rows() == wanted
    assert world.materialize(LATER).success
    assert world.query(VERSIONS).rows() == wanted


def test_a_history_of_changes_begins_where_the_rows_say(world: World) -> None:
    declare(world, {"mode": "history", "valid_from": "seen_at"})
    drop(world, DAY, Anna="4.5", Berta="5.0")
    drop(world, NEXT_DAY, Anna="4.8")
    assert world.materialize(DAY, NEXT_DAY).success
    assert world.query(VERSIONS).rows() == [
        ("Anna", 4.5, "01.04. 08:00", "02.04. 08:00"),
        ("Anna", 4.8, "02.04. 08:00", None),
        ("Berta", 5.0, "01.04. 08:00", None),
    ]


def test_a_change_without_its_time_is_refused(world: World) -> None:
    declare(
        world,
        {"mode": "history", "valid_from": "seen_at"},
        from__harbour__seen_at="case when ship = 'Anna' then arrived_at end",
    )
    drop(world, DAY, Anna="4.5", Berta="5.0")
    result = world.materialize(DAY)
    assert not result.success
    assert "[DA401]" in failure(result)
    assert "1 rows have no value in ship, seen_at" in failure(result)
