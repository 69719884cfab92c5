"""Connections to Postgres: pooled, bounded, and tried again when they break.

What belongs here: having a connection, and turning what Postgres says into our errors. What does
not: any table.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from dataflow_assets.errors import (
    DataflowError,
    StorageError,
    WarehouseLockedError,
    WarehouseRefusedError,
    WarehouseSchemaError,
    WarehouseUnreachableError,
    WarehouseValueError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pydantic import SecretStr

T = TypeVar("T")
Connection = psycopg.Connection[tuple[object, ...]]
CONNECT_TIMEOUT_S = 10
TRIES = 6
FIRST_WAIT_S = 0.2
PARAMETERS: dict[str, str | int | bool | None] = {
    "autocommit": True,
    # A prepared statement fails once its table has changed, and is unknown behind a pooler.
    "prepare_threshold": None,
    "application_name": "dataflow_assets",
    "connect_timeout": CONNECT_TIMEOUT_S,
    # A peer that is gone without a word is noticed within a minute, on either side.
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
SESSION = """
    select set_config('timezone', 'UTC', false),
        set_config('tcp_keepalives_idle', '20', false),
        set_config('tcp_keepalives_interval', '10', false),
        set_config('tcp_keepalives_count', '3', false)
"""
BROKEN = ("08", "40", "57P01", "57P02", "57P03", "57P05")
"""SQLSTATEs after which the same transaction may succeed, at once or a little later."""
FULL = ("53", "58")
LOCKED = ("55P03",)
FORBIDDEN = ("28", "42501", "3D", "25006", "0L", "0P")
VALUE = ("22", "23", "54")
TOO_MANY_CONNECTIONS = "53300"
OPENING = threading.Lock()
"""Held while the process's pool is made, so that it has only one."""
log = logging.getLogger(__name__)


class Connections:
    """Connections to one database, for one process.

    Args:
        url: The database, with user and password.
        size: How many connections there may be at once.
        place: The database as it may be shown, without its password.
    """

    def __init__(self, url: SecretStr, size: int, place: str) -> None:
        self._url = url
        self._size = size
        self._place = place

    def run(self, work: Callable[[Connection], T]) -> T:
        """Do a piece of work over a connection; again, should the connection or server break.

        Args:
            work: What to do. It must leave nothing behind when it fails, and do no harm when it is
                done again after it had succeeded unnoticed.

        Raises:
            DataflowError: What Postgres says, as an error of ours.
        """
        for number in range(TRIES):
            try:
                with self._pool().connection() as connection:
                    return work(connection)
            except psycopg.Error as error:
                if not is_passing(error) or number == TRIES - 1:
                    raise explained(error, self._place) from error
                wait_s = FIRST_WAIT_S * 2**number * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
                log.warning("%s: %s; trying again in %.1f s", self._place, _said(error), wait_s)
            time.sleep(wait_s)
        raise AssertionError("the last try returns or raises")

    def write(self, work: Callable[[Connection], T], lock_timeout_s: float) -> T:
        """Do a piece of work in one transaction, once, whatever breaks.

        Should the connection break while the transaction ends, the server is asked whether it did.

        Args:
            work: What to do; it may be begun again, on a clean slate.
            lock_timeout_s: Seconds to wait for each lock.

        Raises:
            DataflowError: What Postgres says, as an error of ours.
        """
        pending: tuple[Sequence[object], T] | None = None

        def attempt(connection: Connection) -> T:
            nonlocal pending
            if pending is not None and _is_committed(connection, pending[0]):
                return pending[1]
            pending = None
            with writing(connection, lock_timeout_s) as transaction:
                result = work(connection)
                pending = (transaction, result)
            return result

        return self.run(attempt)

    def _pool(self) -> Pool:
        with OPENING:
            return pool_of(self._url, self._size)


class Pool:
    """Connections that wait for their next use, never more than so many.

    Args:
        url: The database.
        size: How many there may be at once.
    """

    def __init__(self, url: SecretStr, size: int) -> None:
        self._url = url
        self._places = threading.BoundedSemaphore(size)
        self._idle: list[Connection] = []

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection that works, in autocommit mode; wait until one is free.

        Raises:
            psycopg.Error: There is none to be had.
        """
        with self._places:
            connection = self._working()
            try:
                yield connection
            finally:
                if connection.info.transaction_status == TransactionStatus.IDLE:
                    self._idle.append(connection)
                else:
                    connection.close()

    def _working(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            try:
                connection.execute("select 1")
            except psycopg.OperationalError:  # the server went while it waited
                connection.close()
            else:
                return connection
        return connect(self._url)


@cache
def pool_of(url: SecretStr, size: int) -> Pool:
    """Return the process's one pool of connections to a database."""
    return Pool(url, size)


