"""The file sensor, look by look: real files, a real instance, through the sensor's definition."""

from __future__ import annotations

import datetime as dt
import gzip
import os
import time
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pytest

from dataflow_assets.builders.sensor import REQUESTS_A_TICK
from dataflow_assets.errors import ConservationError
from dataflow_assets.io.duckdb_warehouse import DuckDBWarehouse
from dataflow_assets_tests.scenario import (
    ARRIVALS,
    DAY,
    HARBOUR,
    NEXT_DAY,
    World,
    changed,
    ships,
)

TICK_TIMEOUT_S = 60
DAYS = [f"2024-04-{day:02}" for day in range(1, 31)]


@dataclass
class Ticker:
    """The daemon, as far as the sensor sees it: it keeps the cursor and takes the requests."""

    world: World
    cursor: str | None = None
    asked: list[dg.RunRequest] = field(default_factory=list)

    def tick(self) -> list[tuple[str, str]]:
        """Look once; return the first and last partition of each new run."""
        definitions = self.world.definitions
        with dg.build_sensor_context(
            instance=self.world.instance,
            cursor=self.cursor,
            definitions=definitions,
            resources={"stores": self.world.resource},
        ) as context:
            result = definitions.resolve_sensor_def("harbour_files").evaluate_tick(context)
        self.cursor = result.cursor
        requests = list(result.run_requests or [])
        taken = {request.run_key for request in self.asked}
        assert not taken.intersection(request.run_key for request in requests)
        self.asked += requests
        return [_partitions(request) for request in requests]

    def run_all(self) -> None:
        """Do what was asked for."""
        for request in self.asked:
            self.run(request)

    def run(self, request: dg.RunRequest) -> bool:
        """Do what one request asks for, as a run of the sensor; return whether it succeeded."""
        first, last = _partitions(request)
        tags = {"dagster/sensor_name": "harbour_files"}
        return self.world.materialize(first, last, tags=tags).success


def _partitions(request: dg.RunRequest) -> tuple[str, str]:
    if request.partition_key is not None:
        return request.partition_key, request.partition_key
    tags: dict[str, Any] = dict(request.tags)
    return tags["dagster/asset_partition_range_start"], tags["dagster/asset_partition_range_end"]


@pytest.fixture
def ticker(world: World) -> Ticker:
    return Ticker(world)


def each(*days: str) -> list[tuple[str, str]]:
    return [(day, day) for day in days]


def test_a_clean_slate_asks_for_nothing(ticker: Ticker) -> None:
    assert ticker.tick() == []


def test_files_are_asked_for_once(ticker: Ticker) -> None:
    ticker.world.drop(f"{DAY}.csv", ships(DAY, "Anna"))

    assert ticker.tick() == each(DAY)
    assert ticker.tick() == []


def test_a_file_of_the_same_second_is_not_missed(ticker: Ticker) -> None:
    first = ticker.world.drop(f"{DAY}.csv", ships(DAY, "Anna"))
    ticker.tick()
    second = ticker.world.drop(f"{DAY}-more.csv", ships(DAY, "Berta"))
    moment = first.stat().st_mtime_ns
    os.utime(second, ns=(moment, moment))

    assert ticker.tick() == each(DAY)


def test_a_file_that_sorts_before_all_others_is_not_missed(ticker: Ticker) -> None:
    ticker.world.drop(f"{NEXT_DAY}.csv", ships(NEXT_DAY, "Anna"))
    ticker.tick()
    ticker.world.drop(f"{DAY}!.csv", ships(DAY, "Berta"), age_s=1e6)  # older, too

    assert ticker.tick() == each(DAY)


def test_a_late_file_renews_an_old_day(ticker: Ticker) -> None:
    for day in DAYS:
        ticker.world.drop(f"{day}.csv", ships(day, "Anna"))
    assert ticker.tick() == [(DAYS[0], DAYS[-1])]
    ticker.world.drop(f"{DAYS[4]}-late.csv", ships(DAYS[4], "Berta"))

    assert ticker.tick() == each(DAYS[4])


def test_a_file_rewritten_in_place_is_read_again(ticker: Ticker) -> None:
    ticker.world.drop(f"{DAY}.csv", ships(DAY, "Anna"))
    ticker.tick()
    path = ticker.world.drop(f"{DAY}.csv", ships(DAY, "Hans"), age_s=1800)

    assert path.stat().st_size == len(ships(DAY, "Anna"))
    assert ticker.tick() == each(DAY)


def test_a_file_that_is_being_written_is_waited_for(ticker: Ticker) -> None:
    ticker.world.drop(f"{DAY}.csv", ships(DAY, "Anna"), age_s=0)
    assert ticker.tick() == []
    ticker.world.drop(f"{DAY}.csv", ships(DAY, "Anna", "Berta"), age_s=29)
    assert ticker.tick() == []
    ticker.world.drop(f"{DAY}.csv", ships(DAY, "Anna", "Berta"), age_s=31)

    assert ticker.tick() == each(DAY)


