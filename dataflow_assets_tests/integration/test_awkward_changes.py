"""Declarations that change, or begin, in awkward ways."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dataflow_assets.errors import DeclarationError
from dataflow_assets_tests.scenario import ARRIVALS, DAY, HARBOUR, NEXT_DAY, changed, ships

if TYPE_CHECKING:
    from dataflow_assets_tests.scenario import World


def test_an_entity_column_may_change_its_case(world: World) -> None:
    world.drop(f"{DAY}.csv", ships(DAY, "Anna"))
    world.drop(f"{NEXT_DAY}.csv", ships(NEXT_DAY, "Berta", order=2))
    assert world.materialize(DAY).success
    columns = {**ARRIVALS["columns"], "Rank": "int64"}
    mapping = {**ARRIVALS["from"]["harbour"], "Rank": '"order"'}
    del columns["rank"], mapping["rank"]
    world.declare(HARBOUR, {**ARRIVALS, "columns": columns, "from": {"harbour": mapping}})
    assert world.materialize(NEXT_DAY).success
    table = world.query("select rank from normalized.arrivals order by _partition")
    assert table.rows() == [(1,), (2,)]


@pytest.mark.parametrize(
    ("every", "start", "begins"),
    [("month", "2024-03-15", "2024-03-01"), ("week", "2024-03-06", "2024-03-04")],
)
def test_partitions_that_begin_amid_a_window_are_refused(
    world: World, every: str, start: str, begins: str
) -> None:
    partitions = {"every": every, "start": start}
    world.declare(changed(HARBOUR, partitions=partitions))
    with pytest.raises(DeclarationError, match=f"amid a {every}, which begins on {begins}"):
        _ = world.definitions
    world.declare(changed(HARBOUR, partitions={**partitions, "start": begins}))
    assert world.definitions