def _forget() -> None:
    """Leave a parent's connections, and a lock that one of its threads may hold, to the parent."""
    global OPENING  # noqa: PLW0603 - it is the process's
    OPENING = threading.Lock()
    pool_of.cache_clear()


os.register_at_fork(after_in_child=_forget)


REFUSALS = ("FATAL:  password", 'FATAL:  database "', 'FATAL:  role "', "pg_hba")
"""What libpq says of connections that are refused for good; it has no code while it connects."""


def connect(url: SecretStr) -> Connection:
    """Return a new connection, in autocommit mode."""
    connection = psycopg.connect(url.get_secret_value(), **PARAMETERS)  # type: ignore[arg-type]
    connection.execute(SESSION)
    return connection


def is_passing(error: psycopg.Error) -> bool:
    """Whether the same transaction may succeed a moment later."""
    if error.sqlstate is None:
        # A cut connection has no code; neither has a mistake in how we use the library.
        return isinstance(error, psycopg.OperationalError) and not _is_wrong_address(error)
    return error.sqlstate.startswith(BROKEN) or error.sqlstate == TOO_MANY_CONNECTIONS


def _is_wrong_address(error: psycopg.Error) -> bool:
    """Whether a connection was refused for good; libpq gives no code while it connects."""
    return any(part in str(error) for part in REFUSALS)


def explained(error: psycopg.Error, place: str) -> DataflowError:
    """Return what Postgres says as an error of ours."""
    state, said = error.sqlstate or "", _said(error)
    if state.startswith(LOCKED):
        return WarehouseLockedError(
            f"another transaction keeps a lock for too long: {said}.",
            mend="See pg_stat_activity for who holds it; LOCK_TIMEOUT_S says how long to wait.",
            culprit=place,
        )
    if state.startswith(FORBIDDEN) or (not state and _is_wrong_address(error)):
        return WarehouseRefusedError(
            f"Postgres refuses: {said}.",
            mend="Correct DATABASE_URL, or give the user its rights: "
            "dataflow-assets setup, run as the owner.",
            culprit=place,
        )
    if state.startswith(VALUE):
        return WarehouseValueError(
            f"Postgres cannot hold a value: {said}.",
            mend="Correct the mapping, or the contract of the source that it came from.",
            culprit=place,
        )
    if state.startswith(FULL) and state != TOO_MANY_CONNECTIONS:
        return StorageError(
            f"Postgres cannot write: {said}.",
            mend="Free space on the disk of the server; nothing was published.",
            culprit=place,
        )
    if is_passing(error):
        return WarehouseUnreachableError(
            f"Postgres cannot be reached, or broke off: {said}.",
            mend="See that the server runs and takes connections; nothing was published.",
            culprit=place,
        )
    return WarehouseSchemaError(
        f"Postgres does not take a statement: {said}.",
        mend="See whether the table was changed by hand; else report it as a bug.",
        culprit=place,
    )


def _said(error: psycopg.Error) -> str:
    """Return what Postgres says, in one line."""
    told = [error.diag.message_primary, error.diag.message_detail, error.diag.context]
    text = "; ".join(part for part in told if part) or str(error)
    return " ".join(text.split()).rstrip(".")


@contextmanager
def writing(connection: Connection, lock_timeout_s: float) -> Iterator[Sequence[object]]:
    """Hold a transaction that waits so many seconds for a lock, and return its number."""
    with connection.transaction():
        number = connection.execute("select pg_current_xact_id()::text").fetchone() or ()
        set_lock_timeout(connection, lock_timeout_s)
        yield number


def set_lock_timeout(connection: Connection, seconds: float) -> None:
    """Wait no longer for a lock, until the transaction ends."""
    connection.execute(
        "select set_config('lock_timeout', %s, true)", [f"{max(1, round(seconds * 1000))}ms"]
    )


def _is_committed(connection: Connection, number: Sequence[object]) -> bool:
    """Whether a transaction of a broken connection was committed, once that is decided."""
    while True:
        (status,) = connection.execute("select pg_xact_status(%s::xid8)", number).fetchone() or (
            "",
        )
        if status != "in progress":
            return bool(status == "committed")
        time.sleep(FIRST_WAIT_S)