def test_a_file_from_the_future_is_waited_for_but_not_for_ever(
    ticker: Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticker.world.drop(f"{DAY}.csv", ships(DAY, "Anna"), age_s=-86_400)
    assert ticker.tick() == []
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 31)

    assert ticker.tick() == each(DAY)


def test_one_unfinished_file_does_not_hold_up_other_days(ticker: Ticker) -> None:
    ticker.world.drop(f"{DAY}.csv", ships(DAY, "Anna"))
    ticker.world.drop(f"{DAY}-more.csv", ships(DAY, "Berta"), age_s=0)
    ticker.world.drop(f"{NEXT_DAY}.csv", ships(NEXT_DAY, "Anna"))

    assert ticker.tick() == each(NEXT_DAY)


def test_vanished_files_ask_for_nothing(ticker: Ticker) -> None:
    path = ticker.world.drop(f"{DAY}.csv", ships(DAY, "Anna"))
    ticker.tick()
    path.unlink()

    assert ticker.tick() == []


def test_of_several_files_one_vanished_renews_the_day(ticker: Ticker) -> None:
    path = ticker.world.drop(f"{DAY}.csv", ships(DAY, "Anna"))
    ticker.world.drop(f"{DAY}-more.csv", ships(DAY, "Berta"))
    ticker.tick()
    path.unlink()

    assert ticker.tick() == each(DAY)


def test_a_lost_cursor_heals_without_running_again_what_is_published(ticker: Ticker) -> None:
    ticker.world.drop(f"{DAY}.csv", ships(DAY, "Anna"))
    ticker.tick()
    ticker.run_all()
    ticker.world.drop(f"{NEXT_DAY}.csv", ships(NEXT_DAY, "Anna"))
    ticker.cursor = None

    assert ticker.tick() == each(NEXT_DAY)


def test_what_was_published_by_hand_is_not_asked_for(ticker: Ticker) -> None:
    ticker.world.drop(f"{DAY}.csv", ships(DAY, "Anna"))
    ticker.world.materialize(DAY)

    assert ticker.tick() == []


def test_a_failed_run_is_asked_for_again_only_when_files_change(ticker: Ticker) -> None:
    ticker.world.drop(f"{DAY}.csv.gz", b"\x1f\x8b\x08 not gzip after all")
    ticker.tick()
    ticker.run_all()
    assert not ticker.world.stores.lake.partitions("raw", "harbour")

    assert [ticker.tick() for _ in range(5)] == [[]] * 5
    ticker.world.drop(f"{DAY}.csv.gz", ships(DAY, "Anna"))  # its name lies; its bytes are fine
    assert ticker.tick() == each(DAY)


def test_scattered_days_are_spread_over_ticks(ticker: Ticker) -> None:
    world = ticker.world
    world.declare(changed(HARBOUR, partitions__start="2023-01-01"))
    days = [f"2023-{month:02}-{day:02}" for month in range(1, 13) for day in range(1, 28, 3)]
    for day in days:
        world.drop(f"{day}.csv", ships(day, "Anna"))

    ticks = [ticker.tick() for _ in range(4)]

    assert [len(asked) for asked in ticks] == [REQUESTS_A_TICK, REQUESTS_A_TICK, 8, 0]
    assert [first for asked in ticks for first, _ in asked] == days


def many_days(ticker: Ticker) -> list[str]:
    """Drop files for two stretches of neighbouring days, more than get a run each."""
    days = [f"2024-04-{day:02}" for day in (*range(2, 11), *range(15, 21))]
    for day in days:
        ticker.world.drop(f"{day}.csv", ships(day, "Anna", "Berta"))
    return days


def test_a_few_partitions_get_a_run_each(ticker: Ticker) -> None:
    for day in (DAY, NEXT_DAY):
        ticker.world.drop(f"{day}.csv", ships(day, "Anna"))

    assert ticker.tick() == [(DAY, DAY), (NEXT_DAY, NEXT_DAY)]


def test_many_neighbours_are_one_run(ticker: Ticker) -> None:
    many_days(ticker)

    assert ticker.tick() == [("2024-04-02", "2024-04-10"), ("2024-04-15", "2024-04-20")]


def test_the_runs_that_are_asked_for_feed_every_table(ticker: Ticker) -> None:
    world = ticker.world
    days = many_days(ticker)
    ticker.tick()
    job = world.definitions.resolve_job_def("harbour_job")

    for request in ticker.asked:
        result = job.execute_in_process(
            instance=world.instance, run_config=request.run_config, tags=dict(request.tags)
        )
        assert result.success

    rows = world.query("select _partition, count(*) from normalized.arrivals group by 1 order by 1")
    assert rows.rows() == [(day, 2) for day in days]


