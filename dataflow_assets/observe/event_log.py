"""Dagster's event log in SQLite, with connections that are kept.

Dagster's own class makes an engine, opens a file and closes it again for every event: 10 ms for a
materialization and 16 ms for a check evaluation, where storing them takes 3. A run over a year of
days stores thousands. The files are the same, so one can go back to Dagster's class at any time.
"""

from __future__ import annotations

import datetime as dt
import os
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluation
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
    INDEX_SHARD_NAME,
    SqliteEventLogStorage,
)
from dagster._serdes import serialize_value
from dagster_shared.record import replace
from sqlalchemy import bindparam, create_engine, event, func, select
from sqlalchemy.pool import StaticPool
from typing_extensions import override

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from dagster._core.definitions.events import AssetKey
    from dagster._core.events import DagsterEventType
    from dagster._core.events.log import EventLogEntry
    from dagster._serdes import ConfigurableClassData
    from sqlalchemy.engine import Connection, Engine

    Stored = tuple[EventLogEntry, int]
    """An event, and its id in the index."""

RUNS_KEPT = 16
"""Run shards whose connections are kept; the one used longest ago is closed for another."""
BUSY_TIMEOUT_S = 60
EVENTS_AT_ONCE = 500
EVALUATION_KEY = ("asset_key", "check_name", "partition", "run_id")


@dataclass(frozen=True)
class KeptEngine:
    """The engine of one file, as long as that is the file of its name.

    Attributes:
        engine: It has one connection.
        inode: Which file it has open; another process may have removed it and made it anew.
    """

    engine: Engine
    inode: int | None


