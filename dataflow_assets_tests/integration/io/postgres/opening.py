"""How the tests open the Postgres warehouse, and what they look at first."""

from __future__ import annotations

from pydantic import SecretStr

from dataflow_assets.io.postgres.warehouse import PostgresWarehouse

GENERATIONS = (
    "select _partition, generation, count(*) as n from normalized.things "
    "group by _partition, generation order by _partition, generation"
)


def open_warehouse(
    url: str, *, lock_timeout_s: float = 30, connections: int = 2
) -> PostgresWarehouse:
    return PostgresWarehouse(
        SecretStr(url), "the test's", lock_timeout_s=lock_timeout_s, connections=connections
    )


def generations(warehouse: PostgresWarehouse) -> list[tuple[str, int, int]]:
    return warehouse.read(GENERATIONS).rows()
