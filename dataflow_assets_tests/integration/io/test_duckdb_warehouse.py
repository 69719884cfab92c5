from __future__ import annotations

import datetime as dt
import subprocess
import sys
import threading
import time
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

import duckdb
import polars as pl
import pytest

from dataflow_assets.errors import (
    ConservationError,
    PartitionMissingError,
    StorageError,
    WarehouseLockedError,
    WarehouseSchemaError,
)
from dataflow_assets.io.duckdb_warehouse import DuckDBWarehouse, duckdb_type, widens
from dataflow_assets.io.ledger import Counts, LedgerFile
from dataflow_assets.io.warehouse import EntityTable
from dataflow_assets_tests.integration.io.publishing import (
    COLUMNS,
    NOON,
    TABLE,
    ledger_row,
    publication,
)

if TYPE_CHECKING:
    from pathlib import Path

GENERATIONS = (
    'select _partition, generation, count(*) as n from normalized."things" '
    "group by all order by all"
)
OPEN_AND_WAIT = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def warehouse(tmp_path: Path) -> DuckDBWarehouse:
    return DuckDBWarehouse(tmp_path / "w" / "warehouse.duckdb", 5, 256)


def generations(warehouse: DuckDBWarehouse) -> list[tuple[str, int, int]]:
    return warehouse.read(GENERATIONS).rows()


def open_elsewhere(path: Path, seconds: float) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", OPEN_AND_WAIT, str(path), str(seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    return holder


def test_rows_arrive_with_their_types_and_technical_columns(
    warehouse: DuckDBWarehouse, tmp_path: Path
) -> None:
    warehouse.publish(TABLE, [publication(tmp_path, "2024-01-01", 2)])
    table = warehouse.read('select * from normalized."things" order by id')
    assert table.columns == [*COLUMNS, "_partition", "_source", "_raw_ref", "_run_id"]
    assert table.schema["at"] == pl.Datetime("us", "UTC")
    assert table.row(1) == (
        1, NOON, Decimal("1.25"), 0, "2024-01-01", "shop", "v:1", "run0",
    )  # fmt: skip


def test_a_partition_is_replaced_and_the_others_stay(
    warehouse: DuckDBWarehouse, tmp_path: Path
) -> None:
    warehouse.publish(TABLE, [publication(tmp_path, key, 3) for key in ("a", "b", "it's")])
    warehouse.publish(TABLE, [publication(tmp_path, "it's", 5, generation=1)])
    assert generations(warehouse) == [("a", 0, 3), ("b", 0, 3), ("it's", 1, 5)]