def test_a_folder_that_is_not_there_is_said_so(world: World) -> None:
    (world.root / "data/inbox/harbour").rmdir()

    with pytest.raises(dg.Failure, match="There is no folder"):
        Ticker(world).tick()


def test_a_hundred_thousand_files_are_seen_in_one_tick(ticker: Ticker) -> None:
    world = ticker.world
    world.declare(changed(HARBOUR, partitions__start="2023-01-01", automation__sensor__settle="0s"))
    folder = world.root / "data/inbox/harbour"
    days = [f"2023-{month:02}-{day:02}" for month in range(1, 11) for day in range(1, 26)]
    for day in days:
        for number in range(400):
            os.close(os.open(folder / f"{day}-{number}", os.O_CREAT))

    begin = time.monotonic()
    asked = ticker.tick()
    first_s = time.monotonic() - begin
    quiet = ticker.tick()
    second_s = time.monotonic() - begin - first_s

    assert (len(asked), quiet) == (10, [])
    assert max(first_s, second_s) < TICK_TIMEOUT_S


def skip_reason(ticker: Ticker) -> str | None:
    definitions = ticker.world.definitions
    with dg.build_sensor_context(
        instance=ticker.world.instance,
        cursor=ticker.cursor,
        definitions=definitions,
        resources={"stores": ticker.world.resource},
    ) as context:
        result = definitions.resolve_sensor_def("harbour_files").evaluate_tick(context)
    return result.skip_message


def test_a_tick_that_asks_for_nothing_says_why(ticker: Ticker) -> None:
    assert skip_reason(ticker) == "0 files seen, nothing new"
    ticker.world.drop(f"{DAY}.csv", ships(DAY, "Anna"), age_s=0)
    assert skip_reason(ticker) == "1 files seen; 1 partitions are still being written"


@pytest.mark.parametrize(
    ("moment", "partition"),
    [("2024-04-02T01:15:00+02:00", "2024-04-01"), ("2024-04-01T23:59:00+02:00", "2024-03-31")],
)
def test_the_schedule_asks_for_the_last_complete_day(
    world: World, moment: str, partition: str
) -> None:
    world.declare(changed(HARBOUR, automation__cron="15 1 * * *"), ARRIVALS)
    schedule = world.definitions.resolve_schedule_def("harbour_schedule")
    context = dg.build_schedule_context(
        instance=world.instance,
        scheduled_execution_time=dt.datetime.fromisoformat(moment),
        repository_def=world.definitions.get_repository_def(),
    )

    (request,) = schedule.evaluate_tick(context).run_requests or []

    assert request.partition_key == partition


def drop_days(ticker: Ticker, **broken: str) -> None:
    """Drop a file for each day of the month; those of some days are as given."""
    for day in DAYS:
        ticker.world.drop(f"{day}.csv", broken.get(f"day_{day[-2:]}", ships(day, "Anna")))


def loaded_days(ticker: Ticker) -> list[str]:
    rows = ticker.world.query("select distinct _partition as day from normalized.arrivals")
    return sorted(rows["day"])


def test_days_without_a_header_do_not_keep_the_rest_of_their_range_from_the_tables(
    ticker: Ticker,
) -> None:
    drop_days(ticker, day_07="no;such;columns\n1;2;3\n", day_20="neither;here\n1;2\n")
    ticker.tick()
    assert not ticker.run(ticker.asked[-1])
    good = [day for day in DAYS if day[-2:] not in ("07", "20")]
    asked = ticker.tick()
    requests = ticker.asked[-len(asked) :]

    assert asked == [(DAYS[0], DAYS[5]), (DAYS[7], DAYS[18]), (DAYS[20], DAYS[29])]
    assert all(ticker.run(request) for request in requests)
    assert loaded_days(ticker) == good
    assert ticker.tick() == []


def test_a_day_that_cannot_be_read_does_not_keep_the_rest_of_its_range_from_the_tables(
    ticker: Ticker,
) -> None:
    drop_days(ticker)
    ticker.world.drop(f"{DAYS[3]}.csv", gzip.compress(ships(DAYS[3], "Anna").encode())[:-4])
    ticker.tick()
    assert not ticker.run(ticker.asked[-1])

    assert ticker.tick() == [(DAYS[0], DAYS[2]), (DAYS[4], DAYS[29])]


def test_a_range_that_failed_of_something_else_is_not_asked_for_again(
    ticker: Ticker, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_days(ticker)
    ticker.tick()
    monkeypatch.setattr(DuckDBWarehouse, "publish", _refuse)
    assert not ticker.run(ticker.asked[-1])

    assert ticker.tick() == []


def _refuse(*_: object) -> None:
    raise ConservationError("rows were lost.", mend="Report this as a bug.")
