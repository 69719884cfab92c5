"""What differs between two Parquet files of rows of the same kind.

What belongs here: comparing rows by what identifies them, by DuckDB in bounded memory. What does
not: what the rows mean, and telling people of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dataflow_assets.io.spilling import Spilling
from dataflow_assets.io.warehouse import literal, quoted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import duckdb

SAMPLES = 3
LONGEST = 80
"""Characters of a value in a sample."""
ORIGIN = ("_file", "_version", "_line")
ORDINAL = "_ordinal"


@dataclass(frozen=True)
class Sample:
    """A value that differs.

    Attributes:
        where: What identifies the row.
        before: The value as text; none if there was none.
        after: The same of the other file.
    """

    where: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class Difference:
    """What differs between two files.

    Attributes:
        added: Rows that only the second has.
        removed: Rows that only the first has.
        changed: Rows that both have, with other values.
        values: By column of both, the rows whose value differs.
        samples: By column, some of these.
        columns_added: Columns that only the second has, with their types.
        columns_dropped: Columns that only the first has.
        columns_retyped: By column of both, the two types where they differ.
    """

    added: int = 0
    removed: int = 0
    changed: int = 0
    values: dict[str, int] = field(default_factory=dict)
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    columns_added: dict[str, str] = field(default_factory=dict)
    columns_dropped: tuple[str, ...] = ()
    columns_retyped: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything differs."""
        columns = self.columns_added or self.columns_dropped or self.columns_retyped
        return bool(self.added or self.removed or self.changed or columns)


def compare(
    before: Path, after: Path, key: Sequence[str], work: Path, memory_limit_mb: int
) -> Difference:
    """Compare the rows of two files.

    Rows with the same key are compared in their order, where there are several.

    Args:
        before: Parquet file.
        after: Parquet file.
        key: The columns that identify a row; both files have them.
        work: Folder to spill into.
        memory_limit_mb: Bound for the memory, in MB.
    """
    with Spilling(work, memory_limit_mb) as connection:
        types = {}
        for name, path in (("b", before), ("a", after)):
            file = f"read_parquet({literal(path)}, file_row_number = true)"
            described = connection.execute(f"describe from {file}").fetchall()
            types[name] = {str(row[0]): str(row[1]) for row in described}
            connection.execute(f"create view {name} as {_numbered(connection, file, key)}")
        old, new = types["b"], types["a"]
        hidden = {"file_row_number", "_raw_ref", *key, *ORIGIN}
        common = [name for name in old if name in new and name not in hidden]
        differs = {
            name: f"(b.{quoted(name)} is distinct from a.{quoted(name)})"
            if old[name] == new[name]
            else f"(try_cast(b.{quoted(name)} as varchar) is distinct from "
            f"try_cast(a.{quoted(name)} as varchar))"
            for name in common
        }
        joined = _joined(key, old, new)
        counted = connection.execute(_counts(joined, list(differs.values()))).fetchone() or ()
        added, removed, changed, *each = (int(number) for number in counted)
        values = {name: rows for name, rows in zip(common, each, strict=True) if rows}
        samples = {name: _samples(connection, joined, key, name, differs[name]) for name in values}
    seen = {name for name in (*old, *new) if name != "file_row_number"}
    return Difference(
        added=added,
        removed=removed,
        changed=changed,
        values=values,
        samples=samples,
        columns_added={name: new[name] for name in new if name in seen and name not in old},
        columns_dropped=tuple(name for name in old if name in seen and name not in new),
        columns_retyped={
            name: (old[name], new[name]) for name in old if name in new and old[name] != new[name]
        },
    )


def _numbered(connection: duckdb.DuckDBPyConnection, file: str, key: Sequence[str]) -> str:
    """Return the query of a file's rows, with their number among those of the same key."""
    names = ", ".join(map(quoted, key))
    twice = f"select 1 from {file} group by {names} having count(*) > 1 limit 1"
    if connection.execute(twice).fetchone() is None:
        return f"select *, 1 as {ORDINAL} from {file}"
    ordinal = f"row_number() over (partition by {names} order by file_row_number)"
    return f"select *, {ordinal} as {ORDINAL} from {file}"


def _joined(key: Sequence[str], old: dict[str, str], new: dict[str, str]) -> str:
    same = [f"b.{ORDINAL} = a.{ORDINAL}"]
    for name in key:
        column = quoted(name)
        if old.get(name) == new.get(name):
            same.append(f"b.{column} = a.{column}")
        else:
            same.append(f"cast(b.{column} as varchar) = cast(a.{column} as varchar)")
    return f"b full join a on {' and '.join(same)}"


def _counts(joined: str, differs: Sequence[str]) -> str:
    both = f"b.{ORDINAL} is not null and a.{ORDINAL} is not null"
    some = " or ".join(differs) or "false"
    each = "".join(f", count(*) filter (where {both} and {one})" for one in differs)
    return (
        f"select count(*) filter (where b.{ORDINAL} is null), "
        f"count(*) filter (where a.{ORDINAL} is null), "
        f"count(*) filter (where {both} and ({some})){each} from {joined}"
    )


def _samples(
    connection: duckdb.DuckDBPyConnection, joined: str, key: Sequence[str], name: str, differs: str
) -> list[Sample]:
    shown = [part for part in key if part != "_version"]
    where = ", ".join(f"a.{quoted(part)}" for part in shown)
    value = f"left(cast({{0}}.{quoted(name)} as varchar), {LONGEST})"
    found = connection.execute(
        f"select concat_ws(':', {where}), {value.format('b')}, {value.format('a')} from {joined} "
        f"where b.{ORDINAL} is not null and a.{ORDINAL} is not null and {differs} "
        f"order by {where} limit {SAMPLES}"
    )
    return [Sample(str(row[0]), row[1], row[2]) for row in found.fetchall()]
