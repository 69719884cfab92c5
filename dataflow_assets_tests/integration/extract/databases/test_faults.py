"""What databases refuse, and what breaks while they are read: told with a mend, and no secrets."""

from __future__ import annotations

import socket
import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import duckdb
import psycopg
import pymysql
import pytest

from dataflow_assets.errors import (
    DataflowError,
    SettingsError,
    SourceRefusedError,
    SourceUnavailableError,
)
from dataflow_assets.extract.databases.session import DatabaseUrl
from dataflow_assets_tests import mariadb_server
from dataflow_assets_tests.integration.extract.databases.reading import (
    VARIABLE,
    declared,
    fetched,
)
from dataflow_assets_tests.postgres_server import own_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dataflow_assets_tests.mariadb_server import MariaDb
    from dataflow_assets_tests.postgres_server import Server

SECRET = "s3cret-of-the-test"  # noqa: S105 - it is none
MANY = "select n as id, repeat('x', 100) as t from generate_series(1, 50000000) n"


def _failure(system: str, folder: Path, **database: object) -> DataflowError:
    with pytest.raises(DataflowError) as failure:
        fetched(declared(system, **database), folder)  # type: ignore[arg-type]
    shown = f"{failure.value} {failure.getrepr(style='long', showlocals=True)}"
    assert SECRET not in str(failure.value)
    assert SECRET not in "".join(map(str, failure.traceback)) + str(failure.value.__cause__)
    assert mariadb_server.PASSWORD not in str(failure.value)
    assert shown
    leftovers = [path for path in folder.rglob("*") if path.name.startswith(".draft")]
    assert not leftovers
    return failure.value


def _refused(system: str, folder: Path, **database: object) -> str:
    error = _failure(system, folder, **database)
    assert isinstance(error, SourceRefusedError)
    assert not error.transient
    return str(error)


def _unavailable(system: str, folder: Path, **database: object) -> str:
    error = _failure(system, folder, **database)
    assert isinstance(error, SourceUnavailableError)
    assert error.transient
    return str(error)


def test_what_postgres_refuses(
    postgres: Server, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, database)
    assert "nope" in _refused("postgres", tmp_path, table="nope")
    assert "syntax error" in _refused("postgres", tmp_path, query="selec 1")
    assert "syntax error" in _refused("postgres", tmp_path, query="select 1; drop table t")
    assert "division by zero" in _refused("postgres", tmp_path, query="select 1/0 as id")
    late = "select 1 / (50000 - n) as id from generate_series(1, 100000) n"
    assert "division by zero" in _refused("postgres", tmp_path, query=late)
    assert "reserved" in _refused("postgres", tmp_path, query="select 1 as _id")
    assert "twice" in _refused("postgres", tmp_path, query="select 1 as a, 2 as a")
    user, rest = database.split("@")
    scheme = user.partition("//")[0]
    monkeypatch.setenv(VARIABLE, f"{scheme}//nobody:{SECRET}@{rest}")
    assert "nobody" in _refused("postgres", tmp_path, table="t")
    monkeypatch.setenv(VARIABLE, f"{postgres.database('no_such_database')}")
    assert "no_such_database" in _refused("postgres", tmp_path, table="t")


