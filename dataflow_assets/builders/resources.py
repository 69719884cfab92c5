"""The lake and the warehouse as Dagster resources."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from dataflow_assets.builders.stores import Stores
from dataflow_assets.errors import SettingsError
from dataflow_assets.io.duckdb_warehouse import DuckDBWarehouse
from dataflow_assets.io.lake import Lake
from dataflow_assets.io.places import S3Place
from dataflow_assets.s3 import Address, Bucket, Writing
from dataflow_assets.settings import SCHEME, get_settings

if TYPE_CHECKING:
    from dataflow_assets.io.warehouse import Warehouse
    from dataflow_assets.settings import Settings

STORES = "stores"


class StoresResource(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where runs read and write.

    Attributes:
        files: Folder, or place on S3, below which sources' relative paths lie.
        lake: Folder of Parquet and archived bytes.
        s3_lake: Where the lake is on S3, if it is; the folder then holds what is on its way.
        s3_sse: Server-side encryption of what is written to S3; empty, as the bucket says.
        s3_sse_kms_key_id: The KMS key for it; empty, the account's.
        s3_tags: Tags of what is written to S3.
        warehouse: Where the normalized tables and the ledger are: the address of a Postgres
            database, without user and password, or a DuckDB file.
        memory_limit_mb: Bound for each memory-hungry step of a run.
        lock_timeout_s: Seconds to wait for another run.
    """

    files: str
    lake: str
    s3_lake: str = ""
    s3_sse: str = ""
    s3_sse_kms_key_id: str = ""
    s3_tags: dict[str, str] = Field(default_factory=dict)
    warehouse: str
    memory_limit_mb: int = 512
    lock_timeout_s: float = 600

    def open(self, run_id: str = "") -> Stores:
        """Return the places themselves, for one run."""
        return Stores(
            files=Address.parse(self.files) if _is_on_s3(self.files) else Path(self.files),
            lake=Lake(Path(self.lake), self.lock_timeout_s, self._place()),
            warehouse=self._open_warehouse(),
            memory_limit_mb=self.memory_limit_mb,
            run_id=run_id,
        )

    def _open_warehouse(self) -> Warehouse:
        """Return the warehouse; its password is read here, and stands in no configuration."""
        if not is_postgres(self.warehouse):
            return DuckDBWarehouse(Path(self.warehouse), self.lock_timeout_s, self.memory_limit_mb)
        settings = get_settings()
        if settings.database_url is None or settings.database != self.warehouse:
            raise SettingsError(
                f"DATABASE_URL is not that of {self.warehouse} in this process.",
                mend="Give all processes of Dagster the same environment, and start them again.",
                culprit="DATABASE_URL",
            )
        from dataflow_assets.io.postgres.warehouse import PostgresWarehouse  # noqa: PLC0415 - heavy

        return PostgresWarehouse(
            settings.database_url,
            self.warehouse,
            lock_timeout_s=self.lock_timeout_s,
            connections=settings.database_connections,
        )

    def _place(self) -> S3Place | None:
        if not self.s3_lake:
            return None
        address = Address.parse(self.s3_lake)
        writing = Writing(self.s3_sse or None, self.s3_sse_kms_key_id or None, self.s3_tags)
        return S3Place(Bucket(address.bucket, writing), address.key)


def is_postgres(warehouse: str) -> bool:
    """Whether a warehouse is a Postgres database, by what a resource says of it."""
    return warehouse.startswith("postgresql://")


def warehouse_kind() -> str:
    """Return what Dagster calls the kind of database that the environment names."""
    return "postgres" if get_settings().database_url else "duckdb"


def _is_on_s3(place: str) -> bool:
    return place.startswith(SCHEME)


def build_resources(settings: Settings) -> dict[str, StoresResource]:
    """Return the resources that every asset needs, as the environment says."""
    return {
        STORES: StoresResource(
            files=settings.files,
            lake=str(settings.lake),
            s3_lake=f"{SCHEME}{settings.s3_bucket}/{settings.s3_prefix}"
            if settings.s3_bucket
            else "",
            s3_sse=settings.s3_sse or "",
            s3_sse_kms_key_id=settings.s3_sse_kms_key_id or "",
            s3_tags=dict(settings.s3_tags),
            warehouse=settings.database or str(settings.warehouse),
            memory_limit_mb=settings.memory_limit_mb,
            lock_timeout_s=settings.lock_timeout_s,
        )
    }
