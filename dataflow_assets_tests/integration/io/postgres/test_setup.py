"""The set-up command, and what each role may do after it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import polars as pl
import psycopg
import pytest
from pydantic import SecretStr

from dataflow_assets.errors import WarehouseRefusedError, WarehouseSchemaError
from dataflow_assets.io.postgres.setup import set_up
from dataflow_assets.io.warehouse import EntityTable
from dataflow_assets_tests.integration.io.postgres.opening import generations, open_warehouse
from dataflow_assets_tests.integration.io.publishing import COLUMNS, TABLE, publication

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dataflow_assets_tests.postgres_server import Server
    from dataflow_assets_tests.scenario import World

WIDER = EntityTable("things", {**COLUMNS, "note": pl.String()}, key=("id",))


def as_user(database: str, user: str) -> str:
    return database.replace("//postgres", f"//{user}")


@pytest.fixture
def users(postgres: Server) -> Iterator[tuple[str, str]]:
    """A user who may publish and one who may read, once the roles are there."""
    names = f"writer_{os.getpid()}", f"reader_{os.getpid()}"
    for name in names:
        postgres.execute(f"create role {name} login")
    yield names
    for name in names:
        postgres.execute(f"drop role {name}")


def set_up_for(database: str, users: tuple[str, str], *tables: EntityTable) -> tuple[str, str]:
    set_up(SecretStr(database), "here", tables, 5)
    with psycopg.connect(database) as connection:
        for user, role in zip(users, ("dataflow_writer", "dataflow_reader"), strict=True):
            connection.execute(f"grant {role} to {user}".encode())
    return as_user(database, users[0]), as_user(database, users[1])


def test_a_writer_publishes_and_a_reader_reads_and_neither_may_more(
    database: str, users: tuple[str, str], tmp_path: Path
) -> None:
    writer, reader = set_up_for(database, users, TABLE)
    open_warehouse(writer).publish(TABLE, [publication(tmp_path, "a", 3)])
    assert generations(open_warehouse(reader)) == [("a", 0, 3)]
    with pytest.raises(WarehouseRefusedError, match="permission denied"):
        open_warehouse(reader).publish(TABLE, [publication(tmp_path, "a", 4)])
    with pytest.raises(WarehouseRefusedError, match=r"dataflow-assets setup"):
        open_warehouse(writer).publish(
            WIDER, [publication(tmp_path, "a", 4, added={"note": pl.lit("x")})]
        )
    assert generations(open_warehouse(reader)) == [("a", 0, 3)]
    for statement in ("drop table normalized.things", "truncate dataflow.ledger"):
        with (
            psycopg.connect(writer) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(statement.encode())


def test_a_changed_description_does_not_keep_a_writer_from_publishing(
    database: str, users: tuple[str, str], tmp_path: Path
) -> None:
    writer, _ = set_up_for(database, users, TABLE)
    described = EntityTable("things", COLUMNS, {"id": "Another text"}, key=("id",))
    open_warehouse(writer).publish(described, [publication(tmp_path, "a", 3)])
    assert generations(open_warehouse(writer)) == [("a", 0, 3)]


def test_what_a_run_made_without_the_set_up_is_taken_over_by_it(
    database: str, users: tuple[str, str], tmp_path: Path
) -> None:
    open_warehouse(database).publish(TABLE, [publication(tmp_path, "a", 3)])
    writer, reader = set_up_for(database, users, TABLE)
    open_warehouse(writer).publish(TABLE, [publication(tmp_path, "a", 4, generation=1)])
    assert generations(open_warehouse(reader)) == [("a", 1, 4)]
    owners = open_warehouse(database).read(
        "select distinct tableowner from pg_tables where schemaname in ('normalized', 'dataflow')"
    )
    assert owners.rows() == [("dataflow_owner",)]


def test_the_set_up_can_run_again_and_changes_nothing_then(database: str) -> None:
    state = (
        "select relname, relacl::text, relowner::regrole::text from pg_class "
        "where relnamespace in ('normalized'::regnamespace, 'dataflow'::regnamespace) order by 1"
    )
    set_up(SecretStr(database), "here", [TABLE], 5)
    before = open_warehouse(database).read(state).rows()
    set_up(SecretStr(database), "here", [TABLE], 5)
    assert open_warehouse(database).read(state).rows() == before


def test_the_command_makes_the_declared_tables(database: str, world: World) -> None:
    command = [sys.executable, "-m", "dataflow_assets", "setup"]
    environment = {**world.environment, "DATABASE_URL": database}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tables: arrivals" in done.stdout
    place = urlsplit(database)
    assert done.stdout.startswith(f"warehouse: Postgres, postgresql://{place.hostname}")
    assert place.password is None or f":{place.password}@" not in done.stdout
    found = open_warehouse(database).read("select * from normalized.arrivals")
    assert found.columns[:2] == ["arrival_id", "arrived_at"]


def test_the_command_says_where_there_is_nothing_to_set_up(world: World) -> None:
    command = [sys.executable, "-m", "dataflow_assets", "setup"]
    environment = {**world.environment, "DATABASE_URL": ""}  # counts as not set
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    data = world.root / "data"
    assert done.stdout.splitlines()[:2] == [
        f"warehouse: DuckDB, {data}/warehouse.duckdb (DATABASE_URL is not set)",
        f"lake: {data}/lake (S3_BUCKET is not set)",
    ]
    assert "needs no set-up" in done.stdout


def test_new_columns_and_wider_types_come_at_once_and_are_recorded(
    database: str, tmp_path: Path
) -> None:
    warehouse = open_warehouse(database)
    narrow = EntityTable("things", {**COLUMNS, "generation": pl.Int16()}, key=("id",))
    small = {"generation": pl.lit(0, pl.Int16)}
    warehouse.publish(narrow, [publication(tmp_path, "a", 2, added=small)])
    note = {"note": pl.lit("new")}
    warehouse.publish(WIDER, [publication(tmp_path, "b", 2, generation=1, added=note)])
    found = warehouse.read("select distinct generation, note from normalized.things order by 1")
    assert found.rows() == [(0, None), (1, "new")]
    assert found.schema["generation"] == pl.Int64()
    recorded = warehouse.read("select statement from dataflow.migrations order by number")
    assert recorded["statement"].to_list()[-2:] == [
        'alter table normalized."things" add column "note" text',
        'alter table normalized."things" alter column "generation" type bigint',
    ]


def test_what_would_lose_data_is_refused_with_the_statement_for_a_person(
    database: str, tmp_path: Path
) -> None:
    warehouse = open_warehouse(database)
    warehouse.publish(TABLE, [publication(tmp_path, "a", 2)])
    narrow = EntityTable("things", {**COLUMNS, "id": pl.Int16()}, key=("id",))
    small = {"id": pl.col("id").cast(pl.Int16)}
    one = publication(tmp_path, "a", 2, generation=1, added=small)
    with pytest.raises(WarehouseSchemaError) as refused:
        warehouse.publish(narrow, [one])
    statement = refused.value.mend.split("run yourself: ")[1].split(";")[0]
    with psycopg.connect(database) as connection:
        connection.execute(statement.encode())
    warehouse.publish(narrow, [one])
    assert generations(warehouse) == [("a", 1, 2)]


def test_another_key_replaces_the_index_of_the_old_one(database: str, tmp_path: Path) -> None:
    warehouse = open_warehouse(database)
    warehouse.publish(TABLE, [publication(tmp_path, "a", 3)])
    both = EntityTable("things", COLUMNS, key=("id", "generation"))
    warehouse.publish(both, [publication(tmp_path, "a", 3, generation=1)])
    indexes = "select indexdef from pg_indexes where tablename = 'things'"
    (definition,) = warehouse.read(indexes)["indexdef"].to_list()
    assert "UNIQUE" in definition
    assert definition.endswith("(_partition, id, generation)")


def test_a_key_that_rows_already_have_twice_is_refused(database: str, tmp_path: Path) -> None:
    warehouse = open_warehouse(database)
    warehouse.publish(TABLE, [publication(tmp_path, "a", 3)])
    other = EntityTable("things", COLUMNS, key=("generation",))
    with pytest.raises(WarehouseSchemaError, match="keys more than once"):
        warehouse.publish(other, [publication(tmp_path, "b", 1)])
    assert generations(warehouse) == [("a", 0, 3)]


def test_a_name_that_postgres_would_cut_off_is_refused(database: str, tmp_path: Path) -> None:
    table = EntityTable("things", {**COLUMNS, "ä" * 32: pl.String()}, key=("id",))
    with pytest.raises(WarehouseSchemaError, match="more than 63 bytes"):
        open_warehouse(database).publish(table, [publication(tmp_path, "a", 1)])
