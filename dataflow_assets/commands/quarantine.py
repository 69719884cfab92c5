"""``dataflow-assets quarantine``: look at entries, release and discard them by hand."""

from __future__ import annotations

import csv
import getpass
import json
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

from dataflow_assets.commands.parsing import FAILED, add_partitions
from dataflow_assets.commands.tables import write_table

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator, Sequence

    from dataflow_assets.builders.deciding import Choice
    from dataflow_assets.commands.location import Location
    from dataflow_assets.commands.parsing import Commands
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.io.lake import Layer

QUARANTINE = "look at the entries of a source's quarantine, and decide about them by hand"
SHOW = "show entries, newest partitions first, with their line as received"
ACTIONS = {
    "release": "let rows into the cleaned table although they break a rule: with their values as "
    "parsed, and null for what cannot be read as its type",
    "discard": "count rows as open no more; they stay in the quarantine, as discarded",
    "reopen": "take back what was decided about rows",
}
DECISIONS = "list what people decided: who, when and why; newest partitions first"
COLUMNS = (
    *("partition", "file", "line", "state", "column", "rule", "severity", "value", "message"),
    "received",
)
BY_RULE = ("rule", "entries", "partitions", "newest")
DECIDED = ("partition", "file", "line", "state", "person", "decided_at", "reason", "rules", "row")
LIMIT = 50


def add(commands: Commands) -> None:
    """Add the command and those below it."""
    parser = commands.add_parser("quarantine", help=QUARANTINE, description=QUARANTINE)
    below = parser.add_subparsers(required=True, metavar="ACTION")
    _add_show(below)
    _add_decisions(below)
    for action, text in ACTIONS.items():
        _add_action(below, action, text)


def _add_show(commands: Commands) -> None:
    show = commands.add_parser("show", help=SHOW, description=SHOW)
    show.add_argument("source", metavar="SOURCE")
    add_partitions(show)
    show.add_argument("--rule", help="only entries that break this rule")
    show.add_argument(
        "--state",
        choices=("open", "discarded"),
        help="only entries in this state; released ones are in no quarantine: see `decisions`",
    )
    show.add_argument("--by", choices=("rule",), help="count entries by the rules that keep them")
    _add_output(show)
    show.set_defaults(run=_show)


def _add_decisions(commands: Commands) -> None:
    parser = commands.add_parser("decisions", help=DECISIONS, description=DECISIONS)
    parser.add_argument("source", metavar="SOURCE")
    add_partitions(parser)
    parser.add_argument("--state", choices=("released", "discarded"), help="only these")
    _add_output(parser)
    parser.set_defaults(run=_decisions)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--limit", type=int, default=LIMIT, help=f"at most so many (default {LIMIT})"
    )
    parser.add_argument("--format", choices=("table", "json", "csv"), default="table")


def _add_action(commands: Commands, action: str, text: str) -> None:
    parser = commands.add_parser(action, help=text, description=text)
    parser.add_argument("source", metavar="SOURCE")
    parser.add_argument("--partition", metavar="KEY", required=True)
    chosen = parser.add_mutually_exclusive_group(required=True)
    chosen.add_argument(
        "--line",
        metavar="FILE:LINE",
        action="append",
        default=[],
        help="an entry by its file (or version) and line; may be given repeatedly",
    )
    chosen.add_argument("--rule", help="all entries that break this rule")
    parser.add_argument("--reason", required=True, help="why; it is recorded")
    parser.add_argument("--by", default="", metavar="NAME", help="who; by default the user")
    parser.set_defaults(run=_decide, action=action)


