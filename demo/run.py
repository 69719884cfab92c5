"""The demo: make sample files, run the main job on them as CI would, and show what came of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import polars as pl

sys.path.insert(0, str(Path(__file__).parent))

from make_samples import DAYS, FIRST_DAY, write_samples

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("DATA_DIR", ROOT / "data")).resolve()
WAREHOUSE = Path(os.environ.get("DUCKDB_PATH", DATA / "warehouse.duckdb"))
INBOX = Path(os.environ.get("FILES_DIR", DATA / "inbox"))
GROUPS = ("coastal_network", "alpine_network", "seismic_events")
STEP = re.compile(r" - (\w+__\w+) - (STEP_START|STEP_SUCCESS|STEP_FAILURE) - (.*)")
COUNTS = """
    select asset, "partition", received, loaded, quarantined, duplicate, filtered
    from dataflow.ledger where layer in ('cleaned', 'normalized') order by layer, asset, "partition"
"""
QUERY = (
    "select _source, count(*) as events, max(magnitude) as strongest "
    "from normalized.seismic_events group by all order by all"
)


def main() -> int:
    """Run the demo and return the exit code."""
    say("1. Sample files: two made-up networks, one week, dirt of every kind")
    paths = make_files()
    say(f"   {len(paths)} files below {shown(INBOX)}")
    say("2. dagster asset materialize: three layers of the whole week, in one run")
    code = materialize()
    if code:
        return code
    say("\n3. What came of it: rows per source and day")
    show_counts()
    show_next()
    return 0


def make_files() -> list[Path]:
    """Write the sample files, in place of those of an earlier demo."""
    for name in ("coastal", "alpine"):
        shutil.rmtree(INBOX / name, ignore_errors=True)
    return write_samples(INBOX)


def materialize() -> int:
    """Materialize the week from the command line, as CI would, and show the steps."""
    last = FIRST_DAY.replace(day=FIRST_DAY.day + DAYS - 1)
    command = [
        *(sys.executable, "-m", "dagster", "asset", "materialize"),
        *("-m", "dataflow_assets.definitions", "--partition-range", f"{FIRST_DAY}...{last}"),
        *("--select", " or ".join(f"group:{name}" for name in GROUPS)),
    ]
    began = time.monotonic()
    lines = []
    with subprocess.Popen(  # noqa: S603 - our own command
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as run:
        for line in run.stdout or ():
            lines.append(line)
            step = STEP.search(line)
            if step:
                say(f"   {time.monotonic() - began:5.1f} s  {step[1]:28} {step[2][5:].lower()}")
    if run.returncode:
        say("".join(line for line in lines if "DEBUG" not in line))
    return run.returncode


def show_counts() -> None:
    """Print what the ledger says of each source and day, with the reasons of the quarantine."""
    with duckdb.connect(str(WAREHOUSE), read_only=True) as warehouse:
        ledger = warehouse.execute(COUNTS).fetchall()
    reasons = quarantine_reasons()
    line = "{:26}{:12}{:>9}{:>8}{:>13}{:>11}{:>10}   {}"
    titles = ("asset", "day", "received", "loaded", "quarantined", "duplicate", "filtered")
    say(line.format(*titles, "quarantined by rule"))
    for asset, day, *counts in ledger:
        figures = ["" if count is None else f"{count:,}" for count in counts]
        source = asset.removeprefix("cleaned/")
        say(line.format(asset, day, *figures, reasons.get((source, day), "")))


def quarantine_reasons() -> dict[tuple[str, str], str]:
    """Return, by source and day, how many rows broke which rule."""
    found = {}
    for path in sorted((DATA / "lake" / "quarantine").glob("*/*.parquet")):
        rules = pl.read_parquet(path, columns=["rules"]).explode("rules")["rules"].drop_nulls()
        counted = rules.value_counts(sort=True).iter_rows()
        found[path.parent.name, path.stem] = ", ".join(f"{rule} {count}" for rule, count in counted)
    return found


def show_next() -> None:
    """Say where the warehouse is, and what to try."""
    say(f"\nThe warehouse is {shown(WAREHOUSE)}, a DuckDB file. Try:")
    say(
        f"   .venv/bin/python -c \"import duckdb; duckdb.connect('{shown(WAREHOUSE)}', "
        f"read_only=True).sql('{QUERY}').show()\""
    )
    with duckdb.connect(str(WAREHOUSE), read_only=True) as warehouse:
        say(str(warehouse.sql(QUERY)))
    say("Open the Dagster UI with `make dev`: http://127.0.0.1:3000 shows the assets, their")
    say("lineage, checks and previews; its sensors pick up files dropped into the inbox.")


def shown(path: Path) -> str:
    """Return a path as short as it can be said."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
