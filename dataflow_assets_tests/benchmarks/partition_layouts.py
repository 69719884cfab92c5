"""How a partition is best replaced in Postgres: delete and copy, or attach a table of its own.

What belongs here: the measurement behind the decision in `documentation/decisions.md`. What does
not: anything that the project does. Run it with
`python -m dataflow_assets_tests.benchmarks.partition_layouts`.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from typing import TYPE_CHECKING

import psycopg

from dataflow_assets_tests.postgres_server import own_server

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS = 'id bigint not null, day text collate "C" not null, amount double precision, note text'
ROWS = "select g, '{day}', g * 0.5, 'note ' || g from generate_series(1, {rows}) g"
PRUNED = "select count(*) from {table} where day = '{day}' and id < 10"
UNPRUNED = "select * from {table} where id = 7 order by day limit 20"
BUFFERS = {"shared_buffers": "'512MB'", "max_wal_size": "'4GB'"}
HELD = b"select count(*) from pg_locks where pid = pg_backend_pid()"
REPEATS = 5


def day(number: int) -> str:
    return f"d{number:06d}"


class Deleting:
    """One table; a publish deletes the partition's rows and copies the new ones."""

    name = "delete and copy"

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self.table = "plain"

    def make(self, partitions: int, rows: int) -> None:
        run = self._connection.execute
        run(f"drop table if exists plain; create table plain ({COLUMNS})".encode())
        for first in range(0, partitions, 500):
            last = min(first + 500, partitions)
            run(
                "insert into plain "
                f"select g, 'd' || lpad(p::text, 6, '0'), g * 0.5, 'note ' || g "
                f"from generate_series({first}, {last - 1}) p, "
                f"generate_series(1, {rows}) g".encode()
            )
        run(b"create unique index on plain (day, id)")
        run(b"vacuum analyze plain")

    def publish(self, number: int, rows: int) -> None:
        with self._connection.transaction():
            run = self._connection.execute
            run(f"delete from plain where day = '{day(number)}'".encode())
            run(f"insert into plain {ROWS.format(day=day(number), rows=rows)}".encode())


class Attaching:
    """A table for each partition; a publish fills a new one and puts it in the old one's place."""

    name = "attach"

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self.table = "parted"

    def make(self, partitions: int, rows: int) -> None:
        run = self._connection.execute
        self._drop()
        run(f"create table parted ({COLUMNS}) partition by list (day)".encode())
        run(b"create unique index on parted (day, id)")
        for number in range(partitions):
            name = f"part_{number}"
            values = f"for values in ('{day(number)}')"
            run(f"create table {name} partition of parted {values}".encode())
            run(f"insert into {name} {ROWS.format(day=day(number), rows=rows)}".encode())
        run(b"analyze parted")

    def publish(self, number: int, rows: int) -> None:
        run, name = self._connection.execute, f"part_{number}"
        with self._connection.transaction():
            run(f"create table fresh (like {name} including defaults)".encode())
            run(f"insert into fresh {ROWS.format(day=day(number), rows=rows)}".encode())
            run(b"create unique index on fresh (day, id)")
            run(f"alter table fresh add check (day = '{day(number)}')".encode())
            run(f"alter table parted detach partition {name}".encode())
            run(f"drop table {name}".encode())
            values = f"for values in ('{day(number)}')"
            run(f"alter table parted attach partition fresh {values}".encode())
            run(f"alter table fresh rename to {name}".encode())

    def _drop(self) -> None:
        """Drop the tables a hundred at a time: all at once would take more locks than there are."""
        found = self._connection.execute(
            b"select relname from pg_class where relname ~ '^part_[0-9]+$' and relkind = 'r'"
        ).fetchall()
        for first in range(0, len(found), 100):
            names = ", ".join(name for (name,) in found[first : first + 100])
            self._connection.execute(f"drop table {names}".encode())
        self._connection.execute(b"drop table if exists parted")


def milliseconds(work: Callable[[], object]) -> str:
    """Return the median time of some repeats, or what Postgres says against it."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        try:
            work()
        except psycopg.Error as error:
            return str(error.diag.message_primary)
        times.append(time.perf_counter() - began)
    return f"{1000 * statistics.median(times):.1f}"


def planning(connection: psycopg.Connection, query: str) -> str:
    """Return the median time of planning in a new session, in ms."""
    with psycopg.connect(connection.info.dsn, autocommit=True) as fresh:
        times = []
        for _ in range(REPEATS):
            try:
                lines = fresh.execute(f"explain (summary) {query}".encode()).fetchall()
            except psycopg.Error as error:
                return str(error.diag.message_primary)
            text = next(str(line[0]) for line in lines if "Planning Time" in str(line[0]))
            times.append(float(text.split(":")[1].removesuffix("ms")))
    return f"{statistics.median(times):.2f}"


def locks(connection: psycopg.Connection, query: str) -> str:
    """Return how many locks a query holds."""
    try:
        with connection.transaction():
            connection.execute(query.encode())
            found = connection.execute(
                b"select count(*) from pg_locks where pid = pg_backend_pid()"
            )
            return str((found.fetchone() or ("",))[0])
    except psycopg.Error as error:
        return str(error.diag.message_primary)


def longest_wait(url: str, table: str, publish: Callable[[], None]) -> str:
    """Return the longest wait of a reader while a partition was replaced."""
    done, worst = threading.Event(), [0.0]

    def read() -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not done.is_set():
                began = time.perf_counter()
                connection.execute(PRUNED.format(table=table, day=day(3)).encode())
                worst[0] = max(worst[0], time.perf_counter() - began)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(REPEATS):
            publish()
    except psycopg.Error as error:
        return str(error.diag.message_primary)
    finally:
        done.set()
        reader.join()
    return f"{1000 * worst[0]:.1f}"


def measure(url: str, partitions: int, rows: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for layout in (Deleting(connection), Attaching(connection)):
            try:
                layout.make(partitions, rows)
            except psycopg.Error as error:
                print(f"{layout.name:16} {partitions:>7,} cannot be made: {error}")  # noqa: T201
                continue
            pruned = PRUNED.format(table=layout.table, day=day(3))
            unpruned = UNPRUNED.format(table=layout.table)
            figures = (
                milliseconds(lambda made=layout: made.publish(3, rows)),  # type: ignore[misc]
                longest_wait(url, layout.table, lambda made=layout: made.publish(3, rows)),  # type: ignore[misc]
                planning(connection, pruned),
                planning(connection, unpruned),
                milliseconds(lambda query=unpruned: connection.execute(query.encode())),  # type: ignore[misc]
                locks(connection, unpruned),
            )
            print(f"{layout.name:16} {partitions:>7,} {rows:>9,}", *figures, sep="  ", flush=True)  # noqa: T201


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the table, in all")
    parser.add_argument("--partitions", type=int, nargs="*", default=[10, 1_000, 10_000])
    arguments = parser.parse_args()
    with own_server({**BUFFERS, "fsync": "off"}) as server:
        print("layout, partitions, rows each; ms: replace one, reader's longest wait,")  # noqa: T201
        print("planning pruned, planning unpruned, running unpruned; locks of unpruned")  # noqa: T201
        for partitions in arguments.partitions:
            measure(server.url, partitions, arguments.rows // partitions)


if __name__ == "__main__":
    main()
