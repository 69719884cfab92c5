"""Reading a database in tests: as the raw layer does, without Dagster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa

from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.extract.database import DatabaseExtractor
from dataflow_assets.extract.extractor import Request, raw_schema

if TYPE_CHECKING:
    from pathlib import Path

    from dataflow_assets.extract.files import Snapshot

VARIABLE = "SHOP_DB"
DAY = "2024-01-02"


def declared(
    system: str, *, zone: str = "UTC", every: str = "day", **database: object
) -> SourceDeclaration:
    """Return the declaration of a source of one database."""
    return SourceDeclaration.model_validate(
        {
            "name": "shop",
            "partitions": {"every": every, "start": "2024-01-01", "timezone": zone},
            "extract": {"database": {"system": system, "url_env": VARIABLE, **database}},
            "contract": {"key": ["id"], "columns": {"id": "int64"}},
        }
    )


def fetched(source: SourceDeclaration, folder: Path, partition: str = DAY) -> Snapshot:
    """Archive a partition."""
    begin, end = source.partitions.window_of(partition) or (None, None)
    request = Request(partition, begin, end, folder / "archive", True, list)  # noqa: FBT003
    (snapshot,) = _extractor(source, folder).fetch(request)
    return snapshot


def _extractor(source: SourceDeclaration, folder: Path) -> DatabaseExtractor:
    assert source.extract.database is not None
    return DatabaseExtractor(source, source.extract.database, folder)


def received(source: SourceDeclaration, folder: Path, partition: str = DAY) -> pa.Table:
    """Archive a partition and return its raw rows."""
    snapshot = fetched(source, folder, partition)
    reader = _extractor(source, folder).reader
    schema = reader.schema(snapshot)
    return pa.concat_tables(
        [raw_schema(schema).empty_table(), *reader.rows(snapshot, schema)], promote_options="none"
    )


def types(table: pa.Table) -> dict[str, str]:
    """Return the type of each user column."""
    return {field.name: str(field.type) for field in table.schema if field.name[0] != "_"}


def rows(table: pa.Table) -> list[dict[str, object]]:
    """Return the user columns of each row."""
    return pl.DataFrame(table).select(pl.exclude("^_.*$")).to_dicts()
