"""How dlt and Sling take the benchmarks' file to Postgres.

What belongs here: their commands, and where their programs are. What does not: the measurement, and
the pipelines of dlt themselves (``dlt_rival``), which run in an environment of their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dataflow_assets_tests.benchmarks.ways import Way

if TYPE_CHECKING:
    from dataflow_assets_tests.postgres_server import OwnServer

DOCUMENTED, BEST, SLING = "dlt, as documented", "dlt, at its best", "Sling"
BINARY = "lib/python*/site-packages/sling_linux_*/bin/sling-linux-*"
"""Where the packages `sling-linux-*` have the program."""
SILENT = {"RUNTIME__DLTHUB_TELEMETRY": "false", "SLING_DISABLE_TELEMETRY": "TRUE"}
MOST_ROWS_AS_DOCUMENTED = 2_000_000
"""Above, dlt as documented is left out: it only takes longer in proportion."""


def rivals_ways(
    server: OwnServer, file: Path, made: Path, rivals: Path, rows: int
) -> dict[str, Way]:
    """Return the ways of the tools that an environment has.

    Args:
        server: Where to.
        file: The CSV file.
        made: Where they may write.
        rivals: The virtual environment.
        rows: How many rows the file has, about.
    """
    url = server.database("postgres", user="postgres:any")  # dlt insists on a password
    script = Path(__file__).with_name("dlt_rival.py")
    python = rivals.absolute() / "bin" / "python"

    def dlt(way: str, *, once: bool = False) -> Way:
        schema = f"dlt_{way}"
        return Way(
            [python, script, way, url, file, made],
            schemas=[schema],
            table=f"{schema}.lineitem",
            environment=SILENT,
            once=once,
        )

    ways = {BEST: dlt("best")}
    if rows <= MOST_ROWS_AS_DOCUMENTED:
        ways[DOCUMENTED] = dlt("documented", once=True)
    for program in rivals.absolute().glob(BINARY):
        ways[SLING] = _sling(program, server, file, made)
    return ways


def _sling(program: Path, server: OwnServer, file: Path, made: Path) -> Way:
    """Return the way that its documentation gives for one file."""
    source = ["run", "--src-stream", file.as_uri()]
    target = ["--tgt-conn", "TARGET", "--tgt-object", "sling.lineitem", "--mode", "full-refresh"]
    return Way(
        [program, *source, *target],
        schemas=["sling"],
        table="sling.lineitem",
        environment={
            **SILENT,
            "TARGET": f"{server.url}?sslmode=disable",
            "SLING_HOME_DIR": str(made),
        },
        starts_at_once=True,
    )


def left_out(rivals: Path | None, ways: dict[str, Way]) -> list[str]:
    """Return a line for each tool that is not measured, saying why."""
    if rivals is None:
        return ["dlt and Sling are left out: --rivals names no environment of theirs"]
    lines = []
    if DOCUMENTED not in ways:
        lines.append(f"{DOCUMENTED}, is left out above {MOST_ROWS_AS_DOCUMENTED:,} rows")
    if SLING not in ways:
        lines.append(f"{SLING} is left out: no sling-linux-* is installed in {rivals}")
    return lines
