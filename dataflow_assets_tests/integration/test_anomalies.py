"""Figures of partitions against their history, through Dagster, lake and warehouse."""

from __future__ import annotations

import datetime as dt
import random
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from dataflow_assets.builders.resources import build_resources
from dataflow_assets.io.profiles import versions_of
from dataflow_assets_tests.scenario import ARRIVALS, HARBOUR, HEADER, changed, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dataflow_assets_tests.scenario import World

FIRST = dt.date(2024, 1, 1)  # a Monday
DAYS = {"every": "day", "start": "2024-01-01", "end": "2024-05-01"}
ALL = ["nulls", "distinct", "distribution"]
WATCHED = changed(
    HARBOUR,
    partitions=DAYS,
    checks={"volume_anomaly": True, "anomalies": {"columns": {"draught": ALL, "kind": ALL[2:]}}},
)
FIGURES = {
    "volume_anomaly",
    "draught__nulls_anomaly",
    "draught__distinct_anomaly",
    "draught__distribution_anomaly",
    "kind__distribution_anomaly",
}
NOTHING_YET = "not enough history: "
CLEANED = "key:raw/harbour or key:cleaned/harbour"


def day(number: int) -> str:
    return (FIRST + dt.timedelta(days=number)).isoformat()


def drop(
    world: World, number: int, rows: int = 100, draught: str | None = None, kind: str | None = None
) -> None:
    """Put the ships of a day into the inbox."""
    chance = random.Random(number)  # noqa: S311 - no secret
    date = ".".join(reversed(day(number).split("-")))
    lines = [
        f"S{n};{date} {10 + n // 60}:{n % 60:02};"
        f"{round(chance.gauss(8, 2), 1) if draught is None else draught};"
        f"{kind or chance.choice(['cargo', 'tanker'])};1"
        for n in range(rows)
    ]
    world.drop(f"{day(number)}.csv", "\n".join([HEADER, *lines, ""]))


@pytest.fixture(scope="session")
def watched_template(tmp_path_factory: pytest.TempPathFactory, empty_template: Path) -> Path:
    root = tmp_path_factory.mktemp("watched")
    for world in open_world(root, empty_template):
        watch(world, days=21)
    return root


@pytest.fixture
def watched(tmp_path: Path, watched_template: Path) -> Iterator[World]:
    """Three weeks of usual days, and what is watched of them."""
    for world in open_world(tmp_path, watched_template):
        world.declare(WATCHED)
        yield world


def watch(world: World, declaration: dict[str, Any] = WATCHED, *, days: int) -> None:
    """Declare what is watched, and publish some usual days."""
    world.declare(declaration)
    for number in range(days):
        drop(world, number)
    assert world.materialize(day(0), day(days - 1), select=CLEANED).success


def found(world: World, number: int) -> dict[str, dg.AssetCheckEvaluation]:
    """Materialize a day, and return what the checks of its history say."""
    result = world.materialize(day(number), select=CLEANED)
    assert result.success
    evaluations = result.get_asset_check_evaluations()
    return {one.check_name: one for one in evaluations if one.check_name.endswith("_anomaly")}


def failing(evaluations: dict[str, dg.AssetCheckEvaluation]) -> set[str]:
    return {name for name, one in evaluations.items() if not one.passed}


def test_a_usual_day_passes(watched: World) -> None:
    world = watched
    drop(world, 21, rows=110)

    checks = found(world, 21)

    assert set(checks) == FIGURES
    assert not failing(checks)


def test_the_ui_shows_value_interval_and_history(watched: World) -> None:
    world = watched
    drop(world, 21, rows=20)

    check = found(world, 21)["volume_anomaly"]

    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert check.description is not None
    assert check.description.startswith("20, where ")
    assert check.description.endswith("are expected by 21 earlier partitions since 2024-01-01")
    shown = {name: one.value for name, one in check.metadata.items()}
    assert (shown["value"], shown["history"]) == (20, 21)
    assert 50 < float(str(shown["expected_from"])) < 100 < float(str(shown["expected_to"])) < 160
    assert "`█████████████████████▂` the last one is tested" in str(shown["plot"])
    assert "| 2024-01-21 | 100 |" in str(shown["plot"])


