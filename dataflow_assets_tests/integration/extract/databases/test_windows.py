"""Windows of each kind of column: each row in one window, and none in no window unnoticed."""

from __future__ import annotations

import datetime as dt
import sqlite3
from typing import TYPE_CHECKING

import duckdb
import psycopg
import pytest

from dataflow_assets.errors import SourceRefusedError
from dataflow_assets_tests.integration.extract.databases.reading import (
    VARIABLE,
    declared,
    fetched,
    received,
)

if TYPE_CHECKING:
    from pathlib import Path

    from dataflow_assets_tests.mariadb_server import MariaDb

DAYS = ["2024-01-01", "2024-01-02", "2024-01-03"]
TIMES = [
    "2024-01-01 00:00:00",
    "2024-01-01 23:59:59.999999",
    "2024-01-02 00:00:00",
    "2024-01-02 12:00:00",
    "2024-01-03 00:00:00",
]
EXPECTED = {"2024-01-01": [1, 2], "2024-01-02": [3, 4], "2024-01-03": [5]}
VALUES = ", ".join(f"({number}, '{text}')" for number, text in enumerate(TIMES, start=1))


def _ids(system: str, folder: Path, window: dict[str, object], **more: str) -> dict[str, list[int]]:
    source = declared(system, table="t", window={"column": "moment", **window}, **more)
    return {day: sorted(received(source, folder, day)["id"].to_pylist()) for day in DAYS}


@pytest.mark.parametrize("kind", ["timestamp", "timestamptz", "text"])
def test_postgres(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    with psycopg.connect(f"{database}?options=-ctimezone%3DUTC", autocommit=True) as connection:
        connection.execute(f"create table t (id int, moment {kind})".encode())
        connection.execute(f"insert into t values {VALUES}".encode())
    monkeypatch.setenv(VARIABLE, f"{database}?options=-ctimezone%3DAsia/Tokyo")
    assert _ids("postgres", tmp_path, {}) == EXPECTED
    if kind != "text":
        shifted = {"2024-01-01": [1], "2024-01-02": [2, 3, 4], "2024-01-03": [5]}
        zone = "Europe/Berlin"
        found = _ids("postgres", tmp_path, {"timezone": "UTC"}, zone=zone)
        assert found == {"2024-01-01": [1], "2024-01-02": [2, 3, 4], "2024-01-03": [5]} == shifted


@pytest.mark.parametrize("kind", ["datetime(6)", "timestamp(6)", "varchar(30)"])
def test_mariadb(
    mariadb: MariaDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    name = f"windows_{kind[:4]}"
    monkeypatch.setenv(VARIABLE, mariadb.new_database(name))
    mariadb.execute(
        f"use {name}",
        "set time_zone = '+00:00'",
        f"create table t (id int, moment {kind} not null)",
        f"insert into t values {VALUES}",
    )
    assert _ids("mysql", tmp_path, {}) == EXPECTED


@pytest.mark.parametrize("kind", ["timestamp", "timestamptz", "timestamp_ns", "varchar"])
def test_duckdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    with duckdb.connect(tmp_path / "shop.duckdb") as connection:
        connection.execute("set timezone = 'UTC'")
        connection.execute(f"create table t (id int, moment {kind})")
        connection.execute(f"insert into t values {VALUES}")
    monkeypatch.setenv(VARIABLE, "duckdb:///shop.duckdb")
    assert _ids("duckdb", tmp_path, {}) == EXPECTED


@pytest.mark.parametrize(
    ("stored_as", "write"),
    [
        (None, lambda at: at.isoformat(" ")),
        (None, lambda at: at.isoformat("T")),
        (None, lambda at: at.date().isoformat() if at.time() == dt.time() else at.isoformat()),
        ("%Y/%m/%d %H.%M", lambda at: at.strftime("%Y/%m/%d %H.%M")),
        ("epoch_s", lambda at: at.replace(tzinfo=dt.UTC).timestamp()),
        ("epoch_s", lambda at: int(at.replace(tzinfo=dt.UTC).timestamp())),
        ("epoch_ms", lambda at: int(at.replace(tzinfo=dt.UTC).timestamp() * 1000)),
    ],
)
def test_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored_as: str | None, write: object
) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("create table t (id integer, moment datetime)")
        for number, text in enumerate(TIMES, start=1):
            value = write(dt.datetime.fromisoformat(text))  # type: ignore[operator]
            connection.execute("insert into t values (?, ?)", [number, value])
    monkeypatch.setenv(VARIABLE, "sqlite:///shop.db")
    assert _ids("sqlite", tmp_path, {"stored_as": stored_as}) == EXPECTED


def test_dates_and_overlap(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("create table t (id int, moment date)")
        connection.execute(
            "insert into t select n, date '2023-12-31' + n from generate_series(1, 3) n"
        )
    monkeypatch.setenv(VARIABLE, database)
    each = {"2024-01-01": [1], "2024-01-02": [2], "2024-01-03": [3]}
    assert _ids("postgres", tmp_path, {}) == each
    assert _ids("postgres", tmp_path, {}, zone="America/New_York") == each
    twice = {"2024-01-01": [1], "2024-01-02": [1, 2], "2024-01-03": [2, 3]}
    assert _ids("postgres", tmp_path, {"overlap": "1d"}) == twice
    assert _ids("postgres", tmp_path, {"overlap": "12h"}) == each  # dates begin at midnight


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("timestamp", "null", "says no time"),
        ("timestamp", "'infinity'", "says no time"),
        ("int", "1", "of type int4, not a date or time"),
    ],
)
def test_rows_that_no_window_would_hold_are_refused(
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    value: str,
    message: str,
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"create table t (id int, moment {kind})".encode())
        connection.execute(f"insert into t values (1, {value})".encode())
    monkeypatch.setenv(VARIABLE, database)
    with pytest.raises(SourceRefusedError, match=message):
        fetched(declared("postgres", table="t", window={"column": "moment"}), tmp_path)
    if kind == "timestamp":
        window = {"column": "moment", "nulls": "ignore"}
        source = declared("postgres", table="t", window=window)
        assert received(source, tmp_path).num_rows == 0


