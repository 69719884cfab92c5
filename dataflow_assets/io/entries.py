"""What became of the entries of a quarantine, and what people decided about them.

What belongs here: the files ``decisions/<source>/<partition>`` and ``closed/<source>/<partition>``
of the lake, and matching them with rows by DuckDB, which spills to the work folder. What does not:
what a decision does to a row (`transform.clean`), and the quarantine's own rows.

An entry is known by file, version, line and content. A version is a hash of the file's bytes, so
that an entry is the same whenever the file is read again; of another version of the file, a row of
the same content is the same entry. Both files only grow: they are for audit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from dataflow_assets.io.lake import count_rows
from dataflow_assets.io.spilling import Spilling
from dataflow_assets.io.warehouse import literal

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb

    from dataflow_assets.io.lake import Lake, Manifest

CONTENT = """
create macro content(r) as md5(coalesce(
    cast(list_sort(list_filter(
        map_entries(try_cast(try_cast(r as json) as map(varchar, varchar))),
        lambda entry: entry.value is not null
    )) as varchar), r, ''))
"""
"""A row by its values, whichever empty columns other files of the partition add, in any order."""
PLACE = "_file, _version, _line"
SAME = f"{PLACE}, content"
STANDING = f"""
    select * from decisions
    qualify row_number() over (partition by {SAME} order by decided_at desc) = 1
"""
"""What holds of each entry: what was decided last."""
STANDS = f"""
    select md5(string_agg(concat_ws('|', {SAME}, action), '/' order by all))
    from standing where action <> 'reopen'
"""
"""What is another text when a decision that holds is another."""
MATCHED = """
    with numbered as (
        select *, row_number() over (partition by _file, _version, content order by _row) as place
        from found
    ), carried as (
        select * exclude (_version, _line),
            row_number() over (partition by _file, content order by _line, _version) as place
        from standing s
        qualify _version = last_value(_version) over (
            partition by _file, content order by decided_at, _version
            rows between unbounded preceding and unbounded following
        )
    )
    select f._row, f._file, f._version, f._line, f.content, f.barred, s.action, s.person, s.reason
    from numbered f join standing s using (_file, _version, _line, content)
    union all
    select f._row, f._file, f._version, f._line, f.content, f.barred, s.action, s.person, s.reason
    from numbered f join carried s using (_file, content, place)
    where not exists (select 1 from standing o where o._file = f._file
                      and o.content = f.content and o._version = f._version)
"""
"""Which of the rows that are found bad were decided about.

