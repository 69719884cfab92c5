"""``dataflow-assets plan``: what declarations as they stand would change, before anything runs."""

from __future__ import annotations

import dataclasses
import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflow_assets.commands.parsing import add_partitions

if TYPE_CHECKING:
    import argparse

    from dataflow_assets.builders.planning import Declarations, EntityPlan, Planner, SourcePlan
    from dataflow_assets.commands.location import Location
    from dataflow_assets.commands.parsing import Commands
    from dataflow_assets.commands.plan_texts import Plan

PLAN = (
    "say what the declarations as they stand would change in partitions that are there, computed "
    "from raw, or from the archived bytes where extract was changed; nothing is published. Exit "
    "code 0: nothing, 2: something, 1: it failed"
)
NEWEST = 10
CHANGES = 2


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser("plan", help=PLAN, description=PLAN)
    parser.add_argument("source", metavar="SOURCE", nargs="*", help="by default all sources")
    add_partitions(parser)
    parser.add_argument(
        "--newest",
        type=int,
        default=NEWEST,
        metavar="N",
        help=f"without partitions, the newest N of each source (default {NEWEST}; 0: all)",
    )
    parser.add_argument(
        "--against",
        metavar="GIT_REF",
        help="compare with what the declarations of a commit make of the same bytes, instead of "
        "with what was published",
    )
    parser.add_argument("--format", choices=("text", "markdown", "json"), default="text")
    parser.add_argument("--work-dir", type=Path, help="where rows are made and compared")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from dataflow_assets.commands.location import Location
    from dataflow_assets.commands.plan_texts import as_markdown, as_text

    plan = _plan(Location(), options)
    if options.format == "json":
        json.dump(_as_json(plan), sys.stdout, ensure_ascii=False, indent=1)
        sys.stdout.write("\n")
    else:
        sys.stdout.write((as_markdown if options.format == "markdown" else as_text)(plan))
    return CHANGES if plan.changes else 0


def _plan(location: Location, options: argparse.Namespace) -> Plan:
    from dataflow_assets.builders.dry import beside
    from dataflow_assets.builders.planning import Planner
    from dataflow_assets.commands.plan_texts import Plan

    names = options.source or sorted(location.declared.sources)
    looked_at: dict[str, list[str]] = {}
    limits = []
    for name in names:
        looked_at[name], there = _partitions(location, name, options)
        if len(looked_at[name]) < there:
            count = len(looked_at[name])
            limits.append(f"{name}: {count:,} of {there:,} partitions were looked at")
    with ExitStack() as stack:
        stores, folder = stack.enter_context(beside(location.stores, options.work_dir))
        before = _declarations_at(stack, options.against) if options.against else None
        planner = Planner(_of(location), before, stores, folder)
        sources = [
            one for name in names for one in planner.plan_source(name, looked_at[name]) if one
        ]
        entities = _plan_entities(location, planner, looked_at)
    return Plan(options.against, looked_at, limits, sources, entities)


def _plan_entities(
    location: Location, planner: Planner, looked_at: dict[str, list[str]]
) -> list[EntityPlan]:
    found = []
    for name, entity in sorted(location.declared.entities.items()):
        keys = {key for source in entity.mappings for key in looked_at.get(source, ())}
        found += [one for one in planner.plan_entity(name, sorted(keys)) if one]
    return found


def _partitions(
    location: Location, name: str, options: argparse.Namespace
) -> tuple[list[str], int]:
    """Return the partitions to look at, and how many there are."""
    from dataflow_assets.commands.location import chosen_partitions

    there = location.stores.lake.partitions("raw", name)
    chosen = chosen_partitions(location.source(name), options, there)
    chosen = [key for key in chosen if key in set(there)]
    if options.partition or options.partition_range or not options.newest:
        return chosen, len(chosen)
    return chosen[-options.newest :], len(chosen)


def _declarations_at(stack: ExitStack, reference: str) -> Declarations:
    from dataflow_assets.builders.planning import Declarations
    from dataflow_assets.commands.git import folder_at
    from dataflow_assets.components.loading import declarations_dir, load_declared

    folder = stack.enter_context(folder_at(declarations_dir(), reference))
    declared = load_declared(folder)
    return Declarations(declared.sources, declared.entities)


def _of(location: Location) -> Declarations:
    from dataflow_assets.builders.planning import Declarations

    return Declarations(location.declared.sources, location.declared.entities)


def _as_json(plan: Plan) -> dict[str, Any]:
    return {
        "changes": plan.changes,
        "against": plan.against or "published",
        "partitions": plan.looked_at,
        "limits": plan.limits,
        "sources": [_plain(one) for one in plan.sources],
        "entities": [_plain(one) for one in plan.entities],
    }


def _plain(one: SourcePlan | EntityPlan) -> dict[str, Any]:
    plain = dataclasses.asdict(one)
    for side in ("before", "after"):
        counts = getattr(one, side, None)
        if counts is not None:
            plain[side] = counts.model_dump()
    return plain
