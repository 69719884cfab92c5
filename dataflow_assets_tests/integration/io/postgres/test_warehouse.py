from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl
import psycopg
import pytest

from dataflow_assets.errors import ConservationError, WarehouseSchemaError, WarehouseValueError
from dataflow_assets.io.ledger import Counts, LedgerFile
from dataflow_assets.io.postgres import warehouse as warehouses
from dataflow_assets.io.postgres.warehouse import FILE_COLUMNS, LEDGER_COLUMNS
from dataflow_assets.io.warehouse import EntityTable
from dataflow_assets_tests.integration.io.postgres.opening import generations, open_warehouse
from dataflow_assets_tests.integration.io.publishing import (
    COLUMNS,
    NOON,
    TABLE,
    ledger_row,
    publication,
    rows_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from dataflow_assets.io.postgres.warehouse import PostgresWarehouse
    from dataflow_assets_tests.postgres_server import Server


@pytest.fixture
def warehouse(database: str) -> PostgresWarehouse:
    return open_warehouse(database)


def file_of(partition: str, version: str = "v") -> LedgerFile:
    return LedgerFile("things", partition, version, "a.csv", 7, NOON, 3, 1, "archive/v.csv")


def test_rows_arrive_with_their_types_and_technical_columns(
    warehouse: PostgresWarehouse, tmp_path: Path
) -> None:
    warehouse.publish(TABLE, [publication(tmp_path, "2024-01-01", 2)])
    table = warehouse.read("select * from normalized.things order by id")
    assert table.columns == [*COLUMNS, "_partition", "_source", "_raw_ref", "_run_id"]
    assert table.schema["at"] == pl.Datetime("us", "UTC")
    assert table.row(1) == (
        1, NOON, Decimal("1.25"), 0, "2024-01-01", "shop", "v:1", "run0",
    )  # fmt: skip


def test_a_partition_is_replaced_and_the_others_stay(
    warehouse: PostgresWarehouse, tmp_path: Path
) -> None:
    warehouse.publish(TABLE, [publication(tmp_path, key, 3) for key in ("a", "b", "it's")])
    warehouse.publish(TABLE, [publication(tmp_path, "it's", 5, generation=1)])
    assert generations(warehouse) == [("a", 0, 3), ("b", 0, 3), ("it's", 1, 5)]


def test_a_partition_can_become_empty(warehouse: PostgresWarehouse, tmp_path: Path) -> None:
    warehouse.publish(TABLE, [publication(tmp_path, "a", 3)])
    warehouse.publish(TABLE, [publication(tmp_path, "a", 0, generation=1)])
    assert generations(warehouse) == []
    assert warehouse.read("select loaded from dataflow.ledger").item() == 0


def test_the_ledger_has_the_latest_publish_and_the_history_all(
    warehouse: PostgresWarehouse, tmp_path: Path
) -> None:
    for generation in range(3):
        warehouse.publish(TABLE, [publication(tmp_path, "a", generation, generation=generation)])
    ledger = warehouse.read("select run_id, loaded, published_at from dataflow.ledger")
    assert ledger.rows() == [("run2", 2, NOON)]
    history = warehouse.read("select run_id from dataflow.ledger_history order by run_id")
    assert history.rows() == [("run0",), ("run1",), ("run2",)]


def test_columns_of_the_ledger_are_written_in_the_order_that_its_tables_have(
    warehouse: PostgresWarehouse,
) -> None:
    warehouse.record([replace(ledger_row("a", 3), layer="raw")], [file_of("a")])
    assert tuple(warehouse.read("select * from dataflow.ledger").columns) == LEDGER_COLUMNS
    assert tuple(warehouse.read("select * from dataflow.ledger_history").columns) == LEDGER_COLUMNS
    assert tuple(warehouse.read("select * from dataflow.files").columns) == FILE_COLUMNS
    row = warehouse.read("select * from dataflow.ledger").row(0)
    assert row == replace(ledger_row("a", 3), layer="raw").values()


def test_files_of_a_raw_partition_replace_those_known_before(warehouse: PostgresWarehouse) -> None:
    rows = [ledger_row(key, 3, layer="raw") for key in ("b", "a")]
    warehouse.record(rows, [file_of("a"), file_of("b"), file_of("b", "w")])
    warehouse.record(rows[:1], [file_of("b", "x")])
    found = warehouse.read('select "partition", version from dataflow.files order by 1, 2')
    assert found.rows() == [("a", "v"), ("b", "x")]


def test_rows_unaccounted_for_show(warehouse: PostgresWarehouse) -> None:
    row = ledger_row("a", 3, layer="cleaned")
    counts = Counts(received=9, loaded=3, quarantined=2, duplicate=1, filtered=1)
    warehouse.record([replace(row, counts=counts)], [])
    assert warehouse.read("select lost from dataflow.conservation").item() == 2


def test_another_number_of_rows_than_staged_changes_nothing(
    warehouse: PostgresWarehouse, tmp_path: Path
) -> None:
    warehouse.publish(TABLE, [publication(tmp_path, "a", 3)])
    wrong = publication(tmp_path, "a", 5, generation=1)
    with pytest.raises(ConservationError, match="5 rows are accounted for where 4"):
        warehouse.publish(TABLE, [replace(wrong, ledger=ledger_row("a", 4))])
    assert generations(warehouse) == [("a", 0, 3)]
    assert warehouse.read("select run_id from dataflow.ledger").item() == "run0"


def test_a_staged_file_of_other_types_is_refused_though_their_widths_agree(
    warehouse: PostgresWarehouse, tmp_path: Path
) -> None:
    warehouse.publish(TABLE, [publication(tmp_path, "a", 3)])
    for other in (pl.col("id").cast(pl.Float64), pl.col("id").cast(pl.Datetime("us", "UTC"))):
        wrong = publication(tmp_path, "a", 3, generation=1, added={"id": other})
        with pytest.raises(WarehouseSchemaError, match=r"'id' is .* where bigint is declared"):
            warehouse.publish(TABLE, [wrong])
    assert generations(warehouse) == [("a", 0, 3)]


def test_a_key_twice_in_a_partition_is_refused_and_not_across_partitions(
    warehouse: PostgresWarehouse, tmp_path: Path
) -> None:
    warehouse.publish(TABLE, [publication(tmp_path, key, 3) for key in ("a", "b")])
    twice = publication(tmp_path, "a", 3, generation=1, added={"id": pl.lit(7, pl.Int64)})
    with pytest.raises(WarehouseValueError, match=r"duplicate key .*\(a, 7\)"):
        warehouse.publish(TABLE, [twice])
    assert generations(warehouse) == [("a", 0, 3), ("b", 0, 3)]


def test_a_nul_byte_is_refused_and_what_stood_stays(
    warehouse: PostgresWarehouse, tmp_path: Path
) -> None:
    table = EntityTable("things", {**COLUMNS, "note": pl.String()}, key=("id",))
    notes = {"note": pl.lit("fine")}
    warehouse.publish(table, [publication(tmp_path, "a", 3, added=notes)])
    bad = publication(tmp_path, "a", 3, generation=1, added={"note": pl.lit("a\0b")})
    with pytest.raises(WarehouseValueError, match="0x00"):
        warehouse.publish(table, [bad])
    assert generations(warehouse) == [("a", 0, 3)]


def test_reading_cannot_write(warehouse: PostgresWarehouse, tmp_path: Path) -> None:
    warehouse.publish(TABLE, [publication(tmp_path, "a", 3)])
    with pytest.raises(Exception, match="read-only transaction"):
        warehouse.read("delete from dataflow.ledger")


def test_parameters_are_bound(warehouse: PostgresWarehouse, tmp_path: Path) -> None:
    warehouse.publish(TABLE, [publication(tmp_path, "it's", 3)])
    found = warehouse.read('select loaded from dataflow.ledger where "partition" = $1', ["it's"])
    assert found.item() == 3


def test_readers_see_the_old_rows_or_the_new_and_do_not_wait(
    warehouse: PostgresWarehouse, database: str, tmp_path: Path
) -> None:
    warehouse.publish(TABLE, [publication(tmp_path, "a", 3)])
    with psycopg.connect(database) as reader:
        reader.execute("set transaction isolation level repeatable read")
        count = "select count(*) from normalized.things"
        assert reader.execute(count).fetchone() == (3,)
        warehouse.publish(TABLE, [publication(tmp_path, "a", 5, generation=1)])
        assert reader.execute(count).fetchone() == (3,)
        reader.commit()
        assert reader.execute(count).fetchone() == (5,)


def test_a_key_too_long_for_its_index_is_refused_and_what_stood_stays(
    warehouse: PostgresWarehouse, tmp_path: Path
) -> None:
    table = EntityTable("things", {**COLUMNS, "note": pl.String()}, key=("id", "note"))
    warehouse.publish(table, [publication(tmp_path, "a", 3, added={"note": pl.lit("x")})])
    long = "".join(map(chr, range(300, 9300)))  # so that it does not compress
    bad = publication(tmp_path, "a", 3, generation=1, added={"note": pl.lit(long)})
    with pytest.raises(WarehouseValueError, match="index row"):
        warehouse.publish(table, [bad])
    assert generations(warehouse) == [("a", 0, 3)]


def test_rows_are_exported_in_pieces(
    warehouse: PostgresWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflow_assets.io.postgres.warehouse.EXPORTED_ROWS", 2)
    for rows in (0, 1, 2, 5):
        warehouse.publish(TABLE, [publication(tmp_path, "a", rows)])
        path = tmp_path / "exported.parquet"
        warehouse.export("select id, at, amount from normalized.things", path)
        found = pl.read_parquet(path).sort("id")
        assert found.schema == {name: COLUMNS[name] for name in ("id", "at", "amount")}
        assert found.rows() == rows_of(0, rows).select("id", "at", "amount").rows()


@pytest.fixture
def every_first_partition_is_big(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warehouses, "FILLING_ROWS", range(1, 1000))


def _made(warehouse: PostgresWarehouse) -> list[pl.DataFrame]:
    """Return what a table is, and how it came to be."""
    return [
        warehouse.read(query)
        for query in (
            "select indexdef from pg_indexes where schemaname = 'normalized'",
            "select statement from dataflow.migrations order by number",
            "select attname from pg_attribute where attrelid = 'normalized.things'::regclass",
            "select col_description('normalized.things'::regclass, 1)",
            "select tableowner from pg_tables where tablename = 'things'",
            "select obj_description('normalized.things'::regclass, 'pg_class')",
            "select asset, partition, loaded from dataflow.ledger",
        )
    ]


def test_a_table_that_is_filled_first_is_the_same(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for rows in (range(0), range(1, 1000)):
        monkeypatch.setattr(warehouses, "FILLING_ROWS", rows)
        with postgres.new_database() as url:
            warehouse = open_warehouse(url)
            warehouse.publish(TABLE, [publication(tmp_path, key, 5) for key in ("a", "b")])
            warehouse.publish(TABLE, [publication(tmp_path, "a", 7, generation=1)])
            assert generations(warehouse) == [("a", 1, 7), ("b", 0, 5)]
            found.append(_made(warehouse))
    for one, other in zip(*found, strict=True):
        assert one.height
        assert one.equals(other)


@pytest.mark.usefixtures("every_first_partition_is_big")
def test_many_who_fill_a_new_table_at_once_take_turns(database: str, tmp_path: Path) -> None:
    ones = [publication(tmp_path, f"p{number}", 50) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        done = pool.map(lambda one: open_warehouse(database).publish(TABLE, [one]), ones)
        assert [key for counts in done for key in counts] == [one.partition for one in ones]
    warehouse = open_warehouse(database)
    assert generations(warehouse) == [(one.partition, 0, 50) for one in ones]
    assert warehouse.read("select count(*) from pg_indexes where tablename = 'things'").item() == 1


@pytest.mark.usefixtures("every_first_partition_is_big")
@pytest.mark.parametrize(
    "added", [{"id": pl.lit(7, pl.Int64)}, {"_source": pl.lit("a\0b")}], ids=["key", "text"]
)
def test_a_table_that_cannot_be_filled_is_not_there(
    warehouse: PostgresWarehouse, tmp_path: Path, added: dict[str, pl.Expr]
) -> None:
    with pytest.raises(WarehouseValueError):
        warehouse.publish(TABLE, [publication(tmp_path, "a", 3, added=added)])
    there = warehouse.read("select to_regclass('normalized.things') is not null").item()
    assert not there
    warehouse.publish(TABLE, [publication(tmp_path, "a", 3)])
    assert generations(warehouse) == [("a", 0, 3)]
