"""The lake and the warehouse as Dagster resources."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from dataflow_assets.builders.stores import Stores
from dataflow_assets.io.duckdb_warehouse import DuckDBWarehouse
from dataflow_assets.io.lake import Lake

if TYPE_CHECKING:
    from dataflow_assets.settings import Settings

STORES = "stores"


class StoresResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where runs read and write.

    Attributes:
        files: Folder below which sources' relative paths lie.
        lake: Folder of Parquet and archived bytes.
        warehouse: DuckDB file of the normalized tables and the ledger.
        memory_limit_mb: Bound for each memory-hungry step of a run.
        lock_timeout_s: Seconds to wait for another run.
    """

    files: str
    lake: str
    warehouse: str
    memory_limit_mb: int = 512
    lock_timeout_s: float = 600

    def open(self, run_id: str = "") -> Stores:
        """Return the places themselves, for one run."""
        return Stores(
            files=Path(self.files),
            lake=Lake(Path(self.lake), self.lock_timeout_s),
            warehouse=DuckDBWarehouse(
                Path(self.warehouse), self.lock_timeout_s, self.memory_limit_mb
            ),
            memory_limit_mb=self.memory_limit_mb,
            run_id=run_id,
        )


def build_resources(settings: Settings) -> dict[str, StoresResource]:
    """Return the resources that every asset needs, as the environment says."""
    return {
        STORES: StoresResource(
            files=str(settings.files),
            lake=str(settings.lake),
            warehouse=str(settings.warehouse),
            memory_limit_mb=settings.memory_limit_mb,
            lock_timeout_s=settings.lock_timeout_s,
        )
    }
