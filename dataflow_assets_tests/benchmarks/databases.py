"""Reading databases into the archive, against reading the same rows with the driver alone.

What belongs here: the rows, which each database makes itself, and both ways to read them. What does
not: the tables of figures of other parts.

Each reading is a process of its own, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import duckdb
import pyarrow as pa

from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.extract.database import DatabaseExtractor
from dataflow_assets.extract.extractor import Request
from dataflow_assets_tests import mariadb_server, postgres_server
from dataflow_assets_tests.benchmarks.memory import peak_mb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

VARIABLE = "BENCHMARK_DB"
MODULE = "dataflow_assets_tests.benchmarks.databases"
QUERIES = {
    "postgres": """select n as id, 'name ' || n as name, (n * 1.01)::numeric(14,2) as amount,
        timestamptz '2024-01-01 00:00Z' + n * interval '1 second' as at, n % 2 = 0 as flag,
        n / 7e0 as ratio, 'some longer text of a customer ' || n as remark
        from generate_series(1, {}) n""",
    "mysql": """select seq as id, concat('name ', seq) as name,
        cast(seq * 1.01 as decimal(14,2)) as amount,
        timestamp '2024-01-01 00:00:00' + interval seq second as at, seq % 2 as flag,
        seq / 7e0 as ratio, concat('some longer text of a customer ', seq) as remark
        from seq_1_to_{}""",
    "sqlite": """with recursive s(n) as (select 1 union all select n + 1 from s where n < {})
        select n as id, 'name ' || n as name, n * 1.01 as amount, n as at, n % 2 as flag,
        n / 7e0 as ratio, 'some longer text of a customer ' || n as remark from s""",
    "duckdb": """select n as id, 'name ' || n as name, (n * 1.01)::decimal(14,2) as amount,
        timestamp '2024-01-01' + to_seconds(n) as moment, n % 2 = 0 as flag,
        n / 7e0 as ratio, 'some longer text of a customer ' || n as remark
        from range(1, {} + 1) t(n)""",
}


def measure_databases(sizes: list[int]) -> Iterator[str]:
    """Yield a table of what reading takes.

    Args:
        sizes: Numbers of rows.
    """
    yield f"{'database':10}{'rows':>12}{'seconds':>9}{'of driver':>11}{'cpu s':>8}{'peak MB':>9}"
    with ExitStack() as stack:
        for system, url in _urls(stack).items():
            for rows in sizes:
                plain = _in_own_process("plain", system, rows, url)
                ours = _in_own_process("archived", system, rows, url)
                ratio = ours["seconds"] / plain["seconds"]
                yield (
                    f"{system:10}{rows:12,}{ours['seconds']:9.1f}{ratio:11.2f}"
                    f"{ours['cpu']:8.1f}{ours['peak_mb']:9.0f}"
                )


def _urls(stack: ExitStack) -> dict[str, str]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    sqlite3.connect(folder / "shop.db").close()
    duckdb.connect(folder / "shop.duckdb").close()
    urls = {
        "sqlite": f"sqlite:///{folder}/shop.db",
        "duckdb": f"duckdb:///{folder}/shop.duckdb",
        "postgres": stack.enter_context(postgres_server.own_server()).url,
    }
    if mariadb_server.is_installed():
        urls["mysql"] = stack.enter_context(mariadb_server.own_server()).new_database("shop")
    return urls


def _in_own_process(way: str, system: str, rows: int, url: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-m", MODULE, way, system, str(rows)],
        env={**os.environ, VARIABLE: url},
        check=True,
        capture_output=True,
        text=True,
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def archived(system: str, rows: int) -> int:
    """Read rows into an archive, as the raw layer does."""
    database = {"system": system, "url_env": VARIABLE, "query": QUERIES[system].format(rows)}
    source = SourceDeclaration.model_validate(
        {
            "name": "shop",
            "partitions": {"values": ["all"]},
            "extract": {"database": database},
            "contract": {"columns": {"id": "int64"}},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        assert source.extract.database is not None
        extractor = DatabaseExtractor(source, source.extract.database, Path(folder))
        request = Request("all", None, None, Path(folder) / "archive", False, list)  # noqa: FBT003
        (snapshot,) = extractor.fetch(request)
        return snapshot.file.size


def plain(system: str, rows: int) -> None:
    """Read rows with the driver into an Arrow file."""
    ways: dict[str, Callable[[str, str], Iterator[pa.RecordBatch]]] = {
        "postgres": _postgres,
        "mysql": _mysql,
        "sqlite": _sqlite,
        "duckdb": _duckdb,
    }
    batches = ways[system](os.environ[VARIABLE], QUERIES[system].format(rows))
    first = next(batches)
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with (
        tempfile.NamedTemporaryFile() as file,
        pa.ipc.new_file(file.name, first.schema, options=options) as writer,
    ):
        writer.write(first)
        for batch in batches:
            writer.write(batch)


def _postgres(url: str, query: str) -> Iterator[pa.RecordBatch]:
    import adbc_driver_postgresql.dbapi as driver  # noqa: PLC0415 - its memory is measured

    with driver.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        yield from cursor.fetch_record_batch()


def _mysql(url: str, query: str) -> Iterator[pa.RecordBatch]:
    import pymysql.cursors  # noqa: PLC0415 - as above

    parts = urlsplit(url)
    with (
        pymysql.connect(
            host=parts.hostname,
            port=parts.port or 0,
            user=parts.username,
            password=unquote(parts.password or ""),
            database=parts.path[1:],
            cursorclass=pymysql.cursors.SSCursor,
        ) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(query)
        yield from _made(cursor)


def _sqlite(url: str, query: str) -> Iterator[pa.RecordBatch]:
    yield from _made(sqlite3.connect(url.removeprefix("sqlite:///")).execute(query))


def _duckdb(url: str, query: str) -> Iterator[pa.RecordBatch]:
    connection = duckdb.connect(url.removeprefix("duckdb:///"), read_only=True)
    yield from connection.execute(query).to_arrow_reader(10_000)


def _made(cursor: Any) -> Iterator[pa.RecordBatch]:  # noqa: ANN401 - any driver's
    """Make batches of rows, in the types of the first of them."""
    names = [told[0] for told in cursor.description]
    schema = None
    while rows := cursor.fetchmany(10_000):
        columns = list(zip(*rows, strict=True))
        if schema is None:
            kinds = [pa.array(values).type for values in columns]
            kinds = [pa.decimal128(14, 2) if pa.types.is_decimal(kind) else kind for kind in kinds]
            schema = pa.schema(list(zip(names, kinds, strict=True)))
        yield pa.record_batch(
            [pa.array(one, kind) for one, kind in zip(columns, schema.types, strict=True)],
            schema=schema,
        )


def main(way: str, system: str, rows: int) -> None:
    """Read once, and print what it took."""
    began = time.perf_counter()
    (archived if way == "archived" else plain)(system, rows)
    seconds = time.perf_counter() - began
    told = {"seconds": seconds, "cpu": time.process_time(), "peak_mb": peak_mb()}
    sys.stdout.write(f"{json.dumps(told)}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
