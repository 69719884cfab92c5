"""JSON lines to raw rows, against the plain library read of the same bytes, and its memory.

Usage: ``python -m dataflow_assets_tests.benchmarks.json_lines [--rows 10000,1000000,10000000]``.

The floor is PyArrow reading the file block by block into tables in one thread, with its types
guessed, no exact text, no quarantine, no pointers. CPU seconds are compared, as wall times of two
threads and one are not of the same thing. Each figure is of a process of its own.
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
import pyarrow as pa
from pyarrow import json as arrow_json

from dataflow_assets.declaration.contract import Contract
from dataflow_assets.declaration.extract import Files
from dataflow_assets.extract.files import FoundFile, Snapshot
from dataflow_assets.extract.json import JsonReader
from dataflow_assets_tests.benchmarks.data import CHUNK, rows_of
from dataflow_assets_tests.benchmarks.memory import peak_mb

BLOCK_BYTES = 4 << 20
ROUNDS = 3
MANY_ROWS = 5_000_000
"""So many are read once: one reading is long enough to be like another."""


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, prog="json_lines")
    parser.add_argument("--rows", default="10000,1000000", help="rows of each file, with commas")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder if none")
    parser.add_argument("--only", choices=["write", "floor", "ours"], help="one step, of --file")
    parser.add_argument("--file", type=Path)
    asked = parser.parse_args()
    if asked.only == "write":
        write(int(asked.rows), asked.file)
        return
    if asked.only:
        sys.stdout.write(json.dumps(measure(asked.only, asked.file)) + "\n")
        return
    sys.stdout.write(
        f"\nJSON lines\n{'rows':>12}{'floor cpu':>11}{'ours cpu':>10}{'ratio':>7}{'peak MB':>9}\n"
    )
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        for rows in map(int, asked.rows.split(",")):
            report(rows, Path(folder) / "rows.jsonl")


def write(rows: int, file: Path) -> None:
    """Write a file of so many rows."""
    with file.open("wb") as stream:
        for first in range(0, rows, CHUNK):
            part = rows_of(first, min(CHUNK, rows - first))
            number = pl.col("magnitude").cast(pl.Float64, strict=False)
            part.with_columns(number).write_ndjson(stream)


def report(rows: int, file: Path) -> None:
    """Print a line about a file of so many rows."""
    run("write", file, "--rows", str(rows))
    ways, times = ("floor", "ours"), ROUNDS if rows < MANY_ROWS else 1
    rounds = [{way: in_own_process(way, file) for way in ways} for _ in range(times)]
    floor, ours = (min(one[way]["cpu"] for one in rounds) for way in ("floor", "ours"))
    peak = max(one["ours"]["peak_mb"] for one in rounds)
    sys.stdout.write(f"{rows:12,}{floor:11.2f}{ours:10.2f}{ours / floor:7.2f}{peak:9.0f}\n")
    sys.stdout.flush()


def in_own_process(way: str, file: Path) -> dict[str, float]:
    """Return a measurement of a way to read."""
    result: dict[str, float] = json.loads(run(way, file).splitlines()[-1])
    return result


def run(step: str, file: Path, *words: str) -> str:
    """Do a step in a process of its own, so that its peak memory is its own.

    A process begins with its parent's peak, so that this one must stay small.
    """
    command = [sys.executable, "-m", "dataflow_assets_tests.benchmarks.json_lines"]
    command += ["--only", step, "--file", str(file), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def measure(way: str, file: Path) -> dict[str, float]:
    """Read a file and return what that took."""
    began = time.process_time()
    rows = read_plainly(file) if way == "floor" else read_as_raw(file)
    peak = peak_mb()
    return {"cpu": time.process_time() - began, "peak_mb": peak, "rows": rows}


def read_plainly(file: Path) -> int:
    """Read with PyArrow, whole lines at a time."""
    rows, rest = 0, b""
    options = arrow_json.ReadOptions(use_threads=False, block_size=2 * BLOCK_BYTES)
    with file.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            lines, _, tail = (rest + block).rpartition(b"\n")
            rest = tail
            if lines:
                rows += arrow_json.read_json(pa.BufferReader(lines), options).num_rows
    return rows


def read_as_raw(file: Path) -> int:
    """Read as the raw layer does: first the columns, then the rows."""
    stat = file.stat()
    taken = Snapshot(FoundFile(file, file.name, stat.st_size, stat.st_mtime_ns), "0" * 16, file)
    contract = Contract.model_validate({"columns": {"event_id": "string"}})
    reader = JsonReader(Files(path=file.name), contract)
    return sum(table.num_rows for table in reader.rows(taken, reader.schema(taken)))


if __name__ == "__main__":
    main()
