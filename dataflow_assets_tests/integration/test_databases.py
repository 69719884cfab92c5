"""Databases from the declaration to the warehouse, through Dagster."""

from __future__ import annotations

import datetime as dt
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb
import psycopg
import pytest

from dataflow_assets_tests.scenario import changed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflow_assets_tests.scenario import World

SECRET = "s3cret-of-the-test"  # noqa: S105 - it is none
DAY, NEXT_DAY, LAST_DAY = "2024-01-01", "2024-01-02", "2024-01-03"
ORDERS: dict[str, Any] = {
    "name": "orders",
    "description": "Orders of the shop",
    "partitions": {"every": "day", "start": DAY},
    "extract": {
        "database": {
            "system": "postgres",
            "url_env": "SHOP_DB",
            "table": "shop.orders",
            "window": {"column": "updated_at"},
        }
    },
    "contract": {
        "key": ["id"],
        "keep": {"latest_by": "updated_at"},
        "columns": {
            "id": "int64",
            "updated_at": "timestamp",
            "amount": "decimal(10, 2)",
            "paid": "boolean",
            "due": "date",
        },
    },
}
SALES: dict[str, Any] = {
    "name": "sales",
    "key": ["id"],
    "columns": {"id": "int64", "updated_at": "timestamp", "amount": "decimal(10, 2)"},
    "from": {"orders": {"id": "id", "updated_at": "updated_at", "amount": "amount"}},
}
TABLE = """create table shop.orders (
    id bigint, updated_at timestamptz, amount numeric(10,2), paid boolean, due date)"""


