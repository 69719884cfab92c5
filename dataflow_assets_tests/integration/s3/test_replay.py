"""Decisions, replay and plan with the lake on S3 and the warehouse in Postgres."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dataflow_assets.settings import get_settings
from dataflow_assets_tests.commands import command
from dataflow_assets_tests.scenario import ARRIVALS, DAY, HARBOUR, NEXT_DAY, changed, ships

if TYPE_CHECKING:
    from dataflow_assets_tests.integration.s3.conftest import Shore
    from dataflow_assets_tests.scenario import World

WRONG = changed(HARBOUR, contract__columns__kind__pattern="cargo", checks__quarantined__max_share=1)
MENDED = changed(WRONG, contract__columns__kind__pattern="cargo|ferry")


@pytest.fixture
def afar(world: World, shore: Shore, database: str, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("S3_BUCKET", shore.name)
    monkeypatch.setenv("S3_PREFIX", "the/lake")
    monkeypatch.setenv("DATABASE_URL", database)
    get_settings.cache_clear()
    world.declare(WRONG, ARRIVALS)
    for day in (DAY, NEXT_DAY):
        rows = ships(day, "Anna", kind="ferry").splitlines()[1]
        world.drop(f"{day}.csv", ships(day, "Berta") + rows.replace("10:00", "11:00") + "\n")
    assert world.materialize(DAY, NEXT_DAY).success
    return world


def test_the_same_with_the_lake_on_s3_and_the_warehouse_in_postgres(
    afar: World, shore: Shore
) -> None:
    line = ("--partition", DAY, "--line", f"harbour/{DAY}.csv:3")
    done = command(
        afar, "quarantine", "release", "harbour", *line, "--reason", "seen", "--by", "me"
    )
    assert done.code == 0, done.out + done.err
    shown = json.loads(command(afar, "quarantine", "show", "harbour", "--format", "json").out)
    assert [(one["partition"], one["received"]) for one in shown] == [
        (NEXT_DAY, "Anna;02.04.2024 11:00;4.5;ferry;1")
    ]

    afar.declare(MENDED, ARRIVALS)
    before = {key: shore.get(key) for key in list(shore.keys())}
    planned = command(afar, "plan")
    assert planned.code == 2, planned.err
    assert "released by kind__pattern: 1 rows" in planned.out
    assert f"normalized.arrivals {NEXT_DAY} (replace)" in planned.out
    assert "rows added 1, changed 0, removed 0" in planned.out
    assert {key: shore.get(key) for key in list(shore.keys())} == before

    replayed = command(afar, "replay", "harbour")
    assert replayed.code == 0, replayed.out + replayed.err
    assert "1 of 2 partitions of harbour are affected" in replayed.out
    get_settings.cache_clear()
    loaded = "select count(*) from normalized.arrivals"
    assert afar.query(loaded).item() == 4
    assert afar.rows("closed", DAY)["how"].to_list() == ["released"]
    assert afar.rows("closed", NEXT_DAY)["how"].to_list() == ["passed"]
    get_settings.cache_clear()

    odd = changed(MENDED, extract__files__csv={"delimiter": ";", "comment": "Berta"})
    afar.declare(odd, ARRIVALS)
    planned = command(afar, "plan", "--partition", DAY)
    assert planned.code == 2, planned.err
    assert "received 2 → 1" in planned.out
    replayed = command(afar, "replay", "harbour", "--partition", DAY)
    assert replayed.code == 0, replayed.out + replayed.err
    assert afar.rows("raw", DAY)["Ship"].to_list() == ["Anna"]
