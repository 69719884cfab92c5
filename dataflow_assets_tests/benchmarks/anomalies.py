"""False alarms and detection of anomaly checks on simulated histories, as a table.

What belongs here: histories of which the truth is known, and the ways that were compared. What does
not: the way that is used; that is `dataflow_assets.transform.anomalies`.

Run it: ``python -m dataflow_assets_tests.benchmarks.anomalies``, with ``--histories`` and
``--distributions`` for how many are tried.
"""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from dataflow_assets.transform.anomalies import COUNTS, Expected, Point, expect
from dataflow_assets.transform.distributions import Distance, compare
from dataflow_assets.transform.profile import Wanted, profile_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from dataflow_assets.transform.profile import ColumnProfile

    Floats = NDArray[np.float64]
    Random = np.random.Generator
    Judge = Callable[[Floats, Floats], list[bool | None]]

LENGTHS = (5, 7, 10, 14, 21, 30, 60)
WEEK = np.array([1.0, 1.05, 1.0, 0.95, 0.9, 0.35, 0.25])
"""What a weekday's volume is, against that of a Monday."""
OUTLIERS = 0.08
HALF, DOUBLE = 0.5, 2.0
ROWS = "{:<34}{:<16}" + "{:>9}" * len(LENGTHS)


def poisson(mean: float) -> Callable[[Random, int], Floats]:
    """Counts that vary by chance alone."""
    return lambda random, length: random.poisson(mean, length).astype(np.float64)


def noisy(
    sd: float, *, week: bool = False, trend: float = 0.0, odd: float = 0.0
) -> Callable[[Random, int], Floats]:
    """Log-normal counts around 20,000.

    Args:
        sd: Of the logarithm.
        week: Whether weekdays differ.
        trend: Growth a day.
        odd: Share of days that are lost in part, or doubled.
    """

    def make(random: Random, length: int) -> Floats:
        days = np.arange(length)
        values = 20_000 * np.exp(random.normal(0, sd, length) + trend * days)
        values *= WEEK[days % 7] if week else 1
        wrong = random.random(length) < odd
        wrong[-1] = False
        found: Floats = np.where(wrong, values * random.choice([0.1, 0.4, 3.0], length), values)
        return found.round()

    return make


HISTORIES: Mapping[str, Callable[[Random, int], Floats]] = {
    "Poisson, mean 4": poisson(4),
    "Poisson, mean 30": poisson(30),
    "Poisson, mean 1,000": poisson(1000),
    "log-normal, sd 0.1": noisy(0.1),
    "log-normal, sd 0.3": noisy(0.3),
    "sd 0.1, weekdays": noisy(0.1, week=True),
    "sd 0.1, trend 1 % a day": noisy(0.1, trend=0.01),
    "sd 0.1, weekdays, trend": noisy(0.1, week=True, trend=0.01),
    "sd 0.1, 8 % odd days": noisy(0.1, odd=OUTLIERS),
    "sd 0.1, weekdays, 8 % odd days": noisy(0.1, week=True, odd=OUTLIERS),
    "always the same": lambda _, length: np.full(length, 5_000.0),
}


def z_score(history: Floats, tested: Floats) -> list[bool | None]:
    """Judge by mean and standard deviation: three of them are too far."""
    centre, spread = history.mean(), history.std(ddof=1)
    return [bool(abs(value - centre) > 3 * spread) for value in tested]


def median_mad(history: Floats, tested: Floats) -> list[bool | None]:
    """Judge by median and MAD: 3.5 of it are too far."""
    centre = np.median(history)
    spread = 1.4826 * np.median(np.abs(history - centre))
    return [bool(abs(value - centre) > 3.5 * spread) for value in tested]


def _own(history: Floats, tested: Floats, *, week: bool) -> list[bool | None]:
    last = len(history)
    points = [
        Point(str(day), day, value, group=day % 7 if week else 0)
        for day, value in enumerate(history.tolist())
    ]
    to_test = Point(str(last), last, 0, group=last % 7 if week else 0)
    expected = expect(points, to_test, COUNTS)
    if not isinstance(expected, Expected):
        return [None] * len(tested)
    return [not expected.holds(round(value)) for value in tested.tolist()]


def own_days(history: Floats, tested: Floats) -> list[bool | None]:
    """Judge as daily partitions are judged."""
    return _own(history, tested, week=True)


def own_others(history: Floats, tested: Floats) -> list[bool | None]:
    """Judge as partitions are judged that are no days."""
    return _own(history, tested, week=False)


WAYS: Mapping[str, Judge] = {
    "mean, sd": z_score,
    "median, MAD": median_mad,
    "ours, days": own_days,
    "ours, others": own_others,
}


def rates(
    make: Callable[[Random, int], Floats], judge: Judge, length: int, histories: int
) -> tuple[float, float] | None:
    """Return the share of false alarms and of found halves and doubles; none if it says nothing.

    Args:
        make: Makes a history and the day after it.
        judge: Judges that day, half of it and twice of it.
        length: Days of history.
        histories: How many to try.
    """
    random = np.random.default_rng(length)
    found: list[list[bool | None]] = []
    for _ in range(histories):
        values = make(random, length + 1)
        usual = values[-1]
        found.append(judge(values[:-1], np.round(np.array([usual, HALF * usual, DOUBLE * usual]))))
    said = np.array([verdicts for verdicts in found if verdicts[0] is not None], dtype=bool)
    if len(said) < histories / 2:
        return None
    return float(said[:, 0].mean()), float(said[:, 1:].mean())