@pytest.fixture
def shop(
    world: World, database: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[psycopg.Connection[Any]]:
    """A shop's database, and its orders declared."""
    user, rest = database.split("@")
    bare = user.removeprefix("postgresql://")
    url = database if ":" in bare else f"{user}:{SECRET}@{rest}"
    monkeypatch.setenv("SHOP_DB", url)
    world.declare(ORDERS, SALES)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create schema shop")
        connection.execute(TABLE.encode())
        yield connection


def _order(shop: psycopg.Connection[Any], number: int, at: str, amount: str = "9.99") -> None:
    shop.execute(
        "insert into shop.orders values (%s, %s, %s, true, '2024-02-29')", [number, at, amount]
    )


def _sales(world: World) -> list[tuple[Any, ...]]:
    return world.query(
        "select id, cast(amount as varchar) from normalized.sales order by id, amount"
    ).rows()


def test_orders_reach_the_warehouse_and_stay_when_the_shop_is_gone(
    world: World, shop: psycopg.Connection[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    _order(shop, 1, f"{DAY} 10:00Z")
    _order(shop, 2, f"{DAY} 11:00Z", "100.10")
    _order(shop, 3, f"{NEXT_DAY} 00:00Z")
    shop.execute("insert into shop.orders values (4, %s, 1, true, 'infinity')", [f"{DAY} 12:00Z"])
    run = world.materialize(DAY, NEXT_DAY)
    assert run.success
    assert _sales(world) == [(1, "9.99"), (2, "100.10"), (3, "9.99")]
    quarantine = world.rows("quarantine", DAY, "orders")
    assert quarantine["rules"].to_list() == [["database__misfit"]]
    assert '"due":"infinity"' in quarantine["row"][0]
    raw = world.rows("raw", DAY, "orders")
    assert [str(raw.schema[name]) for name in ("id", "paid", "due")] == ["Int64", "Boolean", "Date"]
    before = world.stores.lake.manifest("raw", "orders", DAY)
    assert world.materialize(DAY).success
    assert world.stores.lake.manifest("raw", "orders", DAY) == before  # nothing was new
    shop.execute("drop table shop.orders")
    failed = world.materialize(DAY)
    assert not failed.success
    told = str(failed.all_events)
    assert "DA206" in told
    assert "shop.orders" in told
    assert DAY in told
    assert _sales(world)[:2] == [(1, "9.99"), (2, "100.10")]
    shown = [world.resource, run.dagster_run, failed.dagster_run, *capfd.readouterr()]
    for one in (run, failed):
        shown += list(world.instance.all_logs(one.run_id))
    shown += list(world.definitions.resolve_all_asset_specs())
    assert SECRET not in " ".join(map(repr, shown))


def test_orders_committed_late_are_found_when_the_last_windows_are_read_again(
    world: World, shop: psycopg.Connection[Any]
) -> None:
    world.declare(changed(ORDERS, automation={"cron": "15 1 * * *", "last": 2}), SALES)
    with psycopg.connect(shop.info.dsn, password=SECRET) as late:
        late.execute("insert into shop.orders values (1, '2024-01-01 23:59:59Z', 1, true, null)")
        _order(shop, 2, f"{DAY} 22:00Z")
        _run_schedule(world, f"{NEXT_DAY} 01:15")
        assert [row[0] for row in _sales(world)] == [2]
    _order(shop, 3, f"{NEXT_DAY} 08:00Z")  # and by now the late one is committed
    keys = _run_schedule(world, f"{LAST_DAY} 01:15")
    assert keys == (DAY, NEXT_DAY)
    assert [row[0] for row in _sales(world)] == [1, 2, 3]


def _run_schedule(world: World, at: str) -> tuple[str, str]:
    """Run what the schedule asks for at a moment, and return its first and last partition."""
    schedule = world.definitions.get_schedule_def("orders_schedule")
    moment = dt.datetime.fromisoformat(f"{at}+00:00")
    with dg.build_schedule_context(
        instance=world.instance,
        repository_def=world.definitions.get_repository_def(),
        scheduled_execution_time=moment,
    ) as context:
        (request,) = schedule.evaluate_tick(context).run_requests or ()
    first = request.partition_key or request.tags["dagster/asset_partition_range_start"]
    last = request.partition_key or request.tags["dagster/asset_partition_range_end"]
    assert world.materialize(first, last).success
    return first, last


def test_orders_committed_late_are_found_by_the_overlap_and_stand_once(
    world: World, shop: psycopg.Connection[Any]
) -> None:
    sales = changed(SALES, write={"mode": "upsert", "latest_by": "updated_at"})
    world.declare(changed(ORDERS, extract__database__window__overlap="6h"), sales)
    with psycopg.connect(shop.info.dsn, password=SECRET) as late:
        late.execute("insert into shop.orders values (1, '2024-01-01 23:59:59Z', 1, true, null)")
        _order(shop, 2, f"{DAY} 22:00Z")
        assert world.materialize(DAY).success
        assert _sales(world) == [(2, "9.99")]
    _order(shop, 3, f"{NEXT_DAY} 08:00Z")
    _order(shop, 2, f"{NEXT_DAY} 09:00Z", "20.00")  # a later version of an order
    assert world.materialize(NEXT_DAY).success
    assert _sales(world) == [(1, "1.00"), (2, "20.00"), (3, "9.99")]
    counts = world.query(
        "select received, loaded, duplicate from dataflow.ledger "
        f"where asset = 'cleaned/orders' and \"partition\" = '{NEXT_DAY}'"
    )
    assert counts.row(0) == (4, 3, 1)  # 1 and 2 once more, 2 anew, and 3


@pytest.mark.parametrize("system", ["sqlite", "duckdb"])
def test_a_snapshot_of_a_file(world: World, monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    path = world.root / "data" / "inbox" / "shop.db"
    statements = (
        (
            "create table orders "
            "(id integer, updated_at timestamp, amount decimal(10,2), paid boolean, due date)"
        ),
        "insert into orders values (1, '2024-01-01 10:00:00', 9.99, true, '2024-02-29')",
    )
    connect: Any = sqlite3.connect if system == "sqlite" else duckdb.connect
    with closing(connect(str(path))) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
    monkeypatch.setenv("SHOP_DB", f"{system}:///shop.db")
    database = {"system": system, "url_env": "SHOP_DB", "table": "orders"}
    orders = changed(ORDERS, partitions={"values": ["all"]}, extract={"database": database})
    world.declare(orders, SALES)
    assert world.materialize("all").success
    assert world.reread(orders, "all").equals(world.rows("raw", "all", "orders"))
    assert _sales(world) == [(1, "9.99")]
    (cleaned,) = world.rows("cleaned", "all", "orders").to_dicts()
    assert str(cleaned["updated_at"]) == "2024-01-01 10:00:00+00:00"
    assert (cleaned["paid"], str(cleaned["due"])) == (True, "2024-02-29")


def test_an_overlap_that_would_double_rows_is_refused(world: World) -> None:
    world.declare(changed(ORDERS, extract__database__window__overlap="6h"), SALES)
    with pytest.raises(Exception, match="windows of orders overlap, and mode: replace"):
        _ = world.definitions


def test_the_kind_is_shown_and_a_sensor_is_refused(world: World) -> None:
    world.declare(ORDERS)
    graph = world.definitions.resolve_asset_graph()
    assert graph.get(dg.AssetKey(["files", "orders"])).kinds == {"postgres"}
    world.declare(changed(ORDERS, automation={"sensor": {}}))
    with pytest.raises(Exception, match="a sensor looks for files"):
        _ = world.definitions
