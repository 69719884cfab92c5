"""Each type of each database arrives as it is, and a value without a place is told of."""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
from decimal import Decimal
from typing import TYPE_CHECKING

import duckdb
import psycopg
import pytest

from dataflow_assets_tests.integration.extract.databases.reading import (
    VARIABLE,
    declared,
    received,
    rows,
    types,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pyarrow as pa

    from dataflow_assets_tests.mariadb_server import MariaDb

MOMENT = dt.datetime(2024, 2, 29, 1, 2, 3, 123456)  # noqa: DTZ001 - without a zone on purpose
INSTANT = MOMENT.replace(tzinfo=dt.UTC)
POSTGRES = [
    # type, literal, Arrow type, value
    ("smallint", "-32768", "int16", -32768),
    ("int", "2147483647", "int32", 2147483647),
    ("bigint", "-9223372036854775808", "int64", -9223372036854775808),
    ("oid", "4294967295", "int64", 4294967295),
    ("numeric(12,4)", "12345678.1234", "decimal128(12, 4)", Decimal("12345678.1234")),
    ("numeric(38,0)", "9" * 38, "decimal128(38, 0)", Decimal("9" * 38)),
    ("numeric(40,2)", "1.25", "string", "1.25"),
    ("numeric", "'1e30'", "string", "1" + "0" * 30),
    ("numeric", "0.1234567890123456789012345678901234567890", "string", None),
    ("numeric", "'NaN'", "string", "NaN"),
    ("money", "'12.34'", "string", "12.34"),
    ("real", "0.1", "float", 0.10000000149011612),
    ("float8", "0.1", "double", 0.1),
    ("boolean", "false", "bool", False),
    ("text", "'tä😀'", "string", "tä😀"),
    ("char(4)", "'c'", "string", "c   "),
    ("bytea", r"'\x00ff'", "binary", b"\x00\xff"),
    ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "string", None),
    ("json", """'{"a": 1.0}'""", "string", '{"a": 1.0}'),
    ("jsonb", """'{"a": 1.00}'""", "string", '{"a": 1.00}'),
    ("date", "'0001-01-01'", "date32[day]", dt.date.min),
    ("timestamp", "'2024-02-29 01:02:03.123456'", "timestamp[us]", MOMENT),
    ("timestamptz", "'2024-02-29 03:02:03.123456+02'", "timestamp[us, tz=UTC]", INSTANT),
    ("time", "'23:59:59.999999'", "time64[us]", dt.time.max),
    ("timetz", "'23:59:59+02'", "string", "23:59:59+02"),
    ("interval", "'1 mon 2 days 03:00:00.5'", "string", "P1M2DT3H0.5S"),
    ("int[]", "'{1,null,3}'", "list<item: int32>", [1, None, 3]),
    ("text[]", "'{a,null}'", "list<item: string>", ["a", None]),
    ("int[]", "'{}'", "list<item: int32>", []),
    ("int[]", "'[0:1]={7,8}'", "list<item: int32>", [7, 8]),
    ("numeric(10,2)[]", "'{1.50}'", "list<item: string>", ["1.50"]),
    ("mood", "'ok'", "string", "ok"),
    ("positive", "5", "int32", 5),
    ("pair", "'(1,x)'", "string", "(1,x)"),
    ("inet", "'10.0.0.1/8'", "string", "10.0.0.1/8"),
    ("bit(4)", "b'1010'", "string", "1010"),
    ("int4range", "'[1,5)'", "string", "[1,5)"),
    ("point", "'(1,2)'", "string", "(1,2)"),
]
POSTGRES_MISFITS = [
    ("date", "'infinity'", "infinity"),
    ("date", "'0044-03-15 BC'", "0044-03-15 BC"),
    ("timestamp", "'-infinity'", "-infinity"),
    ("timestamptz", "'infinity'", "infinity"),
    ("time", "'24:00:00'", "24:00:00"),
    ("numeric(4,1)", "'NaN'", "NaN"),
    ("int[]", "'{{1,2},{3,4}}'", [[1, 2], [3, 4]]),
    ("int[]", "'[2:3]={7,8}'", [7, 8]),
]
MARIADB = [
    ("tinyint", "-128", "int8", -128),
    ("tinyint unsigned", "255", "uint8", 255),
    ("boolean", "true", "int8", 1),
    ("smallint unsigned", "65535", "uint16", 65535),
    ("mediumint", "-8388608", "int32", -8388608),
    ("int unsigned", "4294967295", "uint32", 4294967295),
    ("bigint", "-9223372036854775808", "int64", -9223372036854775808),
    ("bigint unsigned", "18446744073709551615", "uint64", 18446744073709551615),
    ("decimal(12,4)", "-12345678.1234", "decimal128(12, 4)", Decimal("-12345678.1234")),
    ("decimal(10,0) unsigned", "9999999999", "decimal128(10, 0)", Decimal(9999999999)),
    ("decimal(38,2)", "1.5", "decimal128(38, 2)", Decimal("1.50")),
    ("decimal(65,30)", "1.5", "string", "1.500000000000000000000000000000"),
    ("float", "16777215", "float", 16777215.0),
    ("double", "0.1", "double", 0.1),
    ("double", "1.7976931348623157e308", "double", 1.7976931348623157e308),
    ("date", "'2024-02-29'", "date32[day]", dt.date(2024, 2, 29)),
    ("datetime(6)", "'2024-02-29 01:02:03.123456'", "timestamp[us]", MOMENT),
    ("timestamp(6)", "'2024-02-29 03:02:03.123456'", "timestamp[us, tz=UTC]", INSTANT),
    ("time(6)", "'23:59:59.999999'", "time64[us]", dt.time.max),
    ("year", "2024", "int16", 2024),
    ("char(5)", "'c'", "string", "c"),
    ("text", "'tä😀'", "string", "tä😀"),
    ("varchar(9) character set latin1", "'ä'", "string", "ä"),
    ("longtext", "repeat('x', 70000)", "string", "x" * 70000),
    ("binary(3)", "x'00ff'", "binary", b"\x00\xff\x00"),
    ("blob", "x'00ff'", "binary", b"\x00\xff"),
    ("bit(10)", "b'1000000001'", "uint64", 513),
    ("enum('a','b')", "'b'", "string", "b"),
    ("set('a','b')", "'a,b'", "string", "a,b"),
    ("json", """'{"a": 1.0}'""", "string", '{"a": 1.0}'),
    ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "string", None),
    ("inet6", "'::1'", "string", "::1"),
]
MARIADB_MISFITS = [
    ("date", "'0000-00-00'", "0000-00-00"),
    ("date", "'2024-02-00'", "2024-02-00"),
    ("datetime", "'0000-00-00'", "0000-00-00 00:00:00"),
    ("timestamp", "'0000-00-00'", "0000-00-00 00:00:00"),
    ("time", "'-838:59:59'", "-838:59:59"),
    ("time", "'24:00:00'", "24:00:00"),
]
DUCKDB = [
    ("tinyint", "-128", "int8", -128),
    ("utinyint", "255", "uint8", 255),
    ("ubigint", "18446744073709551615", "uint64", 18446744073709551615),
    ("hugeint", "170141183460469231731687303715884105727", "string", None),
    ("decimal(38,2)", "1.5", "decimal128(38, 2)", Decimal("1.50")),
    ("float", "0.1", "float", 0.10000000149011612),
    ("boolean", "true", "bool", True),
    ("varchar", "'tä😀'", "string", "tä😀"),
    ("blob", r"'\x00\xff'", "binary", b"\x00\xff"),
    ("date", "'2024-02-29'", "date32[day]", dt.date(2024, 2, 29)),
    ("timestamp", "'2024-02-29 01:02:03.123456'", "timestamp[us]", MOMENT),
    ("timestamptz", "'2024-02-29 03:02:03.123456+02'", "timestamp[us, tz=UTC]", INSTANT),
    ("timestamp_ns", "'2024-02-29 01:02:03.123456'", "timestamp[ns]", MOMENT),
    ("time", "'23:59:59.999999'", "time64[us]", dt.time.max),
    ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "string", None),
    ("json", """'{"a": 1.0}'""", "string", '{"a": 1.0}'),
    ("enum('a','b')", "'b'", "string", "b"),
    ("interval", "'1 month'", "string", "1 month"),
    ("integer[]", "[1, null]", "list<item: int32>", [1, None]),
    ("struct(a integer)", "{'a': 1}", "string", '{"a":1}'),
    ("map(varchar, integer)", "map {'k': 1}", "string", '{"k":1}'),
    ("bit", "'101'", "string", "101"),
]
DUCKDB_MISFITS = [
    ("date", "'infinity'", "infinity"),
    ("timestamp", "'-infinity'", "-infinity"),
    ("time", "'24:00:00'", "24:00:00"),
]
SQLITE = [
    # declared type, value stored, Arrow type, value
    ("integer", 2**62, "int64", 2**62),
    ("boolean", 1, "bool", True),
    ("real", 1, "double", 1.0),
    ("decimal(10,2)", 0.99, "decimal128(10, 2)", Decimal("0.99")),
    ("numeric(10,2)", 12345678, "decimal128(10, 2)", Decimal("12345678.00")),
    ("numeric", 1.5, "string", "1.5"),
    ("varchar(3)", "täxt", "string", "täxt"),
    ("datetime", "2024-01-02 03:04:05", "string", "2024-01-02 03:04:05"),
    ("datetime", 1704164645, "string", "1704164645"),
    ("", 0.1, "string", "0.1"),
    ("blob", b"\x00\xff", "binary", b"\x00\xff"),
]
SQLITE_MISFITS = [
    ("integer", "abc", "abc"),
    ("integer", 1.5, "1.5"),
    ("boolean", 2, 2),
    ("real", "x", "x"),
    ("decimal(10,2)", 0.995, "0.995"),
    ("decimal(3,2)", 12.5, "12.5"),
    ("text", b"\x00\xff", "0x00ff"),
    ("blob", "text", "text"),
]


