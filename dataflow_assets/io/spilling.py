"""Comparing files of any size in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from dataflow_assets.errors import StorageError

if TYPE_CHECKING:
    from pathlib import Path


class Spilling:
    """DuckDB in memory, which spills into the work folder beyond its limit.

    Args:
        work: The work folder.
        memory_limit_mb: The limit, in MB.
        start: What to execute first.
    """

    def __init__(self, work: Path, memory_limit_mb: int, start: str = "") -> None:
        self._work = work
        self._memory_limit_mb = memory_limit_mb
        self._start = start

    def __enter__(self) -> duckdb.DuckDBPyConnection:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{self._memory_limit_mb}MB",
            "temp_directory": str(self._work / "spilled"),
            "threads": 2,
            "preserve_insertion_order": False,
        }
        self._open = duckdb.connect(config=config)
        self._open.execute("set TimeZone = 'UTC'")
        if self._start:
            self._open.execute(self._start)
        return self._open

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._open.close()
        if isinstance(error, duckdb.Error):
            raise StorageError(
                f"rows cannot be compared: {error}.",
                mend=f"Free space in {self._work}, or raise MEMORY_LIMIT_MB.",
            ) from error
