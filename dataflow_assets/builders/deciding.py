"""The entries of a quarantine: looking at them, and deciding about them by hand.

What belongs here: choosing entries, and recording what a person decides. What does not: what that
does to rows; the next materialization of the partition does it (`cleaning`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from dataflow_assets.builders.dry import beside
from dataflow_assets.errors import DataflowError, EntryError
from dataflow_assets.extract.files import FoundFile, Snapshot
from dataflow_assets.extract.lines import read_lines
from dataflow_assets.io.entries import Entries
from dataflow_assets.transform.findings import barring
from dataflow_assets.transform.quarantine import OPEN, needed_rules
from dataflow_assets.transform.rules import contract_rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dataflow_assets.builders.stores import Stores
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.io.entries import Decision
    from dataflow_assets.io.lake import Archive

ENTRY = ("_partition", "_file", "_version", "_line", "state", "rules", "reasons", "row")
LINES_NAMED = 5
STATES = {"release": "released", "discard": "discarded"}
"""What an entry is, by what was decided about it."""


@dataclass(frozen=True)
class Choice:
    """Which entries of a partition are meant.

    Attributes:
        lines: File (or version) and line of each; a file may be left empty if there is one only.
        rule: All that break this rule.
    """

    lines: tuple[tuple[str, int], ...] = ()
    rule: str | None = None

    @property
    def condition(self) -> pl.Expr:
        """Whether an entry is meant."""
        if self.rule is not None:
            return pl.col("rules").list.contains(self.rule)
        if not self.lines:
            return pl.lit(True)  # noqa: FBT003 - Polars' way
        meant = [
            (pl.col("_line") == line)
            & (pl.lit(not file) | (pl.col("_file") == file) | (pl.col("_version") == file))
            for file, line in self.lines
        ]
        return pl.any_horizontal(meant)


def browse(
    source: SourceDeclaration,
    stores: Stores,
    partitions: Sequence[str],
    choice: Choice,
    state: str | None,
) -> Iterator[dict[str, Any]]:
    """Yield entries of the quarantine, each with its line as received where there is one.

    Args:
        source: The declaration.
        stores: Where runs read and write; nothing is written there.
        partitions: Those to look at, in this order.
        choice: Which entries are meant.
        state: ``open`` or ``discarded``; none: both.
    """
    with beside(stores) as (aside, folder):
        for partition in partitions:
            found = _entries(source.name, aside, partition, folder)
            if found is None:
                continue
            wanted = choice.condition if state is None else choice.condition & _in_state(state)
            batches = found.filter(wanted).collect_batches(chunk_size=1000, maintain_order=True)
            for batch in batches:
                lines = _received(source, aside, partition, folder, batch)
                for entry in batch.iter_rows(named=True):
                    place = entry["_file"], entry["_version"], entry["_line"]
                    yield {**entry, "received": lines.get(place)}


def count_by_rule(
    source: SourceDeclaration,
    stores: Stores,
    partitions: Sequence[str],
    choice: Choice,
    state: str | None,
) -> Iterator[dict[str, Any]]:
    """Yield how many entries each rule keeps, and in how many partitions, the most frequent first.

    Args:
        source: The declaration.
        stores: Where runs read and write; nothing is written there.
        partitions: Those to look at, the newest first.
        choice: Which entries are meant.
        state: ``open`` or ``discarded``; none: both.
    """
    counts: Counter[str] = Counter()
    seen: defaultdict[str, list[str]] = defaultdict(list)
    with beside(stores) as (aside, folder):
        for partition in partitions:
            found = _entries(source.name, aside, partition, folder)
            if found is None:
                continue
            wanted = choice.condition if state is None else choice.condition & _in_state(state)
            rules = found.filter(wanted).select(pl.col("rules").explode()).drop_nulls()
            tally = rules.group_by("rules").len().collect(engine="streaming")
            for rule, rows in tally.iter_rows():
                counts[rule] += rows
                seen[rule].append(partition)
    for rule, rows in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        yield {
            "rule": rule,
            "entries": rows,
            "partitions": len(seen[rule]),
            "newest": seen[rule][0],
        }


def decisions(
    source: SourceDeclaration, stores: Stores, partitions: Sequence[str], state: str | None
) -> Iterator[dict[str, Any]]:
    """Yield what holds of entries that people decided about, the latest decision first.

    Args:
        source: The declaration.
        stores: Where runs read and write; nothing is written there.
        partitions: Those to look at, in this order.
        state: ``released`` or ``discarded``; none: both.
    """
    with beside(stores) as (aside, folder):
        entries = Entries(aside.lake, source.name, folder, stores.memory_limit_mb)
        for partition in partitions:
            found = entries.standing(partition)
            if found is None:
                continue
            rows = found.with_columns(state=pl.col("action").replace_strict(STATES))
            rows = rows if state is None else rows.filter(_in_state(state))
            latest = rows.sort("decided_at", descending=True, maintain_order=True)
            yield from latest.collect().iter_rows(named=True)


def decide(
    source: SourceDeclaration,
    stores: Stores,
    partition: str,
    choice: Choice,
    decision: Decision,
) -> tuple[int, int]:
    """Record what a person decides about entries; the next materialization applies it.

    Args:
        source: The declaration.
        stores: Where runs read and write.
        partition: The partition.
        choice: Which entries are meant.
        decision: What is decided.

    Returns:
        How many entries were decided about, and how many of a rule cannot be released.

    Raises:
        EntryError: There is no such entry, or one of the lines cannot be released.
        PartitionBusyError: A run publishes the partition.
    """
    lake, name = stores.lake, source.name
    with (
        lake.work_dir(name) as work,
        lake.partition_lock(f"cleaned/{name}", partition),
    ):
        entries = Entries(lake, name, work, stores.memory_limit_mb)
        if decision.action == "reopen":
            found: pl.LazyFrame | None = entries.standing(partition)
        else:
            found = _entries(name, stores, partition, work)
            found = None if found is None else found.filter(_in_state(OPEN))
        chosen = _chosen(found, choice, source, partition)
        barred = 0
        if decision.action == "release":
            chosen, barred = _releasable(chosen, choice, source, partition)
        wanted = ("_file", "_version", "_line", "rules", "row")
        entries.decide(partition, chosen.select(wanted), decision)
    return chosen.height, barred


def _in_state(state: str) -> pl.Expr:
    return pl.col("state") == state


def _entries(name: str, stores: Stores, partition: str, work: Path) -> pl.LazyFrame | None:
    """Return the quarantine of a partition.

    That of an older release has no states, or counts rules that merely warn among `rules`.
    """
    path = stores.lake.find("quarantine", name, partition, work)
    if path is None:
        return None
    rows = pl.scan_parquet(path, glob=False, hive_partitioning=False)
    there = rows.collect_schema()
    absent = {"_partition": partition, "state": OPEN}
    added = {column: pl.lit(value) for column, value in absent.items() if column not in there}
    return rows.with_columns(**added, rules=barring(pl.col("reasons"))).select(ENTRY)


def _chosen(
    found: pl.LazyFrame | None, choice: Choice, source: SourceDeclaration, partition: str
) -> pl.DataFrame:
    rows = None if found is None else found.filter(choice.condition).collect(engine="streaming")
    if rows is None or rows.is_empty():
        missing = [f"{file}:{line}" for file, line in choice.lines] or [choice.rule or "any rule"]
    else:
        missing = [
            f"{file}:{line}"
            for file, line in choice.lines
            if rows.filter(Choice(((file, line),)).condition).is_empty()
        ]
    if rows is None or missing:
        raise EntryError(
            f"there is no such entry to decide about: {', '.join(missing[:LINES_NAMED])}.",
            mend=f"See those that there are: dataflow-assets quarantine show {source.name} "
            f"--partition {partition}.",
            source=source.name,
            partition=partition,
        )
    return rows


def _releasable(
    chosen: pl.DataFrame, choice: Choice, source: SourceDeclaration, partition: str
) -> tuple[pl.DataFrame, int]:
    """Return the entries that can be released, and how many of a rule cannot.

    Raises:
        EntryError: One of the lines cannot, or none of the rule can.
    """
    rules = contract_rules(source.contract, source.extract.rejects)
    needed = list(needed_rules(source.contract, rules))
    broken = pl.element().struct.field("rule")
    barred = pl.col("reasons").list.eval(broken.is_in(needed)).list.any()
    stopped, free = chosen.filter(barred), chosen.filter(~barred)
    if not stopped.is_empty() and (choice.lines or free.is_empty()):
        first = stopped.row(0, named=True)
        raise EntryError(
            f"{stopped.height:,} of these rows cannot be released; {first['_file']} line "
            f"{first['_line']} breaks {', '.join(first['rules'])}.",
            mend="A row needs a key, fields and no NUL byte: discard it, or mend the data or the "
            "contract.",
            source=source.name,
            partition=partition,
            culprit=first["_file"],
        )
    return free, stopped.height


def _received(
    source: SourceDeclaration, stores: Stores, partition: str, work: Path, rows: pl.DataFrame
) -> dict[tuple[str, str, int], str]:
    """Return lines as they were received, by file, version and line, where bytes have lines."""
    files, raw = source.extract.files, stores.lake.manifest("raw", source.name, partition)
    if files is None or raw is None:
        return {}
    archive = stores.lake.archive(source.name, work)
    archived = {(file.name, file.version): file for file in raw.files}
    wanted: defaultdict[str, dict[tuple[str, str], list[int]]] = defaultdict(dict)
    for name, version, line in rows.select("_file", "_version", "_line").iter_rows():
        if (name, version) in archived:
            place = wanted[archived[name, version].archived]
            place.setdefault((name, version), []).append(line)
    found: dict[tuple[str, str, int], str] = {}
    for path, places in wanted.items():
        snapshot = _snapshot(archive, path, next(iter(places))[0])
        if snapshot is None:
            continue
        text = read_lines(files, snapshot, {name: lines for (name, _), lines in places.items()})
        for (name, version), lines in places.items():
            found |= {
                (name, version, line): text[name, line] for line in lines if (name, line) in text
            }
    return found


def _snapshot(archive: Archive, archived: str, name: str) -> Snapshot | None:
    """Return archived bytes, or none if somebody removed them: the entries are there still."""
    try:
        path = archive.bring(archived)
    except DataflowError:
        return None
    whole = name.partition("!")[0]
    return Snapshot(FoundFile(path, whole, path.stat().st_size, 0), "", path)
