"""What Postgres holds after its clients or itself were killed, crowded, cut off, or full."""

from __future__ import annotations

import multiprocessing
import random
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest

from dataflow_assets.errors import (
    StorageError,
    WarehouseLockedError,
    WarehouseRefusedError,
    WarehouseUnreachableError,
)
from dataflow_assets.io.postgres import connections
from dataflow_assets_tests.integration.io.postgres.opening import generations, open_warehouse
from dataflow_assets_tests.integration.io.publishing import TABLE, publication
from dataflow_assets_tests.postgres_server import own_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

    from dataflow_assets.io.postgres.warehouse import PostgresWarehouse
    from dataflow_assets.io.warehouse import Publication
    from dataflow_assets_tests.postgres_server import OwnServer

KILLS = 50
PUBLISHERS = 16
STATE = """
    select l."partition", count(t.*) as n, count(distinct t.generation) as generations,
        min(t._run_id) as run_id, min(t.generation) as generation, min(l.run_id) as ledger_run,
        min(l.loaded) as loaded
    from dataflow.ledger l left join normalized.things t on l."partition" = t._partition
    group by l."partition" order by l."partition"
"""
forking = multiprocessing.get_context("forkserver")
"""Forks from a process that has imported everything and has started no threads."""
forking.set_forkserver_preload([__name__])


def publish_for_ever(url: str, staged: list[Publication], started: Connection) -> None:
    """Publish without a pause, so that a kill most likely falls into the midst of a publish."""
    warehouse = open_warehouse(url)
    warehouse.publish(TABLE, random.sample(staged, 1))
    started.send(None)
    while True:
        warehouse.publish(TABLE, random.choices(staged, k=1000))  # noqa: S311 - no secret


def publish_all(url: str, staged: list[Publication], outcome: Connection) -> None:
    try:
        for one in staged:
            open_warehouse(url).publish(TABLE, [one])
    except Exception as error:  # noqa: BLE001 - the test looks at whatever it is
        outcome.send(error)
    else:
        outcome.send(None)


def rows_in(generation: int) -> int:
    return 2000 + 100 * generation


def stage(folder: Path, partitions: str, generations: int) -> list[Publication]:
    return [
        publication(folder, key, rows_in(generation), generation=generation)
        for key in partitions
        for generation in range(generations)
    ]


def check_whole(warehouse: PostgresWarehouse) -> set[int]:
    """Check that each partition is of one publish, and return which publishes they are of."""
    state = warehouse.read(STATE)
    for row in state.iter_rows(named=True):
        assert row["generations"] == 1
        assert row["n"] == row["loaded"] == rows_in(row["generation"])
        assert row["run_id"] == row["ledger_run"] == f"run{row['generation']}"
    return set(state["generation"])


def test_a_writer_killed_at_any_moment_leaves_the_old_rows_or_the_new(
    database: str, tmp_path: Path
) -> None:
    staged = stage(tmp_path, "ab", 6)
    warehouse = open_warehouse(database)
    warehouse.publish(TABLE, [staged[0], staged[6]])
    seen: set[int] = set()
    dice = random.Random(7)  # noqa: S311 - no secret
    for _ in range(KILLS):
        receiving, sending = forking.Pipe(duplex=False)
        child = forking.Process(target=publish_for_ever, args=(database, staged, sending))
        child.start()
        receiving.recv()
        time.sleep(dice.uniform(0, 0.1))
        child.kill()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        seen |= check_whole(warehouse)
    assert len(seen) > 3
    assert warehouse.read("select count(*) from dataflow.ledger_history").item() >= KILLS


def test_sixteen_publish_at_once_to_one_table_and_the_same_partitions(
    database: str, tmp_path: Path
) -> None:
    children = []
    for number in range(PUBLISHERS):
        staged = [
            publication(tmp_path, key, rows_in(number), generation=number)
            for key in random.Random(number).sample("abc", 3)  # noqa: S311 - no secret
        ]
        staged.append(publication(tmp_path, f"own{number}", rows_in(number), generation=number))
        receiving, sending = forking.Pipe(duplex=False)
        child = forking.Process(target=publish_all, args=(database, staged, sending))
        child.start()
        sending.close()
        children.append((child, receiving))
    outcomes = [receiving.recv() for _, receiving in children]
    for child, _ in children:
        child.join()
    assert outcomes == [None] * PUBLISHERS
    warehouse = open_warehouse(database)
    assert len(check_whole(warehouse)) == PUBLISHERS
    assert len(generations(warehouse)) == PUBLISHERS + 3
    assert warehouse.read("select count(*) from dataflow.ledger_history").item() == PUBLISHERS * 4


def test_threads_share_a_bounded_number_of_connections(database: str, tmp_path: Path) -> None:
    warehouse = open_warehouse(database, connections=3)
    staged = [publication(tmp_path, f"p{number}", 50) for number in range(PUBLISHERS)]
    threads = [threading.Thread(target=warehouse.publish, args=(TABLE, [one])) for one in staged]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(generations(warehouse)) == PUBLISHERS
    open_now = "select count(*) from pg_stat_activity where datname = current_database()"
    assert warehouse.read(open_now).item() <= 3


@pytest.fixture
def server() -> Iterator[OwnServer]:
    with own_server() as started:
        yield started


def test_a_server_that_restarts_in_the_middle_loses_and_doubles_nothing(
    server: OwnServer, tmp_path: Path
) -> None:
    warehouse = open_warehouse(server.url)
    staged = stage(tmp_path, "abcdefgh", 8)
    receiving, sending = forking.Pipe(duplex=False)
    child = forking.Process(target=publish_all, args=(server.url, staged, sending))
    child.start()
    for how in ("fast", "immediate"):
        time.sleep(0.4)
        server.stop(how)
        time.sleep(0.5)
        server.start()
    assert receiving.recv() is None
    child.join()
    assert check_whole(warehouse) == {7}
    assert warehouse.read("select count(*) from dataflow.ledger_history").item() == len(staged)


