"""What runs share about hosts: a budget of requests, and a breaker that gives a broken host peace.

What belongs here: when a host may be asked. What does not: asking it (`http`), and where what is
shared is kept.

A breaker is *closed* while its host works. After some failures in a row it is *open*: nobody asks
the host until a pause is over. Then it is *half open*: one request goes through; if it succeeds the
breaker is closed again, else the next pause is twice as long.

A breaker is kept where all runs see it, and changed under a lock. A budget is kept in a file of
this machine: its processes and threads share it, other machines do not.
"""

from __future__ import annotations

import fcntl
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import override

from dataflow_assets.errors import BreakerOpenError, StorageError
from dataflow_assets.extract.http import Guard

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

THRESHOLD = 10
"""Failures in a row that open a breaker: two requests with all their tries."""
FIRST_PAUSE_S = 60.0
LONGEST_PAUSE_S = 3600.0
PROBE_S = 360.0
"""Whoever went through a half-open breaker and has not come back by then is dead."""
NOTE_BYTES = 32
KNOWN_S = 5.0
"""For how long what was read of a closed breaker is trusted."""

Phase = Literal["closed", "open", "half open"]


class SharedState(Protocol):
    """Small files that all runs see, on whatever machine."""

    def read(self, name: str) -> bytes | None:
        """Return a file's content, or none if there is no such file."""

    def change(self, name: str, work: Callable[[bytes | None], bytes]) -> None:
        """Put what `work` makes of a file's content in its place, alone with it."""


class BreakerState(BaseModel):
    """What is known of a host.

    Attributes:
        failures: Failures since it last answered.
        pauses: Pauses since then.
        until: When the last pause ends, in seconds since 1970.
        probed_until: Until when somebody is trying whether it works again.
        why: What failed last.
    """

    model_config = ConfigDict(frozen=True)

    failures: int = 0
    pauses: int = 0
    until: float = 0
    probed_until: float = 0
    why: str = ""

    def phase(self, now: float) -> Phase:
        """Return how the breaker is at a moment."""
        if not self.pauses:
            return "closed"
        return "open" if now < self.until else "half open"

    def admits(self, now: float) -> bool:
        """Whether a request may go through at a moment."""
        return self.phase(now) == "closed" or now >= max(self.until, self.probed_until)

    def tell(self, now: float) -> str:
        """Return how the breaker is, for people."""
        phase = self.phase(now)
        if phase == "closed":
            return "closed" if not self.failures else f"closed after {self.failures} failures"
        then = datetime.fromtimestamp(self.until, UTC).isoformat(" ", "seconds")
        told = f"open until {then}" if phase == "open" else "half open"
        return f"{told}: {self.failures} failures in a row; at last the host {self.why}"


