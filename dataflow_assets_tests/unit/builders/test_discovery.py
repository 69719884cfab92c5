"""What the file sensor thinks, over any history of files: nothing is lost, nothing asked twice."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.builders import discovery
from dataflow_assets.builders.discovery import Cursor, Discovery, Look, ranges
from dataflow_assets.extract.files import FileFinder, FoundFile, fingerprint

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

KEYS = [f"2024-{month:02}-{day:02}" for month in range(1, 5) for day in range(1, 10)]
SOME_KEYS = [key for key in KEYS if int(key[-2:]) in {1, 2, 4, 6, 8}]  # most have no neighbour
SETTLE_S = 30.0
LOOK_EVERY_S = 30.0
BEGIN = 1_700_000_000.0
MOST_BYTES = 100_000
RUNS_A_LOOK = 2


@dataclass
class Folder:
    """Files in memory, where the finder would find them on a disk."""

    files: dict[str, dict[str, FoundFile]] = field(default_factory=dict)
    on_s3: bool = False
    narrows: bool = True

    def write(self, key: str, name: str, size: int, mtime: float) -> None:
        path = f"{key}{name}.csv"
        found = FoundFile(Path(path), path, size, int(mtime * 1e9))
        self.files.setdefault(key, {})[name] = found

    def remove(self, key: str) -> None:
        self.files.pop(key, None)

    def partition_names(self) -> dict[str, list[str]]:
        return {key: sorted(of_key) for key, of_key in self.files.items()}

    def find(
        self, only: Collection[str] | None = None, most: int | None = None
    ) -> dict[str, list[FoundFile]]:
        keys = [key for key in self.files if only is None or key in only]
        pairs = [(key, file) for key in keys for file in self.files[key].values()][:most]
        found: dict[str, list[FoundFile]] = {}
        for key, file in pairs:
            found.setdefault(key, []).append(file)
        return found

    def prints(self) -> dict[str, str]:
        return {key: fingerprint(of_key.values()) for key, of_key in self.files.items()}


@dataclass
class Watch:
    """A sensor that looks again and again, and what came of it."""

    folder: Folder
    keys: list[str] = field(default_factory=lambda: list(KEYS))
    most_runs: int = RUNS_A_LOOK
    published: dict[str, str] = field(default_factory=dict)
    now: float = BEGIN
    text: str | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)

    def look(self) -> Look:
        self.now += LOOK_EVERY_S
        thinker = Discovery(
            cast("FileFinder", self.folder), self.known, SETTLE_S, self.most_runs, 366
        )
        look = thinker.look(Cursor.parse(self.text, self.now), self.keys, self.now)
        self.text = look.cursor.dump()
        self.asked += look.prints.items()
        return look

    def known(self, keys: Sequence[str]) -> dict[str, str]:
        return {key: self.published[key] for key in keys if key in self.published}

    def rest(self, looks: int = 60) -> None:
        for _ in range(looks):
            self.look()

    def succeed(self) -> None:
        """All runs asked for so far come to a good end."""
        self.published |= dict(self.asked)

    def asked_for(self, key: str) -> list[str]:
        return [value for one, value in self.asked if one == key]


EVENTS = st.lists(
    st.one_of(
        st.tuples(
            st.just("write"),
            st.one_of(
                st.sampled_from(SOME_KEYS).map(lambda key: [key]),
                st.sets(st.sampled_from(SOME_KEYS), min_size=10).map(sorted),  # a backlog
            ),
            st.sampled_from(["a", "b"]),
            st.integers(0, 3),
            # In the past, just now, with a clock that runs ahead.
            st.sampled_from([-1e6, -SETTLE_S - 1, -1.0, 0.0, 600.0]),
        ),
        st.tuples(st.just("remove"), st.sampled_from(SOME_KEYS)),
        st.tuples(st.just("look")),
        st.tuples(st.just("succeed")),
    ),
    max_size=60,
)


def play(watch: Watch, events: list[tuple[Any, ...]]) -> None:
    for what, *arguments in events:
        if what == "write":
            keys, name, size, age = arguments
            for key in keys:
                watch.folder.write(key, name, size, watch.now + age)
        elif what == "remove":
            watch.folder.remove(arguments[0])
        else:
            getattr(watch, what)()


@given(EVENTS, st.booleans())
@settings(max_examples=80, deadline=None)
def test_the_last_state_is_asked_for_and_only_once(
    events: list[tuple[Any, ...]],
    on_s3: bool,  # noqa: FBT001 - hypothesis gives it
) -> None:
    watch = Watch(Folder(on_s3=on_s3))
    play(watch, events)
    watch.rest()

    for key, value in watch.folder.prints().items():
        assert watch.asked_for(key)[-1:] == [value]
        again = zip(watch.asked_for(key), watch.asked_for(key)[1:], strict=False)
        assert all(one != other for one, other in again)


@given(EVENTS, st.booleans(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_a_forgetful_cursor_loses_nothing_and_comes_to_rest(
    events: list[tuple[Any, ...]],
    on_s3: bool,  # noqa: FBT001 - hypothesis gives it
    narrows: bool,  # noqa: FBT001
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(discovery, "RECENT_BYTES", 3 * (len(KEYS[0]) + discovery.ENTRY_BYTES))
        patch.setattr(discovery, "FILES_A_TICK", 7)
        watch = Watch(Folder(on_s3=on_s3, narrows=narrows))
        play(watch, events)
        watch.rest()
        for key, value in watch.folder.prints().items():
            assert value in watch.asked_for(key)
        before = len(watch.asked)
        watch.rest()  # though none of the runs that were asked for has succeeded since

    assert watch.asked[before:] == []


def hours(count: int) -> list[str]:
    begin = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    return [f"{begin + dt.timedelta(hours=number):%Y-%m-%dT%H}" for number in range(count)]


@pytest.mark.parametrize("age", [1e6, 0.0, -3600.0], ids=["settled", "just now", "clock ahead"])
@pytest.mark.parametrize("step", [1, 2], ids=["one range", "scattered"])
def test_twenty_thousand_hours_fit_into_a_small_cursor(age: float, step: int) -> None:
    watch = Watch(Folder(), keys=hours(20_000), most_runs=50)
    for key in watch.keys[::step]:
        watch.folder.write(key, "", 1, watch.now - age)

    for _ in range(4):
        assert len(watch.look().cursor.dump()) < MOST_BYTES


def test_a_backlog_is_spread_over_looks_and_none_of_it_is_lost() -> None:
    watch = Watch(Folder(), keys=hours(8_000), most_runs=50)
    scattered = watch.keys[::2]
    for key in scattered:
        watch.folder.write(key, "", 1, watch.now - 3600)

    looks = [watch.look() for _ in range(82)]

    assert {len(look.runs) for look in looks[:80]} == {50}
    assert [key for key, _ in watch.asked] == scattered  # the oldest first, each once, none failed
    assert looks[-1].runs == []


def test_a_lost_cursor_asks_only_for_what_is_not_published() -> None:
    watch = Watch(Folder())
    for key in KEYS[:3]:
        watch.folder.write(key, "", 1, BEGIN - 3600)
    watch.look()
    watch.succeed()
    del watch.published[KEYS[1]]  # its run failed
    watch.text = None

    assert watch.look().runs == [[KEYS[1]]]


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", '{"generation": 1, "of_old": {}}', "null"])
def test_a_cursor_of_another_make_counts_as_lost(text: str) -> None:
    assert Cursor.parse(text, now=1234.5) == Cursor(generation=1234, failed_at=1234.5)


def test_requests_of_a_lost_cursor_are_new_ones() -> None:
    watch = Watch(Folder())
    watch.folder.write(KEYS[0], "", 1, BEGIN - 3600)
    first = watch.look().cursor.generation
    watch.text = None

    assert watch.look().cursor.generation > first


def test_a_clock_that_runs_ahead_delays_a_file_by_the_settle_time_only() -> None:
    watch = Watch(Folder())
    watch.folder.write(KEYS[0], "", 1, BEGIN + 7200)

    assert watch.look().unsettled == 1
    assert watch.look().runs == [[KEYS[0]]]


def test_a_file_with_a_time_ahead_that_still_grows_is_waited_for() -> None:
    watch = Watch(Folder())
    for size in range(5):
        watch.folder.write(KEYS[0], "", size, BEGIN + 7200)
        assert watch.look().runs == []
    assert watch.look().runs == [[KEYS[0]]]


def test_without_a_settle_time_every_file_is_at_rest() -> None:
    folder = Folder()
    folder.write(KEYS[0], "", 1, BEGIN + 7200)
    thinker = Discovery(cast("FileFinder", folder), lambda _: {}, 0, RUNS_A_LOOK, 366)

    assert thinker.look(Cursor(generation=1), KEYS, BEGIN).runs == [[KEYS[0]]]


def test_ranges_join_neighbours_up_to_a_length() -> None:
    assert ranges(["b", "a", "d", "e", "f"], list("abcdef"), 2) == [["a", "b"], ["d", "e"], ["f"]]


def test_a_partition_without_files_in_between_is_not_asked_for() -> None:
    watch = Watch(Folder())
    for key in (KEYS[0], KEYS[2]):
        watch.folder.write(key, "", 1, BEGIN - 3600)

    assert watch.look().runs == [[KEYS[0]], [KEYS[2]]]