In a new version of a file that is told by content. Of rows with the same content as many were
decided about as before, the first of them.
"""


REOPEN = "reopen"
SAMPLES = 3
LONGEST = 80
"""Characters of a value in a sample."""


@dataclass(frozen=True)
class Decided:
    """What people decided about rows of a raw partition that break the contract.

    Attributes:
        released: By row number, whether a person released the row.
        discarded: By row number, whether a person discarded it.
        barred: How many rows were released that cannot be: see `needed_rules`.
        digest: Changes when one of the decisions does.
        rows: Parquet file of the rows, with `action`, `person` and `reason`.
    """

    released: np.ndarray
    discarded: np.ndarray
    barred: int
    digest: str
    rows: Path


@dataclass(frozen=True)
class Decision:
    """What a person decides.

    Attributes:
        action: ``release``, ``discard``, or ``reopen``: neither of them any more.
        person: Who.
        reason: Why.
    """

    action: str
    person: str
    reason: str


@dataclass(frozen=True)
class Moved:
    """Rows of one rule that are in one quarantine and not in another.

    Attributes:
        rows: How many.
        samples: File, line and value of some of them.
    """

    rows: int
    samples: tuple[tuple[str, int, str | None], ...]


class Entries:
    """The entries of one source's quarantine.

    Args:
        lake: Where they are.
        source: The source.
        work: The work folder.
        memory_limit_mb: Bound for DuckDB's memory.
    """

    def __init__(self, lake: Lake, source: str, work: Path, memory_limit_mb: int) -> None:
        self._lake = lake
        self._source = source
        self._work = work
        self._memory_limit_mb = memory_limit_mb

    def decisions(self, partition: str) -> Path | None:
        """Return the file of what people decided about a partition, or none."""
        return self._lake.find("decisions", self._source, partition, self._work)

    def match(self, decisions: Path, findings: pl.LazyFrame, rows: int) -> Decided:
        """Find the rows that people decided about.

        Args:
            decisions: What `decisions` returns.
            findings: `_row`, `_file`, `_version`, `_line` and `row` of the rows that break the
                contract, and `barred`: whether the row breaks a rule of `needed_rules`.
            rows: How many rows the raw partition has.
        """
        found, matched = self._work / "found.parquet", self._work / "decided.parquet"
        findings.sink_parquet(found, engine="streaming")
        with self._connection() as connection:
            _view(connection, "decisions", f"select * from read_parquet({literal(decisions)})")
            connection.execute(f"create table standing as {STANDING}")
            _view(
                connection,
                "found",
                f"select *, content(row) as content from read_parquet({literal(found)})",
            )
            connection.execute(f"copy ({MATCHED}) to {literal(matched)} (format parquet)")
            stands = connection.execute(STANDS).fetchone()
            flags = {}
            for action in ("release", "discard"):
                flags[action] = np.zeros(rows, dtype=np.bool_)
                chosen = f"select _row from read_parquet({literal(matched)}) where action = $1 and "
                chosen += "(action = 'discard' or not barred)"
                numbers = connection.execute(chosen, [action]).fetchnumpy()["_row"]
                flags[action][np.asarray(numbers, dtype=np.int64)] = True
            kept = f"from read_parquet({literal(matched)}) where action = 'release' and barred"
            (barred,) = connection.execute(f"select count(*) {kept}").fetchone() or (0,)
        digest = str(stands[0]) if stands and stands[0] else ""
        return Decided(flags["release"], flags["discard"], barred, digest, matched)

    def digest(self, partition: str) -> str:
        """Return the digest of what holds of a partition now: see `Decided`."""
        decisions = self.decisions(partition)
        if decisions is None:
            return ""
        with self._connection() as connection:
            _view(connection, "decisions", f"select * from read_parquet({literal(decisions)})")
            connection.execute(f"create table standing as {STANDING}")
            stands = connection.execute(STANDS).fetchone()
        return str(stands[0]) if stands and stands[0] else ""

    def standing(self, partition: str) -> pl.LazyFrame | None:
        """Return what holds of the entries that people decided about, or none.

        Returns:
            `_file`, `_version`, `_line`, `content`, `action`, `person`, `reason`, `decided_at`,
            `rules` and `row`.
        """
        path = self.decisions(partition)
        if path is None:
            return None
        decisions = pl.scan_parquet(path, glob=False, hive_partitioning=False)
        last = pl.struct("_file", "_version", "_line", "content").is_last_distinct()
        return decisions.sort("decided_at").filter(last).filter(pl.col("action") != REOPEN)

    def decide(self, partition: str, chosen: pl.DataFrame, decision: Decision) -> None:
        """Record what a person decided, under the lock of the cleaned partition.

        Args:
            partition: The partition.
            chosen: `_file`, `_version`, `_line`, `rules` and `row` of each entry.
            decision: What was decided about them.
        """
        before, staged = self.decisions(partition), self._work / "decisions.parquet.new"
        older = "" if before is None else f"union all by name from read_parquet({literal(before)})"
        with self._connection() as connection:
            connection.register("chosen", chosen.to_arrow())
            connection.execute(
                f"copy (select {literal(partition)} as _partition, _file, _version, _line, "
                f"content(row) as content, {literal(decision.action)} as action, "
                f"{literal(decision.person)} as person, {literal(decision.reason)} as reason, "
                f"now() as decided_at, rules, row from chosen {older}) "
                f"to {literal(staged)} (format parquet, compression zstd)"
            )
        rows = count_rows(staged)
        self._lake.publish(staged, "decisions", self._source, partition, rows=rows)

    def close(
        self,
        partition: str,
        staged: Path,
        raw: Manifest,
        stamp: Manifest,
        decided: Decided | None,
    ) -> dict[str, int]:
        """Record which open entries are not among those that are about to be published.

        Args:
            partition: The partition.
            staged: The quarantine that is about to be published.
            raw: The raw partition.
            stamp: What is about to be published.
            decided: What people decided about the partition, if they did.

        Returns:
            How many closed, by how: ``passed`` (the row breaks nothing any more), ``released``,
            ``discarded``, or ``gone`` (the file has another version, or is not there any more).
        """
        before = self._lake.manifest("quarantine", self._source, partition)
        if before is None or not before.rows or before.data_version == stamp.data_version:
            return {}
        standing = self._lake.find("quarantine", self._source, partition, self._work)
        older = self._lake.find("closed", self._source, partition, self._work)
        path = self._work / "closed.parquet.new"
        if standing is None:
            return {}
        with self._connection() as connection:
            _view(connection, "before", _entries(connection, standing))
            _view(connection, "after", _entries(connection, staged))
            _view(connection, "decided", _decided(decided))
            connection.execute("create table files (_file varchar, _version varchar)")
            pairs = [(file.name, file.version) for file in raw.files]
            if pairs:
                connection.executemany("insert into files values ($1, $2)", pairs)
            connection.execute(f"create table closed as {_closed(partition, before, stamp)}")
            counts = connection.execute("select how, count(*) from closed group by all").fetchall()
            if counts:
                connection.execute(
                    f"copy (from closed {_older(older, before)}) to {literal(path)} "
                    "(format parquet, compression zstd)"
                )
        if counts:
            self._lake.publish(path, "closed", self._source, partition, rows=count_rows(path))
        return {str(how): int(number) for how, number in sorted(counts)}

    def moved(self, before: Path, after: Path) -> tuple[dict[str, Moved], dict[str, Moved]]:
        """Compare two quarantines of a partition, whatever their entries' states.

        Returns:
            By rule, the entries that only the second has, and those that only the first has.
        """
        with self._connection() as connection:
            for name, path in (("before", before), ("after", after)):
                rows = f"select *, content(row) as content from read_parquet({literal(path)})"
                _view(connection, name, rows)
            return _moved(connection, "after", "before"), _moved(connection, "before", "after")

    def would_close(
        self, partition: str, staged: Path, rule: str | None, *, reread: bool = False
    ) -> tuple[int, int]:
        """Return how many entries are open, and how many of them a quarantine does not hold.

        Args:
            partition: The partition.
            staged: The quarantine that would be published.
            rule: Only entries that break this rule count; none: all.
            reread: Whether the bytes were read otherwise: then a row of other content on the same
                line is that entry still.
        """
        same = PLACE if reread else SAME
        standing = self._lake.find("quarantine", self._source, partition, self._work)
        if standing is None:
            return 0, 0
        with self._connection() as connection:
            _view(connection, "before", _entries(connection, standing))
            _view(connection, "after", _entries(connection, staged))
            counted = connection.execute(
                "select count(*), count(*) filter (where a.state is distinct from 'open') "
                f"from before b left join (select {same}, max(state) as state from after "
                f"group by all) a using ({same}) where b.state = 'open' "
                "and ($1 is null or list_contains(b.rules, $1))",
                [rule],
            ).fetchone()
        return (0, 0) if counted is None else (int(counted[0]), int(counted[1]))

    def _connection(self) -> Spilling:
        return Spilling(self._work, self._memory_limit_mb, CONTENT)


def _view(connection: duckdb.DuckDBPyConnection, name: str, query: str) -> None:
    connection.execute(f"create view {name} as {query}")


def _entries(connection: duckdb.DuckDBPyConnection, path: Path) -> str:
    """Return the query of a quarantine's entries; those of an older release have no state."""
    file = f"read_parquet({literal(path)})"
    names = [row[0] for row in connection.execute(f"describe from {file}").fetchall()]
    state = "state" if "state" in names else "'open' as state"
    return (
        f"select _file, _version, _line, {state}, rules, row, content(row) as content from {file}"
    )