def test_other_rows_that_no_window_would_hold(
    mariadb: MariaDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, mariadb.new_database("zero"))
    mariadb.execute(
        "use zero",
        "set sql_mode = ''",
        "create table t (id int, moment datetime)",
        "insert into t values (1, '0000-00-00')",
    )
    with pytest.raises(SourceRefusedError, match="says no time"):
        fetched(declared("mysql", table="t", window={"column": "moment"}), tmp_path)
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("create table t (id int, moment datetime)")
        connection.execute("insert into t values (1, 1704164645)")  # a number among texts
    monkeypatch.setenv(VARIABLE, "sqlite:///shop.db")
    with pytest.raises(SourceRefusedError, match="says no time"):
        fetched(declared("sqlite", table="t", window={"column": "moment"}), tmp_path)
    with pytest.raises(SourceRefusedError, match="no column 'nope'"):
        fetched(declared("sqlite", table="t", window={"column": "nope"}), tmp_path)


def test_the_same_rows_in_another_order_are_the_same_version(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, database)

    def version(query: str) -> tuple[str, bytes]:
        found = fetched(declared("postgres", query=query), tmp_path)
        return found.version, found.path.read_bytes()

    numbers = "select n as id, n::text || 'x' as t from generate_series(1, {}) n order by 1 {}"
    before = version(numbers.format(30_000, "asc"))
    assert version(numbers.format(30_000, "desc")) == before  # the archived file too
    assert version(numbers.format(29_999, "asc"))[0] != before[0]
    assert version(numbers.format(30_000, "asc").replace("'x'", "'y'"))[0] != before[0]
    assert version(numbers.format(30_000, "asc").replace("as t", "as u"))[0] != before[0]
    doubled = f"({numbers.format(3, '')}) union all ({numbers.format(3, '')})"
    assert version(doubled)[0] != version(numbers.format(3, ""))[0]
