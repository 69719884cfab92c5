"""What the tables of each write mode hold on Postgres, compared with the model of them all."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflow_assets_tests.integration.io.postgres.opening import open_warehouse
from dataflow_assets_tests.integration.io.write_model import (
    LISTED,
    MODES,
    WINDOWS,
    batches,
    compare,
    expected,
    held,
    publications_of,
    table_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflow_assets_tests.postgres_server import Server

LISTABLE = [name for name, write in MODES.items() if write.mode != "history" or write.valid_from]
LISTABLE.remove("history of dated snapshots")
CASES = [(name, WINDOWS) for name in MODES] + [(name, LISTED) for name in LISTABLE]


@pytest.fixture(scope="module")
def shared_database(postgres: Server) -> Iterator[str]:
    with postgres.new_database() as url:
        yield url


def empty(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("drop schema if exists normalized, dataflow cascade")


@pytest.mark.parametrize(("mode", "partitions"), CASES)
@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_publishes_in_any_order_give_what_the_model_says(
    shared_database: str, mode: str, partitions: tuple[str, ...], data: st.DataObject
) -> None:
    empty(shared_database)
    table = table_of(MODES[mode], partitions)
    with TemporaryDirectory() as name:
        folder = Path(name)
        warehouse = open_warehouse(shared_database)
        model = compare(warehouse, folder, table, data.draw(batches(table.write, partitions)))
        before = expected(model)
        again = list(model.applied.values())
        if again:
            warehouse.publish(table, list(publications_of(folder, again)))
            assert held(warehouse, table) == before
