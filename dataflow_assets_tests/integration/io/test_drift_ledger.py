"""Drift in the ledger, whichever warehouse keeps it."""

from __future__ import annotations

import datetime as dt
from dataclasses import astuple, fields, replace
from typing import TYPE_CHECKING

import duckdb
import psycopg
import pytest

from dataflow_assets.io.duckdb_warehouse import DuckDBWarehouse
from dataflow_assets.io.ledger import LedgerDrift
from dataflow_assets.io.postgres.warehouse import DRIFT_COLUMNS
from dataflow_assets_tests.integration.io.postgres.opening import open_warehouse
from dataflow_assets_tests.integration.io.publishing import ledger_row

if TYPE_CHECKING:
    from pathlib import Path

    from dataflow_assets.io.warehouse import Warehouse

NOON = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)
NEW = LedgerDrift(
    "shop", "b", "a", "new", "it's", None, "int64", "b.csv", 1, 3,
    published=True, data_version="v1", run_id="run", found_at=NOON,
)  # fmt: skip
GONE = replace(NEW, kind="gone", column="", old="string", new=None, file=None)
ROWS = "select * from dataflow.drift order by kind desc"


@pytest.fixture(params=["duckdb", "postgres"])
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Warehouse:
    if request.param == "duckdb":
        return DuckDBWarehouse(tmp_path / "w.duckdb", 30, 256)
    return open_warehouse(request.getfixturevalue("database"))


def test_drift_is_kept_with_the_publish_and_without_one(warehouse: Warehouse) -> None:
    warehouse.record([ledger_row("b", 1)], [], [NEW, GONE])
    assert warehouse.read(ROWS).columns == [one.name for one in fields(LedgerDrift)]
    assert warehouse.read(ROWS).columns == list(DRIFT_COLUMNS)
    assert warehouse.read(ROWS).rows() == [astuple(NEW), astuple(GONE)]
    refused = replace(NEW, partition="c", published=False)
    warehouse.record([], [], [refused])
    assert warehouse.read("select count(*) from dataflow.drift").item() == 3
    assert warehouse.read("select count(*) from dataflow.ledger").item() == 1


def test_what_the_same_raw_rows_show_now_replaces_what_they_showed(warehouse: Warehouse) -> None:
    warehouse.record([], [], [NEW, GONE])
    warehouse.record([], [], [GONE])
    warehouse.record([], [], [replace(GONE, data_version="v2")])
    versions = warehouse.read("select data_version, kind from dataflow.drift order by 1").rows()
    assert versions == [("v1", "gone"), ("v2", "gone")]


def test_a_ledger_of_before_gets_the_table(tmp_path: Path, database: str) -> None:
    path = tmp_path / "w.duckdb"
    DuckDBWarehouse(path, 30, 256).record([ledger_row("a", 1)], [])
    with duckdb.connect(str(path)) as connection:
        connection.execute("drop table dataflow.drift")
    open_warehouse(database).record([ledger_row("a", 1)], [])
    with psycopg.connect(database, autocommit=True) as server:
        server.execute("drop table dataflow.drift")
    for warehouse in (DuckDBWarehouse(path, 30, 256), open_warehouse(database)):
        warehouse.record([], [], [NEW])
        assert warehouse.read("select kind from dataflow.drift").item() == "new"
        assert warehouse.read("select count(*) from dataflow.ledger").item() == 1