def normal(random: Random, rows: int) -> Floats:
    """Values around 10 whose distribution is the same each day."""
    return random.normal(10, 2, rows)


def shifting(random: Random, rows: int) -> Floats:
    """Skewed values whose level is another each day."""
    return np.exp(random.normal(random.normal(0, 0.2), 1, rows))


def whole(random: Random, rows: int) -> Floats:
    """A few small whole numbers."""
    return random.poisson(2, rows).astype(np.float64)


VALUES: Mapping[str, Callable[[Random, int], Floats]] = {
    "normal": normal,
    "log-normal, level varies": shifting,
    "small whole numbers": whole,
}
CHANGES: Mapping[str, Callable[[Floats], Floats]] = {
    "none": lambda values: values,
    "times 10": lambda values: values * 10,
    "half an sd": lambda values: values + values.std() / 2,
    "10 % are 0": lambda values: np.where(np.arange(len(values)) % 10 == 0, 0, values),
}
PARTITION_ROWS = (50, 2000)
PARTITIONS = (7, 20, 60)


def stability_index(history: Sequence[Floats], tested: Floats) -> bool:
    """Judge by the population stability index over ten parts: 0.2 is too much."""
    pooled = np.concatenate(history)
    edges = np.unique(np.quantile(pooled, np.linspace(0, 1, 11)[1:-1]))
    bounds = np.concatenate([[-np.inf], edges, [np.inf]])
    before, now = (
        np.maximum(np.histogram(values, bounds)[0] / len(values), 1e-4)
        for values in (pooled, tested)
    )
    return bool(((now - before) * np.log(now / before)).sum() > 0.2)


def kolmogorov(history: Sequence[Floats], tested: Floats) -> bool:
    """Judge by the test of Kolmogorov and Smirnov at 1 %."""
    pooled, ours = np.sort(np.concatenate(history)), np.sort(tested)
    both = np.concatenate([pooled, ours])
    shares = (np.searchsorted(one, both, side="right") / len(one) for one in (pooled, ours))
    distance = np.abs(np.subtract(*shares)).max()
    limit = np.sqrt(-np.log(0.005) / 2 * (1 / len(pooled) + 1 / len(ours)))
    return bool(distance > limit)


def own_distance(history: Sequence[Floats], tested: Floats) -> bool:
    """Judge as distributions are judged."""
    past = [(Point(str(n), n, 0.0), _profiled(values)) for n, values in enumerate(history)]
    found = compare(past, _profiled(tested))
    return isinstance(found, Distance) and not found.usual


def _profiled(values: Floats) -> ColumnProfile:
    rows, now = pl.DataFrame({"v": values}), dt.datetime.now(dt.UTC)
    wanted = Wanted({"v": ("distribution",)})
    return profile_of(rows.lazy(), rows.height, wanted, begin=None, now=now).columns["v"]


DISTANCES: Mapping[str, Callable[[Sequence[Floats], Floats], bool]] = {
    "PSI > 0.2": stability_index,
    "KS at 1 %": kolmogorov,
    "ours": own_distance,
}


def print_distributions(histories: int) -> None:
    """Print how often distributions are told, in percent, by how they were changed."""
    line = "{:<26}{:>6}{:>11} {:<11}" + "{:>12}" * len(CHANGES)
    sys.stdout.write(line.format("values", "rows", "partitions", "way", *CHANGES) + "\n")
    random = np.random.default_rng(1)
    for (name, make), rows, length in product(VALUES.items(), PARTITION_ROWS, PARTITIONS):
        told = {way: dict.fromkeys(CHANGES, 0) for way in DISTANCES}
        for _ in range(histories):
            *history, tested = (make(random, rows) for _ in range(length + 1))
            for way, change in product(DISTANCES, CHANGES):
                told[way][change] += DISTANCES[way](history, CHANGES[change](tested))
        for way, counts in told.items():
            shares = (f"{100 * count / histories:.0f}" for count in counts.values())
            sys.stdout.write(line.format(name, rows, length, way, *shares) + "\n")


def print_counts(histories: int) -> None:
    """Print false alarms / found halves and doubles, in percent, by days of history."""
    sys.stdout.write(ROWS.format("history", "way", *LENGTHS) + "\n")
    for name, make in HISTORIES.items():
        for way, judge in WAYS.items():
            cells = []
            for length in LENGTHS:
                shares = rates(make, judge, length, histories)
                cells.append(
                    "-" if shares is None else f"{100 * shares[0]:.1f}/{100 * shares[1]:.0f}"
                )
            sys.stdout.write(ROWS.format(name, way, *cells) + "\n")


def main(arguments: list[str] | None = None) -> None:
    """Print both tables: false alarms / found, in percent; of distributions, what is told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--histories", type=int, default=2000)
    parser.add_argument("--distributions", type=int, default=100)
    options = parser.parse_args(arguments)
    print_counts(options.histories)
    print_distributions(options.distributions)


if __name__ == "__main__":
    main()
