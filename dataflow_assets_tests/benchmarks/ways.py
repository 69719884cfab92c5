"""One tool's way from a file to a table in Postgres, run once and measured.

What belongs here: running a command, its seconds, memory and rows. What does not: which commands.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LAUNCH = Path(__file__).with_name("launch.py")
MARGIN = 2_000
"""Characters of a failed command's output that are shown."""

Found = tuple[Decimal | int, ...]
"""How many rows a table has, and sums over its columns."""


@dataclass(frozen=True)
class Way:
    """How one tool is run.

    Attributes:
        command: What is run. If the last line that it prints is a JSON object, its `seconds` are
            those of the work alone, and its `layers` those of each layer.
        schemas: The schemas that it makes; they are dropped before and after.
        table: Where the rows are then.
        columns: What that table calls the numbers of order, part and line, and the price.
        before: SQL that is run before the clock does.
        environment: Variables that it is given besides.
        starts_at_once: Whether the command is as good as all work, and says no seconds of its own.
        once: Whether it is too slow to be run again and again.
    """

    command: Sequence[str | Path]
    schemas: Sequence[str]
    table: str
    columns: Sequence[str] = ("l_orderkey", "l_partkey", "l_linenumber", "l_extendedprice")
    before: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    starts_at_once: bool = False
    once: bool = False


@dataclass(frozen=True)
class Taken:
    """What one run took.

    Attributes:
        seconds: From command to exit.
        work: Of the work alone, without starting and importing; None where that is not known.
        cpu: Processor seconds of its processes; those of the server are not among them.
        peak_mb: Memory of its biggest process at its peak; the server is none of them.
        layers: Seconds of each layer.
    """

    seconds: float
    work: float | None
    cpu: float
    peak_mb: float
    layers: Mapping[str, float]

    @property
    def fair(self) -> float:
        """Seconds of the work alone, or all where they are not known."""
        return self.seconds if self.work is None else self.work


def run(way: Way, url: str, folder: Path) -> tuple[Taken, Found]:
    """Run a way from nothing to the filled table.

    Args:
        way: What is run.
        url: The database, for a superuser.
        folder: Where it runs.

    Returns:
        What it took, and the number of rows with sums over them, in hundredths.
    """
    drop = "".join(f"drop schema if exists {name} cascade;" for name in way.schemas)
    sums = ", ".join(f"(sum({name}) * 100)::numeric(38, 0)" for name in way.columns)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"{drop}{way.before}".encode())
        connection.execute("checkpoint")
        taken = _run(way, folder)
        found = connection.execute(f"select count(*), {sums} from {way.table}".encode()).fetchone()
        connection.execute(drop.encode())
    assert found is not None
    return taken, found


def _run(way: Way, folder: Path) -> Taken:
    """Run the command alone.

    Raises:
        RuntimeError: It failed; the message ends with what it said.
    """
    output = folder / "output.txt"
    launched = subprocess.run(
        [sys.executable, "-IS", LAUNCH, output, *way.command],
        cwd=folder,
        env={**os.environ, **way.environment},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    said = output.read_text(encoding="utf-8")
    if launched.returncode:
        raise RuntimeError(f"{way.command[0]} failed: {said[-MARGIN:]}")
    seconds, cpu, peak_mb = map(float, launched.stdout.split())
    told = _told(said)
    work = told.get("seconds", seconds if way.starts_at_once else None)
    return Taken(seconds, work, cpu, peak_mb, told.get("layers", {}))


def _told(said: str) -> dict[str, Any]:
    """Return the JSON object of the last line, if it is one."""
    last = said.strip().rpartition("\n")[2]
    told: dict[str, Any] = json.loads(last) if last.startswith("{") else {}
    return told
