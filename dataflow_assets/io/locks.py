"""Locks between runs: whoever publishes a thing is alone with it.

What belongs here: waiting for a lock file, fairly and for a bounded time. What does not: what is
published under the lock.

The kernel lets go of such a lock when its holder dies, so there is nothing to clean up after a
kill. A lock file stays where it is after use; an old one means nothing. A second file, ``.queue``
beside it, makes the wait fair: who has waited stands at its head and goes in before anyone who has
just come out and wants back in.
"""

from __future__ import annotations

import fcntl
import os
import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dataflow_assets.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dataflow_assets.errors import DataflowError

SHORTEST_SLEEP_S = 0.0005
LONGEST_SLEEP_S = 0.02
GROWTH = 1.5
LONGEST_PID = 20


@contextmanager
def exclusive(path: Path, *, timeout_s: float, busy: Callable[[], DataflowError]) -> Iterator[None]:
    """Hold a lock file alone, among the threads and processes of this machine.

    Args:
        path: The lock file; it and its folder are made as needed.
        timeout_s: How long to wait for it, in seconds.
        busy: Makes the error for a wait in vain; the holder's process id is added to it.

    Raises:
        DataflowError: What `busy` returns, after `timeout_s`.
        StorageError: The lock file cannot be made.
    """
    with _holding(path, fcntl.LOCK_EX, timeout_s, busy):
        yield


@contextmanager
def shared(path: Path, *, timeout_s: float, busy: Callable[[], DataflowError]) -> Iterator[None]:
    """Hold a lock file together with others who share it; see `exclusive`."""
    with _holding(path, fcntl.LOCK_SH, timeout_s, busy):
        yield


def try_hold(path: Path) -> int | None:
    """Lock a file or folder that exists, without waiting.

    Returns:
        A handle that holds the lock until it is closed, by its owner or because that died; none if
        another holds it or there is no such path.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


@contextmanager
def _holding(
    path: Path, mode: int, timeout_s: float, busy: Callable[[], DataflowError]
) -> Iterator[None]:
    deadline = time.monotonic() + timeout_s
    queue = _open(path.with_name(path.name + ".queue"))
    try:
        lock = _open(path)
    except StorageError:
        os.close(queue)
        raise
    try:
        try:
            for handle, kind in ((queue, fcntl.LOCK_EX), (lock, mode)):
                if not _wait_for(handle, kind, deadline):
                    raise _naming_holder(busy(), lock)
        finally:
            _let_go(queue)
        if mode == fcntl.LOCK_EX:
            _write_holder(lock)
        yield
    finally:
        _let_go(lock)


def _open(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise StorageError(
            f"the lock file cannot be made: {error.strerror}.",
            mend="Make its folder writable for this user, and see that the disk is not full.",
            culprit=str(path),
        ) from error


def _wait_for(handle: int, kind: int, deadline: float) -> bool:
    """Return whether the lock was had before the deadline, which allows one try at least."""
    sleep_s = SHORTEST_SLEEP_S
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            time.sleep(min(left_s, sleep_s * random.uniform(0.5, 1)))  # noqa: S311 - no secret
            sleep_s = min(LONGEST_SLEEP_S, sleep_s * GROWTH)
        else:
            return True


def _let_go(handle: int) -> None:
    """Unlock explicitly: a forked child may still have the handle open."""
    fcntl.flock(handle, fcntl.LOCK_UN)
    os.close(handle)


def _write_holder(lock: int) -> None:
    pid = str(os.getpid()).encode()
    if os.pread(lock, LONGEST_PID, 0) != pid:
        os.ftruncate(lock, 0)
        os.pwrite(lock, pid, 0)


def _naming_holder(error: DataflowError, lock: int) -> DataflowError:
    pid = os.pread(lock, LONGEST_PID, 0).decode(errors="replace")
    if pid:
        error.problem += f" The last to hold the lock was process {pid}."
    return error
