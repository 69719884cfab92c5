from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from dataflow_assets.errors import PartitionBusyError, StorageError
from dataflow_assets.io.locks import exclusive, shared

if TYPE_CHECKING:
    from pathlib import Path

CONTENDERS = 16
HOLD_FOR_EVER = """
import sys, time
from pathlib import Path
from dataflow_assets.errors import PartitionBusyError
from dataflow_assets.io.locks import exclusive
with exclusive(Path(sys.argv[1]), timeout_s=9, busy=lambda: PartitionBusyError("", mend="")):
    print("held", flush=True)
    time.sleep(60)
"""


def busy() -> PartitionBusyError:
    return PartitionBusyError("busy.", mend="Wait.")


def hold_in_another_process(path: Path) -> subprocess.Popen[str]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD_FOR_EVER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    return holder


def test_only_one_thread_at_a_time_holds_it(tmp_path: Path) -> None:
    inside, most, entered = 0, 0, 0

    def enter_often() -> None:
        nonlocal inside, most, entered
        for _ in range(5):
            with exclusive(tmp_path / "a.lock", timeout_s=30, busy=busy):
                inside += 1
                most = max(most, inside)
                time.sleep(0.002)
                entered += 1
                inside -= 1

    threads = [threading.Thread(target=enter_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, entered) == (1, 40)


def test_a_wait_in_vain_ends_in_time_and_names_the_holder(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    holder = hold_in_another_process(path)
    try:
        began = time.monotonic()
        with (
            pytest.raises(PartitionBusyError, match=f"process {holder.pid}"),
            exclusive(path, timeout_s=0.3, busy=busy),
        ):
            pass
        assert 0.3 <= time.monotonic() - began < 3
    finally:
        holder.kill()
        holder.communicate()


def test_a_killed_holder_leaves_nothing_to_clean_up(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    holder = hold_in_another_process(path)
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    with exclusive(path, timeout_s=0, busy=busy):
        assert path.read_text() == str(os.getpid())


def test_it_is_free_again_after_an_error_inside(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with pytest.raises(ZeroDivisionError), exclusive(path, timeout_s=1, busy=busy):
        _ = 1 / 0
    with exclusive(path, timeout_s=0, busy=busy):
        pass


def test_a_wait_in_vain_does_not_hold_up_the_next(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with exclusive(path, timeout_s=1, busy=busy):
        for _ in range(2):
            with pytest.raises(PartitionBusyError), exclusive(path, timeout_s=0.02, busy=busy):
                pass
    with exclusive(path, timeout_s=0, busy=busy):
        pass


def test_readers_share_it_and_a_writer_waits_for_them(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with shared(path, timeout_s=1, busy=busy):
        with shared(path, timeout_s=0.1, busy=busy):
            pass
        with pytest.raises(PartitionBusyError), exclusive(path, timeout_s=0.05, busy=busy):
            pass
    with (
        exclusive(path, timeout_s=1, busy=busy),
        pytest.raises(PartitionBusyError),
        shared(path, timeout_s=0.05, busy=busy),
    ):
        pass


def test_one_who_always_comes_back_lets_those_in_who_wait(tmp_path: Path) -> None:
    """A run over many partitions lets go and takes the lock again at once."""
    path = tmp_path / "a.lock"
    returns = 0
    over = threading.Event()
    through: list[int] = []

    def come_back_at_once() -> None:
        nonlocal returns
        while not over.is_set():
            with exclusive(path, timeout_s=30, busy=busy):
                returns += 1
                time.sleep(0.04)

    def enter_once() -> None:
        with exclusive(path, timeout_s=30, busy=busy):
            through.append(returns)

    greedy = threading.Thread(target=come_back_at_once)
    modest = [threading.Thread(target=enter_once) for _ in range(CONTENDERS)]
    for thread in (greedy, *modest):
        thread.start()
    for thread in modest:
        thread.join()
    over.set()
    greedy.join()
    assert len(through) == CONTENDERS
    assert max(through) <= CONTENDERS + 4


def test_a_folder_that_cannot_be_made_is_an_error_of_storage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StorageError, match="lock file cannot be made"),
        exclusive(tmp_path / "file" / "a.lock", timeout_s=0, busy=busy),
    ):
        pass
