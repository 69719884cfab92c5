"""What the tables of each write mode hold, compared with a model in plain Python."""

from __future__ import annotations

import itertools
import multiprocessing
import random
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.errors import HistoryOrderError, WarehouseSchemaError
from dataflow_assets.io.duckdb_warehouse import DuckDBWarehouse
from dataflow_assets_tests.integration.io.write_model import (
    LISTED,
    MODES,
    WINDOWS,
    Made,
    batches,
    compare,
    expected,
    held,
    publications_of,
    table_of,
)

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from dataflow_assets.io.warehouse import Publication

KILLS = 8
MOST_KILLS = 60
"""On a busy machine it takes more of them until one comes late enough."""
forking = multiprocessing.get_context("forkserver")
forking.set_forkserver_preload([__name__])
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


def made(partition: str, *ids: int, text: str = "x") -> Made:
    row = {'a "b"': None, "text": text, "at": None, "_source": "shop"}
    return Made(partition, tuple({"Id": one, **row} for one in ids), ("shop",))


def test_an_older_partition_alone_names_the_range_to_materialize(tmp_path: Path) -> None:
    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb", 5, 256)
    table = table_of(MODES["history of snapshots"], WINDOWS)
    compare(warehouse, tmp_path, table, [[made(day, 1, text=day) for day in WINDOWS[:4]]])
    before = held(warehouse, table)
    with pytest.raises(HistoryOrderError) as caught:
        warehouse.publish(table, list(publications_of(tmp_path, [made(WINDOWS[1], 2)])))
    assert "2 partitions that this run does not have: 2024-01-03, 2024-01-04" in str(caught.value)
    assert "Materialize 2024-01-02 to 2024-01-04 as one range" in caught.value.mend
    assert held(warehouse, table) == before


@pytest.mark.parametrize("later", ["append", "upsert by partition", "upsert by column"])
def test_a_table_with_repeated_keys_is_not_taken_for_one_with_keys(
    tmp_path: Path, later: str
) -> None:
    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb", 5, 256)
    table = table_of(MODES["replace"], WINDOWS)
    compare(warehouse, tmp_path, table, [[made(WINDOWS[0], 1, 2), made(WINDOWS[1], 1)]])
    wanted = table_of(MODES[later], WINDOWS)
    (one,) = publications_of(tmp_path, [made(WINDOWS[2], 3)])
    other = replace(one, ledger=replace(one.ledger, declaration="another"))
    with pytest.raises(WarehouseSchemaError, match="1 keys more than once") as caught:
        warehouse.publish(wanted, [other])
    assert 'alter table normalized."things" rename to "things_before"' in caught.value.mend
    (alone,) = publications_of(tmp_path, [made(WINDOWS[1])])
    warehouse.publish(table, [alone])
    warehouse.publish(wanted, [other])
    assert len(held(warehouse, wanted)) == 3


@pytest.mark.parametrize(
    ("before", "after"),
    [("replace", "history of snapshots"), ("history of changes", "upsert by column")],
)
def test_a_history_is_not_made_of_a_table_without_or_the_other_way_round(
    tmp_path: Path, before: str, after: str
) -> None:
    warehouse = DuckDBWarehouse(tmp_path / "w.duckdb", 5, 256)
    dated = replace(made(WINDOWS[0]), rows=())
    compare(warehouse, tmp_path, table_of(MODES[before], WINDOWS), [[dated]])
    (one,) = publications_of(tmp_path, [made(WINDOWS[1], 3)])
    with pytest.raises(WarehouseSchemaError, match="history") as caught:
        warehouse.publish(table_of(MODES[after], WINDOWS), [one])
    assert 'rename to "things_before"' in caught.value.mend


def apply_for_ever(path: Path, folder: Path, started: Connection) -> None:
    """Apply all of a history anew, with these rows and with those, until killed."""
    table = table_of(MODES["history of snapshots"], WINDOWS)
    warehouse = DuckDBWarehouse(path, 30, 256)
    staged = [staged_history(folder / text, text) for text in ("old", "new")]
    started.send(None)
    for number in itertools.count():
        warehouse.publish(table, staged[number % 2])


def staged_history(folder: Path, text: str) -> list[Publication]:
    folder.mkdir(exist_ok=True)
    days = [
        made(day, *range(number, 3000 + number), text=f"{text} {day}")
        for number, day in enumerate(WINDOWS)
    ]
    return list(publications_of(folder, days))


def test_a_killed_rewind_is_never_seen(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    table = table_of(MODES["history of snapshots"], WINDOWS)
    warehouse = DuckDBWarehouse(path, 30, 256)
    states = []
    for text in ("old", "new"):
        warehouse.publish(table, staged_history(tmp_path / text, text))
        states.append(held(warehouse, table))
    seen: set[int] = set()
    dice = random.Random(3)  # noqa: S311 - no secret
    for number in itertools.count():
        if number >= KILLS and (len(seen) == len(states) or number >= MOST_KILLS):
            break
        receiving, sending = forking.Pipe(duplex=False)
        child = forking.Process(target=apply_for_ever, args=(path, tmp_path, sending))
        child.start()
        receiving.recv()
        time.sleep(dice.uniform(0, 0.4))
        child.kill()
        child.join()
        seen.add(states.index(held(warehouse, table)))
    warehouse.publish(table, staged_history(tmp_path / "new", "new"))
    assert held(warehouse, table) == states[1]
    assert seen == {0, 1}