def test_a_partition_can_become_empty(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    warehouse.publish(TABLE, [publication(tmp_path, "a", 3)])
    warehouse.publish(TABLE, [publication(tmp_path, "a", 0, generation=1)])
    assert generations(warehouse) == []
    assert warehouse.read("select loaded from dataflow.ledger").item() == 0


def test_the_ledger_has_the_latest_publish_and_the_history_all(
    warehouse: DuckDBWarehouse, tmp_path: Path
) -> None:
    for generation in range(3):
        warehouse.publish(TABLE, [publication(tmp_path, "a", generation, generation=generation)])
    assert warehouse.read("select run_id, loaded, published_at from dataflow.ledger").rows() == [
        ("run2", 2, NOON)
    ]
    history = warehouse.read("select run_id from dataflow.ledger_history")
    assert sorted(history["run_id"]) == ["run0", "run1", "run2"]


def test_staged_rows_that_are_not_those_counted_are_rolled_back(
    warehouse: DuckDBWarehouse, tmp_path: Path
) -> None:
    warehouse.publish(TABLE, [publication(tmp_path, "a", 3)])
    wrong = replace(
        publication(tmp_path, "a", 4, generation=1), ledger=ledger_row("a", 5, run_id="run1")
    )
    with pytest.raises(ConservationError, match="4 rows are accounted for where 5"):
        warehouse.publish(TABLE, [wrong])
    assert generations(warehouse) == [("a", 0, 3)]
    assert warehouse.read("select run_id from dataflow.ledger").item() == "run0"


def test_what_was_published_before_a_failure_stays(
    warehouse: DuckDBWarehouse, tmp_path: Path
) -> None:
    good = publication(tmp_path, "a", 3)
    with pytest.raises(ConservationError):
        warehouse.publish(
            TABLE, [good, replace(publication(tmp_path, "b", 3), ledger=ledger_row("b", 4))]
        )
    assert generations(warehouse) == [("a", 0, 3)]


def test_staged_types_that_would_be_rounded_are_refused(
    warehouse: DuckDBWarehouse, tmp_path: Path
) -> None:
    halves = publication(tmp_path, "a", 3, added={"id": pl.lit(0.5)})
    with pytest.raises(WarehouseSchemaError, match="'id' is DOUBLE, where BIGINT"):
        warehouse.publish(TABLE, [halves])


def test_staged_columns_that_nobody_declared_are_refused(
    warehouse: DuckDBWarehouse, tmp_path: Path
) -> None:
    extra = publication(tmp_path, "a", 3, added={"extra": pl.lit(1)})
    with pytest.raises(WarehouseSchemaError, match="'extra'"):
        warehouse.publish(TABLE, [extra])


def test_a_new_column_is_null_in_the_old_rows(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    warehouse.publish(TABLE, [publication(tmp_path, "a", 1)])
    wider = EntityTable("things", {**COLUMNS, "note": pl.String()})
    warehouse.publish(wider, [publication(tmp_path, "b", 1, added={"note": pl.lit("new")})])
    notes = warehouse.read('select _partition, note from normalized."things" order by all')
    assert notes.rows() == [("a", None), ("b", "new")]


def test_a_column_widens_without_losing_a_value(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    narrow = EntityTable("things", {**COLUMNS, "generation": pl.Int16()})
    old = publication(tmp_path, "a", 2, added={"generation": pl.lit(7, pl.Int16)})
    warehouse.publish(narrow, [old])
    warehouse.publish(TABLE, [publication(tmp_path, "b", 2, generation=1)])
    assert generations(warehouse) == [("a", 7, 2), ("b", 1, 2)]


def test_a_change_that_could_lose_values_is_refused_with_its_statement(
    warehouse: DuckDBWarehouse, tmp_path: Path
) -> None:
    warehouse.publish(TABLE, [publication(tmp_path, "a", 2)])
    narrow = EntityTable("things", {**COLUMNS, "id": pl.Int16()})
    statement = 'alter table normalized."things" alter column "id" type SMALLINT'
    with pytest.raises(WarehouseSchemaError, match=statement):
        warehouse.publish(narrow, [publication(tmp_path, "a", 2, generation=1)])
    assert generations(warehouse) == [("a", 0, 2)]


@pytest.mark.parametrize(
    ("there", "wanted", "lossless"),
    [
        ("SMALLINT", "BIGINT", True),
        ("BIGINT", "SMALLINT", False),
        ("BIGINT", "DOUBLE", False),
        ("UINTEGER", "BIGINT", True),
        ("UBIGINT", "BIGINT", False),
        ("UINTEGER", "INTEGER", False),
        ("INTEGER", "FLOAT", False),
        ("DECIMAL(10,2)", "DECIMAL(12,4)", True),
        ("DECIMAL(10,2)", "DECIMAL(11,4)", False),
        ("DECIMAL(10,2)", "DECIMAL(12,1)", False),
        ("VARCHAR", "BIGINT", False),
    ],
)
def test_which_types_hold_every_value_of_another(
    there: str, wanted: str, *, lossless: bool
) -> None:
    assert widens(there, wanted) is lossless


def test_no_type_is_mapped_to_one_that_cuts_its_values_off() -> None:
    with pytest.raises(WarehouseSchemaError):
        duckdb_type(pl.Datetime("ns"))


def test_descriptions_are_kept_in_the_warehouse(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    warehouse.publish(TABLE, [publication(tmp_path, "a", 1)])
    renamed = replace(TABLE, comments={"id": "What it's called"})
    warehouse.publish(renamed, [publication(tmp_path, "a", 1)])
    comments = warehouse.read("select comment from duckdb_columns() where column_name = 'id'")
    tables = warehouse.read("select comment from duckdb_tables() where table_name = 'things'")
    assert (comments.item(), tables.item()) == ("What it's called", "Some things")


def test_a_raw_reference_leads_to_its_file(warehouse: DuckDBWarehouse) -> None:
    files = [
        LedgerFile("shop", "a", version, f"{version}.csv", 10, NOON, 3, 1, f"{version}.csv.gz")
        for version in ("v1", "v2")
    ]
    raw = replace(ledger_row("a", 6, layer="raw"), source="shop")
    warehouse.record([raw], files)
    warehouse.record([raw], files[1:])
    found = warehouse.read("select name, archived, mtime from dataflow.files")
    assert found.rows() == [("v2.csv", "v2.csv.gz", NOON)]


def test_rows_unaccounted_for_show(warehouse: DuckDBWarehouse) -> None:
    whole = Counts(received=10, loaded=6, quarantined=2, duplicate=1, filtered=1)
    warehouse.record(
        [
            replace(ledger_row("a", 0, layer="cleaned"), counts=whole),
            replace(
                ledger_row("b", 0, layer="cleaned"), counts=whole.model_copy(update={"loaded": 5})
            ),
        ],
        [],
    )
    lost = warehouse.read('select "partition", lost from dataflow.conservation where lost <> 0')
    assert lost.rows() == [("b", 1)]


def test_reading_cannot_write(warehouse: DuckDBWarehouse, tmp_path: Path) -> None:
    warehouse.publish(TABLE, [publication(tmp_path, "a", 1)])
    with pytest.raises(duckdb.InvalidInputException, match="read-only"):
        warehouse.read("delete from dataflow.ledger")


def test_reading_before_anything_is_published_says_so(warehouse: DuckDBWarehouse) -> None:
    with pytest.raises(PartitionMissingError, match="no warehouse yet"):
        warehouse.read("select 1")


def test_parameters_are_bound(warehouse: DuckDBWarehouse) -> None:
    warehouse.record([ledger_row("it's", 1)], [])
    found = warehouse.read('select loaded from dataflow.ledger where "partition" = ?', ["it's"])
    assert found.item() == 1


def test_a_program_that_holds_the_file_is_waited_for(
    warehouse: DuckDBWarehouse, tmp_path: Path
) -> None:
    warehouse.publish(TABLE, [publication(tmp_path, "a", 1)])
    holder = open_elsewhere(tmp_path / "w" / "warehouse.duckdb", 0.7)
    began = time.monotonic()
    warehouse.publish(TABLE, [publication(tmp_path, "a", 2, generation=1)])
    assert time.monotonic() - began > 0.1
    holder.communicate()
    assert generations(warehouse) == [("a", 1, 2)]


def test_a_program_that_stays_is_named(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    holder = open_elsewhere(path, 30)
    try:
        with pytest.raises(WarehouseLockedError, match=f"process {holder.pid}"):
            DuckDBWarehouse(path, 0.3, 256).record([ledger_row("a", 1)], [])
    finally:
        holder.kill()
        holder.communicate()


def test_readers_and_writers_of_one_process_take_turns(
    warehouse: DuckDBWarehouse, tmp_path: Path
) -> None:
    """A reader sees one publish or the other, and nobody meets DuckDB's own lock."""
    staged = [publication(tmp_path, "a", 100, generation=number) for number in range(12)]
    warehouse.publish(TABLE, staged[:1])
    seen: list[list[tuple[str, int, int]]] = []

    def read_often() -> None:
        seen.extend(generations(warehouse) for _ in range(6))

    readers = [threading.Thread(target=read_often) for _ in range(3)]
    for reader in readers:
        reader.start()
    for one in staged[1:]:
        warehouse.publish(TABLE, [one])
    for reader in readers:
        reader.join()
    assert len(seen) == 18
    assert all(len(rows) == 1 and rows[0][2] == 100 for rows in seen)


def test_a_file_that_is_no_warehouse_is_an_error_of_storage(tmp_path: Path) -> None:
    path = tmp_path / "blocked.duckdb"
    path.write_text("no database" * 1000)
    began = time.monotonic()
    with pytest.raises(StorageError, match="not a valid DuckDB"):
        DuckDBWarehouse(path, 5, 256).record([ledger_row("a", 1)], [])
    assert time.monotonic() - began < 2


def test_publishing_the_same_partition_for_ever_does_not_bloat_the_file(tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb", 5, 256)
    path = tmp_path / "w.duckdb"
    sizes = []
    for generation in range(30):
        warehouse.publish(TABLE, [publication(tmp_path, "a", 20_000, generation=generation)])
        sizes.append(path.stat().st_size)
    assert max(sizes[20:]) <= 2 * max(sizes[:5])


def test_timestamps_are_utc_wherever_the_machine_stands(
    warehouse: DuckDBWarehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    time.tzset()
    try:
        warehouse.publish(TABLE, [publication(tmp_path, "a", 1)])
        text = warehouse.read('select "at"::varchar as text from normalized."things"').item()
    finally:
        monkeypatch.undo()
        time.tzset()
    assert dt.datetime.fromisoformat(text) == NOON
    assert text.endswith("+00")
