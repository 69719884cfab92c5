"""What a partition's figures should be, judged by those of the asset's own earlier partitions.

What belongs here: the statistics, over figures that are in memory. What does not: which partitions
are comparable and how figures are taken (``profile``, ``builders.anomalies``).

A figure is put on a scale on which its noise is even, and a prediction interval of its history is
laid around the centre that is expected. Centre and spread are those of Hodges and Lehmann, and of
Shamos: up to a quarter of odd partitions in the history does not move them far, and for few points
they are nearly as exact as mean and standard deviation, so that Student's t gives the width of the
interval. `documentation/decisions.md` tells what was measured against other ways.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

FALSE_ALARMS = 0.003
"""Share of usual figures outside of the interval, where its assumptions hold."""
WINDOW = 60
"""The most comparable partitions that make a history."""
FREEDOM = 5
"""The fewest degrees of freedom: with fewer, an interval would be too wide to find anything."""
REPEATS = 2
"""How often the tested weekday must stand in the history before anything is said of it."""
SETTLED = 3
"""How often it must stand there before it is judged by its own weekday alone."""
CLEARER = 0.8
"""How much narrower weekdays must make the spread before they count."""
TREND_POINTS = 14
TREND_SURE = 3.0
"""How sure a trend must be: its rank correlation, in standard deviations."""
SHAMOS = 0.9539
"""Of normal values, the median distance of two, in standard deviations."""
TREND_WIDTH = 3.0
"""What extrapolating a slope adds to the variance of the centre: that of a straight line's end."""


@dataclass(frozen=True)
class Point:
    """A figure of one partition.

    Attributes:
        partition: Its key.
        number: When it is, in partitions since any beginning.
        value: The figure.
        rows: Of how many rows it was taken.
        group: What it has in common with those that are alike: the weekday; 0 if nothing.
    """

    partition: str
    number: int
    value: float
    rows: int = 0
    group: int = 0


class Scale(Protocol):
    """Where a figure's noise is even."""

    def put(self, values: Floats) -> Floats:
        """Return figures on the scale."""

    def back(self, place: float) -> float:
        """Return the figure that stands at a place of the scale."""

    def least(self, centre: float, rows: int) -> float:
        """Return the noise that chance alone makes, on the scale.

        Args:
            centre: What is expected, on the scale.
            rows: Of how many rows the tested figure was taken.
        """


class CountScale(Scale):
    """Counts: the square root of small ones, the logarithm of large ones.

    Small counts vary by chance, with the square root of their size; large ones in proportion to it.
    The scale is even for counts whose variance is n + 0.01 n².
    """

    SHARE = 0.01
    WIDTH = 2 / math.sqrt(SHARE)

    def put(self, values: Floats) -> Floats:
        """Return counts on the scale."""
        found: Floats = self.WIDTH * np.arcsinh(np.sqrt(self.SHARE * (values + 0.375)))
        return found

    def back(self, place: float) -> float:
        """Return the count that stands at a place; none is below 0."""
        within = min(max(place, 0.0), self.WIDTH * 300.0)  # beyond, no count can be
        return max(math.sinh(within / self.WIDTH) ** 2 / self.SHARE - 0.375, 0.0)

    def least(self, centre: float, rows: int) -> float:  # noqa: ARG002 - the count itself tells
        """Return the noise of counting."""
        return 1 / math.sqrt(1 + self.SHARE * self.back(centre))


class ShareScale(Scale):
    """Shares of rows: the angle whose sine squared is the share."""

    def put(self, values: Floats) -> Floats:
        """Return shares on the scale."""
        found: Floats = 2 * np.arcsin(np.sqrt(np.clip(values, 0, 1)))
        return found

    def back(self, place: float) -> float:
        """Return the share that stands at a place."""
        return math.sin(min(max(place, 0.0), math.pi) / 2) ** 2

    def least(self, centre: float, rows: int) -> float:  # noqa: ARG002 - alike for all shares
        """Return the noise of so few rows."""
        return 1 / math.sqrt(max(rows, 1))


COUNTS = CountScale()
SHARES = ShareScale()


@dataclass(frozen=True)
class Expected:
    """What a figure should be.

    Attributes:
        centre: The figure that is expected.
        low: The smallest that is usual.
        high: The largest that is usual.
        history: The partitions that it is judged by.
        weekdays: Whether each was judged by its own weekday.
        trend: Whether a trend was followed.
    """

    centre: float
    low: float
    high: float
    history: tuple[Point, ...]
    weekdays: bool = False
    trend: bool = False

    def holds(self, value: float) -> bool:
        """Whether a figure is usual."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class TooLittle:
    """Why nothing can be said yet.

    Attributes:
        history: The partitions that there are.
        needed: What is missing, in words.
    """

    history: tuple[Point, ...]
    needed: str


@dataclass(frozen=True)
class _Fit:
    """A centre with its spread, on a scale."""

    centre: float
    spread: float
    freedom: int
    more: float
    grouped: bool
    trend: bool

    def half(self, least: float) -> float:
        """Return half of the interval's width."""
        width = max(self.spread, least) * math.sqrt(1 + self.more)
        return student(1 - FALSE_ALARMS / 2, self.freedom) * width