class Breaker:
    """The breaker of one host.

    Args:
        host: The host, with its port unless that is the usual one.
        shared: Where it is kept.
        clock: Gives seconds since 1970.
    """

    def __init__(
        self, host: str, shared: SharedState, clock: Callable[[], float] = time.time
    ) -> None:
        self._host = host
        self._name = f"{quote(host, safe='.-')}.json"
        self._shared = shared
        self._clock = clock
        self._known = BreakerState()
        self._read_at = float("-inf")

    def look(self) -> BreakerState:
        """Return what is known of the host now."""
        self._know(_parse(self._shared.read(self._name)))
        return self._known

    def told(self) -> str:
        """Return how the breaker is now, for people."""
        return self.look().tell(self._clock())

    def blocks(self) -> str | None:
        """Return why a run is not worth its start now; none if it is."""
        state, now = self.look(), self._clock()
        return None if state.admits(now) else f"{self._host}: the breaker is {state.tell(now)}"

    def admit(self) -> None:
        """Let a request pass, or not.

        Raises:
            BreakerOpenError: The host is not asked for now.
        """
        if self._clock() - self._read_at > KNOWN_S or self._known.pauses:
            self.look()
        if self._known.pauses:
            self._change(self._probing)

    def answered(self) -> None:
        """Close the breaker."""
        if self._known != BreakerState():
            self._change(lambda _: BreakerState())

    def failed(self, why: str) -> None:
        """Count a failure, and open the breaker if it was one too many."""

        def count(state: BreakerState) -> BreakerState:
            now = self._clock()
            failures = state.failures + 1
            told = state.model_copy(update={"failures": failures, "why": why, "probed_until": 0})
            opens = failures >= THRESHOLD if not state.pauses else now >= state.until
            pause = min(FIRST_PAUSE_S * 2 ** min(state.pauses, 10), LONGEST_PAUSE_S)
            more = {"pauses": state.pauses + 1, "until": now + pause} if opens else {}
            return told.model_copy(update=more)

        self._change(count)

    def leave_alone(self, seconds: float, why: str) -> None:
        """Open the breaker for as long as the host asks, but an hour at most."""

        def pause(state: BreakerState) -> BreakerState:
            until = self._clock() + min(seconds, LONGEST_PAUSE_S)
            wanted = {"pauses": max(state.pauses, 1), "until": max(state.until, until), "why": why}
            return state.model_copy(update=wanted)

        self._change(pause)

    def _probing(self, state: BreakerState) -> BreakerState:
        now = self._clock()
        if not state.admits(now):
            raise BreakerOpenError(
                f"{self._host} is not asked for now: the breaker is {state.tell(now)}.",
                mend="Wait for the end of the pause; if the host is broken, tell who keeps it.",
                culprit=self._host,
            )
        if state.pauses:
            return state.model_copy(update={"probed_until": now + PROBE_S})
        return state

    def _change(self, work: Callable[[BreakerState], BreakerState]) -> None:
        def apply(content: bytes | None) -> bytes:
            self._know(work(_parse(content)))
            return self._known.model_dump_json().encode()

        self._shared.change(self._name, apply)

    def _know(self, state: BreakerState) -> None:
        self._known, self._read_at = state, self._clock()


def _parse(content: bytes | None) -> BreakerState:
    """Return what a file says; one that says nothing sensible says that the host works."""
    try:
        return BreakerState.model_validate_json(content) if content else BreakerState()
    except ValidationError:
        return BreakerState()


@dataclass(frozen=True)
class Budget:
    """How often a host may be asked: one request each `interval_s` seconds.

    Attributes:
        folder: Where the machine's processes note when each host's next request is due.
        interval_s: Seconds between two requests; 0: no bound.
    """

    folder: Path
    interval_s: float

    def book(self, host: str) -> float:
        """Take the next free place in the row of requests, and return the seconds until then."""
        if not self.interval_s:
            return 0
        path = self.folder / f"{quote(host, safe='.-')}.due"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StorageError(
                f"the budget of requests cannot be kept: {error.strerror}.",
                mend="Make its folder writable for this user, and see that the disk is not full.",
                culprit=str(path),
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)  # held for the time of a read and a write
            return self._book(handle)
        finally:
            os.close(handle)

    def _book(self, handle: int) -> float:
        now = time.time()
        try:
            due = float(os.pread(handle, NOTE_BYTES, 0))
        except ValueError:  # it is new
            due = now
        if not now <= due <= now + LONGEST_PAUSE_S:  # the clock was set back, or nobody asked
            due = now
        os.pwrite(handle, f"{due + self.interval_s:0{NOTE_BYTES}.6f}".encode(), 0)
        return due - now


class HostGuard(Guard):
    """Budget and breaker for the requests of one client. Threads may share it.

    Args:
        shared: Where breakers are kept.
        budget: How often hosts may be asked.
    """

    def __init__(self, shared: SharedState, budget: Budget) -> None:
        self._shared = shared
        self._budget = budget
        self._breakers: dict[str, Breaker] = {}

    def breaker(self, host: str) -> Breaker:
        """Return the breaker of a host."""
        return self._breakers.setdefault(host, Breaker(host, self._shared))

    @override
    def admit(self, host: str) -> float:
        self.breaker(host).admit()
        return self._budget.book(host)

    @override
    def answered(self, host: str) -> None:
        self.breaker(host).answered()

    @override
    def failed(self, host: str, why: str) -> None:
        self.breaker(host).failed(why)

    @override
    def leave_alone(self, host: str, seconds: float, why: str) -> None:
        self.breaker(host).leave_alone(seconds, why)
