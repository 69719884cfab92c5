"""How old the newest data is: with a clock that moves, and nobody who materializes anything."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from dagster._core.definitions.freshness import CronFreshnessPolicy, TimeWindowFreshnessPolicy

from dataflow_assets.builders import freshness
from dataflow_assets.builders.freshness import Age, age_of
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets_tests.scenario import DAY, HARBOUR, HEADER, NEXT_DAY, changed, ships

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflow_assets_tests.scenario import World

BERLIN = dt.timezone(dt.timedelta(hours=2))
OLD_DAY = "2024-03-30"
CLEANED = "key:raw/harbour or key:cleaned/harbour"


def at(text: str) -> dt.datetime:
    """Return a moment in Berlin's summer."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=BERLIN)


def declared(checks: Mapping[str, Any] | str, **changes: object) -> dict[str, Any]:
    return changed(HARBOUR, checks={"freshness": checks}, **changes)


def publish(world: World, declaration: Mapping[str, Any], *days: str) -> None:
    world.declare(declaration)
    for day in days:
        world.drop(f"{day}.csv", ships(day, "Anna"))  # at 10:00 in Berlin
        assert world.materialize(day, select=CLEANED).success


def age(world: World, declaration: Mapping[str, Any], now: dt.datetime) -> Age:
    found = age_of(SourceDeclaration.model_validate(declaration), world.stores, now)
    assert found is not None
    return found


def test_a_window_ages_from_its_end(world: World) -> None:
    source = declared("26h")
    publish(world, source, DAY)

    assert age(world, source, at("2024-04-03T01:59")).fresh
    old = age(world, source, at("2024-04-03T02:01"))
    assert not old.fresh
    assert old.text == f"the newest partition is {DAY}, which ended 1 d 2 h ago"


def test_a_backfill_of_an_old_day_does_not_make_it_fresh(world: World) -> None:
    source = declared("26h")
    publish(world, source, DAY, OLD_DAY)

    assert not age(world, source, at("2024-04-03T02:01")).fresh


def test_a_newer_day_makes_it_fresh_again(world: World) -> None:
    source = declared("26h")
    publish(world, source, DAY, NEXT_DAY)

    assert age(world, source, at("2024-04-03T02:01")).fresh


@pytest.mark.parametrize("checks", ["26h", {"by": "0 9 * * *"}], ids=["within", "by"])
def test_an_empty_day_makes_nothing_fresh_unless_it_may_be_empty(
    world: World, checks: Mapping[str, Any] | str
) -> None:
    source = declared(checks)
    publish(world, source, DAY)
    assert world.materialize(NEXT_DAY, select=CLEANED).success

    old = age(world, source, at("2024-04-03T10:00"))
    assert not old.fresh
    assert old.text.startswith(f"the newest partition is {DAY}, which ended 1 d 10 h ago")
    assert old.text.endswith("; 1 newer ones are empty")
    may_be_empty = {**source, "checks": {**source["checks"], "rows": {"allow_empty": True}}}
    assert age(world, may_be_empty, at("2024-04-03T02:01")).fresh


def test_of_empty_days_alone_nothing_is_known(world: World) -> None:
    source = declared("26h")
    publish(world, source)
    assert world.materialize(DAY, select=CLEANED).success

    assert age(world, source, at(f"{DAY}T23:00")).text == (
        "no partition with rows has been published yet"
    )


def test_a_source_that_has_ended_stays_fresh(world: World) -> None:
    source = declared("26h", partitions__end=NEXT_DAY)
    publish(world, source, DAY)

    assert age(world, source, at("2030-01-01T00:00")).fresh


def test_the_newest_event_counts_and_not_the_newest_run(world: World) -> None:
    source = declared({"of": "arrived_at", "within": "2h"})
    publish(world, source, DAY, OLD_DAY)

    assert age(world, source, at(f"{DAY}T11:59")).fresh
    old = age(world, source, at(f"{DAY}T12:01"))
    assert not old.fresh
    assert old.text == f"the newest arrived_at is {DAY} 08:00:00 UTC, 2 h 1 m ago"


def test_events_in_the_future_are_said_and_do_not_count(world: World) -> None:
    source = declared({"of": "arrived_at", "within": "2h"})
    world.declare(source)
    row = f"{'.'.join(reversed(DAY.split('-')))} 10:00;4.5;cargo;1"
    world.drop(f"{DAY}.csv", f"{HEADER}\nAnna;{row}\nBerta;31.12.2999 10:00;4.5;cargo;1\n")
    assert world.materialize(DAY, select=CLEANED).success

    old = age(world, source, at(f"{DAY}T12:01"))

    assert not old.fresh
    assert old.future == 1
    assert old.text.endswith("; 1 rows were in the future, up to 2999-12-31 09:00:00 UTC")


