"""What the tables of each write mode hold, compared with a model in plain Python."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.io.duckdb_warehouse import DuckDBWarehouse
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

LISTABLE = [name for name, write in MODES.items() if write.mode != "history" or write.valid_from]
LISTABLE.remove("history of dated snapshots")
CASES = [(name, WINDOWS) for name in MODES] + [(name, LISTED) for name in LISTABLE]


@pytest.mark.parametrize(("mode", "partitions"), CASES)
@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_publishes_in_any_order_give_what_the_model_says(
    mode: str, partitions: tuple[str, ...], data: st.DataObject
) -> None:
    table = table_of(MODES[mode], partitions)
    with TemporaryDirectory() as name:
        folder = Path(name)
        warehouse = DuckDBWarehouse(folder / "w.duckdb", 5, 256)
        model = compare(warehouse, folder, table, data.draw(batches(table.write, partitions)))
        before = expected(model)
        again = list(model.applied.values())
        if again:
            warehouse.publish(table, list(publications_of(folder, again)))
            assert held(warehouse, table) == before
