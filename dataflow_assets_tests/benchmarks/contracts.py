"""What a contract adds: twenty rules over twelve columns, against the write alone and Pydantic.

Usage: ``python -m dataflow_assets_tests.benchmarks.contracts [ROWS,ROWS]``. Each figure is of a
process of its own, so that its peak memory is its own. All of them read the same raw partition:

- *write*: the typed rows are read and written again, with no contract at all;
- *types*: cleaning by a contract that types the columns, and promises nothing;
- *rules*: the same with twenty rules;
- *model*: the same rules, those of columns said by a Pydantic model;
- *across*: the twenty rules and three more: unique, monotonic, and a reference to a table;
- *pydantic*: the rules as a Pydantic model, one row at a time, as a script would do it. Only some
  rows are measured; the seconds are scaled to all.
"""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import polars as pl
from pydantic import BaseModel, Field, ValidationError, model_validator

from dataflow_assets.builders.cleaning import Cleaner
from dataflow_assets.builders.receiving import Receiver
from dataflow_assets.builders.resources import build_resources
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.settings import Settings
from dataflow_assets.transform.models import with_model
from dataflow_assets_tests.benchmarks.data import FIRST_DAY, write_file
from dataflow_assets_tests.benchmarks.memory import peak_mb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dataflow_assets.builders.stores import Stores

ROWS = (1_000_000, 5_000_000)
WAYS = ("write", "types", "rules", "model", "across", "pydantic")
PARTITION = FIRST_DAY.isoformat()
PYDANTIC_ROWS = 200_000
TYPES = {
    "id": "int64",
    "event_id": "string",
    "occurred_at": "timestamp",
    "updated_at": "timestamp",
    "magnitude": "float64",
    "depth": "float64",
    "latitude": "float64",
    "longitude": "float64",
    "status": "string",
    "place": "string",
    "stations": "int64",
    "comment": "string",
}
PROMISES: dict[str, dict[str, Any]] = {
    "id": {"required": True, "min": 0},
    "event_id": {"required": True, "pattern": "ev-[0-9]{10}"},
    "occurred_at": {"required": True},
    "updated_at": {"required": True},
    "magnitude": {"min": -2, "max": 10},
    "depth": {"required": True, "min": 0, "max": 700},
    "latitude": {"min": -90, "max": 90},
    "longitude": {"min": -180, "max": 180},
    "status": {"required": True, "one_of": ["automatic", "reviewed", "deleted"]},
    "place": {"max_length": 80},
    "stations": {"min": 0, "max": 500},
    "comment": {"min_length": 5, "max_length": 200},
}
SQL = {
    "depth_of_deleted": {"sql": "status <> 'deleted' or depth >= 0"},
    "far_from_pole": {"sql": "abs(latitude) < 89.999 or stations >= 0"},
    "strong_is_seen": {"sql": "magnitude < 9.99 or stations >= 0", "severity": "warn"},
    "updated_later": {"sql": "updated_at >= occurred_at or updated_at < occurred_at"},
}
"""With sixteen rules of columns, twenty; types are not counted."""
ACROSS = {
    "number_is_unique": {"unique": "id"},
    "in_order": {"monotonic": "id"},
    "status_known": {"references": {"columns": "status", "source": "states", "partition": "all"}},
}


class Reading(BaseModel):
    """The promises of columns, as a Pydantic model."""

    id: int = Field(ge=0)
    event_id: str = Field(pattern=r"^ev-[0-9]{10}$")
    occurred_at: dt.datetime
    updated_at: dt.datetime
    magnitude: float | None = Field(ge=-2, le=10)
    depth: float = Field(ge=0, le=700)
    latitude: float | None = Field(ge=-90, le=90)
    longitude: float | None = Field(ge=-180, le=180)
    status: Literal["automatic", "reviewed", "deleted"]
    place: str | None = Field(max_length=80)
    stations: int | None = Field(ge=0, le=500)
    comment: str | None = Field(min_length=5, max_length=200)


