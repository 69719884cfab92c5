"""Configuration by environment, validated at start.

What belongs here: the names, defaults and checks of the environment variables. What does not: any
value of a source; that stands in its declaration.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from dataflow_assets.errors import SettingsError

SECRET = ("DATABASE_URL",)
"""Variables whose values are never shown."""
SCHEMES = ("postgresql://", "postgres://")
URL_FORM = (
    "it must read postgresql://user:password@host:5432/database, with special characters of the "
    "password percent-encoded"
)


class Settings(BaseSettings):
    """Where things stand on this machine.

    Attributes:
        data_dir: Folder of the lake and the embedded warehouse (``DATA_DIR``).
        files_dir: Folder below which sources' relative paths lie (``FILES_DIR``); unset, it is
            ``inbox`` in `data_dir`.
        database_url: The Postgres warehouse (``DATABASE_URL``), such as
            ``postgresql://user:password@host/database``; unset, the warehouse is embedded.
        database_connections: How many connections to it a process may have at once
            (``DATABASE_CONNECTIONS``).
        duckdb_path: The embedded warehouse (``DUCKDB_PATH``); unset, ``warehouse.duckdb`` in
            `data_dir`.
        declarations_dir: Folder of the declarations (``DECLARATIONS_DIR``); unset, the package's
            own.
        memory_limit_mb: Bound for each memory-hungry step of a run (``MEMORY_LIMIT_MB``).
        lock_timeout_s: Seconds to wait for another run to leave a partition or the warehouse
            (``LOCK_TIMEOUT_S``).
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    data_dir: Path = Path("data")
    files_dir: Path | None = None
    database_url: SecretStr | None = None
    database_connections: int = Field(default=4, ge=1)
    duckdb_path: Path | None = None
    declarations_dir: Path | None = None
    memory_limit_mb: int = Field(default=512, ge=128)
    lock_timeout_s: float = Field(default=600, gt=0)

    @field_validator("database_url", mode="after")
    @classmethod
    def _is_postgres(cls, url: SecretStr | None) -> SecretStr | None:
        if url is None or not url.get_secret_value():
            return None
        _address_of(url)
        return url

    @property
    def database(self) -> str | None:
        """The Postgres warehouse as it may be shown: without user and password."""
        return _address_of(self.database_url) if self.database_url else None

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
        value = "not what it can be" if name in SECRET else repr(first["input"])
        raise SettingsError(
            f"{name} is {value}: {first['msg']}.",
            mend=f"Set {name} in the environment as documentation/operations.md says.",
            culprit=name,
        ) from error


def _address_of(url: SecretStr) -> str:
    """Return host, port and database of a URL; no message of it may show what it holds."""
    from psycopg import ProgrammingError  # noqa: PLC0415 - only where there is a Postgres
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    text = url.get_secret_value()
    if not text.startswith(SCHEMES):
        raise ValueError("it must begin with postgresql:// or postgres://")
    try:
        parts = conninfo_to_dict(text)
    except ProgrammingError:
        raise ValueError(f"it cannot be read; {URL_FORM}") from None
    if not parts.get("dbname"):
        raise ValueError(f"it names no database; {URL_FORM}")
    port = f":{parts['port']}" if "port" in parts else ""
    return f"postgresql://{parts.get('host', '')}{port}/{parts['dbname']}"
