"""What a changed declaration would change: said before anything is published."""

from __future__ import annotations

import hashlib
import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from dataflow_assets.builders.deciding import Choice, decide
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.io.entries import Decision
from dataflow_assets_tests.commands import command
from dataflow_assets_tests.scenario import (
    ARRIVALS,
    DAY,
    HARBOUR,
    NEXT_DAY,
    changed,
    ships,
)

if TYPE_CHECKING:
    from dataflow_assets_tests.scenario import World

LOOSE = changed(HARBOUR, checks__quarantined__max_share=1)
STRICT = changed(
    LOOSE, contract__columns__draught__max=10, contract__columns__kind__pattern="cargo"
)


@pytest.fixture
def two_days(world: World) -> World:
    world.declare(LOOSE, ARRIVALS)
    for day in (DAY, NEXT_DAY):
        world.drop(f"{day}.csv", ships(day, "Anna", "Berta"))
    world.drop(f"{DAY}-b.csv", ships(DAY, "Cora", draught="12.5") + "Dora;torn\n")
    assert world.materialize(DAY, NEXT_DAY).success
    return world


def print_of(world: World) -> dict[str, str]:
    """Return a hash of every file of the world: lake, warehouse, Dagster's storage."""
    return {
        str(path.relative_to(world.root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(world.root.rglob("*"))
        if path.is_file()
    }


def test_nothing_changes(two_days: World) -> None:
    before = print_of(two_days)
    done = command(two_days, "plan")
    assert (done.code, done.err) == (0, "")
    assert "2 partitions of 1 sources, compared with what was published: nothing" in done.out
    assert print_of(two_days) == before


def test_rows_that_would_be_quarantined_are_told_and_nothing_is_touched(two_days: World) -> None:
    two_days.declare(STRICT, ARRIVALS)
    before = print_of(two_days)
    done = command(two_days, "plan", "--format", "json")
    assert (done.code, done.err) == (2, "")
    assert print_of(two_days) == before
    plan = json.loads(done.out)
    (source,) = plan["sources"]
    assert source["partition"] == DAY
    assert source["quarantined"] == {
        "draught__range": {"rows": 1, "samples": [[f"harbour/{DAY}-b.csv", 2, "12.5"]]}
    }
    assert (source["before"]["loaded"], source["after"]["loaded"]) == (3, 2)
    assert (source["before"]["quarantined"], source["after"]["quarantined"]) == (1, 2)
    (entity,) = plan["entities"]
    assert (entity["rows"]["added"], entity["rows"]["changed"], entity["rows"]["removed"]) == (
        0,
        0,
        1,
    )
    # what is planned is what happens
    assert two_days.materialize(DAY, select="key:cleaned/harbour or key:quarantine/harbour").success
    asset = f"asset = 'cleaned/harbour' and partition = '{DAY}'"
    found = two_days.query(f"select loaded, quarantined from dataflow.ledger where {asset}")
    assert found.row(0) == (2, 2)
    assert command(two_days, "plan", "--partition", DAY).code == 2  # the entity still has the row


def test_values_types_and_columns(two_days: World) -> None:
    columns = {**HARBOUR["contract"]["columns"], "order": "string", "Remark": "string"}
    draught = {"type": "float32", "source_name": "Draught"}
    now = changed(LOOSE, contract__columns={**columns, "draught": draught})
    entity = changed(ARRIVALS, from__harbour__draught="cast(draught * 2 as double)")
    entity["from"]["harbour"]["rank"] = 'cast("order" as bigint)'
    two_days.declare(now, entity)
    done = command(two_days, "plan", "--partition", NEXT_DAY, "--format", "markdown")
    assert done.code == 2, done.err
    assert "column added: Remark VARCHAR" in done.out
    assert "column re-typed: order BIGINT → VARCHAR" in done.out
    assert "column re-typed: draught DOUBLE → FLOAT" in done.out
    assert f"normalized.arrivals {NEXT_DAY} (replace)" in done.out
    assert "rows added 0, changed 2, removed 0" in done.out
    assert "values changed in draught: 2 rows" in done.out
    assert f"| harbour | {NEXT_DAY} | 2 | 2 | 0 | 0 | 0 |" in done.out


def test_a_partition_that_would_not_be_published(two_days: World) -> None:
    two_days.declare(changed(LOOSE, contract__columns__pier={"required": True}), ARRIVALS)
    done = command(two_days, "plan", "--newest", "1")
    assert done.code == 2
    assert "harbour: 1 of 2 partitions were looked at" in done.out
    assert "would not be published: [DA203]" in done.out


def test_against_a_commit(two_days: World) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(
            ["git", "-C", str(two_days.root), *arguments], check=True, capture_output=True
        )

    git("init", "-q")
    git("add", "defs")
    git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "declared")
    assert command(two_days, "plan", "--against", "HEAD").code == 0
    two_days.declare(STRICT, changed(ARRIVALS, from__harbour__draught="draught + 1"))
    before = print_of(two_days)
    done = command(two_days, "plan", "--against", "HEAD")
    assert done.code == 2, done.err
    assert "newly quarantined by draught__range: 1 rows" in done.out
    assert "rows added 0, changed 2, removed 1" in done.out
    assert print_of(two_days) == before
    no = command(two_days, "plan", "--against", "nowhere")
    assert no.code == 1
    assert "DA112" in no.err


def test_wrong_arguments_are_no_changes(world: World) -> None:
    assert command(world, "plan", "--format", "poem").code == 1
    assert command(world, "plan", "harbor").code == 1


def test_a_decision_that_no_run_has_applied_yet_is_told(two_days: World) -> None:
    two_days.declare(STRICT, ARRIVALS)
    assert two_days.materialize(DAY).success
    assert command(two_days, "plan", "--partition", DAY).code == 0
    chosen = Choice(rule="draught__range")
    source = SourceDeclaration.model_validate(STRICT)
    decide(source, two_days.stores, DAY, chosen, Decision("release", "me", "the run was killed"))
    done = command(two_days, "plan", "--partition", DAY)
    assert done.code == 2, done.out + done.err
    assert "loaded 2 → 3, quarantined 2 → 1" in done.out
