"""Configuration by environment, validated at start.

What belongs here: the names, defaults and checks of the environment variables. What does not: any
value of a source; that stands in its declaration.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from dataflow_assets.errors import SettingsError


class Settings(BaseSettings):
    """Where things stand on this machine.

    Attributes:
        data_dir: Folder of the lake and the embedded warehouse (``DATA_DIR``).
        files_dir: Folder below which sources' relative paths lie (``FILES_DIR``); unset, it is
            ``inbox`` in `data_dir`.
        duckdb_path: The embedded warehouse (``DUCKDB_PATH``); unset, ``warehouse.duckdb`` in
            `data_dir`.
        declarations_dir: Folder of the declarations (``DECLARATIONS_DIR``); unset, the package's
            own.
        memory_limit_mb: Bound for each memory-hungry step of a run (``MEMORY_LIMIT_MB``).
        lock_timeout_s: Seconds to wait for another run to leave a partition or the warehouse
            (``LOCK_TIMEOUT_S``).
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    data_dir: Path = Path("data")
    files_dir: Path | None = None
    duckdb_path: Path | None = None
    declarations_dir: Path | None = None
    memory_limit_mb: int = Field(default=512, ge=128)
    lock_timeout_s: float = Field(default=600, gt=0)

    @property
    def lake(self) -> Path:
        """Folder of Parquet and archived bytes."""
        return self.data_dir.resolve() / "lake"

    @property
    def files(self) -> Path:
        """Folder below which sources' relative paths lie."""
        return (self.files_dir or self.data_dir / "inbox").resolve()

    @property
    def warehouse(self) -> Path:
        """File of the embedded warehouse."""
        return (self.duckdb_path or self.data_dir / "warehouse.duckdb").resolve()


@cache
def get_settings() -> Settings:
    """Read and check the environment, once per process.

    Raises:
        SettingsError: A variable has a value that it cannot have.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).upper()
        raise SettingsError(
            f"{name} is {first['input']!r}: {first['msg']}.",
            mend=f"Set {name} in the environment as documentation/operations.md says.",
            culprit=name,
        ) from error
