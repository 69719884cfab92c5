"""Dagster's event log in SQLite, with connections that are kept.

Dagster's own class makes an engine, opens a file and closes it again for every event: 10 ms for a
materialization and 16 ms for a check evaluation, where storing them takes 3. A run over a year of
days stores thousands. The files are the same, so one can go back to Dagster's class at any time.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dagster._core.storage.event_log.sqlite.sqlite_event_log import (
    INDEX_SHARD_NAME,
    SqliteEventLogStorage,
)
from sqlalchemy import create_engine, event
from sqlalchemy.pool import StaticPool
from typing_extensions import override

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

    from dagster._core.events.log import EventLogEntry
    from dagster._serdes import ConfigurableClassData
    from sqlalchemy.engine import Connection, Engine

RUNS_KEPT = 16
"""Run shards whose connections are kept; the one used longest ago is closed for another."""
BUSY_TIMEOUT_S = 60
EVENTS_AT_ONCE = 500


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
        self._engines: OrderedDict[str, Engine] = OrderedDict()
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
        engine = self._engines.get(shard)
        if engine is None:
            engine = self._engines[shard] = _make_engine(self.conn_string_for_shard(shard))
        self._engines.move_to_end(shard)
        if shard not in self._initialized_dbs:
            self._initdb(engine, for_index_shard=shard == INDEX_SHARD_NAME)
            self._initialized_dbs.add(shard)
        if len(self._engines) > RUNS_KEPT:
            self._forget(next(name for name in self._engines if name != INDEX_SHARD_NAME))
        return engine

    def _forget(self, shard: str) -> None:
        engine = self._engines.pop(shard, None)
        if engine is not None:
            engine.dispose()

    @override
    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store the materializations of a range of partitions in two transactions, not in 2 each.

        Dagster hands over batches only of materializations of one asset in one run, so the last of
        them is what the asset's own row is to say.
        """
        statements = [self.prepare_insert_event(event) for event in events]
        with self.run_connection(events[0].run_id) as connection:
            for statement in statements:
                connection.execute(statement)
        with self.index_transaction() as connection:
            ids = [connection.execute(statement).lastrowid for statement in statements]
            self._store_asset_event_tags(connection, events, ids)
            self._store_asset_event(connection, events[-1], ids[-1])

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
            for shard in list(self._engines):
                self._forget(shard)


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
