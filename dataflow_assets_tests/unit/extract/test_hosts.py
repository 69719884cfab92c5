from __future__ import annotations

import multiprocessing
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from dataflow_assets.errors import BreakerOpenError
from dataflow_assets.extract.hosts import (
    FIRST_PAUSE_S,
    KNOWN_S,
    PROBE_S,
    THRESHOLD,
    Breaker,
    Budget,
)
from dataflow_assets.io.lake import Lake

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOST = "api.example.org"


class Memory:
    """State shared by all who hold this."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.reads = self.changes = 0

    def read(self, name: str) -> bytes | None:
        self.reads += 1
        return self.files.get(name)

    def change(self, name: str, work: Callable[[bytes | None], bytes]) -> None:
        self.changes += 1
        self.files[name] = work(self.files.get(name))


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def shared() -> Memory:
    return Memory()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def fail(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        breaker.failed("answered 503")


def test_a_breaker_opens_after_failures_in_a_row_and_for_all(shared: Memory, clock: Clock) -> None:
    one, other = Breaker(HOST, shared, clock), Breaker(HOST, shared, clock)
    fail(one, THRESHOLD - 1)
    other.admit()
    fail(other, 1)
    clock.now += KNOWN_S + 1
    for breaker in (one, other):
        with pytest.raises(BreakerOpenError, match="answered 503"):
            breaker.admit()
        assert "open until 2023-11-14" in (breaker.blocks() or "")
        assert breaker.told().startswith("open until")
    assert Breaker("other.example.org", shared, clock).blocks() is None


def test_success_between_failures_keeps_a_breaker_closed(shared: Memory, clock: Clock) -> None:
    breaker = Breaker(HOST, shared, clock)
    for _ in range(5):
        fail(breaker, THRESHOLD - 1)
        breaker.answered()
    breaker.admit()
    assert breaker.told() == "closed"


def test_a_half_open_breaker_lets_one_through(shared: Memory, clock: Clock) -> None:
    one, other = Breaker(HOST, shared, clock), Breaker(HOST, shared, clock)
    fail(one, THRESHOLD)
    clock.now += FIRST_PAUSE_S + 1
    assert one.told().startswith("half open")
    assert one.blocks() is None
    one.admit()
    with pytest.raises(BreakerOpenError):
        other.admit()
    one.answered()
    other.admit()
    assert (one.told(), other.told()) == ("closed", "closed")


def test_each_vain_try_doubles_the_pause(shared: Memory, clock: Clock) -> None:
    breaker = Breaker(HOST, shared, clock)
    fail(breaker, THRESHOLD)
    pauses = []
    for _ in range(12):
        pauses.append(breaker.look().until - clock.now)
        clock.now = breaker.look().until
        breaker.admit()
        fail(breaker, 1)
        with pytest.raises(BreakerOpenError):
            breaker.admit()
    assert pauses[:4] == [60, 120, 240, 480]
    assert max(pauses) == 3600


def test_failures_of_requests_under_way_do_not_prolong_a_pause(
    shared: Memory, clock: Clock
) -> None:
    breaker = Breaker(HOST, shared, clock)
    fail(breaker, THRESHOLD)
    until = breaker.look().until
    fail(breaker, 50)
    assert breaker.look().until == until


def test_a_prober_that_died_does_not_block_for_ever(shared: Memory, clock: Clock) -> None:
    one, other = Breaker(HOST, shared, clock), Breaker(HOST, shared, clock)
    fail(one, THRESHOLD)
    clock.now += FIRST_PAUSE_S
    one.admit()
    clock.now += PROBE_S - 1
    with pytest.raises(BreakerOpenError):
        other.admit()
    clock.now += 2
    other.admit()


def test_a_host_that_wants_peace_gets_it(shared: Memory, clock: Clock) -> None:
    breaker = Breaker(HOST, shared, clock)
    breaker.leave_alone(900, "answered 429")
    assert breaker.look().until == clock.now + 900
    breaker.leave_alone(86400, "answered 429")
    assert breaker.look().until == clock.now + 3600
    clock.now += 3600
    breaker.admit()
    breaker.answered()
    assert breaker.told() == "closed"


def test_a_working_host_costs_next_to_nothing(shared: Memory, clock: Clock) -> None:
    breaker = Breaker(HOST, shared, clock)
    for _ in range(1000):
        breaker.admit()
        breaker.answered()
        clock.now += 0.01
    assert shared.changes == 0
    assert shared.reads <= 3


@pytest.mark.parametrize("content", [b"", b"{", b'{"failures": "many"}', b"\xff"])
def test_a_spoilt_file_says_nothing(shared: Memory, clock: Clock, content: bytes) -> None:
    shared.files[f"{HOST}.json"] = content
    breaker = Breaker(HOST, shared, clock)
    breaker.admit()
    breaker.failed("answered 500")
    assert breaker.look().failures == 1


def _fail_in_process(root: Path, times: int) -> None:
    fail(Breaker(HOST, Lake(root, 30).shared(".hosts")), times)


def test_processes_count_together(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fail_in_process, args=(tmp_path, 8)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    breaker = Breaker(HOST, Lake(tmp_path, 30).shared(".hosts"))
    assert breaker.look().failures == 24
    assert breaker.told().startswith("open")
    assert list((tmp_path / ".work").iterdir()) == []


def _book(folder: Path, times: int, out: multiprocessing.Queue[float]) -> None:
    budget = Budget(folder, 0.02)
    for _ in range(times):
        wait = budget.book(HOST)
        out.put(time.time() + wait)


def test_processes_and_threads_share_a_budget(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[float] = context.Queue()
    makers: tuple[Any, ...] = (context.Process, context.Process, threading.Thread, threading.Thread)
    workers = [make(target=_book, args=(tmp_path, 30, queue)) for make in makers]
    for worker in workers:
        worker.start()
    due = sorted(queue.get(timeout=20) for _ in range(120))
    for worker in workers:
        worker.join()
    assert due[-1] - due[0] >= 119 * 0.02 * 0.99


def test_a_budget_recovers_from_nonsense_and_a_clock_set_back(tmp_path: Path) -> None:
    budget = Budget(tmp_path, 1)
    assert budget.book(HOST) == pytest.approx(0, abs=0.01)
    assert budget.book(HOST) == pytest.approx(1, abs=0.05)
    (tmp_path / f"{HOST}.due").write_text(f"{time.time() + 1e6:032.6f}")
    assert budget.book(HOST) == pytest.approx(0, abs=0.01)
    (tmp_path / f"{HOST}.due").write_text("nonsense")
    assert budget.book(HOST) == pytest.approx(0, abs=0.01)


def test_no_budget_writes_nothing(tmp_path: Path) -> None:
    assert Budget(tmp_path, 0).book(HOST) == 0
    assert list(tmp_path.iterdir()) == []
