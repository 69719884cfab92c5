"""Schemas, roles and rights: what is set up once, by somebody who may.

What belongs here: the statements of the set-up, each of which can run again. What does not: tables
of entities; publishes make and change those just as well, where they may.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from psycopg import sql

from dataflow_assets.io.postgres.connections import Connections
from dataflow_assets.io.postgres.tables import lock, migrate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import SecretStr

    from dataflow_assets.io.postgres.connections import Connection
    from dataflow_assets.io.warehouse import EntityTable

OWNER, WRITER, READER = "dataflow_owner", "dataflow_writer", "dataflow_reader"
SCHEMAS = ("normalized", "dataflow")
ROLE = """
do $$ begin
    if not exists (select from pg_roles where rolname = '{role}') then create role {role}; end if;
end $$
"""
MAY_ACT = "select pg_has_role(current_user, %s, 'set')"
DATABASE = "grant connect, temporary on database {} to {}"
SCHEMA = """
create schema if not exists {schema} authorization dataflow_owner;
alter schema {schema} owner to dataflow_owner;
grant usage on schema {schema} to dataflow_writer, dataflow_reader;
grant select, insert, update, delete on all tables in schema {schema} to dataflow_writer;
grant select on all tables in schema {schema} to dataflow_reader;
alter default privileges for role dataflow_owner in schema {schema}
    grant select, insert, update, delete on tables to dataflow_writer;
alter default privileges for role dataflow_owner in schema {schema}
    grant select on tables to dataflow_reader
"""
TABLES = """
    select format('alter %%s %%I.%%I owner to dataflow_owner',
        case c.relkind when 'v' then 'view' else 'table' end, n.nspname, c.relname)
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = any(%s) and c.relkind in ('r', 'v', 'p')
        and c.relowner <> 'dataflow_owner'::regrole
"""


def set_up(
    url: SecretStr, place: str, tables: Sequence[EntityTable], lock_timeout_s: float
) -> list[str]:
    """Make schemas, roles, rights and the declared tables, or mend what is there.

    Args:
        url: The database, with a user who may make roles and schemas in it.
        place: The same as it may be shown.
        tables: Those of the declared entities.
        lock_timeout_s: Seconds to wait for others who use a table.

    Returns:
        What there is now, in lines for a person.

    Raises:
        WarehouseRefusedError: The user may not.
        WarehouseSchemaError: A table cannot become what is declared without losing data.
    """
    connections = Connections(url, 1, place)
    connections.write(_make_roles_and_schemas, lock_timeout_s)
    connections.run(partial(migrate, table=None, lock_timeout_s=lock_timeout_s))
    for table in tables:
        connections.run(partial(migrate, table=table, lock_timeout_s=lock_timeout_s))
    return [
        f"{place}: schemas {' and '.join(SCHEMAS)} belong to {OWNER}",
        f"publishing needs only: grant {WRITER} to <user>",
        f"reading needs only: grant {READER} to <user>",
        f"tables: {', '.join(table.name for table in tables) or 'none is declared'}",
    ]


def _make_roles_and_schemas(connection: Connection) -> None:
    lock(connection, "migrations")
    for role in (OWNER, WRITER, READER):
        connection.execute(ROLE.format(role=role).encode())
    if connection.execute(MAY_ACT, [OWNER]).fetchone() != (True,):
        connection.execute(f"grant {OWNER} to current_user".encode())
    name = sql.Identifier(connection.info.dbname)
    connection.execute(
        sql.SQL("grant create on database {} to {}").format(name, sql.Identifier(OWNER))
    )
    for role in (WRITER, READER):
        connection.execute(sql.SQL(DATABASE).format(name, sql.Identifier(role)))
    for schema in SCHEMAS:
        connection.execute(f"create schema if not exists {schema}".encode())
    for (statement,) in connection.execute(TABLES, [list(SCHEMAS)]).fetchall():
        connection.execute(str(statement).encode())
    for schema in SCHEMAS:
        connection.execute(SCHEMA.format(schema=schema).encode())
