"""Making tables of blocks in threads, a few ahead of whoever takes them.

What belongs here: keeping a few blocks under way, in order. What does not: what is done to a block.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import pyarrow as pa

    Block = TypeVar("Block")

THREADS = 2
LOOK_AHEAD = 2


def overlap(blocks: Iterable[Block], make: Callable[[Block], pa.Table]) -> Iterator[pa.Table]:
    """Yield the tables made of blocks, in order, none of them empty.

    Args:
        blocks: What tables are made of; read in the calling thread.
        make: Makes a table of a block; safe to be called from several threads.
    """
    rest = iter(blocks)
    first = list(islice(rest, 2))
    if len(first) < 2:  # noqa: PLR2004 - threads would cost more than one block
        tables = (make(block) for block in first)
        yield from (table for table in tables if table.num_rows)
        return
    waiting: deque[Future[pa.Table]] = deque()
    with ThreadPoolExecutor(THREADS, "blocks") as pool:
        for block in chain(first, rest):
            waiting.append(pool.submit(make, block))
            if len(waiting) > LOOK_AHEAD:
                yield from _not_empty(waiting.popleft())
        while waiting:
            yield from _not_empty(waiting.popleft())


def _not_empty(future: Future[pa.Table]) -> Iterator[pa.Table]:
    table = future.result()
    if table.num_rows:
        yield table
