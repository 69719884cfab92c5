"""Which rows of a raw partition lose against another row of the same key.

What belongs here: finding them in bounded memory, whatever the partition's size. What does not:
which rows are good, and what a key is; that is `transform.clean`.

A first pass reads the key's columns only and looks for hashes that stand there twice; where there
are none, that is all. A second pass judges the rows with such a hash and compares their exact keys.
Small partitions are compared in memory, others by DuckDB, which spills to the work folder.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import duckdb
import numpy as np
import polars as pl

from dataflow_assets.declaration.contract import LatestBy
from dataflow_assets.errors import StorageError
from dataflow_assets.transform.expressions import POLARS_ERRORS, explain

if TYPE_CHECKING:
    from collections.abc import Iterable

SMALL = 200_000
"""Rows up to which a partition is compared in memory."""

MANY = 1_000_000
"""Hashes above which all rows are compared, rather than holding the hashes in memory."""

LOSERS_AT_ONCE = 1 << 20


class Comparison(Protocol):
    """Says which rows have a key, and which of several rows with one key wins."""

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that together identify a row."""

    @property
    def keep(self) -> Literal["first", "last"] | LatestBy:
        """Which of several rows with one key wins."""

    def key_hashes(self, raw: pl.LazyFrame) -> pl.LazyFrame:
        """Return a 64-bit hash, `_hash`, of the key of every row that has one."""

    def candidates(self, raw: pl.LazyFrame, hashes: np.ndarray | None = None) -> pl.LazyFrame:
        """Return `_row`, the key and the order of rows with such a hash, or of all rows."""


def find_losers(
    raw: pl.LazyFrame, plan: Comparison, rows: int, work_dir: Path, memory_limit_mb: int
) -> np.ndarray | None:
    """Find the good rows that lose against another good row of the same key.

    Args:
        raw: The raw partition with `_row`, the number of each row from 0.
        plan: How its rows are judged; its contract says which row of a key wins.
        rows: How many rows the raw partition has.
        work_dir: Folder on the local disk for temporary files, which are removed.
        memory_limit_mb: Bound for the memory of the comparison, in MB.

    Returns:
        By row number, whether the row loses; none if no row does.

    Raises:
        MappingError: An SQL condition of the contract failed on the data.
        StorageError: There is not enough memory or disk for the comparison.
    """
    if not plan.key or rows <= 1:
        return None
    try:
        if rows <= SMALL:
            return find_in_memory(raw, plan, rows)
        with tempfile.TemporaryDirectory(dir=work_dir, prefix="duplicates-") as folder:
            return find_on_disk(raw, plan, rows, Path(folder), memory_limit_mb)
    except POLARS_ERRORS as error:
        raise explain(error, "Finding duplicates") from error
    except duckdb.Error as error:
        raise StorageError(
            f"Duplicates cannot be found: {error}.",
            mend=f"Free space in {work_dir}, or raise MEMORY_LIMIT_MB.",
        ) from error


def find_in_memory(raw: pl.LazyFrame, plan: Comparison, rows: int) -> np.ndarray | None:
    """As `find_losers`, holding the keys that stand there more than once in memory."""
    hashes = plan.key_hashes(raw).collect().to_series()
    repeated = hashes.filter(hashes.is_duplicated()).unique().sort()
    if repeated.is_empty():
        return None
    candidates = plan.candidates(raw, repeated.to_numpy()).collect()
    keep = plan.keep
    if isinstance(keep, LatestBy):
        ordered = candidates.sort(keep.latest_by, "_row", nulls_last=False)
    else:
        ordered = candidates.sort("_row", descending=keep == "first")
    lost = ordered.filter(~pl.struct(plan.key).is_last_distinct())
    return _flags([lost["_row"].to_numpy()], rows)


def find_on_disk(
    raw: pl.LazyFrame, plan: Comparison, rows: int, folder: Path, memory_limit_mb: int
) -> np.ndarray | None:
    """As `find_losers`, with temporary files in a folder that the caller removes."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{memory_limit_mb}MB",
        "temp_directory": str(folder),
        "threads": 2,
        "preserve_insertion_order": False,
    }
    with duckdb.connect(config=config) as connection:
        hashes = folder / "hashes.parquet"
        plan.key_hashes(raw).sink_parquet(hashes, compression="lz4", engine="streaming")
        repeated = _repeated(connection, hashes)
        hashes.unlink()
        if not len(repeated):
            return None
        among = repeated if len(repeated) <= MANY else None
        candidates = folder / "candidates.parquet"
        plan.candidates(raw, among).sink_parquet(candidates, compression="lz4", engine="streaming")
        return _losers(connection, candidates, plan, rows)


def _repeated(connection: duckdb.DuckDBPyConnection, hashes: Path) -> np.ndarray:
    """Return hashes that stand there more than once, ascending: one more than `MANY` at most."""
    found = connection.execute(
        "SELECT _hash FROM read_parquet(?) GROUP BY _hash HAVING count(*) > 1 LIMIT ?",
        [str(hashes), MANY + 1],
    ).fetchnumpy()["_hash"]
    return np.sort(np.asarray(found, dtype=np.uint64))


def _losers(
    connection: duckdb.DuckDBPyConnection, candidates: Path, plan: Comparison, rows: int
) -> np.ndarray | None:
    keep = plan.keep
    order = "_row" if keep == "first" else "_row DESC"
    if isinstance(keep, LatestBy):
        order = f"{_quoted(keep.latest_by)} DESC NULLS LAST, {order}"
    key = ", ".join(map(_quoted, plan.key))
    reader = connection.execute(
        f"""
        SELECT _row FROM read_parquet(?)
        QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {order}) > 1
        """,
        [str(candidates)],
    ).to_arrow_reader(LOSERS_AT_ONCE)
    return _flags((batch.column(0).to_numpy() for batch in reader), rows)


def _flags(batches: Iterable[np.ndarray], rows: int) -> np.ndarray | None:
    """Return a flag for each row that is raised for the given row numbers, if there are any."""
    flags = np.zeros(rows, dtype=np.bool_)
    for numbers in batches:
        flags[numbers] = True
    return flags if flags.any() else None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