def _show(options: argparse.Namespace) -> int:
    from dataflow_assets.builders.deciding import Choice, browse, count_by_rule
    from dataflow_assets.commands.location import Location

    location = Location()
    source, partitions = _chosen(location, options, "quarantine")
    chosen = (source, location.stores, partitions, Choice(rule=options.rule), options.state)
    if options.by:
        _write(options, BY_RULE, islice(count_by_rule(*chosen), options.limit))
        return 0
    entries = map(_plain, islice(browse(*chosen), options.limit))
    if options.format == "json":
        _write_json(entries)
        return 0
    rows = [row for entry in entries for row in _rows(entry)]
    columns = [name for name in COLUMNS if name != "message" or any(row[name] for row in rows)]
    _write(options, (*COLUMNS, "version", "row") if options.format == "csv" else columns, rows)
    return 0


def _decisions(options: argparse.Namespace) -> int:
    from dataflow_assets.builders.deciding import decisions
    from dataflow_assets.commands.location import Location

    location = Location()
    source, partitions = _chosen(location, options, "decisions")
    found = decisions(source, location.stores, partitions, options.state)
    _write(options, DECIDED, map(_plain, islice(found, options.limit)))
    return 0


def _chosen(
    location: Location, options: argparse.Namespace, layer: Layer
) -> tuple[SourceDeclaration, list[str]]:
    """Return the source that the options name, and their partitions, the newest first."""
    from dataflow_assets.commands.location import chosen_partitions

    source = location.source(options.source)
    there = location.stores.lake.partitions(layer, source.name)
    return source, chosen_partitions(source, options, there)[::-1]


def _decide(options: argparse.Namespace) -> int:
    from dataflow_assets.builders.deciding import decide
    from dataflow_assets.commands.location import Location, chosen_partitions
    from dataflow_assets.commands.running import replay_partitions
    from dataflow_assets.io.entries import Decision

    location = Location()
    source = location.source(options.source)
    options.partition, options.partition_range = [options.partition], None
    (partition,) = chosen_partitions(source, options, [])
    decision = Decision(options.action, options.by or getpass.getuser(), options.reason)
    rows, barred = decide(source, location.stores, partition, _choice(options), decision)
    said = f"{options.action}: {rows:,} entries of {source.name} {partition}, by {decision.person}"
    sys.stdout.write(f"{said}\n")
    if barred:
        sys.stdout.write(f"{barred:,} entries were left: they have no key or cannot be read\n")
    failed = False
    for run in replay_partitions(location, source, [partition]):
        sys.stdout.write(f"{run.text()}\n")
        failed |= bool(run.reasons)
    if failed:
        sys.stderr.write("the decision is recorded; the next run of the partition applies it\n")
    return FAILED if failed else 0


def _choice(options: argparse.Namespace) -> Choice:
    from dataflow_assets.builders.deciding import Choice
    from dataflow_assets.errors import UnknownNameError

    lines = []
    for text in options.line:
        file, _, line = text.rpartition(":")
        if not line.isdecimal():
            raise UnknownNameError(
                f"{text!r} names no line.",
                mend="Write FILE:LINE as `quarantine show` does, such as orders.csv:17.",
                culprit=text,
            )
        lines.append((file, int(line)))
    return Choice(tuple(lines), options.rule)


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry as it is shown, without underscores."""
    return {name.removeprefix("_"): value for name, value in entry.items()}


def _write(
    options: argparse.Namespace, columns: Sequence[str], rows: Iterable[dict[str, Any]]
) -> None:
    if options.format == "json":
        _write_json(rows)
        return
    values = ([_flat(row[name]) for name in columns] for row in rows)
    if options.format == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(columns)
        writer.writerows(values)
    else:
        write_table(columns, values)


def _write_json(entries: Iterable[dict[str, Any]]) -> None:
    json.dump(list(entries), sys.stdout, ensure_ascii=False, indent=1, default=str)
    sys.stdout.write("\n")


def _flat(value: object) -> object:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _rows(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield an entry once for each rule that it breaks; those that merely warn come last."""
    for reason in sorted(entry["reasons"], key=lambda one: one["severity"] == "warn"):
        yield {**entry, **reason}
