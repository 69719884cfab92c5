"""Several runs at once, and runs that are killed: never a mixture, never anything half written."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from dataflow_assets.builders import steps
from dataflow_assets_tests.scenario import open_world, ships

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import polars as pl

    from dataflow_assets.io.lake import Layer
    from dataflow_assets_tests.scenario import World

DAYS = [f"2024-04-{day:02}" for day in range(1, 7)]
SHIPS_A_DAY = 600
KILLS = 4
LAYERS: tuple[Layer, ...] = ("raw", "cleaned", "quarantine")
RUN = """
import sys
from pathlib import Path
from dataflow_assets_tests.scenario import reopen_world
with reopen_world(Path(sys.argv[1])) as world:
    world.definitions
    print("ready", flush=True)
    sys.stdin.readline()
    sys.exit(not world.materialize(sys.argv[2], sys.argv[3]).success)
"""
HOLD = """
import duckdb, sys
with duckdb.connect(sys.argv[1]):
    print("ready", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def child(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Start a process that stops short before it begins, until it is told to go on."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def fill(world: World, edition: int) -> None:
    """Put an edition of all days into the inbox: some ships change, some are no good."""
    for day in DAYS:
        names = [f"Ship {number % 500} of {edition % 3}" for number in range(SHIPS_A_DAY)]
        world.drop(f"{day}.csv", ships(day, *names, draught=str(20 + edition)))


def rows(world: World) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows that readers see; the runs that wrote them are left out."""

    def sorted_rows(frame: pl.DataFrame) -> list[tuple[Any, ...]]:
        return sorted(frame.rows(), key=str)

    lake = world.stores.lake
    found = {
        f"{layer} {day}": sorted_rows(world.rows(layer, day))
        for layer in LAYERS
        for day in lake.partitions(layer, "harbour")
    }
    table = world.query("select * exclude (_run_id) from normalized.arrivals")
    ledger = world.query(
        "select asset, partition, received, loaded, quarantined, duplicate, filtered, data_version "
        "from dataflow.ledger"
    )
    files = world.query("select partition, version, name, rows, rejected from dataflow.files")
    tables = {"normalized": table, "ledger": ledger, "files": files}
    return found | {name: sorted_rows(frame) for name, frame in tables.items()}


def check_whole(world: World) -> None:
    """What readers see between two runs is always whole, whatever was killed."""
    lake = world.stores.lake
    for layer in LAYERS:
        for day in lake.partitions(layer, "harbour"):
            manifest = lake.manifest(layer, "harbour", day)
            assert manifest is not None
            assert world.rows(layer, day).height == manifest.rows
    published = world.query(
        "select loaded, (select count(*) from normalized.arrivals where _partition = partition) "
        "from dataflow.ledger where layer = 'normalized'"
    )
    assert all(loaded == counted for loaded, counted in published.rows())
    assert world.query("select * from dataflow.conservation where lost <> 0").height == 0


@pytest.mark.parametrize("half", [0, 1])  # so that two cores share the work
def test_killed_at_any_moment_nothing_is_half_written(
    half: int, world: World, tmp_path_factory: pytest.TempPathFactory, empty_template: Path
) -> None:
    dice = random.Random(half)  # noqa: S311 - moments of kills, nothing secret
    fill(world, 0)
    begin = time.monotonic()
    assert world.materialize(DAYS[0], DAYS[-1]).success
    run_s = time.monotonic() - begin
    killed = 0
    for edition in range(1, KILLS + 1):
        fill(world, edition)
        with child(RUN, world.root, DAYS[0], DAYS[-1]) as process:
            go(process)
            time.sleep((edition - dice.random()) * run_s / KILLS)  # early and late ones
            if process.poll() is None:
                killed += 1
            else:  # done before its end came: the machine has more time for us than before
                run_s *= 0.7
        check_whole(world)
    assert killed >= KILLS // 2

    assert world.materialize(DAYS[0], DAYS[-1]).success

    for clean in open_world(tmp_path_factory.mktemp("clean"), empty_template):
        fill(clean, KILLS)
        assert clean.materialize(DAYS[0], DAYS[-1]).success
        assert rows(world) == rows(clean)
    check_whole(world)
    assert not list((world.root / "data/lake/.work").iterdir())


def test_two_runs_on_the_same_partitions_take_turns(filled: World) -> None:
    for day in DAYS:
        filled.drop(f"{day}.csv", ships(day, "Anna", "Berta", "Clara"))
    with (
        child(RUN, filled.root, DAYS[0], DAYS[-1]) as one,
        child(RUN, filled.root, DAYS[0], DAYS[-1]) as other,
    ):
        go(one)
        go(other)
        codes = [one.wait(timeout=60), other.wait(timeout=60)]

    assert codes == [0, 0]
    check_whole(filled)
    table = filled.query("select _partition, count(*) from normalized.arrivals group by 1")
    assert sorted(table.rows()) == [(day, 3) for day in DAYS]


def test_a_warehouse_that_is_let_go_in_time_is_waited_for(filled: World) -> None:
    filled.drop(f"{DAYS[0]}.csv", ships(DAYS[0], "Clara", "Dora", "Emmy"))
    with (
        child(HOLD, filled.settings.warehouse) as holder,
        child(RUN, filled.root, DAYS[0], DAYS[0]) as run,
    ):
        go(run)
        time.sleep(2)
        assert run.poll() is None
        go(holder)
        assert run.wait(timeout=60) == 0

    assert filled.query("select * from normalized.arrivals").height == 3


def test_a_warehouse_that_is_not_let_go_fails_the_run_in_the_end(
    filled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(filled, "lock_timeout_s", 0.2)
    filled.drop(f"{DAYS[0]}.csv", ships(DAYS[0], "Clara"))
    with child(HOLD, filled.settings.warehouse) as holder:
        result = filled.materialize(DAYS[0])

    failed = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    retried = [event for event in result.all_events if event.is_step_up_for_retry]
    (failure,) = (event.step_failure_data.user_failure_data for event in failed)
    assert failure is not None
    assert "[DA502]" in str(failure.description)
    assert str(holder.pid) in str(failure.description)
    assert len(retried) == steps.RETRIES
    assert filled.query("select count(*) from normalized.arrivals").item() == 2
    assert filled.materialize(DAYS[0]).success
    assert filled.query("select count(*) from normalized.arrivals").item() == 1