def _check(table: pa.Table, expected: Sequence[tuple[str, object, str, object]]) -> None:
    (row,) = rows(table)
    row.pop("id", None)
    found = list(types(table).values())[-len(expected) :]
    for (kind, literal, arrow, value), there, name in zip(expected, found, row, strict=True):
        assert there == arrow, kind
        wanted = str(literal).strip("'") if value is None else value
        assert row[name] == wanted, (kind, literal)


def _columns(expected: Sequence[tuple[str, object, str, object]]) -> str:
    return ", ".join(f"c{number} {one[0]} null" for number, one in enumerate(expected))


def test_every_type_of_postgres(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(database, autocommit=True) as connection:
        for statement in (
            "create type mood as enum ('sad', 'ok')",
            "create domain positive as int check (value > 0)",
            "create type pair as (a int, b text)",
            f"create table t ({_columns(POSTGRES)})",
            f"insert into t values ({', '.join(one[1] for one in POSTGRES)})",
        ):
            connection.execute(statement.encode())
    monkeypatch.setenv(VARIABLE, database)
    _check(received(declared("postgres", table="public.t"), tmp_path), POSTGRES)


@pytest.mark.parametrize(("kind", "literal", "text"), POSTGRES_MISFITS)
def test_values_of_postgres_without_a_place(
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    literal: str,
    text: object,
) -> None:
    monkeypatch.setenv(VARIABLE, database)
    query = f"select 1 as id, {literal}::{kind} as v union all select 2, null::{kind} order by 1"
    table = received(declared("postgres", query=query), tmp_path)
    assert rows(table) == [{"id": 1, "v": None}, {"id": 2, "v": None}]
    assert table["_reject"].to_pylist() == ["misfit", None]
    assert json.loads(table["_text"][0].as_py()) == {"id": 1, "v": text}


def test_every_type_of_mariadb(
    mariadb: MariaDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, mariadb.new_database("every_type"))
    mariadb.execute(
        "use every_type",
        "set time_zone = '+02:00'",
        f"create table t ({_columns(MARIADB)})",
        f"insert into t values ({', '.join(one[1] for one in MARIADB)})",
        "set global time_zone = '+05:00'",  # what a session has unless told otherwise
    )
    _check(received(declared("mysql", table="t"), tmp_path), MARIADB)


def test_values_of_mariadb_without_a_place(
    mariadb: MariaDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, mariadb.new_database("misfits"))
    mariadb.execute("use misfits", "set sql_mode = ''", "create table t (id int)")
    for number, (kind, literal, _) in enumerate(MARIADB_MISFITS):
        mariadb.execute(
            "use misfits",
            "set sql_mode = ''",
            f"alter table t add column c{number} {kind} null",
            f"insert into t (id, c{number}) values ({number}, {literal})",
        )
    mariadb.execute("use misfits", "insert into t (id) values (99)")
    table = received(declared("mysql", table="t"), tmp_path)
    assert table["_reject"].to_pylist() == ["misfit"] * len(MARIADB_MISFITS) + [None]
    assert {value for row in rows(table) for name, value in row.items() if name != "id"} == {None}
    texts = [json.loads(text) for text in table["_text"].to_pylist()[:-1]]
    found = [text[f"c{number}"] for number, text in enumerate(texts)]
    assert found == [text for _, _, text in MARIADB_MISFITS]


def test_a_row_of_mariadb_longer_than_a_packet(
    mariadb: MariaDb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, mariadb.new_database("long_rows"))
    mariadb.execute("set global max_allowed_packet = 100000000")
    longest = 0xFFFFFF
    sizes = [3, 20_000_000, 0, longest - 6, longest - 5, longest - 7, 5]
    query = " union all ".join(f"select '{n}' as id, repeat('x', {n}) as v" for n in sizes)
    table = received(declared("mysql", query=query), tmp_path)
    assert [len(row["v"]) for row in rows(table)] == sizes  # type: ignore[arg-type]
    assert table["id"].to_pylist() == list(map(str, sizes))


def test_every_type_of_duckdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with duckdb.connect(tmp_path / "shop.duckdb") as connection:
        columns = _columns(DUCKDB).replace(" null", "")
        connection.execute(f"create table t ({columns})")
        connection.execute(f"insert into t values ({', '.join(one[1] for one in DUCKDB)})")
    monkeypatch.setenv(VARIABLE, "duckdb:///shop.duckdb")
    _check(received(declared("duckdb", table="t"), tmp_path), DUCKDB)


@pytest.mark.parametrize(("kind", "literal", "text"), DUCKDB_MISFITS)
def test_values_of_duckdb_without_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, literal: str, text: object
) -> None:
    duckdb.connect(tmp_path / "shop.duckdb").close()
    monkeypatch.setenv(VARIABLE, f"duckdb:///{tmp_path}/shop.duckdb")
    query = f"select 1 as id, {literal}::{kind} as v union all select 2, null order by 1;"
    table = received(declared("duckdb", query=query), tmp_path)
    assert table["_reject"].to_pylist() == ["misfit", None]
    assert json.loads(table["_text"][0].as_py()) == {"id": 1, "v": text}


