"""Loading a typed partition into Postgres, against `psql` and the same rows in an equal table.

What belongs here: the measurement of the last step alone, from staged Parquet to committed rows.
What does not: reading and cleaning files. Run it by itself with
``python -m dataflow_assets_tests.benchmarks.loading [--rows 3000000] [--rounds 2]``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
import psycopg
from pydantic import SecretStr

from dataflow_assets.io.postgres.warehouse import PostgresWarehouse
from dataflow_assets.io.warehouse import EntityTable, Publication
from dataflow_assets_tests.benchmarks.memory import peak_mb
from dataflow_assets_tests.integration.io.publishing import ledger_row
from dataflow_assets_tests.postgres_server import OwnServer, own_server

COLUMNS: dict[str, pl.DataType] = {
    "id": pl.Int64(),
    "event_id": pl.String(),
    "occurred_at": pl.Datetime("us", "UTC"),
    "day": pl.Date(),
    "magnitude": pl.Float64(),
    "depth": pl.Float32(),
    "price": pl.Decimal(12, 2),
    "stations": pl.Int32(),
    "reviewed": pl.Boolean(),
    "status": pl.String(),
    "place": pl.String(),
    "comment": pl.String(),
}
KEYED = EntityTable("loaded", COLUMNS, key=("event_id",))
SERVER = {"shared_buffers": "'512MB'", "max_wal_size": "'8GB'", "checkpoint_timeout": "'30min'"}
MODULE = "dataflow_assets_tests.benchmarks.loading"
LOADED = 'normalized."loaded"'


def staged_rows(path: Path, rows: int) -> None:
    """Write the rows that are loaded, as a step of the pipeline stages them."""
    number = pl.int_range(rows, eager=True).alias("id").to_frame().lazy()
    i = pl.col("id")
    frame = number.select(
        i,
        event_id=pl.format("ev-{}", i.cast(pl.String).str.zfill(10)),
        occurred_at=pl.datetime(2024, 1, 1, time_zone="UTC") + pl.duration(milliseconds=i * 7),
        day=pl.date(2024, 1, 1) + pl.duration(days=i % 365),
        magnitude=(i * 37 % 1000) / 97,
        depth=((i * 91 % 700_000) / 1000).cast(pl.Float32),
        price=(i * 13 % 1_000_000).cast(pl.Decimal(12, 2)),
        stations=(i % 500).cast(pl.Int32),
        reviewed=i % 3 == 0,
        status=pl.when(i % 2 == 0).then(pl.lit("automatic")).otherwise(pl.lit("reviewed")),
        place=pl.format("near place {}, region 7", i * 31 % 100_000),
        comment=pl.format("a comment of medium length, number {}, as wide as usual", i * 17),
        _source=pl.lit("shop"),
        _raw_ref=pl.format("325158562ada231d:{}", i),
    )
    frame.sink_parquet(path, row_group_size=100_000)


def publish(url: str, staged: Path, rows: int) -> dict[str, float]:
    """Publish the rows, and return seconds and peak memory of this process."""
    warehouse = PostgresWarehouse(SecretStr(url), "bench", lock_timeout_s=60, connections=1)
    one = Publication("2024-01-01", staged, ledger_row("2024-01-01", rows))
    began = time.perf_counter()
    warehouse.publish(KEYED, [one])
    seconds = time.perf_counter() - began
    peak = peak_mb()
    return {"seconds": seconds, "peak_mb": peak}


def in_own_process(url: str, staged: Path, rows: int) -> dict[str, float]:
    command = [sys.executable, "-m", MODULE, "--publish", url, str(staged)]
    done = subprocess.run(
        [*command, "--rows", str(rows)], check=True, capture_output=True, text=True
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


class Psql:
    """The server's own client."""

    def __init__(self, server: OwnServer) -> None:
        self._command = [str(server.binaries / "psql"), server.url, "-qc"]

    def seconds(self, command: str) -> float:
        began = time.perf_counter()
        subprocess.run([*self._command, command], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began


def measure_loading(rows: int, rounds: int) -> list[str]:
    """Return the lines that say how long each way took, in seconds and ratios."""
    with tempfile.TemporaryDirectory() as name, own_server(SERVER) as server:
        folder = Path(name)
        staged, csv, binary = folder / "s.parquet", folder / "s.csv", folder / "s.bin"
        staged_rows(staged, rows)
        in_own_process(server.url, staged, rows)
        psql = Psql(server)
        psql.seconds(f"\\copy {LOADED} to '{csv}' (format csv)")
        psql.seconds(f"\\copy {LOADED} to '{binary}' (format binary)")
        psql.seconds(f"create table plain (like {LOADED})")
        ways: dict[str, list[float]] = {}
        peak = 0.0
        for _ in range(rounds):
            for target in (LOADED, "plain"):
                for kind, file in (("csv", csv), ("binary", binary)):
                    empty(server.url, target)
                    taken = psql.seconds(f"\\copy {target} from '{file}' (format {kind})")
                    what = "" if target == "plain" else " with its index"
                    ways.setdefault(f"psql {kind}{what}", []).append(taken)
            for way in ("publish, new table", "publish", "publish over as many rows"):
                if way == "publish, new table":
                    psql.seconds(f"drop table {LOADED}")
                elif way == "publish":
                    empty(server.url, LOADED)
                ours = in_own_process(server.url, staged, rows)
                ways.setdefault(way, []).append(ours["seconds"])
                peak = max(peak, ours["peak_mb"])
        size = csv.stat().st_size / 1e9
    return [f"\nloading {rows:,} rows, {size:.2f} GB as CSV, into Postgres", *lines(ways, peak)]


def lines(ways: dict[str, list[float]], peak: float) -> list[str]:
    best = {way: min(taken) for way, taken in ways.items()}
    csv, binary = best["psql csv with its index"], best["psql binary with its index"]
    table = [
        f"{way:28}{seconds:9.1f}{seconds / csv:10.2f}{seconds / binary:13.2f}"
        for way, seconds in best.items()
    ]
    heads = f"{'':28}{'seconds':>9}{'of csv':>10}{'of binary':>13}"
    return [heads, *table, f"peak memory of the publishing process: {peak:.0f} MB"]


def empty(url: str, table: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"truncate {table}".encode())
        connection.execute("checkpoint")


def main() -> None:
    """Measure, or publish once for a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, prog="loading")
    parser.add_argument("--rows", type=int, default=3_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--publish", nargs=2, metavar=("URL", "FILE"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.publish:
        url, staged = asked.publish
        sys.stdout.write(json.dumps(publish(url, Path(staged), asked.rows)) + "\n")
        return
    sys.stdout.write("\n".join(measure_loading(asked.rows, asked.rounds)) + "\n")


if __name__ == "__main__":
    main()
