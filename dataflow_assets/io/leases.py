"""Locks on S3: whoever publishes a thing is alone with it, among all machines.

What belongs here: holding an object that nobody else could make, and saying at intervals that one
still does. What does not: what is published under the lock.

S3 makes an object only if there is none when asked to (``If-None-Match: *``); that is all that a
lock is made of. It names its holder, who writes it anew every `BEAT_S` seconds. No clocks are
compared: whoever waits takes a lock for abandoned after having seen it unchanged for `LEASE_S`
seconds. Of those who do, one wins: the one who can make the object that says so, whose key holds
the abandoned holder's token. A holder who could not write for `LOST_S` seconds counts the lock as
lost and publishes no more.
"""

from __future__ import annotations

import os
import random
import socket
import threading
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dataflow_assets.errors import DataflowError, PartitionBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dataflow_assets.s3 import Bucket

BEAT_S = 10.0
LEASE_S = 45.0
LOST_S = 25.0
SHORTEST_SLEEP_S = 0.05
LONGEST_SLEEP_S = 2.0
GROWTH = 1.5


class Lease:
    """A lock that its holder must renew.

    Args:
        bucket: The bucket.
        key: The object that is the lock.
    """

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._token = uuid.uuid4().hex
        self._beats = 0
        self._renewed = 0.0
        self._released = threading.Event()

    @contextmanager
    def held(self, *, timeout_s: float, busy: Callable[[], DataflowError]) -> Iterator[None]:
        """Hold the lock alone.

        Args:
            timeout_s: How long to wait for it, in seconds.
            busy: Makes the error for a wait in vain; the holder is added to it.

        Raises:
            DataflowError: What `busy` returns, after `timeout_s`.
        """
        self._acquire(timeout_s, busy)
        beating = threading.Thread(target=self._beat, name="lease", daemon=True)
        beating.start()
        try:
            yield
        finally:
            self._released.set()
            beating.join()
            if not self._is_lost():
                self._bucket.delete(self._key)

    def check(self) -> None:
        """Refuse to go on if others may hold the lock by now.

        Raises:
            PartitionBusyError: It could not be renewed in time.
        """
        if self._is_lost():
            raise PartitionBusyError(
                f"the lock on the partition could not be renewed for {LOST_S:g} s; another run may "
                "hold it.",
                mend="Run again; if it goes on, see why S3 did not answer.",
                culprit=self._bucket.url(self._key),
            )

    def _acquire(self, timeout_s: float, busy: Callable[[], DataflowError]) -> None:
        deadline = time.monotonic() + timeout_s
        sleep_s = SHORTEST_SLEEP_S
        seen, since = b"", time.monotonic()
        while True:
            self._renewed = time.monotonic()
            if self._bucket.create(self._key, self._content()):
                return
            standing = self._bucket.read(self._key) or b""
            if standing == self._content():  # it was made, but the answer was lost on its way
                return
            now = time.monotonic()
            if standing != seen:
                seen, since = standing, now
            elif seen and now - since >= LEASE_S and self._take_over(seen):
                return
            if now >= deadline:
                raise _naming_holder(busy(), standing)
            time.sleep(min(deadline - now, sleep_s * random.uniform(0.5, 1)))  # noqa: S311
            sleep_s = min(LONGEST_SLEEP_S, sleep_s * GROWTH)

    def _take_over(self, abandoned: bytes) -> bool:
        """Replace an abandoned lock; return whether it was us, and nobody else, who did."""
        token = abandoned.split()[0].decode(errors="replace")
        claim = f"{self._key}.{token}"
        if not (
            self._bucket.create(claim, self._content())
            or self._bucket.read(claim) == self._content()
        ):
            return False
        self._renewed = time.monotonic()
        if self._bucket.read(self._key) != abandoned:  # it woke up, and has ended since
            self._bucket.delete(claim)
            return False
        self._bucket.write(self._key, self._content())
        return True

    def _beat(self) -> None:
        while not self._released.wait(BEAT_S):
            began = time.monotonic()
            if self._is_lost():
                return
            self._beats += 1
            try:
                self._bucket.write(self._key, self._content())
            except DataflowError:  # the lease runs on; whoever publishes checks what is left of it
                continue
            self._renewed = began

    def _is_lost(self) -> bool:
        return time.monotonic() - self._renewed > LOST_S

    def _content(self) -> bytes:
        return f"{self._token} {self._beats} {socket.gethostname()} {os.getpid()}".encode()


def _naming_holder(error: DataflowError, standing: bytes) -> DataflowError:
    words = standing.decode(errors="replace").split()
    if len(words) == 4:  # noqa: PLR2004 - as `Lease` writes them
        error.problem += f" The lock is held by process {words[3]} on {words[2]}."
    return error