def test_every_type_of_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        names = [f"c{number} {one[0]}" for number, one in enumerate(SQLITE)]
        connection.execute(f"create table t ({', '.join(names)})")
        marks = ", ".join("?" for _ in SQLITE)
        connection.execute(f"insert into t values ({marks})", [one[1] for one in SQLITE])
    monkeypatch.setenv(VARIABLE, "sqlite:///shop.db")
    _check(received(declared("sqlite", table="t"), tmp_path), SQLITE)


@pytest.mark.parametrize(("kind", "value", "text"), SQLITE_MISFITS)
def test_values_of_sqlite_without_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, value: object, text: object
) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute(f"create table t (id integer primary key, v {kind})")
        connection.execute("insert into t (v) values (?), (null)", [value])
    monkeypatch.setenv(VARIABLE, "sqlite:///shop.db")
    table = received(declared("sqlite", table="t"), tmp_path)
    assert rows(table) == [{"id": 1, "v": None}, {"id": 2, "v": None}]
    assert table["_reject"].to_pylist() == ["misfit", None]
    assert json.loads(table["_text"][0].as_py()) == {"id": 1, "v": text}


def test_text_of_sqlite_that_is_no_utf_8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("create table t (v text)")
        connection.execute("insert into t values (cast(x'ff41' as text)), ('good')")
    monkeypatch.setenv(VARIABLE, "sqlite:///shop.db")
    table = received(declared("sqlite", table="t"), tmp_path)
    assert table["v"].to_pylist() == [None, "good"]
    assert json.loads(table["_text"][0].as_py()) == {"v": "0xff41"}
