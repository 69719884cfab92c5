"""Configuration by environment, validated at start.

What belongs here: the names, defaults and checks of the environment variables. What does not: any
value of a source; that stands in its declaration.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from dataflow_assets.errors import SettingsError

SECRET = ("DATABASE_URL",)
"""Variables whose values are never shown."""
SCHEMES = ("postgresql://", "postgres://")
URL_FORM = (
    "it must read postgresql://user:password@host:5432/database, with special characters of the "
    "password percent-encoded"
)
SCHEME = "s3://"
BUCKET = r"^[a-zA-Z0-9][a-zA-Z0-9._-]{1,62}$"
MOST_TAGS = 10
LONGEST_NAME = 128
LONGEST_VALUE = 256
"""What S3 allows of tags."""


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
        strict: Whether a plug-in that cannot be imported fails the location (``STRICT``), as it
            should in CI; unset, it fails the runs of the sources that use it.
        s3_bucket: Bucket of the lake (``S3_BUCKET``); unset, the lake is a folder. How S3 is
            reached and who asks is said by the usual ``AWS_*`` variables.
        s3_prefix: What the keys of the lake begin with (``S3_PREFIX``).
        s3_sse: Server-side encryption of what is written, ``AES256`` or ``aws:kms`` (``S3_SSE``);
            unset, as the bucket says.
        s3_sse_kms_key_id: The key for ``aws:kms`` (``S3_SSE_KMS_KEY_ID``); unset, the account's.
        s3_tags: Tags of what is written (``S3_TAGS``), as ``team=harbour,cost=42``.
    """

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    data_dir: Path = Path("data")
    files_dir: str | None = None
    database_url: SecretStr | None = None
    database_connections: int = Field(default=4, ge=1)
    duckdb_path: Path | None = None
    declarations_dir: Path | None = None
    memory_limit_mb: int = Field(default=512, ge=128)
    lock_timeout_s: float = Field(default=600, gt=0)
    strict: bool = False
    s3_bucket: str | None = Field(default=None, pattern=BUCKET)
    s3_prefix: str = ""
    s3_sse: Literal["AES256", "aws:kms"] | None = None
    s3_sse_kms_key_id: str | None = Field(default=None, min_length=1)
    s3_tags: Annotated[tuple[tuple[str, str], ...], NoDecode] = Field(
        default=(), max_length=MOST_TAGS
    )

    @field_validator("files_dir", mode="before")
    @classmethod
    def _path_as_text(cls, files_dir: object) -> object:
        return str(files_dir) if isinstance(files_dir, Path) else files_dir

    @field_validator("s3_prefix")
    @classmethod
    def _prefix_without_slashes(cls, prefix: str) -> str:
        parts = [part for part in prefix.split("/") if part]
        if "." in parts or ".." in parts:
            raise ValueError("'.' and '..' are no parts of keys")
        return "/".join(parts)

    @field_validator("s3_tags", mode="before")
    @classmethod
    def _tags_from_text(cls, tags: object) -> object:
        if not isinstance(tags, str):
            return tags
        pairs = [pair.partition("=") for pair in tags.split(",") if pair.strip()]
        if any(not name.strip() or not sign for name, sign, _ in pairs):
            raise ValueError("write tags as team=harbour,cost=42")
        return tuple((name.strip(), value.strip()) for name, _, value in pairs)

    @field_validator("s3_tags")
    @classmethod
    def _tags_are_short(cls, tags: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        if any(len(name) > LONGEST_NAME or len(value) > LONGEST_VALUE for name, value in tags):
            raise ValueError(
                f"a tag's name has up to {LONGEST_NAME} characters, its value {LONGEST_VALUE}"
            )
        return tags

    @field_validator("s3_sse_kms_key_id")
    @classmethod
    def _key_needs_kms(cls, key: str | None, info: ValidationInfo) -> str | None:
        if key is not None and info.data.get("s3_sse") != "aws:kms":
            raise ValueError("it needs S3_SSE=aws:kms")
        return key

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
        """Folder of Parquet and archived bytes; with `s3_bucket`, of what is on its way."""
        return self.data_dir.resolve() / "lake"

    @property
    def files(self) -> str:
        """Folder, or place on S3, below which sources' relative paths lie."""
        if self.files_dir is not None and self.files_dir.startswith(SCHEME):
            return self.files_dir
        return str(Path(self.files_dir or self.data_dir / "inbox").resolve())

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
    if "@" in str(parts.get("dbname")):  # a slash in the password: what follows it is no name
        raise ValueError(f"it cannot be read; {URL_FORM}")
    if not parts.get("dbname"):
        raise ValueError(f"it names no database; {URL_FORM}")
    port = f":{parts['port']}" if "port" in parts else ""
    return f"postgresql://{parts.get('host', '')}{port}/{parts['dbname']}"
