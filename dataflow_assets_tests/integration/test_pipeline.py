"""From files to rows, for the awkward source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflow_assets_tests.scenario import (
    AWKWARD_COUNTS,
    AWKWARD_RULES,
    GAP_DAY,
    drop_awkward,
)

if TYPE_CHECKING:
    from dataflow_assets_tests.scenario import World


def test_every_oddity_meets_its_fate(world: World) -> None:
    drop_awkward(world)

    result = world.materialize(GAP_DAY)

    assert result.success
    counts = world.query(
        "select received, loaded, quarantined, duplicate, filtered from dataflow.ledger "
        "where asset = 'cleaned/harbour'"
    )
    assert counts.to_dicts() == [AWKWARD_COUNTS]
    rules = world.rows("quarantine", GAP_DAY).explode("rules")["rules"].value_counts()
    assert dict(rules.iter_rows()) == AWKWARD_RULES
