"""The demo's server of samples, read by the declarations that come with the package."""

from __future__ import annotations

import datetime as dt
import runpy
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dataflow_assets.components.loading import PACKAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflow_assets_tests.scenario import World

SERVER = runpy.run_path(str(PACKAGE.parent / "demo" / "serve_samples.py"))
PAST = "2026-01-05"
COUNTS = """
    select asset, received, loaded, quarantined, duplicate from dataflow.ledger
    where layer in ('cleaned', 'normalized') order by layer, asset
"""


def declared(name: str) -> dict[str, Any]:
    text = (PACKAGE / "defs" / name / "defs.yaml").read_text(encoding="utf-8")
    attributes: dict[str, Any] = yaml.safe_load(text)["attributes"]
    return attributes


def rules(world: World, source: str, partition: str) -> list[str]:
    found = world.rows("quarantine", partition, source)["rules"]
    return sorted(found.explode().to_list())


@pytest.fixture
def sampled(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The world with the API and the feed, and the entity that they feed."""
    entity = declared("seismic_events")
    names = ["island_network", "ocean_network"]
    entity["from"] = {name: entity["from"][name] for name in names}
    entity["prefer"] = names
    with SERVER["serving_samples"]() as url:
        monkeypatch.setenv("SAMPLE_HOST", url)
        monkeypatch.setenv("SAMPLE_KEY", SERVER["KEY"])
        world.declare(*map(declared, names), entity)
        yield world


def test_the_api_and_the_feed_meet_in_the_entity(sampled: World) -> None:
    today = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"

    for _ in range(2):  # the same answers give the same rows
        assert sampled.materialize(today).success
        assert sampled.query(COUNTS).rows() == [
            ("cleaned/island_network", 125, 120, 4, 1),
            ("cleaned/ocean_network", 43, 40, 2, 1),
            ("normalized/seismic_events", 160, 158, None, 2),
        ]

    assert rules(sampled, "ocean_network", today) == ["id_from__one_of", "title__pattern"]
    assert rules(sampled, "island_network", today) == [
        "event_id__required",
        "latitude__range",
        "magnitude__type",
        "magnitude_type__one_of",
    ]
    nulls = sampled.query(
        "select count(*) from normalized.seismic_events where columns("
        "['magnitude', 'latitude', 'longitude', 'place', 'occurred_at']) is null"
    )
    assert nulls.item() == 0


def test_the_api_tells_of_past_days_and_wants_its_key(
    sampled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = "group:island_network"
    monkeypatch.setenv("SAMPLE_KEY", "another")
    assert not sampled.materialize(PAST, select=upstream).success

    monkeypatch.setenv("SAMPLE_KEY", SERVER["KEY"])
    assert sampled.materialize(PAST, select=upstream).success

    assert sampled.rows("cleaned", PAST, "island_network").height == 120
