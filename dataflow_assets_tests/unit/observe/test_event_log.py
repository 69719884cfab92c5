from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.utils import make_new_run_id

from dataflow_assets.observe.event_log import RUNS_KEPT, PooledSqliteEventLogStorage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dagster._core.storage.event_log import EventLogStorage

WRITERS = 4
EVENTS = 40
DAGSTERS_OWN = ("dagster._core.storage.event_log", "SqliteEventLogStorage")
OURS = ("dataflow_assets.observe.event_log", "PooledSqliteEventLogStorage")
DAYS = dg.StaticPartitionsDefinition(["p1", "p2", "p3"])
TABLES = {
    "assets": "select asset_key, last_run_id is null, last_materialization is null from asset_keys",
    "checks": "select asset_key, check_name, execution_status from asset_check_executions",
    "events": "select dagster_event_type, asset_key, partition from event_logs",
    "tags": "select asset_key, key from asset_event_tags",
}
forking = multiprocessing.get_context("forkserver")
forking.set_forkserver_preload([__name__])


def open_instance(folder: Path, storage: tuple[str, str] = OURS) -> dg.DagsterInstance:
    module, kind = storage
    folder.mkdir(exist_ok=True)
    (folder / "dagster.yaml").write_text(
        f"event_log_storage: {{module: {module}, class: {kind}, "
        f"config: {{base_dir: {folder}/events}}}}\n"
    )
    return dg.DagsterInstance.from_config(str(folder))


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with open_instance(tmp_path / "home") as opened:
        yield opened


def storage_of(instance: dg.DagsterInstance) -> PooledSqliteEventLogStorage:
    storage = instance.event_log_storage
    assert isinstance(storage, PooledSqliteEventLogStorage)
    return storage


def log_to_run(instance: dg.DagsterInstance, run_id: str) -> None:
    instance.report_engine_event("something", run_id=run_id, job_name="job")


def messages(storage: EventLogStorage, run_id: str) -> int:
    return len(storage.get_logs_for_run(run_id))


def make_asset(name: str, *, fails: bool = False) -> dg.AssetsDefinition:
    @dg.asset(
        name=name,
        partitions_def=DAYS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[dg.AssetCheckSpec("sound", asset=name)],
    )
    def compute() -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster knows the bare class
        if fails:
            raise ValueError(name)
        return dg.MaterializeResult(
            check_results=[dg.AssetCheckResult(passed=True, check_name="sound")]
        )

    return compute


def tables_after_a_range(folder: Path, storage: tuple[str, str]) -> dict[str, list[object]]:
    """Run three assets over a range, one of them in vain, and return what the index holds."""
    with open_instance(folder, storage) as opened:
        dg.materialize(
            [make_asset("a"), make_asset("b", fails=True), make_asset("c")],
            instance=opened,
            raise_on_error=False,
            tags={
                "dagster/asset_partition_range_start": "p1",
                "dagster/asset_partition_range_end": "p3",
            },
        )
    with closing(sqlite3.connect(folder / "events" / "index.db")) as index:
        return {
            name: sorted(index.execute(query).fetchall(), key=str) for name, query in TABLES.items()
        }


def log_often(folder: Path, run_id: str) -> None:
    with dg.DagsterInstance.from_config(str(folder)) as opened:
        for number in range(EVENTS):
            log_to_run(opened, run_id)
            opened.report_runless_asset_event(
                dg.AssetMaterialization("shared", partition=f"{run_id}-{number}")
            )


def test_what_dagster_calls_is_still_what_is_overridden() -> None:
    """All rests on one private method and two attributes; an upgrade that moves them shows here."""
    assert list(signature(SqliteEventLogStorage._connect).parameters) == ["self", "shard"]  # noqa: SLF001
    assert "_initdb" in vars(SqliteEventLogStorage)
    for name in ("run_connection", "index_connection"):
        assert "_connect" in vars(SqliteEventLogStorage)[name].__code__.co_names
    assert {"_db_lock", "_initialized_dbs"} <= set(SqliteEventLogStorage.__init__.__code__.co_names)


