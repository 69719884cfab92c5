"""How a staged partition enters the table of an entity: the same statements on every warehouse.

What belongs here: the SQL of each write mode, and the order in which partitions are applied. What
does not: staging rows, transactions, locks, types, and the ledger; those are the warehouse's.

A warehouse publishes so, `mode` being `WriteMode.of(table)`, in which `mode.technical` names
the columns that it has besides the declared ones (`valid_to` and `_closed_by` are null where an
insert does not name them):

1.  Take a lock that no other publish of the same table holds until the transaction ends, unless
    `mode.per_partition`: statements look at the whole table. Put the publications into
    `mode.ordered`, then open a transaction.
2.  Unless `mode.per_partition`, if `mode.latest_declaration(asset)` selects another declaration
    than the publication's, or none: the single number that `mode.repeated_keys()` selects must be
    0, else raise `mode.refuse_repeated_keys`. If the table has the column `_closed_by` and the mode
    keeps no history, or the other way round, raise `mode.refuse_other_kind`.
3.  `applied`: what `mode.applied_from(asset, first)` selects, if `mode.keeps_history`, else none.
    `mode.together(partitions, applied)` says how many of the waiting partitions belong into one
    transaction; if there are any `applied`, run `mode.rewind_steps(first)` before them.
4.  For each of them stage the rows with the columns of `mode.staged`, with equal types, and run
    the steps of `mode.write_steps(part)`. What a step counts is the number of rows that it changed,
    or the one number that it selects. The sum of ``loaded`` and ``duplicate`` must be the number of
    rows staged: `accounted` sees to it, and gives the row for the ledger. Write it, and commit.

All statements run on DuckDB 1.5 and on PostgreSQL 16 and later. A name or text that comes from
outside is always quoted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

from dataflow_assets.declaration.entity import HISTORY_COLUMNS
from dataflow_assets.errors import ConservationError, HistoryOrderError, WarehouseSchemaError
from dataflow_assets.io.warehouse import TECHNICAL, literal, quoted

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence

    from dataflow_assets.declaration.entity import Write
    from dataflow_assets.io.ledger import LedgerRow
    from dataflow_assets.io.warehouse import EntityTable, Publication

CLOSED_BY = "_closed_by"
"""The partition that ended a version, null while it is current: what a rewind goes back by."""

MOST_NAMED = 5
"""Partitions that an error names."""


@dataclass(frozen=True)
class Part:
    """The staged rows of one partition; its keys are unique and none of them is null.

    Attributes:
        relation: The table, or query in parentheses, that gives the columns of `WriteMode.staged`.
        partition: Which one.
        sources: The sources that took part, with rows or without.
        moment: When the partition's window begins; none if it is no window of time.
    """

    relation: str
    partition: str
    sources: tuple[str, ...]
    moment: dt.datetime | None

    @property
    def named(self) -> str:
        """The relation under the name by which statements refer to it."""
        return f"{self.relation} as s"


@dataclass(frozen=True)
class Step:
    """A statement, and what the number of its rows is added to.

    Attributes:
        sql: The statement. A query gives one row of one number; of others the rows count that they
            changed.
        counts: ``loaded``, ``duplicate``, or none if the number means nothing.
    """

    sql: str
    counts: Literal["loaded", "duplicate"] | None = None


@dataclass(frozen=True)
class WriteMode:
    """How partitions enter one table.

    Attributes:
        name: The entity's name, for messages.
        table: The table with its schema, quoted.
        columns: The declared columns, in order.
        key: Those that identify a row.
        write: What is declared.
        values: The fixed list of partitions in its order; none if they are windows of time, whose
            keys sort as text.
    """

    name: str
    table: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    write: Write
    values: tuple[str, ...] | None = None

    @classmethod
    def of(cls, table: EntityTable) -> Self:
        """Return how partitions enter the table of an entity."""
        columns = tuple(table.columns)
        return cls(table.name, table.qualified, columns, table.key, table.write, table.partitions)

    @property
    def per_partition(self) -> bool:
        """Whether a publish looks at the rows of its partition only."""
        return self.write.mode == "replace"

    @property
    def keeps_history(self) -> bool:
        """Whether the table holds versions of rows, so that partitions are applied in order."""
        return self.write.mode == "history"

    @property
    def technical(self) -> tuple[str, ...]:
        """The columns of the table besides the declared ones; see `documentation/data-schemas`."""
        return (*HISTORY_COLUMNS, *TECHNICAL, CLOSED_BY) if self.keeps_history else TECHNICAL

    @property
    def staged(self) -> tuple[str, ...]:
        """The columns of a staged relation."""
        return (*self.columns, *TECHNICAL)

    def write_steps(self, part: Part) -> list[Step]:
        """Return the statements that let a partition's rows in, in order."""
        by_mode = {
            "replace": self._replace,
            "append": self._append,
            "upsert": self._upsert,
            "history": self._history,
        }
        return by_mode[self.write.mode](part)

    def ordered(self, publications: Iterable[Publication]) -> list[Publication]:
        """Return publications in the order in which they are applied, earliest partition first."""
        if self.per_partition:
            return list(publications)
        return sorted(publications, key=lambda one: self._rank(one.partition))

    def together(self, partitions: Sequence[str], applied: Sequence[str]) -> int:
        """Return how many of the waiting partitions are published in one transaction.

        Args:
            partitions: Those that wait, in order.
            applied: Those of the table's history that are not before the first of them.

        Raises:
            HistoryOrderError: One that was applied is not among those that wait.
        """
        if not applied:
            return 1
        missing = sorted(set(applied) - set(partitions), key=self._rank)
        if not missing:
            return len(partitions)
        last = max(*partitions, *missing, key=self._rank)
        named = ", ".join([*missing[:MOST_NAMED], *(["..."] if len(missing) > MOST_NAMED else [])])
        raise HistoryOrderError(
            f"the history goes on after it, with {len(missing):,} partitions that this run does "
            f"not have: {named}.",
            mend=f"Materialize {partitions[0]} to {last} as one range, which is applied anew; "
            "the history stays as it was.",
            source=self.name,
            partition=partitions[0],
            culprit=missing[0],
        )

    def applied_from(self, asset: str, partition: str) -> str:
        """Return the query for the partitions in the ledger that are not before one."""
        return (
            f'select "partition" from dataflow.ledger where asset = {literal(asset)} '
            f"and {self._from(quoted('partition'), partition)}"
        )

    def latest_declaration(self, asset: str) -> str:
        """Return the query for the declaration with which the table was last published to."""
        return (
            f"select declaration from dataflow.ledger where asset = {literal(asset)} "
            "order by published_at desc limit 1"
        )

    def rewind_steps(self, partition: str) -> list[Step]:
        """Return the statements that take back what a partition, and those after it, did."""
        return [
            Step(f"delete from {self.table} where {self._from('_partition', partition)}"),
            Step(
                f"update {self.table} set valid_to = null, {CLOSED_BY} = null "
                f"where {self._from(CLOSED_BY, partition)}"
            ),
        ]

    def repeated_keys(self) -> str:
        """Return the query for the number of keys that the table holds more than once.

        Of a history, only current versions are looked at.
        """
        current = "where valid_to is null " if self.keeps_history else ""
        return (
            f"select count(*) from (select 1 from {self.table} {current}"
            f"group by {', '.join(map(quoted, self.key))} having count(*) > 1) as repeated"
        )

    def refuse_repeated_keys(self, keys: int) -> WarehouseSchemaError:
        """Return the error for a table that was filled in another mode, or with another key."""
        return WarehouseSchemaError(
            f"the table holds {keys:,} keys more than once, as it was written so far; "
            f"write: {self.write.mode} needs each key to be there once.",
            mend=f"Run yourself: {self.set_aside()}; then materialize all partitions as one range.",
            source=self.name,
            culprit=self.table,
        )

    def refuse_other_kind(self) -> WarehouseSchemaError:
        """Return the error for a table with versions where none are wanted, or without."""
        there, wanted = ("without", "with") if self.keeps_history else ("with", "without")
        return WarehouseSchemaError(
            f"the table is one {there} a history, where write: {self.write.mode} needs one "
            f"{wanted}.",
            mend=f"Run yourself: {self.set_aside()}; then materialize all partitions as one range.",
            source=self.name,
            culprit=self.table,
        )

    def set_aside(self) -> str:
        """Return the statement by which a person makes room for a new table."""
        return f"alter table {self.table} rename to {quoted(self.name + '_before')}"

    def _replace(self, part: Part) -> list[Step]:
        gone = f"delete from {self.table} where _partition = {literal(part.partition)}"
        return [Step(gone), Step(f"{self._insert()} from {part.named}", "loaded")]

    def _append(self, part: Part) -> list[Step]:
        """A row that stands there as this partition brought it before is loaded, not duplicate."""
        own = f"t._partition = {literal(part.partition)} and not ({self._differs()})"
        known = f"select count(*) from {self.table} as t join {part.named} on {self._same_key()}"
        return [
            Step(f"{known} where {own}", "loaded"),
            Step(f"{known} where not ({own})", "duplicate"),
            Step(f"{self._insert()} from {part.named} where not {self._exists()}", "loaded"),
        ]

    def _upsert(self, part: Part) -> list[Step]:
        """Take out the rows that lose, and let in those whose key is then not there.

        Not as one MERGE: DuckDB took 117 s to publish a million rows again that way, 2 s this way.
        """
        newer = self._newer(part.partition)
        known = f"select count(*) from {self.table} as t join {part.named} on {self._same_key()}"
        gone = f"delete from {self.table} as t using {part.named} where {self._same_key()}"
        return [
            Step(f"{known} where {newer}", "duplicate"),
            Step(f"{gone} and not ({newer})"),
            Step(f"{self._insert()} from {part.named} where not {self._exists()}", "loaded"),
        ]

    def _history(self, part: Part) -> list[Step]:
        """End versions that changed or are gone, then begin one for each key that has none."""
        closing = (
            f"update {self.table} as t set {CLOSED_BY} = {literal(part.partition)}, valid_to ="
        )
        changed = f"{self._same_key()} and t.valid_to is null and ({self._differs()})"
        column = self.write.valid_from
        if column is not None:  # what is older than the current version has come too late
            changed += f" and s.{quoted(column)} >= t.valid_from"
        steps = [Step(f"{closing} {self._changed_at(part)} from {part.named} where {changed}")]
        if self.write.closes_absent and part.sources:
            sources = ", ".join(map(literal, part.sources))
            steps.append(
                Step(
                    f"{closing} greatest({literal(part.moment)}, t.valid_from) "
                    f"where t.valid_to is null and t._source in ({sources}) and not exists "
                    f"(select 1 from {part.named} where {self._same_key()})"
                )
            )
        current = self._exists("t.valid_to is null")
        opening = self._insert(["valid_from"], [self._opened_at(part)])
        source = f"{part.named}{self._ended_before()}"
        return [
            *steps,
            Step(f"select count(*) from {part.named} where {current}", "duplicate"),
            Step(f"{opening} from {source} where not {current}", "loaded"),
        ]

    def _changed_at(self, part: Part) -> str:
        column = self.write.valid_from
        return literal(part.moment) if column is None else f"s.{quoted(column)}"

    def _opened_at(self, part: Part) -> str:
        """Return when a version begins: not before the one before it ended."""
        moment = self._changed_at(part)
        return f"greatest({moment}, e._ended)" if self._ended_before() else moment

    def _ended_before(self) -> str:
        """Return the join for when the last version of a key ended, where that may be later.

        Only a key that was closed for being absent may return with a change time of before.
        """
        if self.write.valid_from is None or not self.write.closes_absent:
            return ""
        keys = _listed(self.key)
        same = " and ".join(f"e.{quoted(name)} = s.{quoted(name)}" for name in self.key)
        return (
            f" left join (select {keys}, max(valid_to) as _ended from {self.table} "
            f"group by {keys}) as e on {same}"
        )

    def _insert(self, more: Sequence[str] = (), values: Sequence[str] = ()) -> str:
        columns = _listed((*self.staged, *more))
        return f"insert into {self.table} ({columns}) select " + ", ".join(
            [_listed(self.staged, "s."), *values]
        )

    def _exists(self, condition: str = "true") -> str:
        return f"exists (select 1 from {self.table} as t where {self._same_key()} and {condition})"

    def _same_key(self) -> str:
        return " and ".join(f"t.{quoted(name)} = s.{quoted(name)}" for name in self.key)

    def _differs(self) -> str:
        """Return whether a row has other values than the one there; nulls equal each other."""
        names = [quoted(name) for name in self.columns if name not in self.key]
        return " or ".join(f"t.{name} is distinct from s.{name}" for name in names) or "false"

    def _newer(self, partition: str) -> str:
        """Return whether the row there is newer than the staged one; true or false, never null."""
        later = self._later("t._partition", partition)
        if self.write.latest_by is None:
            return later
        there, staged = (f"{row}.{quoted(self.write.latest_by)}" for row in ("t", "s"))
        return (
            f"coalesce({there} > {staged}, {there} is not null and {staged} is null) "
            f"or ({there} is not distinct from {staged} and {later})"
        )

    def _rank(self, partition: str) -> tuple[int, str]:
        """Return a partition's place; those that the list has no more come before all others."""
        if self.values is None or partition not in self.values:
            return -1, partition
        return self.values.index(partition), partition

    def _later(self, column: str, partition: str) -> str:
        if self.values is None:
            return f'{column} collate "C" > {literal(partition)}'
        rank, _ = self._rank(partition)
        return _among(column, self.values[rank + 1 :])

    def _from(self, column: str, partition: str) -> str:
        if self.values is None:
            return f'{column} collate "C" >= {literal(partition)}'
        rank, _ = self._rank(partition)
        return _among(column, (partition, *self.values[rank + 1 :]))


def accounted(row: LedgerRow, loaded: int, duplicate: int) -> LedgerRow:
    """Return a ledger's row with what became of the staged rows, which it calls loaded so far.

    Args:
        row: What was to be published.
        loaded: Staged rows that stand in the table.
        duplicate: Staged rows that do not, because of one that stands there.

    Raises:
        ConservationError: Together they are not the rows that were staged.
    """
    if loaded + duplicate != row.counts.loaded:
        raise ConservationError(
            f"{loaded + duplicate:,} rows are accounted for where {row.counts.loaded:,} were "
            "staged.",
            mend="This is a bug in dataflow_assets; nothing was published. Please report it.",
            partition=row.partition,
            culprit=row.source,
        )
    if not duplicate:
        return row
    lost = (row.counts.duplicate or 0) + duplicate
    counts = row.counts.model_copy(update={"loaded": loaded, "duplicate": lost})
    return replace(row, counts=counts)


def _among(column: str, values: Sequence[str]) -> str:
    return f"{column} in ({', '.join(map(literal, values))})" if values else "false"


def _listed(names: Sequence[str], prefix: str = "") -> str:
    return ", ".join(f"{prefix}{quoted(name)}" for name in names)
