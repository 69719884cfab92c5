"""Which rows have a value that another table lacks, where that has too many to be held in memory.

What belongs here: the comparison, by DuckDB, which spills to the work folder. What does not: where
the other table is (`builders.references`), and looking up values that are held
(`transform.references`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.io.duplicates import flags_of, short_of_room, spilling
from dataflow_assets.io.warehouse import quoted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np

ROWS_AT_ONCE = 1 << 20


def find_absent(
    values: pl.LazyFrame, known: pl.LazyFrame, rows: int, folder: Path, memory_limit_mb: int
) -> np.ndarray | None:
    """Flag the rows whose values stand in no row of another table.

    Args:
        values: `_row` and the columns that refer; rows that lack a value are never flagged.
        known: The columns of the other table, of the same names and types.
        rows: How many rows the partition has.
        folder: Folder on the local disk for temporary files, which the caller removes.
        memory_limit_mb: Bound for the memory of the comparison, in MB.

    Raises:
        StorageError: There is not enough memory or disk.
    """
    names = known.collect_schema().names()
    complete = values.filter(pl.all_horizontal(pl.col(name).is_not_null() for name in names))
    sought, there = folder / "sought.parquet", folder / "there.parquet"
    for frame, path in ((complete, sought), (known, there)):
        frame.sink_parquet(path, compression="lz4", engine="streaming")
    with short_of_room(folder.parent, "references cannot be looked after"):
        return _compared(sought, there, names, rows, memory_limit_mb)


def _compared(
    sought: Path, there: Path, names: Sequence[str], rows: int, memory_limit_mb: int
) -> np.ndarray | None:
    same = " AND ".join(f"s.{quoted(name)} = t.{quoted(name)}" for name in names)
    with spilling(sought.parent, memory_limit_mb) as connection:
        reader = connection.execute(
            f"SELECT s._row FROM read_parquet(?) s ANTI JOIN read_parquet(?) t ON {same}",
            [str(sought), str(there)],
        ).to_arrow_reader(ROWS_AT_ONCE)
        return flags_of((batch.column(0).to_numpy() for batch in reader), rows)
