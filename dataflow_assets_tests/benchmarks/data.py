"""Made-up data for the benchmarks: twelve mixed columns, about 236 bytes a row, some dirt."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from pathlib import Path

BYTES_A_ROW = 236
CHUNK = 500_000
FIRST_DAY = dt.date(2024, 1, 1)
BAD_EVERY = 997
"""One row in so many has a magnitude that is no number."""
DUPLICATE_EVERY = 503
"""One row in so many has the key of the row before."""


def write_file(path: Path, rows: int) -> None:
    """Write one CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for first in range(0, rows, CHUNK):
            part = rows_of(first, min(CHUNK, rows - first))
            part.write_csv(file, include_header=first == 0)


def write_days(folder: Path, days: int, rows: int) -> None:
    """Write one small CSV file a day."""
    for day in range(days):
        write_file(folder / f"{FIRST_DAY + dt.timedelta(days=day)}.csv", rows)


def rows_of(first: int, count: int) -> pl.DataFrame:
    """Return some rows, numbered from the first."""
    dice = np.random.default_rng(first + 1)
    number = pl.Series(np.arange(first, first + count))
    key = number - (number % DUPLICATE_EVERY == DUPLICATE_EVERY - 1).cast(pl.Int64)
    moment = dt.datetime(2024, 1, 1)  # noqa: DTZ001 - written as UTC below

    def text(values: np.ndarray) -> pl.Series:
        return pl.Series(values).cast(pl.String)

    def stamp(step: int) -> pl.Series:
        seconds = (number * step) % 86_400_000
        times = pl.select(pl.lit(moment) + pl.duration(milliseconds=pl.lit(seconds))).to_series()
        return times.dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")

    frame = pl.DataFrame(
        {
            "id": number,
            "event_id": "ev-" + key.cast(pl.String).str.zfill(10),
            "occurred_at": stamp(7),
            "updated_at": stamp(13),
            "magnitude": text(np.round(dice.random(count) * 12 - 2, 2)),
            "depth": np.round(dice.random(count) * 700, 3),
            "latitude": np.round(dice.random(count) * 180 - 90, 5),
            "longitude": np.round(dice.random(count) * 360 - 180, 5),
            "status": np.array(["automatic", "reviewed", "deleted"])[dice.integers(0, 3, count)],
            "place": "near place " + text(dice.integers(0, 100_000, count)) + ", region 7",
            "stations": dice.integers(0, 500, count),
            "comment": "a comment of medium length, number "
            + text(dice.integers(0, 1_000_000, count))
            + ", which makes a row as wide as rows usually are",
        }
    )
    bad = pl.col("id") % BAD_EVERY == BAD_EVERY - 1
    return frame.with_columns(magnitude=pl.when(bad).then(pl.lit("n/k")).otherwise("magnitude"))
