"""``make bench``: prints what the main job takes, as ratios against a floor of the same session.

Usage: ``python -m dataflow_assets_tests.benchmarks [--sizes 0.1,1,4] [--days 365]
[--postgres-rows 3000000] [--lineitem-rows 1000000] [--rivals ENVIRONMENT]
[--database-rows 10000,1000000,10000000] [--json-rows 10000,1000000,10000000]
[--contract-rows 1000000,5000000] [--small-files 10000] [--folder DIR]``.

The floor is Polars reading the CSV file as text into one Parquet file, with no contract, no
pointers, no archive. Seconds of one machine mean little on another; ratios and memory do.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dataflow_assets_tests.benchmarks import rest
from dataflow_assets_tests.benchmarks.contracts import measure_contracts
from dataflow_assets_tests.benchmarks.data import BYTES_A_ROW, FIRST_DAY, write_days, write_file
from dataflow_assets_tests.benchmarks.databases import measure_databases
from dataflow_assets_tests.benchmarks.declarations import SOURCE
from dataflow_assets_tests.benchmarks.lineitem import measure_lineitem
from dataflow_assets_tests.benchmarks.loading import measure_loading
from dataflow_assets_tests.benchmarks.small_files import measure_small_files

ROOT = Path(__file__).parent.parent.parent
LAYERS = ("floor", "raw", "cleaned", "normalized")
ROWS_A_DAY = 50
ROUNDS = 2
FINISHED = re.compile(r"Finished steps in process \(pid: \d+\) in ([\d.]+)(m?s)")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, prog="benchmarks")
    parser.add_argument("--sizes", default="0.1,1,4", help="gigabytes of CSV, with commas")
    parser.add_argument("--days", type=int, default=365, help="days of the range")
    parser.add_argument("--small-files", type=int, default=10_000, help="files of 20 kB on S3")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder if none")
    parser.add_argument(
        "--postgres-rows", type=int, default=3_000_000, help="rows loaded into Postgres; 0: none"
    )
    parser.add_argument(
        "--database-rows", default="10000,1000000,10000000", help="rows read, with commas"
    )
    parser.add_argument(
        "--json-rows", default="10000,1000000,10000000", help="JSON lines read, with commas"
    )
    parser.add_argument(
        "--lineitem-rows", type=int, default=1_000_000, help="rows of TPC-H; 0: none"
    )
    parser.add_argument(
        "--contract-rows", default="1000000,5000000", help="rows judged, with commas"
    )
    parser.add_argument("--rivals", type=Path, help="virtual environment of dlt and Sling")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        for size in asked.sizes.split(","):
            measure_file(float(size), Path(folder))
        measure_dagster(asked.days, Path(folder))
        if asked.small_files:
            measure_small_files(asked.small_files, Path(folder))
    if asked.postgres_rows:
        say("\n".join(measure_loading(asked.postgres_rows, ROUNDS)))
    if asked.lineitem_rows:
        asks = (asked.lineitem_rows, ROUNDS, asked.rivals, asked.folder)
        say("\n".join(measure_lineitem(*asks)))
    rest.measure()
    for line in measure_contracts(_numbers(asked.contract_rows), asked.folder):
        say(line)
    for line in measure_databases(_numbers(asked.database_rows)):
        say(line)
    if asked.json_rows:
        run_by_itself("json_lines", "--rows", asked.json_rows)


def run_by_itself(benchmark: str, *words: str) -> None:
    """Run a benchmark in a small process: those it starts begin with the peak of its memory."""
    command = [sys.executable, "-m", f"dataflow_assets_tests.benchmarks.{benchmark}", *words]
    subprocess.run(command, cwd=ROOT, check=True)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",") if number]


def measure_file(gigabytes: float, folder: Path) -> None:
    """Measure each layer of one partition that is one big file."""
    file, data = folder / "inbox" / f"{FIRST_DAY}.csv", folder / "data"
    write_file(file, int(gigabytes * 1e9 / BYTES_A_ROW))
    size = file.stat().st_size / 1e9
    results = {}
    for layer in LAYERS:
        results[layer] = in_own_process(layer, file, data)
    # The floor again, behind the layers, so that a machine that grew slower shows.
    again = in_own_process("floor", file, data)
    floor = (results["floor"]["seconds"] + again["seconds"]) / 2
    say(f"\none file of {size:.2f} GB, {results['raw']['received']:,.0f} rows")
    say(f"{'layer':12}{'seconds':>9}{'of floor':>10}{'cpu s':>8}{'peak MB':>9}")
    for layer in LAYERS:
        one = results[layer]
        ratio = one["seconds"] / floor
        say(f"{layer:12}{one['seconds']:9.1f}{ratio:10.2f}{one['cpu']:8.1f}{one['peak_mb']:9.0f}")
    total = sum(results[layer]["seconds"] for layer in LAYERS[1:])
    peak = max(results[layer]["peak_mb"] for layer in LAYERS[1:])
    say(f"{'all three':12}{total:9.1f}{total / floor:10.2f}{'':8}{peak:9.0f}")
    shutil.rmtree(data)
    shutil.rmtree(file.parent)


def in_own_process(layer: str, file: Path, data: Path) -> dict[str, float]:
    """Measure one layer in a process of its own, so that its peak memory is its own."""
    command = [sys.executable, "-m", "dataflow_assets_tests.benchmarks.layers", layer]
    done = subprocess.run(
        [*command, str(file), str(data)], cwd=ROOT, check=True, capture_output=True, text=True
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure_dagster(days: int, folder: Path) -> None:
    """Measure Dagster's own share: one small partition, and a range of small days in one run."""
    write_days(folder / "days", days, ROWS_A_DAY)
    declarations = folder / "declarations" / "readings"
    declarations.mkdir(parents=True)
    (declarations / "defs.yaml").write_text(SOURCE, encoding="utf-8")
    shutil.copy(ROOT / "dagster.yaml", folder)
    first = FIRST_DAY.isoformat()
    materialize(folder, "--partition", first)
    seconds, _ = materialize(folder, "--partition", first)
    say(f"\none small partition, three layers, from command to exit: {seconds:.1f} s")
    last = FIRST_DAY.fromordinal(FIRST_DAY.toordinal() + days - 1).isoformat()
    seconds, inside = materialize(folder, "--partition-range", f"{first}...{last}")
    say(
        f"a range of {days} small days, three layers, in one run: {seconds:.1f} s, "
        f"{days / inside:.1f} partitions a second inside the run"
    )


def materialize(folder: Path, *partitions: str) -> tuple[float, float]:
    """Materialize from the command line; return seconds in all, and inside the run."""
    command = [
        *(sys.executable, "-m", "dagster", "asset", "materialize"),
        *("-m", "dataflow_assets.definitions", "--select", "group:readings or group:events"),
    ]
    places = {
        "DATA_DIR": str(folder / "small"),
        "FILES_DIR": str(folder / "days"),
        "DECLARATIONS_DIR": str(folder / "declarations"),
    }
    began = time.perf_counter()
    done = subprocess.run(
        [*command, *partitions],
        cwd=folder,
        env={**os.environ, **places},
        check=True,
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - began
    finished = FINISHED.search(done.stderr + done.stdout)
    if finished is None:
        raise RuntimeError("Dagster did not say how long the steps took")
    return seconds, float(finished[1]) / (1000 if finished[2] == "ms" else 1)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
