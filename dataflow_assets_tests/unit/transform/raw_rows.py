"""Raw partitions for tests, as the lake hands them over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def raw_rows(
    columns: Mapping[str, Sequence[str | None]], rejects: Sequence[str | None] | None = None
) -> pl.LazyFrame:
    """Return raw rows with technical columns; the n-th stands on line n + 2.

    Args:
        columns: The texts of each column.
        rejects: Why a row is rejected, whose columns then are null; none: no row is.
    """
    rows = len(next(iter(columns.values())))
    why = list(rejects or [None] * rows)
    frame = pl.DataFrame(
        {
            "_row": range(rows),
            **columns,
            "_file": ["a.csv"] * rows,
            "_version": ["00ff00ff00ff00ff"] * rows,
            "_line": range(2, rows + 2),
            "_reject": why,
            "_text": [None if one is None else f"torn {one}" for one in why],
        },
        schema={
            "_row": pl.UInt32(),
            **dict.fromkeys(columns, pl.String()),
            "_file": pl.String(),
            "_version": pl.String(),
            "_line": pl.Int64(),
            "_reject": pl.String(),
            "_text": pl.String(),
        },
    )
    accepted = pl.col("_reject").is_null()
    return frame.lazy().with_columns(pl.when(accepted).then(name).alias(name) for name in columns)
