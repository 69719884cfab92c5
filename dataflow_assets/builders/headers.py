"""The headers of a raw partition's files, each set of columns once, however many files have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.transform.shape import Header, header_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa


@dataclass(frozen=True)
class Headers:
    """What columns files have.

    Attributes:
        schemas: The different schemas of the files that have columns.
        headers: The same, as they are kept.
        numbers: For each file, which of them is its own; none if it has no columns.
    """

    schemas: tuple[pa.Schema, ...]
    headers: tuple[Header, ...]
    numbers: tuple[int | None, ...]


def headers_of(schemas: Iterable[pa.Schema]) -> Headers:
    """Return the columns of files, without keeping the schema of each.

    Args:
        schemas: Those of each file, as its reader gives them.
    """
    places: dict[tuple[tuple[str, pa.DataType], ...], int] = {}
    different: list[pa.Schema] = []
    numbers: list[int | None] = []
    last: pa.Schema | None = None
    for schema in schemas:
        if last is None or not schema.equals(last):  # most files look as the one before
            key = tuple(zip(schema.names, schema.types, strict=True))
            if key and key not in places:
                places[key] = len(different)
                different.append(schema)
            last, number = schema, places.get(key)
        numbers.append(number)
    headers = (header_of(pl.DataFrame(schema.empty_table()).schema) for schema in different)
    return Headers(tuple(different), tuple(headers), tuple(numbers))
