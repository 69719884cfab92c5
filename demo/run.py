"""The demo: make sample files, serve an API and a feed, run the main job on them."""

from __future__ import annotations

import datetime as dt
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import polars as pl

sys.path.insert(0, str(Path(__file__).parent))

from make_samples import DAYS, FIRST_DAY, write_samples, write_today
from serve_samples import KEY, serving_samples

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("DATA_DIR", ROOT / "data")).resolve()
WAREHOUSE = Path(os.environ.get("DUCKDB_PATH", DATA / "warehouse.duckdb"))
INBOX = Path(os.environ.get("FILES_DIR", DATA / "inbox"))
LAST_DAY = FIRST_DAY + dt.timedelta(days=DAYS - 1)
OF_THE_WEEK = ("coastal_network", "alpine_network", "island_network", "seismic_events")
OF_TODAY = ("coastal_network", "island_network", "ocean_network", "seismic_events")
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
    today = dt.datetime.now(dt.UTC).date()
    say("1. Samples of four made-up networks, with dirt of every kind")
    paths = make_files(today)
    say(f"   {len(paths)} files below {shown(INBOX)}")
    with serving_samples() as url:
        say(f"   {url}/v1/events: an API in pages, which wants a key")
        say(f"   {url}/ocean.atom: a feed, which shows the latest events")
        environment = {**os.environ, "SAMPLE_HOST": url, "SAMPLE_KEY": KEY}
        say("2. dagster asset materialize: files and API, three layers of a week, in one run")
        code = materialize(OF_THE_WEEK, FIRST_DAY, LAST_DAY, environment)
        if code:
            return code
        say(f"3. The same for today, {today}, with the feed: it says nothing of days that are over")
        code = materialize(OF_TODAY, today, today, environment)
        if code:
            return code
    say("\n4. What came of it: rows per source and day")
    show_counts()
    show_next()
    return 0


def make_files(today: dt.date) -> list[Path]:
    """Write the sample files, in place of those of an earlier demo."""
    for name in ("coastal", "alpine"):
        shutil.rmtree(INBOX / name, ignore_errors=True)
    return [*write_samples(INBOX), write_today(INBOX, today)]


def materialize(
    groups: Sequence[str], first: dt.date, last: dt.date, environment: Mapping[str, str]
) -> int:
    """Materialize a range of days from the command line, as CI would, and show the steps."""
    command = [
        *(sys.executable, "-m", "dagster", "asset", "materialize"),
        *("-m", "dataflow_assets.definitions", "--partition-range", f"{first}...{last}"),
        *("--select", " or ".join(f"group:{name}" for name in groups)),
    ]
    began = time.monotonic()
    lines = []
    with subprocess.Popen(  # noqa: S603 - our own command
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
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
