"""The whole way on Postgres: the declarations of the other tests, unchanged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dataflow_assets.builders.resources import build_resources
from dataflow_assets.settings import Settings, get_settings
from dataflow_assets_tests.scenario import (
    AWKWARD_COUNTS,
    DAY,
    GAP_DAY,
    NEXT_DAY,
    drop_awkward,
    ships,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflow_assets_tests.scenario import World

ROWS = (
    "select arrival_id, arrived_at, draught, rank, _partition, _source, _raw_ref from {} order by 1"
)
SECRET = "s3cret-of-the-test"  # noqa: S105 - it is none


@pytest.fixture
def _postgres(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    get_settings.cache_clear()
    user, rest = database.split("@")
    password = "" if ":" in user.removeprefix("postgresql://") else f":{SECRET}"
    monkeypatch.setenv("DATABASE_URL", f"{user}{password}@{rest}")
    yield
    get_settings.cache_clear()


@pytest.mark.usefixtures("_postgres")
def test_the_awkward_files_end_in_postgres_as_they_do_in_duckdb(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_awkward(world)
    world.drop(f"{DAY}.csv", ships(DAY, "Anna", "Berta"))
    assert world.materialize(GAP_DAY, DAY).success
    on_postgres = world.query(ROWS.format("normalized.arrivals"))
    ledger = world.query(
        "select received, loaded, quarantined, duplicate, filtered from dataflow.ledger "
        f"where asset = 'cleaned/harbour' and \"partition\" = '{GAP_DAY}'"
    )
    assert ledger.to_dicts() == [AWKWARD_COUNTS]
    monkeypatch.delenv("DATABASE_URL")
    get_settings.cache_clear()
    world.forget_definitions()
    assert world.materialize(GAP_DAY, DAY).success
    assert on_postgres.equals(world.query(ROWS.format("normalized.arrivals")))
    assert on_postgres.height == 8


@pytest.mark.usefixtures("_postgres")
def test_a_partition_is_replaced_and_the_password_is_nowhere_to_be_read(
    world: World, capfd: pytest.CaptureFixture[str]
) -> None:
    for names in (("Anna", "Berta"), ("Anna", "Cora", "Dora")):
        world.drop(f"{DAY}.csv", ships(DAY, *names))
        run = world.materialize(DAY)
        assert run.success
    world.drop(f"{NEXT_DAY}.csv", ships(NEXT_DAY, "Emmy"))
    assert world.materialize(NEXT_DAY).success
    assert world.query("select count(*) from normalized.arrivals").item() == 4
    stored = world.instance.get_run_by_id(run.run_id)
    events = world.instance.all_logs(run.run_id)
    shown = [world.resource, world.settings, stored, *events, *capfd.readouterr()]
    assert SECRET not in " ".join(map(repr, shown))


@pytest.mark.usefixtures("_postgres")
def test_another_database_in_the_process_than_in_the_configuration_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resource = build_resources(Settings())["stores"]
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:other-secret@elsewhere/d")
    get_settings.cache_clear()
    with pytest.raises(Exception, match="DATABASE_URL is not that of") as refused:
        resource.open()
    assert "other-secret" not in str(refused.value)
