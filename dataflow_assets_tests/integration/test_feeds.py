"""A feed from its host to a cleaned table, through Dagster."""

from __future__ import annotations

import datetime as dt
from functools import partialmethod
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from dataflow_assets.extract.feed import FeedExtractor
from dataflow_assets_tests.http_server import Answer, serving
from dataflow_assets_tests.integration.extract.test_feed import Site, items
from dataflow_assets_tests.scenario import changed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflow_assets_tests.http_server import Asked
    from dataflow_assets_tests.scenario import World

NEWS: dict[str, Any] = {
    "name": "news",
    "partitions": {"every": "month", "start": "2026-01-01", "current": True},
    "contract": {
        "key": ["id"],
        "unknown_columns": "discard",
        "columns": {"id": "string", "title": "string", "polled_at": "timestamp"},
    },
    "automation": {"cron": "*/15 * * * *"},
}


def this_month() -> str:
    return f"{dt.datetime.now(dt.UTC):%Y-%m}"


@pytest.fixture
def site(world: World) -> Iterator[Site]:
    site = Site()
    with serving(site.answer) as server:
        site.url = f"{server.url}/news.xml"
        world.declare(changed(NEWS, extract__feed__url=site.url))
        yield site


def titles(world: World, partition: str | None = None) -> dict[str, str]:
    rows = world.rows("cleaned", partition or this_month(), "news")
    return dict(zip(rows["id"], rows["title"], strict=True))


def test_what_scrolled_off_stays_and_what_was_edited_is_new(world: World, site: Site) -> None:
    for feed in (items("a", "b"), items("b, edited", "c"), items("c", "d")):
        site.feed = feed
        assert world.materialize(this_month()).success
    assert titles(world) == {"a": "a", "b": "b, edited", "c": "c", "d": "d"}
    counts = world.query(
        "select received, loaded, quarantined, duplicate from dataflow.ledger "
        "where asset = 'cleaned/news'"
    )
    assert counts.rows() == [(6, 4, 0, 2)]
    assert world.rows("raw", this_month(), "news").height == 6
    assert world.check_history("cleaned/news", "columns_as_declared") == [True] * 3


def test_a_poll_that_brings_nothing_new_changes_nothing(world: World, site: Site) -> None:
    assert world.materialize(this_month()).success
    first = world.stores.lake.manifest("raw", "news", this_month())
    site.conditional = False
    assert world.materialize(this_month()).success
    assert world.stores.lake.manifest("raw", "news", this_month()) == first


def test_rows_are_made_again_without_asking_again(world: World, site: Site) -> None:
    site.feed = items("a", "b")
    assert world.materialize(this_month()).success
    site.status = 410
    result = world.materialize(this_month(), select="key:cleaned/news or key:quarantine/news")
    assert result.success
    assert titles(world) == {"a": "a", "b": "b"}
    again = world.reread(changed(NEWS, extract__feed__url=site.url), this_month())
    assert again.equals(world.rows("raw", this_month(), "news"))


def test_what_stood_before_stays_when_the_host_fails(world: World, site: Site) -> None:
    assert world.materialize(this_month()).success
    site.status = 410
    result = world.materialize(this_month())
    assert not result.success
    assert titles(world) == {"a": "a", "b": "b"}