@pytest.mark.parametrize(
    ("odd", "figures"),
    [
        ({"draught": ""}, {"draught__nulls_anomaly", "draught__distinct_anomaly"}),
        ({"draught": "24.9"}, {"draught__distinct_anomaly", "draught__distribution_anomaly"}),
        ({"kind": "yacht"}, {"kind__distribution_anomaly"}),
    ],
    ids=["no value", "one value", "another kind"],
)
def test_each_figure_finds_its_own(watched: World, odd: dict[str, str], figures: set[str]) -> None:
    world = watched
    drop(world, 21, draught=odd.get("draught"), kind=odd.get("kind"))

    assert failing(found(world, 21)) == figures


def test_a_short_history_passes_and_says_so(world: World) -> None:
    watch(world, days=3)
    drop(world, 3, rows=1)

    checks = found(world, 3)

    assert not failing(checks)
    assert str(checks["volume_anomaly"].description).startswith(NOTHING_YET)
    assert str(checks["draught__nulls_anomaly"].description).startswith(NOTHING_YET)


def test_a_backfill_of_old_days_neither_alarms_nor_changes_what_is_expected(world: World) -> None:
    world.declare(WATCHED)
    for number in (*range(30, 51), 60):
        drop(world, number)
    assert world.materialize(day(30), day(50)).success
    before = found(world, 60)["volume_anomaly"]
    for number in range(10, 30):  # the source was ten times smaller then
        drop(world, number, rows=10)

    backfill = world.materialize(day(10), day(29), select=CLEANED)

    assert backfill.success
    assert not {
        one.check_name
        for one in backfill.get_asset_check_evaluations()
        if one.check_name.endswith("_anomaly") and not one.passed
    }
    oldest = found(world, 10)["volume_anomaly"]
    assert str(oldest.description).startswith(f"{NOTHING_YET}0 of 6")
    world.declare(changed(WATCHED, checks__anomalies__since=day(30)))
    assert found(world, 60)["volume_anomaly"].description == before.description


def test_the_order_of_runs_does_not_matter(world: World) -> None:
    world.declare(WATCHED)
    for number in range(15):
        drop(world, number, rows=100 + number % 3)
    for first, last in ((10, 14), (0, 3), (4, 9)):
        world.materialize(day(first), day(last), select=CLEANED)
    drop(world, 15, rows=70)
    shuffled = {name: one.description for name, one in found(world, 15).items()}

    assert world.materialize(day(0), day(15), select=CLEANED).success
    assert {name: one.description for name, one in found(world, 15).items()} == shuffled


def test_a_restated_day_counts_once_with_what_it_is_now(watched: World) -> None:
    world = watched
    for rows in (5, 7, 100):
        drop(world, 20, rows=rows)
        world.materialize(day(20))
    drop(world, 21, rows=100)

    plot = str(found(world, 21)["volume_anomaly"].metadata["plot"].value)

    assert plot.count("2024-01-21") == 1
    assert "| 2024-01-21 | 100 |" in plot


def test_what_blocks_leaves_what_stood_and_is_no_history(watched: World) -> None:
    world = watched
    world.declare(changed(WATCHED, checks__volume_anomaly="block"))
    drop(world, 21)
    assert world.materialize(day(21), select=CLEANED).success
    drop(world, 21, rows=3)

    result = world.materialize(day(21))

    assert not result.success
    assert world.rows("cleaned", day(21)).height == 100
    failure = next(event for event in result.all_events if event.is_step_failure)
    data = failure.step_failure_data.user_failure_data
    assert data is not None
    assert "[DA305] source 'harbour', partition '2024-01-22', at 'volume_anomaly': 3, where" in str(
        data.description
    )
    evaluation = next(
        one for one in result.get_asset_check_evaluations() if one.check_name == "volume_anomaly"
    )
    assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.ERROR)
    drop(world, 22)
    assert "| 2024-01-22 | 100 |" in str(found(world, 22)["volume_anomaly"].metadata["plot"].value)


