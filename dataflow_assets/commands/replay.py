"""``dataflow-assets replay``: give rows back that a mended declaration lets pass."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dataflow_assets.commands.parsing import BETWEEN, FAILED, add_partitions

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from dataflow_assets.builders.replaying import Replayable
    from dataflow_assets.commands.parsing import Commands

REPLAY = (
    "make those partitions of a source anew, from raw, of which rows in quarantine pass now that "
    "its declaration was mended"
)


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("replay", help=REPLAY, description=REPLAY)
    parser.add_argument("source", metavar="SOURCE")
    add_partitions(parser)
    parser.add_argument("--rule", help="only partitions with entries of this rule that pass now")
    parser.add_argument(
        "--dry-run", action="store_true", help="say which partitions it would be, and run nothing"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from dataflow_assets.builders.replaying import replayable, unfinished
    from dataflow_assets.commands.location import Location, chosen_partitions
    from dataflow_assets.commands.running import replay_partitions

    location = Location()
    source = location.source(options.source)
    there = location.stores.lake.partitions("quarantine", source.name)
    chosen = chosen_partitions(source, options, there)
    fed = [one.name for one in location.declared.entities.values() if source.name in one.mappings]
    affected = unfinished(source, location.stores, chosen, fed)
    for partition in affected:
        sys.stdout.write(f"{partition}: an earlier run did not end; it is made anew\n")
    failed = reread = False
    unknown: dict[str, str] = {}
    for one in replayable(source, location.stores, chosen, options.rule):
        sys.stdout.write(f"{_text(one)}\n")
        failed |= one.failure is not None
        unknown |= {one.partition: one.unknown} if one.unknown else {}
        reread |= one.is_affected and one.reread
        if one.is_affected and one.partition not in affected:
            affected.append(one.partition)
    sys.stdout.write(
        f"{len(affected):,} of {len(chosen):,} partitions of {source.name} are affected"
        f"{', nothing was run' if options.dry_run and affected else ''}\n"
    )
    if unknown:
        sys.stdout.write(_not_told(source.name, unknown))
    if affected and not options.dry_run:
        for run in replay_partitions(location, source, affected, reread=reread):
            sys.stdout.write(f"{run.text()}\n")
            failed |= bool(run.reasons)
    return FAILED if failed else 0


def _text(one: Replayable) -> str:
    text = f"{one.partition}: {one.passing:,} of {one.open:,} open entries pass now"
    if one.reread:
        text += ", and its archived bytes give other raw rows"
    return text if one.failure is None else f"{text}, but it would not be published: {one.failure}"


def _not_told(name: str, unknown: Mapping[str, str]) -> str:
    """Say of which partitions a replay is not enough, and what to run for them."""
    first, last = next(iter(unknown)), list(unknown)[-1]
    span = f"--partition {first}" if first == last else f"--partition-range {first}{BETWEEN}{last}"
    return (
        f"of {len(unknown):,} partitions raw is to be materialized anew: {unknown[first]}. Run:\n"
        "  dagster asset materialize -m dataflow_assets.definitions "
        f'--select "key:raw/{name}+" {span}\n'
    )