def test_a_new_word_reads_event_times_from_the_lake(world: World) -> None:
    publish(world, HARBOUR, DAY)
    source = declared({"of": "arrived_at", "within": "2h"})

    assert age(world, source, at(f"{DAY}T11:59")).fresh
    assert world.query("select count(*) from dataflow.profiles").item() == 1


@pytest.mark.parametrize(
    ("now", "fresh"),
    [
        ("2024-04-02T08:59", True),  # yesterday's deadline asked for the day before
        ("2024-04-02T09:01", True),
        ("2024-04-03T08:59", True),
        ("2024-04-03T09:01", False),
    ],
)
def test_a_deadline_asks_for_the_last_complete_window(
    world: World,
    now: str,
    fresh: bool,  # noqa: FBT001 - what is expected
) -> None:
    source = declared({"by": "0 9 * * *"})
    publish(world, source, DAY)

    assert age(world, source, at(now)).fresh == fresh


def test_a_list_is_as_old_as_its_oldest_item(world: World) -> None:
    source = declared("26h", partitions={"values": ["north", "south"]})
    source["extract"] = {"files": {"path": "harbour/{partition}.csv", "csv": {"delimiter": ";"}}}
    world.declare(source)
    world.drop("north.csv", ships(DAY, "Anna"))
    world.drop("south.csv", ships(DAY, "Berta"))
    assert world.materialize("north", select=CLEANED).success

    now = dt.datetime.now(dt.UTC)
    assert age(world, source, now).text == "south has not been published yet"
    assert world.materialize("south", select=CLEANED).success
    published = age(world, source, now).newest
    assert published is not None
    old = age(world, source, published + dt.timedelta(hours=26, seconds=1))
    assert old.text.startswith("north was published 1 d 2 h ago")
    assert not old.fresh
    assert age(world, source, published + dt.timedelta(hours=25)).fresh


def test_nothing_published_is_not_fresh(world: World) -> None:
    assert age(world, declared("26h"), at("2024-04-02T00:00")) == Age(
        fresh=False, text="nothing has been published yet"
    )


def test_a_step_says_it(world: World) -> None:
    """After a backfill of old days too: Dagster's own policy is satisfied by that."""
    world.declare(declared("26h"))
    world.drop(f"{DAY}.csv", ships(DAY, "Anna"))

    result = world.materialize(DAY, select=CLEANED)

    said = next(
        one for one in result.get_asset_check_evaluations() if one.check_name == "freshness"
    )
    assert not said.passed
    assert said.severity == dg.AssetCheckSeverity.WARN


@pytest.mark.parametrize(
    ("checks", "kind"),
    [("26h", TimeWindowFreshnessPolicy), ({"by": "0 9 * * *"}, CronFreshnessPolicy)],
)
def test_dagsters_policy_stands_beside_it(world: World, checks: Any, kind: type) -> None:  # noqa: ANN401
    world.declare(declared(checks))

    node = world.definitions.resolve_asset_graph().get(dg.AssetKey(["cleaned", "harbour"]))

    assert isinstance(node.freshness_policy, kind)


def tick(world: World, now: dt.datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sensor look at a moment, and tell Dagster what it says, as the daemon does."""
    monkeypatch.setattr(freshness, "clock", lambda: now)
    sensor = world.definitions.resolve_sensor_def("harbour_freshness")
    context = dg.build_sensor_context(
        instance=world.instance,
        repository_def=world.definitions.get_repository_def(),
        resources={"stores": world.resource},
    )
    result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    for event in result.asset_events:
        world.instance.report_runless_asset_event(event)


def test_it_turns_red_and_green_with_nobody_materializing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(world, declared({"of": "arrived_at", "within": "2h"}), DAY)
    said = [False]  # the step was years later
    for now, expected in (
        ("11:00", [True, *said]),
        ("11:30", [True, *said]),  # nothing new is said
        ("12:30", [False, True, *said]),
        ("13:30", [False, True, *said]),
        ("11:00", [True, False, True, *said]),
    ):
        tick(world, at(f"{DAY}T{now}"), monkeypatch)
        assert world.check_history("cleaned/harbour", "freshness") == expected
