"""TPC-H's lineitem from a CSV file to a table in Postgres: the whole way, against others' tools.

What belongs here: this project's layers, alone and as Dagster runs them, against `psql \\copy` of
the file, dlt and Sling, side by side on one server. What does not: loading alone (``loading``),
layers on the embedded warehouse (``layers``), and how the others are run (``rivals``).

Run it by itself with ``python -m dataflow_assets_tests.benchmarks.lineitem
[--lineitem-rows 1000000] [--rivals FOLDER] [--rounds 2] [--folder DIR]``. FOLDER is a virtual
environment with dlt and Sling; documentation/development.md says how to make it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from dataflow_assets.builders.resources import build_resources
from dataflow_assets.settings import Settings
from dataflow_assets_tests.benchmarks.declarations import LINEITEM
from dataflow_assets_tests.benchmarks.layers import make_layer, read_declarations
from dataflow_assets_tests.benchmarks.loading import SERVER
from dataflow_assets_tests.benchmarks.rivals import left_out, rivals_ways
from dataflow_assets_tests.benchmarks.ways import Found, Taken, Way, run
from dataflow_assets_tests.postgres_server import OwnServer, own_server

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parent.parent.parent
MODULE = "dataflow_assets_tests.benchmarks.lineitem"
PARTITION = "tpch"
MADE = "made"
"""The folder for what the ways make; emptied before each."""
ROWS_OF_SCALE_1 = 6_000_000
COPIED, LAYERS, DAGSTER = "psql \\copy", "all layers", "all layers, by Dagster"
TABLE = """
    create schema copied; create table copied.lineitem (
    l_orderkey bigint, l_partkey bigint, l_suppkey bigint, l_linenumber integer,
    l_quantity numeric(15, 2), l_extendedprice numeric(15, 2),
    l_discount numeric(15, 2), l_tax numeric(15, 2), l_returnflag text, l_linestatus text,
    l_shipdate date, l_commitdate date, l_receiptdate date,
    l_shipinstruct text, l_shipmode text, l_comment text
"""
"""What `psql` copies into: the same types as ours."""


def measure_lineitem(rows: int, rounds: int, rivals: Path | None, folder: Path | None) -> list[str]:
    """Return the lines that say what each way took.

    Args:
        rows: About how many rows of lineitem.
        rounds: How often each way is run, in turn; the quickest run counts.
        rivals: Virtual environment of dlt and Sling; None leaves them out.
        folder: Where to write; a temporary folder if None.
    """
    with tempfile.TemporaryDirectory(dir=folder) as name, own_server(SERVER) as server:
        place = Path(name)
        file = generate(rows, place / "inbox" / PARTITION)
        ways = psql_ways(server, file) | our_ways(server, place)
        if rivals is not None:
            ways |= rivals_ways(server, file, place / MADE, rivals, rows)
        count, best = measure(ways, server.url, rounds, place)
        size = file.stat().st_size / 1e9
    head = f"\nlineitem of TPC-H, {count:,} rows, {size:.2f} GB as CSV, to a table in Postgres"
    return [head, *lines(best), *left_out(rivals, ways)]


def generate(rows: int, into: Path) -> Path:
    """Write the file as TPC-H defines it, and return its path."""
    program = Path(sys.executable).parent / "tpchgen-cli"
    scale = f"--scale-factor={rows / ROWS_OF_SCALE_1}"
    arguments = ["csv", "--quiet", "--tables=lineitem", scale, f"--output-dir={into}"]
    subprocess.run([program, *arguments], check=True)
    return into / "lineitem.csv"


def psql_ways(server: OwnServer, file: Path) -> dict[str, Way]:
    """Return the ways of the server's own client: without a key, and with one."""
    copy = f"\\copy copied.lineitem from '{file}' (format csv, header)"

    def psql(before: str) -> Way:
        return Way(
            [server.binaries / "psql", server.url, "-qc", copy],
            schemas=["copied"],
            table="copied.lineitem",
            before=before,
            starts_at_once=True,
        )

    key = ", primary key (l_orderkey, l_linenumber)"
    return {COPIED: psql(f"{TABLE})"), f"{COPIED}, with a key": psql(f"{TABLE}{key})")}


def our_ways(server: OwnServer, place: Path) -> dict[str, Way]:
    """Return this project's ways: its layers in one process, and the same as Dagster's assets."""
    declarations = place / "declarations" / "lineitem"
    declarations.mkdir(parents=True)
    (declarations / "defs.yaml").write_text(LINEITEM, encoding="utf-8")
    shutil.copy(ROOT / "dagster.yaml", place)
    environment = {
        "DATABASE_URL": server.url,
        "DATA_DIR": str(place / MADE),
        "FILES_DIR": str(place / "inbox"),
        "DECLARATIONS_DIR": str(declarations.parent),
    }
    dagster = ["dagster", "asset", "materialize", "-m", "dataflow_assets.definitions"]

    def ours(*module: str) -> Way:
        return Way(
            [sys.executable, "-m", *module],
            schemas=["normalized", "dataflow"],
            table="normalized.lineitem",
            columns=("order_key", "part_key", "line_number", "extended_price"),
            environment=environment,
        )

    return {
        LAYERS: ours(MODULE, "--make-layers"),
        DAGSTER: ours(*dagster, "--select", "*", "--partition", PARTITION),
    }


def measure(
    ways: Mapping[str, Way], url: str, rounds: int, place: Path
) -> tuple[int, dict[str, Taken]]:
    """Run all ways in turn, and return the number of rows and the quickest run of each.

    Raises:
        RuntimeError: Two ways do not end with the same rows.
    """
    (place / MADE).mkdir()
    best: dict[str, Taken] = {}
    rows: dict[str, Found] = {}
    for turn in range(rounds):
        for name, way in ways.items():
            if way.once and turn:
                continue
            shutil.rmtree(place / MADE)
            (place / MADE).mkdir()
            taken, rows[name] = run(way, url, place)
            best[name] = min(taken, best.get(name, taken), key=lambda one: one.seconds)
    if len(set(rows.values())) != 1:
        raise RuntimeError(f"rows and sums over them differ: {rows}")
    return int(rows[COPIED][0]), best


def make_layers() -> dict[str, float | dict[str, float]]:
    """Make all layers, where the environment says, and return the seconds of each."""
    stores = build_resources(Settings())["stores"].open("benchmark")
    source, entity = read_declarations(LINEITEM)
    seconds = {}
    for layer in ("raw", "cleaned", "normalized"):
        began = time.perf_counter()
        make_layer(layer, source, entity, stores, PARTITION)
        seconds[layer] = time.perf_counter() - began
    return {"seconds": sum(seconds.values()), "layers": seconds}


def lines(best: Mapping[str, Taken]) -> list[str]:
    """Return the table, and what this project's ways take of the others'."""
    copied, ours, ours_by_dagster = best[COPIED].seconds, best[LAYERS], best[DAGSTER]
    heads = ("seconds", "of psql", "work s", "of psql", "cpu s", "peak MB")
    table = [f"{'':24}" + "".join(f"{head:>9}" for head in heads)]
    for name, one in best.items():
        alone = f"{'':18}" if one.work is None else f"{one.work:9.1f}{one.work / copied:9.2f}"
        table.append(
            f"{name:24}{one.seconds:9.1f}{one.seconds / copied:9.2f}{alone}"
            f"{one.cpu:9.1f}{one.peak_mb:9.0f}"
        )
    each = ", ".join(f"{layer} {seconds:.1f} s" for layer, seconds in ours.layers.items())
    others = {name: one for name, one in best.items() if name not in (LAYERS, DAGSTER)}
    work = [f"{ours.fair / one.fair:.2f} of {name}" for name, one in others.items()]
    whole = [
        f"{ours_by_dagster.seconds / one.seconds:.2f} of {name}" for name, one in others.items()
    ]
    return [
        *table,
        f"the layers: {each}",
        f"all layers, the work alone: {'; '.join(work)}",
        f"by Dagster, from command to exit: {'; '.join(whole)}",
    ]


def main() -> None:
    """Measure, or make the layers once for a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, prog="lineitem")
    parser.add_argument("--lineitem-rows", type=int, default=1_000_000)
    parser.add_argument("--rivals", type=Path)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--make-layers", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.make_layers:
        sys.stdout.write(json.dumps(make_layers()) + "\n")
        return
    told = measure_lineitem(asked.lineitem_rows, asked.rounds, asked.rivals, asked.folder)
    sys.stdout.write("\n".join(told) + "\n")


if __name__ == "__main__":
    main()
