"""A REST source from the host to the cleaned table, through Dagster."""

from __future__ import annotations

import datetime as dt
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from dataflow_assets.builders import steps
from dataflow_assets.extract.hosts import THRESHOLD, Breaker
from dataflow_assets_tests.http_server import Answer, Asked, Server, json_answer, serving
from dataflow_assets_tests.scenario import DAY, NEXT_DAY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflow_assets_tests.scenario import World

TOKEN = "a-very-s3cret-token"  # noqa: S105 - made up
PAGES = 1000
RUN = """
import sys
from pathlib import Path
from dataflow_assets_tests.scenario import reopen_world
with reopen_world(Path(sys.argv[1])) as world:
    world.materialize(sys.argv[2])
"""


class Api:
    """Serves rows by offset to who knows the token; `status` spoils all answers.

    `totals` are what pages tell, by the offset from which on they do, the largest first.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.status = 200
        self.name = "row"
        self.totals: dict[int, object] = {}

    def __call__(self, asked: Asked) -> Answer:
        if asked.params["key"] != TOKEN:
            return Answer(status=401)
        if self.status != 200:
            return Answer(status=self.status)
        begin, limit = int(asked.params["offset"]), int(asked.params["limit"])
        numbers = range(begin, min(begin + limit, self.rows))
        at = asked.params["from"]
        items = [{"id": one, "name": f"{self.name} {one}", "at": at} for one in numbers]
        return json_answer({"data": {"items": items}, "meta": {"total": self.total(begin)}})

    def total(self, begin: int) -> object:
        """Return the total that a page tells: that of the last offset up to its own."""
        return next((said for at, said in self.totals.items() if at <= begin), self.rows)


@pytest.fixture
def api() -> Api:
    return Api(25)


@pytest.fixture
def server(api: Api) -> Iterator[Server]:
    with serving(api) as running:
        yield running


@pytest.fixture
def asking(world: World, server: Server, monkeypatch: pytest.MonkeyPatch) -> World:
    """The world with the API declared in place of the harbour."""
    monkeypatch.setenv("API_TOKEN", TOKEN)
    monkeypatch.setattr(steps, "FIRST_WAIT_S", 0.01)
    world.declare(declared(server))
    return world


def declared(server: Server, limit: int = 10) -> dict[str, Any]:
    return {
        "name": "items",
        "partitions": {"every": "day", "start": "2024-03-29", "end": "2024-05-01"},
        "extract": {
            "rest": {
                "url": f"{server.url}/v1/items",
                "params": {"from": "{begin:%Y-%m-%dT%H:%M:%SZ}"},
                "auth": {"api_key": {"param": "key", "key_env": "API_TOKEN"}},
                "records": "data.items",
                "pages": {"offset": {"limit": limit}},
                "patience": {"tries": 3, "longest_wait": "0s", "silence": "5s"},
            }
        },
        "contract": {
            "key": ["id"],
            "columns": {"id": "int64", "name": "string", "at": "timestamp"},
        },
        "automation": {"cron": "15 1 * * *"},
    }


def raw_metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    (event,) = [
        event
        for event in result.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey(["raw", "items"])
    ]
    found = event.step_materialization_data.materialization.metadata
    return {name: value.value for name, value in found.items()}


def evaluations(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {one.check_name: one.passed for one in result.get_asset_check_evaluations()}


def test_an_api_becomes_a_table_and_stays_as_it_is(asking: World, server: Server, api: Api) -> None:
    first = asking.materialize(DAY)
    assert first.success
    assert asking.rows("cleaned", DAY, "items")["id"].to_list() == list(range(25))
    told = raw_metadata(first)
    assert (told["files"], told["received"], told["breaker"]) == (4, 25, "closed")
    assert evaluations(first)["host_answers"]
    again = asking.materialize(DAY)
    assert raw_metadata(again)["unchanged"]
    assert len(server.asked) == 8
    api.name = "other row"
    assert not raw_metadata(asking.materialize(DAY))["unchanged"]
    assert asking.rows("cleaned", DAY, "items")["name"][0] == "other row 0"


def complete(result: dg.ExecuteInProcessResult) -> dg.AssetCheckEvaluation:
    (one,) = [e for e in result.get_asset_check_evaluations() if e.check_name == "rows_complete"]
    return one


@pytest.mark.parametrize(
    ("totals", "passed", "described"),
    [
        ({}, True, "25 of 25 rows"),
        ({0: 38}, False, "25 of 38 rows"),
        ({0: "38"}, False, "25 of 38 rows"),
        ({20: 25, 0: 40}, True, "25 of 25 rows"),
        ({30: None, 20: 26, 0: 25}, False, "25 of 26 rows"),
        ({0: 12}, True, "25 of 12 rows"),
        ({0: None}, False, "25 rows; no number of all of them stands at meta.total"),
    ],
)
def test_fewer_rows_than_the_source_says_there_are(
    asking: World,
    server: Server,
    api: Api,
    totals: dict[int, object],
    passed: bool,  # noqa: FBT001 - a parameter
    described: str,
) -> None:
    words = declared(server)
    words["extract"]["rest"]["total"] = "meta.total"
    asking.declare(words)
    api.totals = totals
    for _ in range(2):  # the second time nothing has changed
        result = asking.materialize(DAY)
        assert result.success
        found = complete(result)
        assert (found.passed, found.severity) == (passed, dg.AssetCheckSeverity.WARN)
        assert described in (found.description or "")


def test_one_answer_that_has_not_all_rows(asking: World, server: Server) -> None:
    words = declared(server)
    rest = words["extract"]["rest"]
    del rest["pages"]
    rest["params"] |= {"offset": 0, "limit": 10}
    asking.declare({**words, "extract": {"rest": {**rest, "total": "meta.total"}}})
    assert "10 of 25 rows" in (complete(asking.materialize(DAY)).description or "")
    asking.declare({**words, "extract": {"rest": rest}})
    assert "rows_complete" not in evaluations(asking.materialize(DAY))


def test_a_range_is_one_run(asking: World, server: Server) -> None:
    assert asking.materialize(DAY, NEXT_DAY).success
    assert {asked.params["from"][:10] for asked in server.asked} == {DAY, NEXT_DAY}


def test_what_is_archived_gives_the_rows_again(asking: World, server: Server) -> None:
    assert asking.materialize(DAY).success
    archive = asking.root / "data" / "lake" / "archive" / "items"
    bodies = [path.read_bytes() for path in archive.rglob("*") if path.is_file()]
    assert len(bodies) == 4
    assert sum(body.count(b'"id"') for body in bodies) == 25
    asked = len(server.asked)
    assert asking.reread(declared(server), DAY).equals(asking.rows("raw", DAY, "items"))
    assert len(server.asked) == asked


@pytest.mark.parametrize(("status", "asked"), [(403, 1), (404, 1), (503, 10)])
def test_the_last_good_partition_stays(
    asking: World, server: Server, api: Api, status: int, asked: int
) -> None:
    assert asking.materialize(DAY).success
    before = len(server.asked)
    api.status = status
    failed = asking.materialize(DAY)
    assert not failed.success
    assert len(server.asked) == before + asked
    assert asking.rows("cleaned", DAY, "items").height == 25
    assert evaluations(failed)["host_answers"] == (status != 503)


def test_nothing_where_there_was_something_is_not_published(asking: World, api: Api) -> None:
    assert asking.materialize(DAY).success
    api.rows = 0
    assert not asking.materialize(DAY).success
    assert asking.rows("raw", DAY, "items").height == 25


def tick(world: World) -> dg.SkipReason | dg.RunRequest:
    schedule = world.definitions.resolve_schedule_def("items_schedule")
    context = dg.build_schedule_context(
        instance=world.instance,
        resources={"stores": world.resource},
        scheduled_execution_time=dt.datetime(2024, 4, 2, 1, 15, tzinfo=dt.UTC),
        repository_def=world.definitions.get_repository_def(),
    )
    outcome = schedule.evaluate_tick(context)
    if outcome.skip_message is not None:
        return dg.SkipReason(outcome.skip_message)
    (request,) = outcome.run_requests or []
    return request


def test_a_schedule_leaves_a_broken_host_alone(asking: World, server: Server) -> None:
    request = tick(asking)
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == DAY
    breaker = Breaker(f"127.0.0.1:{server.port}", asking.stores.surroundings.shared)
    for _ in range(THRESHOLD):
        breaker.failed("answered 503")
    skipped = tick(asking)
    assert isinstance(skipped, dg.SkipReason)
    assert "the breaker is open until" in (skipped.skip_message or "")
    assert not asking.materialize(DAY).success
    assert server.asked == []
    breaker.answered()
    assert asking.materialize(DAY).success


def test_an_unset_variable_is_told_by_name(
    asking: World, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("API_TOKEN")
    failed = asking.materialize(DAY)
    assert not failed.success
    (event,) = [one for one in failed.all_events if one.event_type_value == "STEP_FAILURE"]
    assert "API_TOKEN is not set" in str(event.event_specific_data)
    assert server.asked == []


def test_nothing_that_is_written_holds_the_secret(
    asking: World, api: Api, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not the lake, the warehouse, Dagster's storages, or what runs print."""
    assert asking.materialize(DAY).success
    for status in (403, 500):
        api.status = status
        assert not asking.materialize(NEXT_DAY).success
    printed = "".join(capfd.readouterr())
    assert "/v1/items" in printed
    assert TOKEN not in printed
    paths = [path for path in asking.root.rglob("*") if path.is_file()]
    assert len(paths) > 20
    holding = [path for path in paths if TOKEN in str(path) or TOKEN.encode() in path.read_bytes()]
    assert holding == []


def test_a_killed_run_goes_on_where_it_stopped(asking: World, server: Server, api: Api) -> None:
    api.rows = 10 * (PAGES - 1) + 5
    command = [sys.executable, "-c", RUN, str(asking.root), DAY]
    for kill_at in (300, 700):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(server.asked) < kill_at and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert kill_at <= len(server.asked) < kill_at + 250
    assert asking.materialize(DAY).success
    assert len(server.asked) <= PAGES + 1 + 2  # the page at each kill may be asked for twice
    assert asking.rows("cleaned", DAY, "items").height == api.rows
    assert list((asking.root / "data" / "lake" / ".scratch" / "pages").glob("*/*")) == []
