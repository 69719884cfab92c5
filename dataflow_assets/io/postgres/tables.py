"""An entity's table in Postgres: made as declared, and migrated when the declaration changes.

What belongs here: the statements that make and change tables, and their record. What does not:
rows.

Who publishes holds a table's lock together with others, who migrates it holds it alone; everyone
takes the locks in the same order, so nobody waits in a circle.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from psycopg import errors, sql

from dataflow_assets.errors import WarehouseSchemaError
from dataflow_assets.io.ledger import DDL as LEDGER
from dataflow_assets.io.postgres.connections import set_lock_timeout, writing
from dataflow_assets.io.postgres.types import TEXT, postgres_type, widens
from dataflow_assets.io.warehouse import TECHNICAL, quoted

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
UNIQUE_INDEXES = """
    select array_agg(a.attname::text order by k.place)
    from pg_index i, unnest(i.indkey::int[]) with ordinality k(number, place), pg_attribute a
    where i.indrelid = to_regclass(%s) and i.indisunique and i.indisvalid and i.indpred is null
        and a.attrelid = i.indrelid and a.attnum = k.number
    group by i.indexrelid
"""
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
    return declared | dict.fromkeys(TECHNICAL, TEXT)


def ledger_is_there(connection: Connection) -> bool:
    """Whether the ledger's tables have been made."""
    found = connection.execute("select to_regclass('dataflow.migrations') is not null").fetchone()
    return found == (True,)


def missing(connection: Connection, table: EntityTable) -> list[str]:
    """Return the statements that make the table what is declared; none if it is.

    Raises:
        WarehouseSchemaError: One would lose data; it is given for a person to run.
    """
    there = {
        str(name): str(kind) for name, kind, _ in connection.execute(COLUMNS, [table.qualified])
    }
    wanted = column_types(table)
    if not there:
        parts = [_definition(name, kind) for name, kind in wanted.items()]
        return [f"create table {table.qualified} ({', '.join(parts)})", _key_index(table)]
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
    indexes = [columns for (columns,) in connection.execute(UNIQUE_INDEXES, [table.qualified])]
    if list(key_columns(table)) not in indexes:
        statements.append(_key_index(table))
    return statements


def key_columns(table: EntityTable) -> tuple[str, ...]:
    """Return the columns of which no two rows have the same values."""
    return ("_partition", *table.key)


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
                _run(connection, missing(connection, table))
                _run(connection, outdated_comments(connection, table))


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
    return f"{quoted(name)} {kind}{' not null' if name in TECHNICAL else ''}"


def _key_index(table: EntityTable) -> str:
    columns = ", ".join(map(quoted, key_columns(table)))
    return f"create {'unique ' if table.key else ''}index on {table.qualified} ({columns})"


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