class PooledSqliteEventLogStorage(SqliteEventLogStorage):
    """SQLite event log that keeps a connection to the index and to the runs used last.

    In ``dagster.yaml``::

        event_log_storage:
          module: dataflow_assets.observe.event_log
          class: PooledSqliteEventLogStorage
          config: {base_dir: data/dagster/events}
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        # Dagster batches events only when this variable says how many.
        os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", str(EVENTS_AT_ONCE))
        self._kept: OrderedDict[str, KeptEngine] = OrderedDict()
        self._inherited: list[OrderedDict[str, KeptEngine]] = []
        self._owner = os.getpid()
        self._has_checks = False
        super().__init__(base_dir, inst_data)

    @classmethod
    @override
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Any
    ) -> PooledSqliteEventLogStorage:
        return cls(inst_data=inst_data, **config_value)

    @contextmanager
    @override
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def _engine(self, shard: str) -> Engine:
        """Return the shard's engine; the caller holds the lock, so one thread at a time uses it."""
        self._leave_to_parent()
        kept = self._kept.get(shard)
        if kept is not None and kept.inode != _inode(self.path_for_shard(shard)):
            self._forget(shard)
            kept = None
        if kept is None:
            kept = self._kept[shard] = self._open(shard)
        self._kept.move_to_end(shard)
        if len(self._kept) > RUNS_KEPT:
            self._forget(next(name for name in self._kept if name != INDEX_SHARD_NAME))
        return kept.engine

    def _open(self, shard: str) -> KeptEngine:
        if _inode(self.path_for_shard(shard)) is None:
            self._initialized_dbs.discard(shard)
        engine = _make_engine(self.conn_string_for_shard(shard))
        if shard not in self._initialized_dbs:
            self._initdb(engine, for_index_shard=shard == INDEX_SHARD_NAME)
            self._initialized_dbs.add(shard)
        return KeptEngine(engine, _inode(self.path_for_shard(shard)))

    def _leave_to_parent(self) -> None:
        """Neither use nor close, in a forked child, the parent's connections: SQLite forbids it."""
        if self._owner != os.getpid():
            self._inherited.append(self._kept)
            self._kept = OrderedDict()
            self._owner = os.getpid()

    def _forget(self, shard: str) -> None:
        kept = self._kept.pop(shard, None)
        if kept is not None:
            kept.engine.dispose()

    @override
    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store many events of one run in few transactions, not in two or three each.

        Dagster hands over what a run plans (of all its assets and checks), and what a step has done
        to the partitions of an asset. An asset's own row says what the last of its events of a kind
        says, so only those are written there.
        """
        rows = [self._event_to_row(event) for event in events]
        with self.run_connection(events[0].run_id) as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)
        with self.index_transaction() as connection:
            connection.execute(SqlEventLogStorageTable.insert(), rows)
            last = connection.execute(select(func.max(SqlEventLogStorageTable.c.id))).scalar_one()
            # No one else writes during the transaction, so that the ids follow each other.
            stored = list(zip(events, range(last - len(events) + 1, last + 1), strict=True))
            self._store_asset_events(
                connection, [pair for pair in stored if _kind(pair[0]) in ASSET_EVENTS]
            )
            self._store_evaluations(connection, stored)
        for one, event_id in stored:
            if _kind(one) in ASSET_CHECK_EVENTS and _evaluation_of_partition(one) is None:
                self.store_asset_check_event(one, event_id)

    def _store_asset_events(self, connection: Connection, stored: Sequence[Stored]) -> None:
        if stored:
            self._store_asset_event_tags(connection, *map(list, zip(*stored, strict=True)))
        latest = {(_kind(one), _asset(one)): (one, event_id) for one, event_id in stored}
        for one, event_id in latest.values():
            self._store_asset_event(connection, one, event_id)

    def _store_evaluations(self, connection: Connection, stored: Sequence[Stored]) -> None:
        """Store what a check found in single partitions, in the place of what it found before.

        Before means earlier in the same run: in a step that is tried again.
        """
        rows = [
            self._evaluation_row(one, event_id, found)
            for one, event_id in stored
            if (found := _evaluation_of_partition(one)) is not None
        ]
        if not rows:
            return
        columns = AssetCheckExecutionsTable.c
        known = [columns[name] == bindparam(f"old_{name}") for name in EVALUATION_KEY]
        connection.execute(
            AssetCheckExecutionsTable.delete().where(*known),
            [{f"old_{name}": row[name] for name in EVALUATION_KEY} for row in rows],
        )
        connection.execute(AssetCheckExecutionsTable.insert(), rows)

    def _evaluation_row(
        self, one: EventLogEntry, event_id: int, found: AssetCheckEvaluation
    ) -> dict[str, Any]:
        status = (
            AssetCheckExecutionRecordStatus.SUCCEEDED
            if found.passed
            else AssetCheckExecutionRecordStatus.FAILED
        )
        target = found.target_materialization_data
        return {
            "asset_key": found.asset_key.to_string(),
            "check_name": found.check_name,
            "partition": found.partition,
            "run_id": one.run_id,
            "execution_status": status.value,
            "evaluation_event": serialize_value(one),
            "evaluation_event_timestamp": dt.datetime.fromtimestamp(one.timestamp, dt.UTC),
            "evaluation_event_storage_id": event_id,
            "materialization_event_storage_id": target.storage_id if target else None,
        }

    @property
    @override
    def supports_asset_checks(self) -> bool:
        """Whether there is a table for checks: once there, it stays, but Dagster keeps asking."""
        self._has_checks = self._has_checks or super().supports_asset_checks
        return self._has_checks

    @override
    def _store_asset_check_evaluation_planned(
        self, event: EventLogEntry, event_id: int | None
    ) -> None:
        """Store a planned check once, not once for each partition of the run.

        Plans for partitions would stay beside the result of a check that has no partitions, and the
        UI would call the check skipped in each of them.
        """
        dagster_event = event.dagster_event
        if dagster_event is not None:
            planned = replace(dagster_event.event_specific_data, partitions_subset=None)
            dagster_event = dagster_event._replace(event_specific_data=planned)
        super()._store_asset_check_evaluation_planned(
            event._replace(dagster_event=dagster_event), event_id
        )

    @override
    def _update_asset_check_evaluation(self, event: EventLogEntry, event_id: int | None) -> None:
        """Store the evaluation of a whole check as the latest, after those of single partitions.

        Dagster would write it where the plan is: before them all, so that one of them would stand
        for the check.
        """
        evaluation = event.dagster_event and event.dagster_event.event_specific_data
        if isinstance(evaluation, AssetCheckEvaluation) and evaluation.partition is None:
            rows = AssetCheckExecutionsTable.c
            with self.index_connection() as connection:
                connection.execute(
                    AssetCheckExecutionsTable.delete().where(
                        rows.asset_key == evaluation.asset_key.to_string(),
                        rows.check_name == evaluation.check_name,
                        rows.run_id == event.run_id,
                        rows.partition.is_(None),
                    )
                )
        super()._update_asset_check_evaluation(event, event_id)

    @override
    def delete_events(self, run_id: str) -> None:
        super().delete_events(run_id)
        with self._db_lock:
            self._forget(run_id)

    @override
    def wipe(self) -> None:
        self._close()
        super().wipe()

    @override
    def dispose(self) -> None:
        self._close()
        super().dispose()

    def _close(self) -> None:
        with self._db_lock:
            self._leave_to_parent()
            for shard in list(self._kept):
                self._forget(shard)


def _kind(event: EventLogEntry) -> DagsterEventType | None:
    return event.dagster_event_type if event.is_dagster_event else None


def _evaluation_of_partition(event: EventLogEntry) -> AssetCheckEvaluation | None:
    """Return what a check found in one partition, if the event says that."""
    found = event.dagster_event.event_specific_data if event.dagster_event else None
    if not isinstance(found, AssetCheckEvaluation) or found.partition is None:
        return None
    return found


def _asset(event: EventLogEntry) -> AssetKey | None:
    return event.dagster_event.asset_key if event.dagster_event else None


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino  # noqa: PTH116 - at every event: a Path takes longer than this
    except FileNotFoundError:
        return None


def _make_engine(url: str) -> Engine:
    """Make an engine with one connection, which threads share under the storage's lock."""
    engine = create_engine(
        url,
        poolclass=StaticPool,
        connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False},
    )
    event.listen(engine, "connect", _configure)
    return engine


def _configure(connection: sqlite3.Connection, _: object) -> None:
    """In WAL mode, NORMAL loses at most the last events if the machine goes down, nothing else."""
    connection.execute("PRAGMA synchronous=NORMAL")