def test_passwords_and_a_kill_amid_the_rows_of_postgres(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own_server({"fsync": "off", "password_encryption": "md5"}) as server:
        server.execute(f"create user reader password '{SECRET}'")
        server.execute("create table secret (id int)")
        monkeypatch.setenv(VARIABLE, server.database("postgres", user=f"reader:{SECRET}"))
        assert fetched(declared("postgres", query="select 1 as id"), tmp_path)
        assert "permission denied" in _refused("postgres", tmp_path, table="secret")
        hba = server._folder / "pg_hba.conf"  # noqa: SLF001 - the server of this test
        hba.write_text("host all postgres all trust\nhost all all all md5\n")
        killer = _once_reading(tmp_path, lambda: server.stop("immediate"))
        assert "server closed the connection" in _unavailable("postgres", tmp_path, query=MANY)
        killer.join()
        server.start()
        assert fetched(declared("postgres", query=MANY.replace("50000000", "5")), tmp_path)
        monkeypatch.setenv(VARIABLE, server.database("postgres", user=f"reader:{SECRET}-wrong"))
        assert "password" in _refused("postgres", tmp_path, query="select 1 as id")


def test_nothing_can_be_written(
    database: str, mariadb: MariaDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, database)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create table t (id int)")
        connection.execute(
            "create function leak() returns int language sql as "
            "'insert into t values (1) returning id'"
        )
    said = _refused("postgres", tmp_path, query="select leak() as id")
    assert "read-only transaction" in said
    monkeypatch.setenv(VARIABLE, mariadb.new_database("read_only"))
    mariadb.execute("use read_only", "create table t (id int)", "create sequence s")
    mariadb.execute("grant all on read_only.* to reader@'127.0.0.1'")
    mariadb.execute("grant all on read_only.* to reader@localhost")
    assert "READ ONLY" in _refused("mysql", tmp_path, query="select nextval(s) as id")


def test_what_mariadb_refuses(
    mariadb: MariaDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, mariadb.new_database("refusing"))
    assert "nope" in _refused("mysql", tmp_path, table="nope")
    assert "SQL syntax" in _refused("mysql", tmp_path, query="selec 1")
    monkeypatch.setenv(VARIABLE, mariadb.url("refusing", password=SECRET))
    assert "Access denied" in _refused("mysql", tmp_path, query="select 1 as id")
    monkeypatch.setenv(VARIABLE, mariadb.url("elsewhere"))
    assert "Access denied" in _refused("mysql", tmp_path, query="select 1 as id")
    monkeypatch.setenv(VARIABLE, f"{mariadb.url('refusing')}?charset=latin1")
    with pytest.raises(SettingsError, match="charset"):
        fetched(declared("mysql", query="select 1 as id"), tmp_path)


@pytest.mark.parametrize("system", ["postgres", "mysql"])
def test_a_host_that_cannot_be_reached(
    system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheme = {"postgres": "postgresql", "mysql": "mysql"}[system]
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens there
        port = closed.getsockname()[1]
        monkeypatch.setenv(VARIABLE, f"{scheme}://u:{SECRET}@127.0.0.1:{port}/d")
        assert "refused" in _unavailable(system, tmp_path, table="t")
    monkeypatch.setenv(VARIABLE, f"{scheme}://u:{SECRET}@no-such-host.invalid/d")
    _unavailable(system, tmp_path, table="t")


def _timed_out(system: str, root: Path, query: str) -> str:
    told = _unavailable(system, root, query=query, timeout="1s")
    assert "longer than timeout of the declaration allows" in told
    assert "Mend: Raise database: {timeout}" in told
    return told


def test_a_read_that_takes_too_long(
    database: str, mariadb: MariaDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = time.monotonic()
    monkeypatch.setenv(VARIABLE, database)
    slow = "select 1 as id, pg_sleep(60)::text as t"
    assert "statement timeout" in _timed_out("postgres", tmp_path, slow)
    monkeypatch.setenv(VARIABLE, mariadb.new_database("slow"))
    slow = "select seq as id, sleep(1) as t from seq_1_to_60"
    _timed_out("mysql", tmp_path, slow)
    slow = "with recursive n(i) as (select 1 union all select i + 1 from n) select i as id from n"
    sqlite3.connect(tmp_path / "shop.db").close()
    monkeypatch.setenv(VARIABLE, "sqlite:///shop.db")
    assert "interrupted" in _timed_out("sqlite", tmp_path, slow)
    duckdb.connect(tmp_path / "shop.duckdb").close()
    monkeypatch.setenv(VARIABLE, "duckdb:///shop.duckdb")
    slow = "select count(*) as id from range(10000000000) a, range(10000) b where a.range % 7 = 1"
    _timed_out("duckdb", tmp_path, slow)
    assert time.monotonic() - began < 30


def _once_reading(folder: Path, kill: Callable[[], None]) -> threading.Thread:
    """Kill a server as soon as rows of it are written down."""

    def wait() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if any(path.stat().st_size > 100_000 for path in folder.glob("archive/.draft-*")):
                break
            time.sleep(0.01)
        kill()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_mariadb_is_killed_while_it_is_read(
    mariadb: MariaDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = "select seq as id, repeat('x', 100) as t from seq_1_to_50000000"
    monkeypatch.setenv(VARIABLE, mariadb.new_database("killed"))
    killer = _once_reading(tmp_path, mariadb.kill)
    _unavailable("mysql", tmp_path, query=many)
    killer.join()
    mariadb.start()
    assert fetched(declared("mysql", query=many.replace("50000000", "5")), tmp_path)


def test_an_error_of_mariadb_amid_the_rows(
    mariadb: MariaDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, mariadb.new_database("amid"))
    query = (
        "select seq as id, (select 1 union all select seq where seq = 90000) as t "
        "from seq_1_to_100000"
    )
    assert "more than 1 row" in _refused("mysql", tmp_path, query=query)


def test_files_that_are_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text").write_text("no database " * 1000)
    for system in ("sqlite", "duckdb"):
        monkeypatch.setenv(VARIABLE, f"{system}:///absent.db")
        assert "no database file" in _refused(system, tmp_path, table="t")
        monkeypatch.setenv(VARIABLE, f"{system}:///text")
        _refused(system, tmp_path, table="t")


def test_a_file_that_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataflow_assets.extract.databases.sqlite.WAIT_S", 0.1)
    monkeypatch.setenv(VARIABLE, "sqlite:///shop.db")
    with closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as writer:
        writer.execute("create table t (id int)")
        writer.execute("begin exclusive")
        assert "locked" in _unavailable("sqlite", tmp_path, table="t")


def test_a_variable_that_is_not_set_or_no_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(SettingsError, match="SHOP_DB is not set"):
        fetched(declared("postgres", table="t"), tmp_path)
    for url in (f"mysql://u:{SECRET}@h/d", f"{SECRET}", f"postgresql://u:{SECRET}@h:port/d"):
        monkeypatch.setenv(VARIABLE, url)
        with pytest.raises(SettingsError, match="no URL of a postgres") as failure:
            fetched(declared("postgres", table="t"), tmp_path)
        assert SECRET not in str(failure.value)
        assert failure.value.__cause__ is None


def test_a_url_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "postgresql://u:a%40b%2Fc@h/d?sslpassword=xyzzy")
    database = declared("postgres", table="t").extract.database
    assert database is not None
    url = DatabaseUrl.of(database)
    assert "a%40b" not in repr(url)
    said = url.redact("no: a@b/c, a%40b%2Fc, postgresql://u:a%40b%2Fc@h/d?sslpassword=xyzzy xyzzy")
    assert said == "no: ***, ***, *** ***"


def test_pymysql_is_what_its_rows_are_read_from() -> None:
    """Its rows are read past its own ways of reading: what is used must be there."""
    for name in ("_read_bytes", "query", "get_server_info"):
        assert hasattr(pymysql.Connection, name)