def test_a_new_word_finds_its_history_in_the_lake(world: World) -> None:
    """Whoever declares a check has not to wait for weeks, nor to materialize the past again."""
    watch(world, changed(WATCHED, checks={}), days=15)
    assert world.query("select count(*) from dataflow.profiles").item() == 0
    world.declare(WATCHED)
    drop(world, 15, draught="24.9")

    assert "draught__distribution_anomaly" in failing(found(world, 15))
    assert world.query("select count(*) from dataflow.profiles").item() == 16


def test_a_source_without_these_words_keeps_no_profile(world: World) -> None:
    watch(world, changed(WATCHED, checks={"volume_anomaly": True}), days=8)

    assert world.query("select count(*) from dataflow.profiles").item() == 0


def test_a_warehouse_of_before_gets_its_table(world: World) -> None:
    watch(world, days=2)
    import duckdb  # noqa: PLC0415 - only here

    with duckdb.connect(str(world.settings.warehouse)) as connection:
        connection.execute("drop table dataflow.profiles")
    drop(world, 2)

    assert not failing(found(world, 2))
    assert world.query("select count(*) from dataflow.profiles").item() >= 1


def test_a_partition_of_a_list_is_compared_with_its_own_versions(world: World) -> None:
    listed = changed(WATCHED, partitions={"values": ["all"]})
    listed["extract"] = {"files": {"path": "harbour/all*", "csv": {"delimiter": ";"}}}
    world.declare(listed)
    rows = [f"S{n};01.02.2024 10:{n % 60:02};8.0;cargo;1" for n in range(200)]
    for version in range(6):
        world.drop("all.csv", "\n".join([HEADER, *rows[: 100 + version], ""]))
        assert world.materialize("all").success
    world.drop("all.csv", "\n".join([HEADER, *rows[:20], ""]))

    result = world.materialize("all")

    volume = next(
        one for one in result.get_asset_check_evaluations() if one.check_name == "volume_anomaly"
    )
    assert not volume.passed
    assert volume.metadata["history"].value == 6
    versions = versions_of(world.stores.warehouse, "cleaned/harbour", "all", 99)
    assert [one.counts.loaded for one in versions] == [20, 105, 104, 103, 102, 101, 100]


def test_the_same_on_postgres(world: World, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database)
    from dataflow_assets.settings import get_settings  # noqa: PLC0415 - as it is cached

    get_settings.cache_clear()
    world.forget_definitions()
    watch(world, days=15)
    drop(world, 15, rows=3, draught="24.9")

    checks = found(world, 15)

    assert failing(checks) == {
        "volume_anomaly",
        "draught__distinct_anomaly",
        "draught__distribution_anomaly",
    } - (
        {"draught__distribution_anomaly"}
        if checks["draught__distribution_anomaly"].passed
        else set()
    )
    stores = build_resources(world.settings)["stores"].open()
    assert stores.warehouse.read("select count(*) from dataflow.profiles").item() == 16
    get_settings.cache_clear()


def test_a_name_in_another_script_has_a_check_too(world: World) -> None:
    columns = {**WATCHED["contract"]["columns"], "Länge": {"type": "float64"}}
    declaration = changed(
        WATCHED,
        contract__columns=columns,
        checks__anomalies__columns={"Länge": ["nulls"], "kind": ["nulls"]},
    )
    world.declare(declaration, ARRIVALS)
    names = {key.name for key in world.definitions.resolve_asset_graph().asset_check_keys}

    assert {"L_nge__nulls_anomaly", "kind__nulls_anomaly"} <= names
