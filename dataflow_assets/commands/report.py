"""``dataflow-assets report``: a page on the state of every source."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dataflow_assets.errors import StorageError

if TYPE_CHECKING:
    from dataflow_assets.commands.parsing import Commands

REPORT = "write a page (HTML, in one file) on the state of every source"
DAYS = 30
MOST_DAYS = 3660


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("report", help=REPORT, description=REPORT)
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        default=Path("report.html"),
        help="where to write it (report.html)",
    )
    parser.add_argument(
        "--days",
        metavar="N",
        type=_days,
        default=DAYS,
        help=f"how many days of partitions to show, up to each source's newest ({DAYS})",
    )
    parser.set_defaults(run=_run)


def _days(text: str) -> int:
    days = int(text)
    if not 1 <= days <= MOST_DAYS:
        raise argparse.ArgumentTypeError(f"{days} is not between 1 and {MOST_DAYS:,}")
    return days


def _run(options: argparse.Namespace) -> int:
    import dagster as dg
    from dagster._cli.utils import get_possibly_temporary_instance_for_cli

    from dataflow_assets.builders.reporting import gather
    from dataflow_assets.builders.resources import STORES, build_resources
    from dataflow_assets.components.loading import load_declared
    from dataflow_assets.observe.report import render
    from dataflow_assets.settings import get_settings

    declared = load_declared()
    resources = build_resources(get_settings())
    runnable = dg.Definitions.merge(declared.definitions, dg.Definitions(resources=resources))
    checks = runnable.resolve_asset_graph().asset_check_keys
    with get_possibly_temporary_instance_for_cli("dataflow-assets report") as instance:
        stores = resources[STORES].open()
        page = render(
            gather(declared.sources, declared.entities, checks, stores, instance, options.days)
        )
    output: Path = options.output
    try:
        output.write_text(page, encoding="utf-8", errors="replace")
    except OSError as error:
        raise StorageError(
            f"the report cannot be written: {error.strerror}.",
            mend="Name another file with --output.",
            culprit=str(output),
        ) from error
    sys.stdout.write(f"{output.resolve()}\n")
    return 0
