"""Dagster's own storage in Postgres, as `deploy/dagster.yaml` configures it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import psycopg
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage

from dataflow_assets_tests.scenario import ARRIVALS, DAY, HARBOUR, World, ships

if TYPE_CHECKING:
    import pytest

DEPLOYED = Path(__file__).parents[2] / "deploy" / "dagster.yaml"


def test_the_deployed_configuration_keeps_runs_and_events_in_postgres(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(database) as connection:
        info = connection.info
        for name, value in (
            ("HOST", info.host),
            ("PORT", str(info.port)),
            ("USER", info.user),
            ("PASSWORD", info.password or "none-is-asked-for"),
            ("DB", info.dbname),
        ):
            monkeypatch.setenv(f"DAGSTER_POSTGRES_{name}", value)
    (tmp_path / "home").mkdir()
    shutil.copy(DEPLOYED, tmp_path / "home")
    with dg.DagsterInstance.from_config(str(tmp_path / "home")) as instance:
        assert isinstance(instance.run_storage, PostgresRunStorage)
        assert isinstance(instance.event_log_storage, PostgresEventLogStorage)
        assert isinstance(instance.schedule_storage, PostgresScheduleStorage)
        world = World(tmp_path, instance)
        world.declare(HARBOUR, ARRIVALS)
        world.drop(f"{DAY}.csv", ships(DAY, "Anna", "Berta"))
        assert world.materialize(DAY).success
        found = instance.get_latest_materialization_event(dg.AssetKey(["normalized", "arrivals"]))
        assert found is not None
        assert found.asset_materialization is not None
        assert found.asset_materialization.partition == DAY
    with psycopg.connect(database) as connection:
        runs = connection.execute("select status from public.runs").fetchall()
    assert runs == [("SUCCESS",)]