def test_a_range_leaves_what_dagsters_own_class_leaves(tmp_path: Path) -> None:
    """Batches hold what a run plans for all its assets and checks, not events of one asset."""
    ours = tables_after_a_range(tmp_path / "ours", OURS)
    assert ours == tables_after_a_range(tmp_path / "dagsters", DAGSTERS_OWN)
    assert len(ours["assets"]) == len(ours["checks"]) == 3


def test_one_can_go_back_to_dagsters_own_class(tmp_path: Path) -> None:
    run_id = make_new_run_id()
    with open_instance(tmp_path / "home") as opened:
        log_to_run(opened, run_id)
    with open_instance(tmp_path / "home", DAGSTERS_OWN) as opened:
        log_to_run(opened, run_id)
        assert messages(opened.event_log_storage, run_id) == 2


def test_the_files_allow_readers_beside_a_writer(instance: dg.DagsterInstance) -> None:
    run_id = make_new_run_id()
    log_to_run(instance, run_id)
    for shard in ("index", run_id):
        path = storage_of(instance).path_for_shard(shard)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("pragma journal_mode").fetchone() == ("wal",)


def open_files(folder: Path) -> int:
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    paths = [link.readlink() for link in links if link.exists()]
    return sum(path.is_relative_to(folder) and path.suffix == ".db" for path in paths)


@pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")
def test_few_files_stay_open_and_none_after_disposal(tmp_path: Path) -> None:
    events = tmp_path / "home" / "events"
    with open_instance(tmp_path / "home") as opened:
        runs = [make_new_run_id() for _ in range(RUNS_KEPT + 10)]
        for run_id in [*runs, *runs]:
            log_to_run(opened, run_id)
        assert open_files(events) <= RUNS_KEPT
        assert all(messages(opened.event_log_storage, run_id) == 2 for run_id in runs)
    assert open_files(events) == 0


def test_events_of_a_run_can_be_deleted(instance: dg.DagsterInstance) -> None:
    gone, stays = make_new_run_id(), make_new_run_id()
    for run_id in (gone, stays):
        log_to_run(instance, run_id)
    storage_of(instance).delete_events(gone)
    assert [messages(storage_of(instance), run_id) for run_id in (gone, stays)] == [0, 1]


def test_all_can_be_wiped_and_written_again(instance: dg.DagsterInstance) -> None:
    run_id = make_new_run_id()
    log_to_run(instance, run_id)
    storage_of(instance).wipe()
    log_to_run(instance, run_id)
    assert messages(storage_of(instance), run_id) == 1


def test_what_another_process_wiped_is_not_written_into_the_void(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    run_id = make_new_run_id()
    log_to_run(instance, run_id)
    wipe = "import sys, dagster; dagster.DagsterInstance.from_config(sys.argv[1]).wipe()"
    subprocess.run([sys.executable, "-c", wipe, str(tmp_path / "home")], check=True)
    log_to_run(instance, run_id)
    assert messages(SqliteEventLogStorage(str(tmp_path / "home" / "events")), run_id) == 1


def test_a_forked_child_opens_its_own_connections(instance: dg.DagsterInstance) -> None:
    run_id = make_new_run_id()
    log_to_run(instance, run_id)
    storage = storage_of(instance)
    before = dict(storage._kept)  # noqa: SLF001 - that it differs in the child cannot be seen else
    child = os.fork()
    if child == 0:
        try:
            log_to_run(instance, run_id)
            shared = [kept for kept in storage._kept.values() if kept in before.values()]  # noqa: SLF001
            os._exit(len(shared))
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    log_to_run(instance, run_id)
    assert messages(storage, run_id) == 3


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with open_instance(home) as opened:
        runs = [make_new_run_id() for _ in range(WRITERS)]
        children = [forking.Process(target=log_often, args=(home, run_id)) for run_id in runs]
        for child in children:
            child.start()
        for child in children:
            child.join()
        assert [child.exitcode for child in children] == [0] * WRITERS
        assert [messages(opened.event_log_storage, run_id) for run_id in runs] == [EVENTS] * WRITERS
        partitions = opened.get_materialized_partitions(dg.AssetKey("shared"))
        assert len(partitions) == WRITERS * EVENTS
