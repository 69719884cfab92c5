"""What the warehouse holds after its writers were killed, crowded, or stopped by the disk."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dataflow_assets.errors import StorageError
from dataflow_assets.io.duckdb_warehouse import DuckDBWarehouse
from dataflow_assets_tests.integration.io.publishing import TABLE, publication

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

    from dataflow_assets.io.warehouse import Publication

KILLS = 20
PROCESSES = 8
PARTITIONS = 12
NOBODY = 65534
ROOM_BYTES = 64 * 1024
STATE = """
    select t._partition, count(*) as n, count(distinct generation) as generations,
        min(t._run_id) as run_id, min(generation) as generation, min(l.run_id) as ledger_run,
        min(l.loaded) as loaded
    from normalized."things" t join dataflow.ledger l on l."partition" = t._partition
    group by all order by all
"""
forking = multiprocessing.get_context("forkserver")
"""Forks from a process that has imported everything and has started no threads."""
forking.set_forkserver_preload([__name__])


def publish_for_ever(path: Path, staged: list[Publication], started: Connection) -> None:
    """Publish without a pause, so that a kill most likely falls into the midst of a publish."""
    warehouse = DuckDBWarehouse(path, 30, 256)
    warehouse.publish(TABLE, random.sample(staged, 1))
    started.send(None)
    while True:
        warehouse.publish(TABLE, random.choices(staged, k=1000))  # noqa: S311 - no secret


def publish_once(path: Path, staged: list[Publication], outcome: Connection) -> None:
    try:
        for one in staged:
            DuckDBWarehouse(path, 60, 256).publish(TABLE, [one])
    except Exception as error:  # noqa: BLE001 - the test looks at whatever it is
        outcome.send(error)
    else:
        outcome.send(None)


def publish_on_a_full_disk(path: Path, staged: list[Publication], outcome: Connection) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    most = path.stat().st_size + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    publish_once(path, staged, outcome)


def publish_as_nobody(path: Path, staged: list[Publication], outcome: Connection) -> None:
    if os.geteuid() == 0:
        os.setuid(NOBODY)
    publish_once(path, staged, outcome)


def outcome_of(how: object, path: Path, staged: list[Publication]) -> Exception | None:
    receiving, sending = forking.Pipe(duplex=False)
    child = forking.Process(target=how, args=(path, staged, sending))  # type: ignore[arg-type]
    child.start()
    sending.close()
    outcome: Exception | None = receiving.recv()
    child.join()
    return outcome


def check_whole(warehouse: DuckDBWarehouse) -> set[int]:
    """Check that each partition is of one publish, and return which publishes they are of."""
    state = warehouse.read(STATE)
    assert state.height == warehouse.read("select count(*) from dataflow.ledger").item()
    for row in state.iter_rows(named=True):
        assert row["generations"] == 1
        assert row["n"] == row["loaded"] == rows_in(row["generation"])
        assert row["run_id"] == row["ledger_run"] == f"run{row['generation']}"
    return set(state["generation"])


def rows_in(generation: int) -> int:
    return 3000 + 100 * generation


def test_a_writer_killed_at_any_moment_leaves_the_old_rows_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    staged = [
        publication(tmp_path, key, rows_in(generation), generation=generation)
        for key in ("a", "b")
        for generation in range(10)
    ]
    warehouse = DuckDBWarehouse(path, 30, 256)
    warehouse.publish(TABLE, [staged[0], staged[10]])
    seen: set[int] = set()
    dice = random.Random(7)  # noqa: S311 - no secret
    for _ in range(KILLS):
        receiving, sending = forking.Pipe(duplex=False)
        child = forking.Process(target=publish_for_ever, args=(path, staged, sending))
        child.start()
        receiving.recv()
        time.sleep(dice.uniform(0, 0.3))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        seen |= check_whole(warehouse)
    assert len(seen) > 3
    assert warehouse.read("select count(*) from dataflow.ledger_history").item() >= KILLS


def test_many_processes_publish_at_once_without_an_error(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    children = []
    for number in range(PROCESSES):
        staged = [publication(tmp_path, f"{number}-{key}", 200) for key in range(PARTITIONS)]
        receiving, sending = forking.Pipe(duplex=False)
        child = forking.Process(target=publish_once, args=(path, staged, sending))
        child.start()
        sending.close()
        children.append((child, receiving))
    outcomes = [receiving.recv() for _, receiving in children]
    for child, _ in children:
        child.join()
    assert outcomes == [None] * PROCESSES
    warehouse = DuckDBWarehouse(path, 30, 256)
    counts = warehouse.read('select count(*) from normalized."things" group by _partition')
    assert counts.rows() == [(200,)] * (PROCESSES * PARTITIONS)
    assert warehouse.read("select count(*) from dataflow.ledger").item() == PROCESSES * PARTITIONS


@pytest.mark.parametrize("rows", [60_000, 500_000], ids=["in the log", "in the file itself"])
def test_a_full_disk_leaves_the_old_rows(tmp_path: Path, rows: int) -> None:
    path = tmp_path / "warehouse.duckdb"
    warehouse = DuckDBWarehouse(path, 30, 256)
    warehouse.publish(TABLE, [publication(tmp_path, "a", rows_in(0))])
    more = publication(tmp_path, "a", rows, generation=1)
    failure = outcome_of(publish_on_a_full_disk, path, [more])
    assert isinstance(failure, StorageError)
    assert "File too large" in str(failure)
    assert check_whole(warehouse) == {0}
    warehouse.publish(TABLE, [publication(tmp_path, "a", rows_in(2), generation=2)])
    assert check_whole(warehouse) == {2}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user can read; those of pytest belong to one user alone."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_folder_that_cannot_be_written_is_an_error_of_storage(open_folder: Path) -> None:
    staged = publication(open_folder, "a", 10)
    open_folder.chmod(0o555)
    failure = outcome_of(publish_as_nobody, open_folder / "warehouse.duckdb", [staged])
    assert isinstance(failure, StorageError)
    assert "Permission denied" in str(failure)


def test_a_file_that_cannot_be_written_is_an_error_of_storage(open_folder: Path) -> None:
    path = open_folder / "warehouse.duckdb"
    warehouse = DuckDBWarehouse(path, 5, 256)
    warehouse.publish(TABLE, [publication(open_folder, "a", rows_in(0))])
    staged = publication(open_folder, "a", 10, generation=1)
    open_folder.chmod(0o777)
    for lock in open_folder.glob("*.lock*"):
        lock.chmod(0o666)
    path.chmod(0o444)
    failure = outcome_of(publish_as_nobody, path, [staged])
    assert isinstance(failure, StorageError)
    assert "Permission denied" in str(failure)
    assert check_whole(warehouse) == {0}
