"""How far a partition's distribution is from those of earlier ones, and how far is usual.

What belongs here: distances between profiles' distributions, and the limit that their history
gives. What does not: single figures (``anomalies``).

Of numbers and moments the distance is Kolmogorov and Smirnov's: the largest difference between the
shares of rows up to a value. Of texts it is the total variation: the share of rows that would have
to have another value. Both are 0 for equal distributions and 1 for those that share nothing, and
neither cares for units. What is usual is told by the history itself: the distance of each of its
partitions from the others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dataflow_assets.transform.anomalies import (
    FALSE_ALARMS,
    FREEDOM,
    WINDOW,
    TooLittle,
    centre_of,
    spread_of,
    student,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from dataflow_assets.transform.anomalies import Point
    from dataflow_assets.transform.profile import ColumnProfile

    Floats = NDArray[np.float64]

EVEN = 0.1
"""The least spread of the roots of distances, as a share of the usual one: few may be alike by
accident.
"""
SMALLEST = 0.02
"""The least distance that is told, however even the history is."""
HOPELESS = 1.0


@dataclass(frozen=True)
class Distance:
    """How far a distribution is from those of its history.

    Attributes:
        value: From 0, the same, to 1, nothing in common.
        limit: The largest that is usual.
        history: The partitions that it is judged by.
        where: Where the difference is greatest, in words.
    """

    value: float
    limit: float
    history: tuple[Point, ...]
    where: str

    @property
    def usual(self) -> bool:
        """Whether the distance is usual."""
        return self.value <= self.limit


def compare(
    history: Sequence[tuple[Point, ColumnProfile]], tested: ColumnProfile
) -> Distance | TooLittle:
    """Return how far a distribution is from those before it, or why that cannot be said.

    Args:
        history: Comparable partitions before the tested one with the profile of the column, in any
            order; of those that have values, the last `WINDOW` count.
        tested: The tested profile.
    """
    with_values = [pair for pair in history if pair[1].values]
    last = sorted(with_values, key=lambda pair: pair[0].number)[-WINDOW:]
    points, profiles = tuple(point for point, _ in last), [profile for _, profile in last]
    if not tested.values:
        return TooLittle(points, "a value: the partition has none")
    if len(points) < FREEDOM + 1:
        return TooLittle(points, f"{len(points)} of {FREEDOM + 1} earlier partitions with values")
    shares = _Numbers([*profiles, tested]) if tested.top is None else _Texts([*profiles, tested])
    ours, theirs = shares.table[-1], shares.table[:-1]
    pooled = theirs.mean(axis=0)
    others = (theirs.sum(axis=0) - theirs) / (len(theirs) - 1)
    usual = shares.distances(theirs, others)
    rows = sum(profile.values for profile in profiles)
    limit = max(_limit(usual), shares.by_chance(pooled, tested.values, rows), SMALLEST)
    return Distance(
        value=float(shares.distances(ours[None], pooled[None])[0]),
        limit=min(limit, HOPELESS),
        history=points,
        where=shares.greatest(ours - pooled),
    )


def _limit(distances: Floats) -> float:
    """Return the largest distance that is usual among such ones."""
    roots = np.sqrt(distances)
    centre = centre_of(roots)
    width = max(spread_of(roots), EVEN * centre) * math.sqrt(1 + 1 / len(roots))
    return (centre + student(1 - FALSE_ALARMS, len(roots) - 1) * width) ** 2


class _Numbers:
    """Distributions of numbers, as the shares of rows below and up to all values at hand.

    Args:
        profiles: The profiles.

    Attributes:
        table: A row for each profile: the shares below each value, then those up to it.
    """

    def __init__(self, profiles: Sequence[ColumnProfile]) -> None:
        steps = [np.array(profile.steps, np.float64) for profile in profiles]
        self._values = np.unique(np.concatenate([one[:, 0] for one in steps]))
        self.table = np.stack([_shares_at(one, self._values) for one in steps])

    def distances(self, some: Floats, others: Floats) -> Floats:
        """Return the distance of each row from the same row of another table."""
        found: Floats = np.abs(some - others).max(axis=1)
        return found

    def by_chance(self, pooled: Floats, values: int, rows: int) -> float:  # noqa: ARG002 - alike
        """Return the distance that a draw of so many values has by chance."""
        return math.sqrt(-math.log(FALSE_ALARMS / 2) / 2 * (1 / values + 1 / rows))

    def greatest(self, difference: Floats) -> str:
        """Say at which value the shares differ most."""
        place = int(np.abs(difference).argmax())
        value = self._values[place % len(self._values)]
        word = "below" if place < len(self._values) else "up to"
        more = "more" if difference[place] > 0 else "less"
        return f"{abs(difference[place]):.0%} {more} of the values are {word} {value:g}"


def _shares_at(steps: Floats, values: Floats) -> Floats:
    """Return the shares of rows below each value, then those up to it.

    Between two of its own values, the share goes from that up to the lower to that below the upper.

    Args:
        steps: Values with the shares below and up to each, as a profile has them.
        values: Where the shares are asked for, ascending.
    """
    own, below, up_to = steps.T
    between = np.interp(values, np.repeat(own, 2), steps[:, 1:].ravel(), left=0.0, right=1.0)
    place = np.clip(np.searchsorted(own, values), 0, len(own) - 1)
    known = own[place] == values
    return np.concatenate(
        [np.where(known, below[place], between), np.where(known, up_to[place], between)]
    )


class _Texts:
    """Distributions of texts, as the shares of the values at hand; the last column is all others.

    Args:
        profiles: The profiles.

    Attributes:
        table: A row for each profile.
    """

    def __init__(self, profiles: Sequence[ColumnProfile]) -> None:
        tops = [profile.top or {} for profile in profiles]
        self._texts = list(dict.fromkeys(text for top in tops for text in top))
        rows = [
            [top.get(text, 0) / profile.values for text in self._texts]
            for top, profile in zip(tops, profiles, strict=True)
        ]
        known = np.array(rows, np.float64).reshape(len(rows), len(self._texts))
        self.table = np.column_stack([known, 1 - known.sum(axis=1)])

    def distances(self, some: Floats, others: Floats) -> Floats:
        """Return the distance of each row from the same row of another table."""
        found: Floats = np.abs(some - others).sum(axis=1) / 2
        return found

    def by_chance(self, pooled: Floats, values: int, rows: int) -> float:
        """Return the distance that a draw of so many values has by chance."""
        draws = 1 / values + 1 / rows
        even = np.sqrt(2 / math.pi * np.clip(pooled * (1 - pooled), 0, None) * draws).sum() / 2
        return float(even) + math.sqrt(-math.log(FALSE_ALARMS) / 2 * draws)

    def greatest(self, difference: Floats) -> str:
        """Say of which value the shares differ most."""
        place = int(np.abs(difference).argmax())
        text = repr(self._texts[place]) if place < len(self._texts) else "one of the rarer ones"
        more = "more" if difference[place] > 0 else "less"
        return f"{abs(difference[place]):.0%} {more} of the values are {text}"