def test_what_a_query_holds_is_shown_nowhere(
    world: World, site: Site, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FEED_KEY", "s3cr3t-key")
    declared = changed(NEWS, extract__feed__url=site.url + "?key={{ env.FEED_KEY }}")
    world.declare(declared)
    assert world.materialize(this_month()).success
    site.status = 403
    assert not world.materialize(this_month()).success
    seen = [
        str(record.event_log_entry)
        for run in world.instance.get_runs()
        for record in world.instance.get_records_for_run(run.run_id).records
    ]
    files = [path.read_bytes() for path in (world.root / "data").rglob("*") if path.is_file()]
    assert any(b"Harbour news" in content for content in files)
    assert not any(b"s3cr3t" in content for content in files)
    assert any("answered 403" in text for text in seen)
    assert not any("s3cr3t" in text for text in (*seen, *capfd.readouterr()))


def test_who_asks_is_told_to_the_host(
    world: World, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEWS_TOKEN", "s3cr3t-token")
    auth = {"bearer": {"token_env": "NEWS_TOKEN"}}
    world.declare(changed(NEWS, extract__feed={"url": site.url, "auth": auth}))
    assert world.materialize(this_month()).success
    assert site.authorized == "Bearer s3cr3t-token"


def test_a_host_that_answers_has_a_closed_breaker(world: World, site: Site) -> None:
    assert world.materialize(this_month()).success
    manifest = world.instance.get_latest_materialization_event(dg.AssetKey(["raw", "news"]))
    assert manifest is not None
    materialization = manifest.asset_materialization
    assert materialization is not None
    assert materialization.metadata["host"].value == site.url.split("/")[2]


def test_an_entry_that_is_cut_off_goes_to_quarantine(world: World, site: Site) -> None:
    site.feed = items("a", "b")[:-20]
    assert world.materialize(this_month()).success
    assert titles(world) == {"a": "a"}
    (row,) = world.rows("quarantine", this_month(), "news").iter_rows(named=True)
    assert [one["rule"].partition("__")[2] for one in row["reasons"]] == ["truncated"]
    assert '"title": "b"' in row["row"]


def test_a_list_of_feeds_is_polled_as_a_whole(world: World) -> None:
    def answer(asked: Asked) -> Answer:
        return Answer(items(asked.path[1:]).encode(), headers={"Content-Type": "text/xml"})

    with serving(answer) as server:
        declared = changed(NEWS, extract__feed__url=f"{server.url}/{{partition}}.xml")
        world.declare({**declared, "partitions": {"values": ["north", "south"]}})
        assert world.materialize("north", "south").success
    assert titles(world, "north") == {"n": "north.xml"}
    assert titles(world, "south") == {"s": "south.xml"}
    (request,) = requests(world, "2026-02-02T10:15:00+00:00")
    assert request.tags["dagster/asset_partition_range_start"] == "north"
    assert request.tags["dagster/asset_partition_range_end"] == "south"


def test_an_entity_has_each_entry_once_over_all_windows(
    world: World, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments: list[dt.datetime] = []
    init = partialmethod(FeedExtractor.__init__, now=lambda: moments[-1])
    monkeypatch.setattr(FeedExtractor, "__init__", init)
    entity = {
        "name": "articles",
        "key": ["id"],
        "columns": {"id": "string", "title": "string", "polled_at": "timestamp"},
        "from": {"news": {"id": "id", "title": "title", "polled_at": "polled_at"}},
        "write": {"mode": "upsert", "latest_by": "polled_at"},
    }
    world.declare(changed(NEWS, extract__feed__url=site.url), entity)
    for month, feed in (("2026-01", items("a", "b")), ("2026-02", items("b, edited", "c"))):
        site.feed = feed
        moments.append(dt.datetime.fromisoformat(f"{month}-15T10:00:00+00:00"))
        assert world.materialize(month).success
    assert world.materialize("2026-01", "2026-02").success  # nothing is asked for a month gone by
    rows = world.query("select id, title from normalized.articles order by id").rows()
    assert rows == [("a", "a"), ("b", "b, edited"), ("c", "c")]


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-02-02T10:15:00+00:00", "2026-02"),
        ("2026-02-28T23:45:00+00:00", "2026-02"),
        ("2026-03-01T00:00:00+00:00", "2026-03"),
    ],
)
def test_the_schedule_asks_for_the_window_that_is_open(
    world: World, moment: str, expected: str
) -> None:
    (request,) = requests(world, moment)
    assert request.partition_key == expected


def test_the_schedule_asks_for_nothing_once_the_last_window_is_over(world: World) -> None:
    over = changed(NEWS, partitions__end="2026-02-01", extract__feed__url="https://example.org/f")
    world.declare(over)
    assert requests(world, "2026-02-02T10:15:00+00:00") == []


def test_files_of_an_open_window_wait_for_its_end_to_be_scheduled(world: World) -> None:
    files = changed(
        NEWS, extract={"files": {"path": "news/{date:%Y-%m}.csv"}}, automation__cron="0 1 * * *"
    )
    world.declare(files)
    assert requests(world, "2026-03-02T01:00:00+00:00")[0].partition_key == "2026-02"


def requests(world: World, moment: str) -> list[dg.RunRequest]:
    schedule = world.definitions.resolve_schedule_def("news_schedule")
    context = dg.build_schedule_context(
        instance=world.instance,
        scheduled_execution_time=dt.datetime.fromisoformat(moment),
        repository_def=world.definitions.get_repository_def(),
        resources={"stores": world.resource},
    )
    return list(schedule.evaluate_tick(context).run_requests or [])