def _decided(decided: Decided | None) -> str:
    if decided is not None:
        return f"from read_parquet({literal(decided.rows)})"
    nothing = "null::varchar as _file, null::varchar as _version, null::bigint as _line, "
    nothing += "null::varchar as content, null::varchar as action, null::varchar as person, "
    return f"select {nothing} null::varchar as reason where false"


def _closed(partition: str, before: Manifest, stamp: Manifest) -> str:
    """Return the query of the entries that close, and how."""
    return f"""
        select {literal(partition)} as _partition, b._file, b._version, b._line, b.content,
            case when a.state = 'discarded' then 'discarded'
                when d.action = 'release' then 'released'
                when f._file is not null then 'passed' else 'gone' end as how,
            case when d.action is not null then d.person end as person,
            case when d.action is not null then d.reason end as reason,
            {literal(stamp.published_at)} as closed_at, {literal(stamp.run_id)} as run_id,
            {literal(stamp.declaration)} as declaration,
            {literal(before.published_at)} as quarantined_at, b.rules, b.row
        from before b
        left join (select distinct {SAME}, state from after) a using ({SAME})
        left join (select distinct {SAME}, action, person, reason from decided) d using ({SAME})
        left join (select distinct * from files) f using (_file, _version)
        where b.state = 'open' and a.state is distinct from 'open'
    """


def _older(path: Path | None, before: Manifest) -> str:
    """Return what adds the entries that closed before; not those of a publish that was killed."""
    if path is None:
        return ""
    moment = literal(before.published_at)
    return (
        f"union all by name select * from read_parquet({literal(path)}) "
        f"where quarantined_at <> {moment}"
    )


def _moved(connection: duckdb.DuckDBPyConnection, ours: str, others: str) -> dict[str, Moved]:
    """Return the entries of one view that another has not, by rule."""
    found = connection.execute(
        f"""
        with mine as (
            select _file, _line, unnest(reasons) as reason from {ours} o
            anti join {others} using ({SAME})
        )
        select reason.rule, count(*),
            min_by((_file, _line, left(reason.value, {LONGEST})), (_file, _line), {SAMPLES})
        from mine where reason.severity <> 'warn' group by all order by 2 desc, 1
        """
    )
    return {
        str(rule): Moved(
            int(rows),
            tuple(tuple(one.values()) if isinstance(one, dict) else tuple(one) for one in samples),
        )
        for rule, rows, samples in found.fetchall()
    }
