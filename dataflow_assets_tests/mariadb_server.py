"""Debian's MariaDB for tests, with a data folder and a port of its own.

What belongs here: starting, killing and ending a server. What does not: any expectation.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pymysql

from dataflow_assets_tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

MISSING = "MariaDB is not installed: apt-get install mariadb-server"
STARTS_S = 30
PASSWORD = "p@ss/word"  # noqa: S105 - of a server that lives for a test


def is_installed() -> bool:
    """Whether there is a MariaDB to start."""
    return bool(shutil.which("mariadbd") and shutil.which("mariadb-install-db"))


class MariaDb:
    """A server to which root may connect without a password.

    Args:
        folder: Where its data goes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        folder.chmod(0o755)
        subprocess.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                f"--datadir={folder / 'data'}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--user=root",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def start(self) -> None:
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                [
                    "mariadbd",
                    "--no-defaults",
                    f"--datadir={self._folder / 'data'}",
                    f"--socket={self._folder / 'socket'}",
                    f"--pid-file={self._folder / 'pid'}",
                    f"--port={self.port}",
                    "--bind-address=127.0.0.1",
                    "--user=root",
                    "--innodb-flush-log-at-trx-commit=0",
                    "--innodb-log-file-size=16M",
                ],
                stderr=log,
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + STARTS_S
        while True:
            try:
                return self.execute()
            except pymysql.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self._folder / "log").read_text()) from None
                time.sleep(0.05)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def execute(self, *statements: str) -> None:
        """Run statements as root."""
        connection = pymysql.connect(
            host="127.0.0.1", port=self.port, user="root", autocommit=True, charset="utf8mb4"
        )
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def url(self, database: str, *, password: str = PASSWORD) -> str:
        """Return the URL of a database for the user who may read it."""
        escaped = password.replace("@", "%40").replace("/", "%2F")
        return f"mysql://reader:{escaped}@127.0.0.1:{self.port}/{database}"

    def new_database(self, name: str) -> str:
        """Make an empty database that the reader may read, and return its URL."""
        self.execute(
            f"create database {name} character set utf8mb4",
            f"grant select on {name}.* to reader@'127.0.0.1' identified by '{PASSWORD}'",
            f"grant select on {name}.* to reader@localhost identified by '{PASSWORD}'",
        )
        return self.url(name)


@contextmanager
def own_server() -> Iterator[MariaDb]:
    """Start a server, and end it and remove its data."""
    folder = Path(tempfile.mkdtemp(prefix="mariadb-"))
    try:
        server = MariaDb(folder)
        server.start()
        try:
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(folder)