class WholeReading(Reading):
    """All promises, as a script would have them."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.status == "deleted" and self.depth < 0:
            raise ValueError("depth_of_deleted")
        if self.latitude is not None and abs(self.latitude) >= 89.999 and not self.stations:
            raise ValueError("far_from_pole")
        if self.updated_at is None:
            raise ValueError("updated_later")
        return self


def declared(way: str) -> SourceDeclaration:
    """Return the source with the contract of a way."""
    contract: dict[str, Any] = {"columns": {name: {"type": kind} for name, kind in TYPES.items()}}
    if way in ("rules", "across"):
        for name, promises in PROMISES.items():
            contract["columns"][name] |= promises
        contract["rules"] = SQL | (ACROSS if way == "across" else {})
    if way == "model":
        contract = {"model": f"{__spec__.name}:Reading", "rules": SQL}
    source = SourceDeclaration.model_validate(
        {
            "name": "readings",
            "partitions": {"every": "day", "start": FIRST_DAY, "end": "2025-01-01"},
            "extract": {"files": {"path": "{date:%Y-%m-%d}.csv"}},
            "contract": contract,
        }
    )
    return source.model_copy(update={"contract": with_model(source.contract)})


def states() -> SourceDeclaration:
    """Return the small source to which a rule refers."""
    return SourceDeclaration.model_validate(
        {
            "name": "states",
            "partitions": {"values": ["all"]},
            "extract": {"files": {"path": "states.csv"}},
            "contract": {"columns": {"status": "string"}},
        }
    )


def run(way: str, data: Path) -> dict[str, float]:
    """Go one way over the raw partition, in this process, and return what it took."""
    settings = Settings(data_dir=data, files_dir=data / "inbox")
    stores = build_resources(settings)["stores"].open("benchmark")
    began, cpu = time.perf_counter(), time.process_time()
    if way == "write":
        write(stores, data / "again.parquet")
    elif way == "pydantic":
        return by_pydantic(stores, data)
    else:
        with Cleaner(declared(way), stores) as cleaner:
            cleaned = cleaner.clean(PARTITION)
        if cleaned.failure is not None:
            raise cleaned.failure
    return {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "peak_mb": peak_mb(),
    }


def write(stores: Stores, to: Path) -> None:
    """Write the typed rows again, as a partition of the lake is written."""
    manifest = stores.lake.manifest("cleaned", "readings", PARTITION)
    assert manifest is not None
    rows = stores.lake.scan("cleaned", "readings", PARTITION, to.parent)
    rows.sink_parquet(to, engine="streaming", **stores.lake.sink_options(manifest))


def by_pydantic(stores: Stores, folder: Path) -> dict[str, float]:
    """Validate the first rows one by one, and return what all of them would take."""
    rows = stores.lake.scan("raw", "readings", PARTITION, folder).select(list(TYPES))
    total = int(rows.select(pl.len()).collect().item())
    held = rows.head(PYDANTIC_ROWS).collect()
    began, cpu = time.perf_counter(), time.process_time()
    good, bad = [], []
    for row in held.iter_rows(named=True):
        try:
            good.append(WholeReading.model_validate(row))
        except ValidationError as error:
            bad.append(error.errors())
    scale = total / held.height
    return {
        "seconds": (time.perf_counter() - began) * scale,
        "cpu": (time.process_time() - cpu) * scale,
        "peak_mb": peak_mb(),
    }


def prepare(rows: int, data: Path) -> None:
    """Receive a file of so many rows, and the table to which a rule refers."""
    write_file(data / "inbox" / f"{PARTITION}.csv", rows)
    (data / "inbox" / "states.csv").write_text("status\nautomatic\nreviewed\ndeleted\n")
    stores = build_resources(Settings(data_dir=data, files_dir=data / "inbox"))["stores"]
    opened = stores.open("benchmark")
    with Receiver(declared("types"), opened, [PARTITION]) as receiver:
        receiver.receive(PARTITION)
    with Receiver(states(), opened, ["all"]) as receiver:
        receiver.receive("all")
    with Cleaner(states(), opened) as cleaner:
        cleaner.clean("all")


def measure_contracts(sizes: Sequence[int], folder: Path | None) -> Iterator[str]:
    """Yield lines that say what each way takes, at each size."""
    for rows in sizes:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            data = Path(place)
            in_own_process("prepare", str(rows), place)
            in_own_process("types", place)
            found = {way: in_own_process(way, place) for way in WAYS}
            again = in_own_process("write", place)
            yield from _told(rows, found, again)
            assert data.is_dir()


def _told(rows: int, found: dict[str, dict[str, float]], again: dict[str, float]) -> Iterator[str]:
    written = (found["write"]["seconds"] + again["seconds"]) / 2
    yield f"\na contract of twenty rules over twelve columns, {rows:,} rows"
    yield f"{'':10}{'seconds':>9}{'of write':>10}{'adds':>8}{'cpu s':>8}{'peak MB':>9}"
    for way, one in found.items():
        adds = (one["seconds"] - found["types"]["seconds"]) / written
        added = f"{adds:8.2f}" if way in ("rules", "model", "across") else f"{'':8}"
        ratio = one["seconds"] / written
        yield (
            f"{way:10}{one['seconds']:9.1f}{ratio:10.2f}{added}{one['cpu']:8.1f}"
            f"{one['peak_mb']:9.0f}"
        )
    judging = max(found["rules"]["seconds"] - found["types"]["seconds"], 1e-9)
    reading = found["rules"]["seconds"] - written
    slow = found["pydantic"]["seconds"]
    yield (
        "adds: seconds beyond types, in writes. Pydantic row by row takes "
        f"{slow / found['rules']['seconds']:.0f} times as long as all of cleaning, "
        f"{slow / reading:.0f} times as long as reading types and judging, "
        f"{slow / judging:.0f} times as long as the rules alone"
    )


def in_own_process(*arguments: str) -> dict[str, float]:
    """Go one way in a process of its own."""
    command = [sys.executable, "-m", "dataflow_assets_tests.benchmarks.contracts", "--one"]
    done = subprocess.run([*command, *arguments], check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main(arguments: Sequence[str]) -> None:
    """Measure, or go one way as a process of its own."""
    if arguments[:2] == ["--one", "prepare"]:
        prepare(int(arguments[2]), Path(arguments[3]))
        sys.stdout.write("{}\n")
    elif arguments[:1] == ["--one"]:
        sys.stdout.write(json.dumps(run(arguments[1], Path(arguments[2]))) + "\n")
    else:
        sizes = [int(rows) for rows in arguments[0].split(",")] if arguments else ROWS
        for line in measure_contracts(sizes, None):
            sys.stdout.write(f"{line}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
