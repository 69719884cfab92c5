"""An entity's table in Postgres: made as declared, and migrated when the declaration changes.

What belongs here: the statements that make and change tables, and their record. What does not:
rows.

Who publishes holds a table's lock together with others, who migrates it holds it alone; everyone
takes the locks in the same order, so nobody waits in a circle.
"""

from __future__ import annotations

import hashlib
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from psycopg import errors, sql

from dataflow_assets.declaration.entity import HISTORY_COLUMNS
from dataflow_assets.errors import WarehouseSchemaError
from dataflow_assets.io.ledger import DDL as LEDGER
from dataflow_assets.io.ledger import LEDGER_TABLES
from dataflow_assets.io.postgres.connections import set_lock_timeout, writing
from dataflow_assets.io.postgres.types import TEXT, postgres_type, widens
from dataflow_assets.io.warehouse import TECHNICAL, quoted
from dataflow_assets.io.write_modes import CLOSED_BY, WriteMode

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dataflow_assets.io.postgres.connections import Connection
    from dataflow_assets.io.warehouse import EntityTable

MIGRATIONS = """
create table if not exists dataflow.migrations (
    number bigint generated always as identity primary key,
    migrated_at timestamptz not null default clock_timestamp(),
    migrated_by text not null default current_user,
    statement text not null
);
comment on table dataflow.migrations is 'What changed the tables, in order';
"""
COLUMNS = """
    select a.attname, format_type(a.atttypid, a.atttypmod), col_description(a.attrelid, a.attnum)
    from pg_attribute a
    where a.attrelid = to_regclass(%s) and a.attnum > 0 and not a.attisdropped
"""
INDEXES = """
    select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid
    where i.indrelid = to_regclass(%s) and i.indisvalid
"""
OUR_INDEX = re.compile(r".*_key_[0-9a-f]{8}")
MOMENT = "timestamp with time zone"
BY_BYTES = ("_partition", CLOSED_BY)
"""Columns whose order is that of partitions, whatever the language of the database."""
LONGEST_NAME = 63
"""Bytes of a name; Postgres cuts off what is longer, without an error."""
READERS_WAIT_S = 0.2
"""Seconds for which a migration that waits for a long reader may keep other readers waiting."""
PAUSE_S = 0.5


def column_types(table: EntityTable) -> dict[str, str]:
    """Return the Postgres type of each column, technical ones last.

    Raises:
        WarehouseSchemaError: Postgres has no such type, or cuts off such a name.
    """
    for name in table.columns:
        if len(name.encode()) > LONGEST_NAME:
            raise WarehouseSchemaError(
                f"the column's name has more than {LONGEST_NAME} bytes, which Postgres cuts off.",
                mend="Give the column a shorter name.",
                source=table.name,
                culprit=name,
            )
    declared = {name: postgres_type(dtype) for name, dtype in table.columns.items()}
    technical = dict.fromkeys(WriteMode.of(table).technical, TEXT)
    moments = dict.fromkeys(technical.keys() & set(HISTORY_COLUMNS), MOMENT)
    return declared | technical | moments


def ledger_is_there(connection: Connection) -> bool:
    """Whether the ledger's tables have been made."""
    tables = [f"dataflow.{name}" for name in (*LEDGER_TABLES, "migrations")]
    found = connection.execute(
        "select bool_and(to_regclass(name) is not null) from unnest(%s::text[]) name", [tables]
    ).fetchone()
    return found == (True,)


def missing(connection: Connection, table: EntityTable) -> list[str]:
    """Return the statements that make the table what is declared; none if it is.

    Raises:
        WarehouseSchemaError: One would lose data; it is given for a person to run.
    """
    there = {
        str(name): str(kind) for name, kind, _ in connection.execute(COLUMNS, [table.qualified])
    }
    wanted, index = column_types(table), KeyIndex.of(table)
    if not there:
        parts = [_definition(name, kind) for name, kind in wanted.items()]
        return [f"create table {table.qualified} ({', '.join(parts)})", index.statement]
    if (CLOSED_BY in there) != WriteMode.of(table).keeps_history:
        raise WriteMode.of(table).refuse_other_kind()
    statements = [
        f"alter table {table.qualified} add column {_definition(name, kind)}"
        for name, kind in wanted.items()
        if name not in there
    ]
    statements += [
        _widening(table, name, there[name], kind)
        for name, kind in wanted.items()
        if there.get(name, kind) != kind
    ]
    known = {str(name) for (name,) in connection.execute(INDEXES, [table.qualified])}
    statements += [
        f"drop index normalized.{quoted(name)}"
        for name in sorted(known - {index.name})
        if OUR_INDEX.fullmatch(name)
    ]
    return statements if index.name in known else [*statements, index.statement]


@dataclass(frozen=True)
class KeyIndex:
    """The index that keeps keys unique: in a partition, the table, or among current versions.

    Attributes:
        name: Made of what it is, so that another key has another name.
        statement: What makes it.
    """

    name: str
    statement: str

    @classmethod
    def of(cls, table: EntityTable) -> Self:
        """Return the index that a table's key and write mode need."""
        mode = WriteMode.of(table)
        columns = ("_partition", *table.key) if mode.per_partition else table.key
        where = " where valid_to is null" if mode.keeps_history else ""
        what = f"{table.qualified} ({', '.join(map(quoted, columns))}){where}"
        name = f"{table.name[:48]}_key_{hashlib.sha256(what.encode()).hexdigest()[:8]}"
        unique = "unique " if table.key else ""
        return cls(name, f"create {unique}index {quoted(name)} on {what}")


