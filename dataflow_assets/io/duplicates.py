"""Which rows of a raw partition lose against another row of the same key.

What belongs here: finding them in bounded memory, whatever the partition's size. What does not:
which rows are good, and what a key is; that is `transform.clean`.

A first pass reads the key's columns only and looks for hashes that stand there twice; where there
are none, that is all. A second pass judges the rows with such a hash and compares their exact keys.
Each is done in memory where it fits, else by DuckDB, which spills to the work folder.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import duckdb
import numpy as np
import polars as pl

from dataflow_assets.declaration.contract import LatestBy
from dataflow_assets.errors import StorageError
from dataflow_assets.io.warehouse import quoted
from dataflow_assets.transform.expressions import POLARS_ERRORS, explain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SMALL = 200_000
"""Rows with a repeated hash up to which they are compared in memory."""

HASH_BYTES = 32
"""Memory that finding repeated hashes takes per row, when it is done in memory."""

MANY = 1_000_000
"""Hashes above which all rows are compared, rather than holding the hashes in memory."""

LOSERS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Repeated:
    """Hashes of keys that stand there more than once.

    Attributes:
        rows: How many rows have one of them.
        hashes: The hashes, ascending, each once; none if they are too many to hold.
    """

    rows: int
    hashes: np.ndarray | None


class Comparison(Protocol):
    """Says which rows have a key, and which of several rows with one key wins."""

    @property
    def key(self) -> tuple[str, ...]:
        """The columns that together identify a row."""

    @property
    def keep(self) -> Literal["first", "last", "none"] | LatestBy:
        """Which of several rows with one key wins, if one does."""

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
        with (
            short_of_room(work_dir, "Duplicates cannot be found"),
            tempfile.TemporaryDirectory(dir=work_dir, prefix="duplicates-") as folder,
        ):
            return _find(raw, plan, rows, Path(folder), memory_limit_mb)
    except POLARS_ERRORS as error:
        raise explain(error, "Finding duplicates") from error


@contextmanager
def short_of_room(work_dir: Path, what: str) -> Iterator[None]:
    """Say what to do if DuckDB lacks memory or disk.

    Args:
        work_dir: Where it spills to.
        what: What cannot be done then, as the beginning of a sentence.
    """
    try:
        yield
    except duckdb.Error as error:
        raise StorageError(
            f"{what}: {error}.", mend=f"Free space in {work_dir}, or raise MEMORY_LIMIT_MB."
        ) from error


def _find(
    raw: pl.LazyFrame, plan: Comparison, rows: int, folder: Path, memory_limit_mb: int
) -> np.ndarray | None:
    if rows * HASH_BYTES <= memory_limit_mb * 1_000_000:
        repeated = repeated_in_memory(plan.key_hashes(raw))
    else:
        repeated = repeated_on_disk(plan.key_hashes(raw), folder, memory_limit_mb)
    if repeated.rows == 0:
        return None
    candidates = plan.candidates(raw, repeated.hashes)
    if repeated.rows <= SMALL:
        return compare_in_memory(candidates, plan, rows)
    return compare_on_disk(candidates, plan, rows, folder, memory_limit_mb)


def repeated_in_memory(hashes: pl.LazyFrame) -> Repeated:
    """Find hashes that stand there more than once.

    Args:
        hashes: `_hash`, one per row.
    """
    ordered = np.sort(hashes.collect(engine="streaming")["_hash"].to_numpy())
    twice = np.zeros(len(ordered), dtype=np.bool_)
    np.equal(ordered[1:], ordered[:-1], out=twice[1:])
    found = np.unique(ordered[twice])
    rows = int(np.count_nonzero(twice)) + len(found)
    return Repeated(rows, found if len(found) <= MANY else None)


def repeated_on_disk(hashes: pl.LazyFrame, folder: Path, memory_limit_mb: int) -> Repeated:
    """As `repeated_in_memory`, with temporary files in a folder that the caller removes."""
    path = folder / "hashes.parquet"
    hashes.sink_parquet(path, compression="lz4", engine="streaming")
    with spilling(folder, memory_limit_mb) as connection:
        connection.execute(
            "CREATE TEMP TABLE repeated AS SELECT _hash, count(*) AS rows FROM read_parquet(?) "
            "GROUP BY _hash HAVING count(*) > 1",
            [str(path)],
        )
        path.unlink()
        keys, rows = connection.execute("SELECT count(*), sum(rows) FROM repeated").fetchall()[0]
        if keys > MANY:
            return Repeated(int(rows), None)
        found = connection.execute("SELECT _hash FROM repeated ORDER BY _hash").fetchnumpy()
    return Repeated(int(rows or 0), np.asarray(found["_hash"], dtype=np.uint64))


def compare_in_memory(candidates: pl.LazyFrame, plan: Comparison, rows: int) -> np.ndarray | None:
    """Flag the losers among candidates.

    Args:
        candidates: `_row`, the key's columns and the order's, few enough to be held in memory.
        plan: Which row of a key wins.
        rows: How many rows the raw partition has.
    """
    keep = plan.keep
    if keep == "none":
        shared = candidates.filter(pl.struct(plan.key).is_duplicated()).select("_row")
        return flags_of([shared.collect(engine="in-memory")["_row"].to_numpy()], rows)
    if isinstance(keep, LatestBy):
        ordered = candidates.sort(keep.latest_by, "_row", nulls_last=False)
    else:
        ordered = candidates.sort("_row", descending=keep == "first")
    # Held in memory, the few candidates are judged at once, not in crumbs of each row group.
    lost = ordered.filter(~pl.struct(plan.key).is_last_distinct()).select("_row")
    return flags_of([lost.collect(engine="in-memory")["_row"].to_numpy()], rows)


def compare_on_disk(
    candidates: pl.LazyFrame, plan: Comparison, rows: int, folder: Path, memory_limit_mb: int
) -> np.ndarray | None:
    """As `compare_in_memory`, with temporary files in a folder that the caller removes."""
    path = folder / "candidates.parquet"
    candidates.sink_parquet(path, compression="lz4", engine="streaming")
    with spilling(folder, memory_limit_mb) as connection:
        return _losers(connection, path, plan, rows)


def spilling(folder: Path, memory_limit_mb: int) -> duckdb.DuckDBPyConnection:
    """Open DuckDB in memory, to spill into a folder beyond its limit."""
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{memory_limit_mb}MB",
        "temp_directory": str(folder),
        "threads": 2,
        "preserve_insertion_order": False,
    }
    return duckdb.connect(config=config)


def _losers(
    connection: duckdb.DuckDBPyConnection, candidates: Path, plan: Comparison, rows: int
) -> np.ndarray | None:
    keep = plan.keep
    order = "_row" if keep == "first" else "_row DESC"
    if isinstance(keep, LatestBy):
        order = f"{quoted(keep.latest_by)} DESC NULLS LAST, {order}"
    key = ", ".join(map(quoted, plan.key))
    number = f"row_number() OVER (PARTITION BY {key} ORDER BY {order})"
    if keep == "none":
        number = f"count(*) OVER (PARTITION BY {key})"
    reader = connection.execute(
        f"SELECT _row FROM read_parquet(?) QUALIFY {number} > 1",
        [str(candidates)],
    ).to_arrow_reader(LOSERS_AT_ONCE)
    return flags_of((batch.column(0).to_numpy() for batch in reader), rows)


def flags_of(batches: Iterable[np.ndarray], rows: int) -> np.ndarray | None:
    """Return a flag for each row that is raised for the given row numbers, if there are any."""
    flags = np.zeros(rows, dtype=np.bool_)
    for numbers in batches:
        flags[numbers] = True
    return flags if flags.any() else None