def expect(history: Sequence[Point], tested: Point, scale: Scale) -> Expected | TooLittle:
    """Return what a figure should be, or why that cannot be said yet.

    Args:
        history: Comparable partitions before the tested one, in any order; the last `WINDOW` of
            them count.
        tested: The tested one; its figure has no influence, its rows and its group have.
        scale: Where the noise of such figures is even.
    """
    points = tuple(sorted(history, key=lambda point: point.number)[-WINDOW:])
    missing = _missing(points, tested)
    if missing:
        return TooLittle(points, missing)
    level = _fit(points, tested, scale, grouped=False)
    fits = [level]
    alike = sum(point.group == tested.group for point in points)
    if len({point.group for point in points}) > 1:
        own = _fit(points, tested, scale, grouped=True)
        if alike < SETTLED:
            fits = [level, own]  # what either of them takes for usual passes
        elif own.spread < CLEARER * level.spread:
            fits = [own]
    halves = [fit.half(scale.least(fit.centre, tested.rows)) for fit in fits]
    pairs = list(zip(fits, halves, strict=True))
    best = fits[-1]
    return Expected(
        centre=scale.back(best.centre),
        low=scale.back(min(fit.centre - half for fit, half in pairs)),
        high=scale.back(max(fit.centre + half for fit, half in pairs)),
        history=points,
        weekdays=best.grouped,
        trend=best.trend,
    )


def _missing(points: Sequence[Point], tested: Point) -> str:
    """Return what a history lacks, in words; nothing if it is enough."""
    groups = {point.group for point in points}
    wanted = len(groups) + FREEDOM if groups else 1 + FREEDOM
    if len(points) < wanted:
        return f"{len(points)} of {wanted} earlier partitions"
    alike = sum(point.group == tested.group for point in points)
    if alike < REPEATS:
        return f"{alike} of {REPEATS} earlier partitions of the same weekday"
    return ""


def _fit(points: Sequence[Point], tested: Point, scale: Scale, *, grouped: bool) -> _Fit:
    """Return the centre at the tested partition, and the spread around it."""
    values = scale.put(np.array([point.value for point in points], np.float64))
    when = np.array([point.number - tested.number for point in points], np.float64)
    group = np.array([point.group if grouped else tested.group for point in points])
    slope = _slope(values, when, group)
    values = values - slope * when
    centres = {one: centre_of(values[group == one]) for one in set(group.tolist())}
    rest = values - np.array([centres[one] for one in group.tolist()])
    freedom = len(points) - len(centres) - bool(slope)
    alike = int((group == tested.group).sum())
    return _Fit(
        centre=centres[tested.group],
        spread=spread_of(rest) * math.sqrt((len(points) - 1) / freedom),
        freedom=freedom,
        more=1 / alike + (TREND_WIDTH / len(points) if slope else 0),
        grouped=grouped,
        trend=bool(slope),
    )


def _slope(values: Floats, when: Floats, group: NDArray[np.int64]) -> float:
    """Return the median slope between points that are alike, if there is a trend; else 0."""
    if len(values) < TREND_POINTS:
        return 0.0
    first, second = np.triu_indices(len(values), 1)
    alike = (group[first] == group[second]) & (when[first] != when[second])
    first, second = first[alike], second[alike]
    rises = values[second] - values[first]
    sizes = np.unique(group, return_counts=True)[1].astype(np.float64)
    variance = float((sizes * (sizes - 1) * (2 * sizes + 5)).sum() / 18)  # Kendall's
    if abs(float(np.sign(rises).sum())) <= TREND_SURE * math.sqrt(variance):
        return 0.0
    return float(np.median(rises / (when[second] - when[first])))


def centre_of(values: Floats) -> float:
    """Return the median of the means of all pairs: Hodges and Lehmann's centre."""
    first, second = np.triu_indices(len(values))
    return float(np.median((values[first] + values[second]) / 2))


def spread_of(values: Floats) -> float:
    """Return the median distance of all pairs, as a standard deviation: Shamos' spread."""
    first, second = np.triu_indices(len(values), 1)
    return float(np.median(np.abs(values[first] - values[second]))) / SHAMOS


def student(share: float, freedom: float) -> float:
    """Return a quantile of Student's t, by Cornish and Fisher's expansion: 1 % off at 5 degrees.

    Args:
        share: Of which share.
        freedom: Degrees of freedom, 5 or more.
    """
    z = NormalDist().inv_cdf(share)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, start=1))