def is_there(connection: Connection, table: EntityTable) -> bool:
    """Whether the table has been made."""
    # By a query of a catalogue: `to_regclass` alone would not notice what others have just made.
    return connection.execute(COLUMNS, [table.qualified]).fetchone() is not None


@contextmanager
def new_table(connection: Connection, table: EntityTable) -> Iterator[None]:
    """Make a table that is not there, and its index once it is filled.

    An index made of rows that are there takes half the work of one that grows with them. Until the
    open transaction ends, nobody sees the table, so nobody sees it without its index.
    """
    create, *index = missing(connection, table)
    with _as_owner(connection):
        _run(connection, [create])
    yield
    with _as_owner(connection):
        _run(connection, [*index, *outdated_comments(connection, table)])


def outdated_comments(connection: Connection, table: EntityTable) -> list[str]:
    """Return the statements that keep the table's descriptions as they are declared."""
    rows = connection.execute(COLUMNS, [table.qualified]).fetchall()
    known: Mapping[str, object] = {str(name): text for name, _, text in rows}
    described = connection.execute(
        "select obj_description(to_regclass(%s), 'pg_class')", [table.qualified]
    ).fetchone()
    statements = [
        f"comment on column {table.qualified}.{quoted(name)} is {_literal(text)}"
        for name, text in table.comments.items()
        if text and known.get(name) != text
    ]
    if table.description and described != (table.description,):
        statements.append(f"comment on table {table.qualified} is {_literal(table.description)}")
    return statements


def migrate(connection: Connection, table: EntityTable | None, lock_timeout_s: float) -> None:
    """Make the ledger and the table what is declared, and record by which statements.

    Args:
        connection: In autocommit mode.
        table: The entity's; if none is given, only the ledger.
        lock_timeout_s: How long to wait for others who use the table.

    Raises:
        psycopg.Error: There is no right to it, or others do not leave the table.
        WarehouseSchemaError: Data would be lost.
    """
    until = time.monotonic() + lock_timeout_s
    while True:
        try:
            _migrate(connection, table, lock_timeout_s)
        except errors.LockNotAvailable:
            if time.monotonic() > until:
                raise
        else:
            return
        time.sleep(PAUSE_S)


def _migrate(connection: Connection, table: EntityTable | None, lock_timeout_s: float) -> None:
    with writing(connection, lock_timeout_s):
        lock(connection, "migrations")
        if table is not None:
            lock(connection, table.qualified)
        set_lock_timeout(connection, READERS_WAIT_S)
        with _as_owner(connection):
            if not ledger_is_there(connection):
                connection.execute(LEDGER)
                connection.execute(MIGRATIONS)
            if table is not None:
                _change(connection, table)
                _run(connection, outdated_comments(connection, table))


def _change(connection: Connection, table: EntityTable) -> None:
    """Make the table what is declared; rows of an older key may stand in the way of a new one."""
    statements = missing(connection, table)
    try:
        with connection.transaction():
            _run(connection, statements)
    except errors.UniqueViolation as error:
        mode = WriteMode.of(table)
        raise WarehouseSchemaError(
            f"the table holds keys more than once, as it was written so far; the key "
            f"{', '.join(table.key)} with write: {mode.write.mode} needs each once.",
            mend=f"Run yourself: {mode.set_aside()}; then materialize all partitions.",
            source=table.name,
            culprit=table.qualified,
        ) from error


def _run(connection: Connection, statements: Sequence[str]) -> None:
    """Run statements, and keep a record of them."""
    for statement in statements:
        connection.execute(statement.encode())
        connection.execute("insert into dataflow.migrations (statement) values (%s)", [statement])


@contextmanager
def _as_owner(connection: Connection) -> Iterator[None]:
    """Act as the owner of the schema, where this user may: so all tables have one owner."""
    owner = connection.execute(
        "select r.rolname from pg_namespace n join pg_roles r on r.oid = n.nspowner "
        "where n.nspname = 'normalized' and pg_has_role(current_user, r.oid, 'set')"
    ).fetchone()
    if owner is not None:
        connection.execute(sql.SQL("set local role {}").format(sql.Identifier(str(owner[0]))))
    yield
    connection.execute("reset role")


def lock(connection: Connection, *what: str, shared: bool = False) -> None:
    """Wait for a lock, and hold it until the transaction ends."""
    connection.execute(
        f"select pg_advisory_xact_lock{'_shared' if shared else ''}(hashtextextended(%s, 0))",
        [" ".join(("dataflow", *what))],
    )


def _definition(name: str, kind: str) -> str:
    order = ' collate "C"' if name in BY_BYTES else ""
    return f"{quoted(name)} {kind}{order}{' not null' if name in TECHNICAL else ''}"


def _widening(table: EntityTable, name: str, there: str, wanted: str) -> str:
    statement = f"alter table {table.qualified} alter column {quoted(name)} type {wanted}"
    if widens(there, wanted):
        return statement
    raise WarehouseSchemaError(
        f"the column {name!r} is {there} in the warehouse and {wanted} in the declaration; "
        "changing it could lose data.",
        mend=f"Declare {there}, or run yourself: {statement} using {quoted(name)}::{wanted}; "
        "then publish all partitions again.",
        source=table.name,
        culprit=name,
    )


def _literal(text: str) -> str:
    return sql.Literal(text).as_string()