class CuttingProxy:
    """Passes bytes on to a server, and cuts all connections when told to."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for end in list(self._open):
            _hang_up(end)

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            self._open += [client, server]
            for pair in ((client, server), (server, client)):
                threading.Thread(target=_pass_on, args=pair, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    except OSError:
        pass  # it was cut
    _hang_up(source)
    _hang_up(target)


def _hang_up(end: socket.socket) -> None:
    with suppress(OSError):  # the other side was faster
        end.shutdown(socket.SHUT_RDWR)


def test_a_network_that_drops_again_and_again_loses_and_doubles_nothing(
    server: OwnServer, tmp_path: Path
) -> None:
    staged = stage(tmp_path, "abc", 7)
    proxy = CuttingProxy(server.port)
    receiving, sending = forking.Pipe(duplex=False)
    url = server.url.replace(str(server.port), str(proxy.port))
    child = forking.Process(target=publish_all, args=(url, staged, sending))
    child.start()
    dice = random.Random(3)  # noqa: S311 - no secret
    cuts = 0
    while not receiving.poll(dice.uniform(0.1, 0.5) * (1 + cuts / 10)):  # it calms down in the end
        proxy.cut()
        cuts += 1
    outcome = receiving.recv()
    child.join()
    proxy.close()
    assert outcome is None
    assert cuts > 3
    warehouse = open_warehouse(server.url)
    assert check_whole(warehouse) == {6}
    assert warehouse.read("select count(*) from dataflow.ledger_history").item() == len(staged)


def test_a_commit_that_was_not_heard_of_is_not_done_again(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warehouse = open_warehouse(database)
    warehouse.publish(TABLE, [publication(tmp_path, "a", 3)])
    plain, deaf = connections.writing, [True]

    @contextmanager
    def breaking(connection: connections.Connection, wait: float) -> Iterator[object]:
        with plain(connection, wait) as number:
            yield number
        if deaf.pop() if deaf else False:
            connection.close()
            raise psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr(connections, "writing", breaking)
    warehouse.publish(TABLE, [publication(tmp_path, "a", 5, generation=1)])
    assert not deaf
    history = warehouse.read("select run_id from dataflow.ledger_history order by run_id")
    assert history.rows() == [("run0",), ("run1",)]


def test_a_full_disk_leaves_the_old_rows(database: str, tmp_path: Path) -> None:
    """The limit on temporary files is another reason for the same kind of error, 53xxx."""
    warehouse = open_warehouse(database)
    warehouse.publish(TABLE, [publication(tmp_path, "a", 3)])
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(
            "create function normalized.no_room() returns trigger language plpgsql as $$ begin "
            "raise exception 'could not extend file: No space left on device' "
            "using errcode = 'disk_full'; end $$"
        )
        connection.execute(
            "create trigger no_room before insert on normalized.things "
            "for each row when (new.id = 1000) execute function normalized.no_room()"
        )
        with pytest.raises(StorageError, match="No space left") as failure:
            warehouse.publish(TABLE, [publication(tmp_path, "a", rows_in(1), generation=1)])
        assert failure.value.transient
        assert generations(warehouse) == [("a", 0, 3)]
        connection.execute("drop trigger no_room on normalized.things")
    warehouse.publish(TABLE, [publication(tmp_path, "a", rows_in(2), generation=2)])
    assert check_whole(warehouse) == {2}


def test_a_partition_that_another_keeps_is_waited_for_no_longer_than_told(
    database: str, tmp_path: Path
) -> None:
    warehouse = open_warehouse(database, lock_timeout_s=0.3)
    warehouse.publish(TABLE, [publication(tmp_path, "a", 3)])
    with psycopg.connect(database) as holder:
        holder.execute(
            "select pg_advisory_xact_lock(hashtextextended(%s, 0))",
            ['dataflow normalized."things" a'],
        )
        warehouse.publish(TABLE, [publication(tmp_path, "b", 3)])
        with pytest.raises(WarehouseLockedError, match="lock timeout") as failure:
            warehouse.publish(TABLE, [publication(tmp_path, "a", 5, generation=1)])
    assert failure.value.transient
    assert generations(warehouse) == [("a", 0, 3), ("b", 0, 3)]


def test_nobody_there_is_tried_again_and_then_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "FIRST_WAIT_S", 0.001)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    warehouse = open_warehouse(f"postgresql://u:secret@127.0.0.1:{port}/d")
    with pytest.raises(WarehouseUnreachableError, match="refused") as failure:
        warehouse.publish(TABLE, [publication(tmp_path, "a", 3)])
    assert failure.value.transient
    assert "secret" not in str(failure.value)


@pytest.mark.parametrize("part", ["database", "user"])
def test_no_such_database_or_user_is_said_at_once(database: str, tmp_path: Path, part: str) -> None:
    parts = urlsplit(database)
    host = f"{parts.hostname}:{parts.port}"
    urls = {"database": f"{database}_not", "user": f"postgresql://nobody@{host}{parts.path}"}
    warehouse = open_warehouse(urls[part])
    began = time.monotonic()
    with pytest.raises(WarehouseRefusedError, match="does not exist") as failure:
        warehouse.publish(TABLE, [publication(tmp_path, "a", 3)])
    assert not failure.value.transient
    assert time.monotonic() - began < 2
