"""Making things of blocks in threads, a few ahead of whoever takes them.

What belongs here: keeping a few blocks under way, in order. What does not: what is done to a block.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Block = TypeVar("Block")
    Made = TypeVar("Made")

THREADS = 2
LOOK_AHEAD = 2


def overlap(blocks: Iterable[Block], make: Callable[[Block], Made]) -> Iterator[Made]:
    """Yield what is made of blocks, in order.

    Args:
        blocks: Read in the calling thread.
        make: Makes something of a block; safe to be called from several threads.
    """
    rest = iter(blocks)
    first = list(islice(rest, 2))
    if len(first) < 2:  # noqa: PLR2004 - threads would cost more than one block
        yield from map(make, first)
        return
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(THREADS, "blocks") as pool:
        for block in chain(first, rest):
            waiting.append(pool.submit(make, block))
            if len(waiting) > LOOK_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
