"""Samples that are tables or queries of databases.

What belongs here: which database, the first rows of a table, and columns that may cut it into
windows. What does not: speaking to databases (`extract.databases`).
"""

from __future__ import annotations

import datetime as dt
import os
import re
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from dataflow_assets.builders.scaffolding.sample import MOST_ROWS, Sample
from dataflow_assets.declaration.database import Database, System
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.errors import SampleError, SettingsError
from dataflow_assets.extract.database import DatabaseExtractor
from dataflow_assets.extract.databases.session import SCHEMES
from dataflow_assets.extract.extractor import Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflow_assets.builders.scaffolding.wanted import Wanted
    from dataflow_assets.s3 import Address

MAGIC: tuple[tuple[int, bytes, System], ...] = (
    (0, b"SQLite format 3\0", "sqlite"),
    (8, b"DUCK", "duckdb"),
)
CHANGED = re.compile(r"updated|modified|changed", re.IGNORECASE)
CREATED = re.compile(r"created|inserted|ordered|_at$|date|time", re.IGNORECASE)
DAILY = '{cron: "15 1 * * *"}'


def take_table(name: str, wanted: Wanted, root: Path | Address, work: Path) -> Sample:
    """Take the first rows of a table or query as the sample.

    Args:
        name: Of the source.
        wanted: Which database and which table.
        root: The folder below which files of databases lie.
        work: A folder for the rows.

    Raises:
        SampleError: It is not said which.
        SettingsError: The variable is not set, or holds no URL of a database.
        SourceUnavailableError: The database does not answer.
        SourceRefusedError: It refuses, or has no such table.
    """
    system, variable, url = _system(name, wanted)
    if (wanted.table is None) == (wanted.query is None):
        raise SampleError(
            "it is not said what to read of the database.",
            mend="Give either table, such as shop.orders, or query.",
        )
    asked = {"table": wanted.table} if wanted.table else {"query": wanted.query}
    words = {"system": system, "url_env": variable, **asked}
    with _set(variable, url):
        extractor = DatabaseExtractor(
            _only_reading(name, words), Database.model_validate(words), root, most=MOST_ROWS + 1
        )
        request = Request("all", None, None, archive=work, stays=False, before=lambda: ())
        snapshots = extractor.fetch(request)
    sample = Sample(
        place=f"{wanted.table or 'a query'} of {variable}",
        extract={"database": words},
        partitions={"values": ["all"]},
        snapshots=snapshots,
        remarks={"partitions": ["one partition, of all rows as they are when it is made"]},
        automation=DAILY,
        prepared=() if url is None else (f"{variable} to {url}",),
    )
    return _with_windows(sample, extractor)


def _with_windows(sample: Sample, extractor: DatabaseExtractor) -> Sample:
    """Tell of the columns that may cut the rows into windows of time."""
    import pyarrow as pa  # noqa: PLC0415 - as needed

    schema = extractor.reader.schema(sample.snapshots[0])
    moments = [
        one.name for one in schema if pa.types.is_timestamp(one.type) or pa.types.is_date(one.type)
    ]
    ranked = sorted(moments, key=lambda one: (not CHANGED.search(one), not CREATED.search(one)))
    if not ranked:
        return sample
    today = dt.datetime.now(dt.UTC).date().replace(day=1)
    told = (
        f"for a partition a day: partitions: {{every: day, start: {today}}} and, below table, "
        f"window: {{column: {ranked[0]}}}; columns that say a time are {', '.join(ranked)}"
    )
    remarks = {**sample.remarks, "partitions": [*sample.remarks["partitions"], told]}
    return replace(sample, remarks=remarks)


def _system(name: str, wanted: Wanted) -> tuple[System, str, str | None]:
    """Return which database it is, the variable with its URL, and the URL of a sample file."""
    if wanted.sample is not None:
        path = Path(wanted.sample)
        system = _system_of_file(path)
        variable = wanted.database_url_env or f"{name}_DB".upper()
        return system, variable, f"{system}:///{path.resolve()}"
    variable = wanted.database_url_env or ""
    if not variable:
        raise SampleError(
            "it is not said which database the table is of.",
            mend="Give database_url_env, the variable that holds its URL, or a file as the sample.",
        )
    scheme = os.environ.get(variable, "").strip().partition(":")[0].partition("+")[0]
    for system in get_args(System):
        if scheme in SCHEMES[system]:
            return system, variable, None
    known = ", ".join(f"{schemes[0]}://" for schemes in SCHEMES.values())
    raise SettingsError(
        f"{variable} is not set." if not scheme else f"{variable} is no URL of a database.",
        mend=f"Set it to a URL that begins with one of {known}.",
        culprit=variable,
    )


def table_names(path: Path, system: str) -> list[str]:
    """Return the tables and views of a file of SQLite or DuckDB; none if it cannot be read."""
    import sqlite3  # noqa: PLC0415 - as needed

    import duckdb  # noqa: PLC0415 - as needed

    if system == "sqlite":
        query = "select name from sqlite_master where type in ('table', 'view') order by 1"
        with (
            suppress(sqlite3.Error),
            closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as file,
        ):
            return [str(name) for (name,) in file.execute(query)]
        return []
    query = "select schema_name || '.' || table_name from duckdb_tables() order by 1"
    with suppress(duckdb.Error), duckdb.connect(path, read_only=True) as base:
        return [str(name).removeprefix("main.") for (name,) in base.execute(query).fetchall()]
    return []


def _system_of_file(path: Path) -> System:
    try:
        with path.open("rb") as stream:
            head = stream.read(32)
    except OSError as error:
        raise SampleError(
            f"the sample {path} cannot be read: {error.strerror}.",
            mend="Give the path of a file of SQLite or DuckDB, or database_url_env.",
            culprit=str(path),
        ) from error
    for offset, magic, system in MAGIC:
        if head[offset:].startswith(magic):
            return system
    raise SampleError(
        f"{path} is no file of SQLite or DuckDB, so that it has no tables.",
        mend="Leave out table and query.",
        culprit=str(path),
    )


@contextmanager
def _set(variable: str, url: str | None) -> Iterator[None]:
    """Set a variable for a while, where the sample is a file."""
    before = os.environ.get(variable)
    if url is None:
        yield
        return
    os.environ[variable] = url
    try:
        yield
    finally:
        if before is None:
            del os.environ[variable]
        else:
            os.environ[variable] = before


def _only_reading(name: str, words: dict[str, Any]) -> SourceDeclaration:
    return SourceDeclaration.model_validate(
        {
            "name": name,
            "partitions": {"values": ["all"]},
            "extract": {"database": words},
            "contract": {"columns": {"column_1": "string"}},
        }
    )
