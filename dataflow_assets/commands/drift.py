"""``dataflow-assets drift``: how a source's columns changed, and the patch that takes them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dataflow_assets.commands.parsing import FAILED, add_partitions
from dataflow_assets.commands.tables import write_table

if TYPE_CHECKING:
    import argparse

    from dataflow_assets.builders.patches import Patch
    from dataflow_assets.commands.location import Location
    from dataflow_assets.commands.parsing import Commands

DRIFT = "list how the columns of a source changed from partition to partition, newest first"
PATCH = (
    "print the patch by which the declaration takes the columns of the newest partition, or of the "
    "one that is given, for `git apply` in the folder of the declaration's file"
)
COLUMNS = ("partition", "before", "kind", "column", "old", "new", "file", "rows", "published")


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("drift", help=DRIFT, description=DRIFT)
    parser.add_argument("source", metavar="SOURCE")
    add_partitions(parser)
    parser.add_argument("--patch", action="store_true", help=PATCH)
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from dataflow_assets.commands.location import Location

    location = Location()
    return (_patch if options.patch else _list)(location, options)


def _list(location: Location, options: argparse.Namespace) -> int:
    from dataflow_assets.builders.drift import drift_rows
    from dataflow_assets.commands.location import chosen_partitions, keys_of

    source = location.source(options.source)
    rows = drift_rows(location.stores, source.name)
    there = {row["partition"] for row in rows}.intersection(keys_of(source))
    chosen = set(chosen_partitions(source, options, there))
    rows = [row for row in rows if row["partition"] in chosen]
    write_table(COLUMNS, ([row[name] for name in COLUMNS] for row in rows))
    return 0


def _patch(location: Location, options: argparse.Namespace) -> int:
    from dataflow_assets.builders.dry import beside, drift_of
    from dataflow_assets.builders.patches import propose_patch
    from dataflow_assets.commands.location import chosen_partitions

    source = location.source(options.source)
    there = location.stores.lake.partitions("raw", source.name)
    chosen = chosen_partitions(source, options, there)
    file = location.declared.files[source.name]
    if not chosen or file is None:
        sys.stderr.write(f"nothing of {source.name} has been received yet\n")
        return FAILED
    with beside(location.stores) as (stores, _):
        found = drift_of(source, stores, chosen[-1])
    patch = propose_patch(source, found, file)
    if patch is None:
        sys.stderr.write(f"the columns of {chosen[-1]} are as the contract declares\n")
        return 0
    _print(patch)
    return 0


def _print(patch: Patch) -> None:
    """Print the patch alone, so that it can be piped, and say beside it what it needs."""
    sys.stdout.write(patch.text)
    if patch.text:
        sys.stderr.write(f"to be applied in its folder: git -C {patch.folder} apply\n")
    for one in patch.left_out:
        sys.stderr.write(f"not in the patch: {one}\n")
