"""``dataflow-assets quarantine``: look at entries, release and discard them by hand."""

from __future__ import annotations

import csv
import getpass
import json
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

from dataflow_assets.commands.parsing import FAILED, add_partitions

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator

    from dataflow_assets.builders.deciding import Choice
    from dataflow_assets.commands.parsing import Commands

QUARANTINE = "look at the entries of a source's quarantine, and decide about them by hand"
SHOW = "show entries, newest partitions first, with their line as received"
ACTIONS = {
    "release": "let rows into the cleaned table although they break a rule: with their values as "
    "parsed, and null for what cannot be read as its type",
    "discard": "count rows as open no more; they stay in the quarantine, as discarded",
    "reopen": "take back what was decided about rows",
}
COLUMNS = ("partition", "file", "line", "state", "column", "rule", "value", "received")
WIDTH = 60
LIMIT = 50


def add(commands: Commands) -> None:
    """Add the command and those below it."""
    parser = commands.add_parser("quarantine", help=QUARANTINE, description=QUARANTINE)
    below = parser.add_subparsers(required=True, metavar="ACTION")
    _add_show(below)
    for action, text in ACTIONS.items():
        _add_action(below, action, text)


def _add_show(commands: Commands) -> None:
    show = commands.add_parser("show", help=SHOW, description=SHOW)
    show.add_argument("source", metavar="SOURCE")
    add_partitions(show)
    show.add_argument("--rule", help="only entries that break this rule")
    show.add_argument("--state", choices=("open", "discarded"), help="only entries in this state")
    show.add_argument("--limit", type=int, default=LIMIT, help=f"at most so many (default {LIMIT})")
    show.add_argument("--format", choices=("table", "json", "csv"), default="table")
    show.set_defaults(run=_show)


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
    from dataflow_assets.builders.deciding import Choice, browse
    from dataflow_assets.commands.location import Location, chosen_partitions

    location = Location()
    source = location.source(options.source)
    there = location.stores.lake.partitions("quarantine", source.name)
    partitions = chosen_partitions(source, options, there)[::-1]
    choice = Choice(rule=options.rule)
    entries = browse(source, location.stores, partitions, choice, options.state)
    shown = islice(map(_plain, entries), options.limit)
    {"table": _write_table, "json": _write_json, "csv": _write_csv}[options.format](shown)
    return 0


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


def _write_json(entries: Iterable[dict[str, Any]]) -> None:
    json.dump(list(entries), sys.stdout, ensure_ascii=False, indent=1)
    sys.stdout.write("\n")


def _write_csv(entries: Iterable[dict[str, Any]]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow((*COLUMNS, "version", "row"))
    for entry in entries:
        for row in _rows(entry):
            writer.writerow((*(row[name] for name in COLUMNS), entry["version"], entry["row"]))


def _write_table(entries: Iterable[dict[str, Any]]) -> None:
    rows = [[_cell(row[name]) for name in COLUMNS] for entry in entries for row in _rows(entry)]
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows, strict=True)]
    for row in [list(COLUMNS), *rows]:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def _rows(entry: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield an entry once for each rule that it breaks."""
    for reason in entry["reasons"]:
        yield {**entry, **reason}


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    text = text.replace("\n", "⏎").replace("\r", "").replace("\t", "→")
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
