"""Snapshots of Parquet files as tables of raw rows, with the types that they have.

What belongs here: reading row groups in bounded memory, and the few types that nothing later could
hold. What does not: types of a contract; that is for cleaning.

Dictionaries become what they stand for, half floats become floats, intervals and decimals of more
than 38 digits text. A struct of which the contract names members, as ``address.city``, is
flattened; other nested values stay as they are.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataflow_assets.errors import UnreadableFileError
from dataflow_assets.extract.extractor import raw_schema
from dataflow_assets.extract.names import parents_of, unique_names
from dataflow_assets.extract.tables import fitted, origin_columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflow_assets.declaration.contract import Contract
    from dataflow_assets.declaration.extract import Files
    from dataflow_assets.extract.files import Snapshot

ROWS = 50_000
"""Rows of a table."""
MOST_DIGITS = 38


class ParquetReader:
    """Reads Parquet files.

    Args:
        files: How they are written; nothing about Parquet is declared.
        contract: Names the columns; what it names with a dot is flattened.
    """

    def __init__(self, files: Files, contract: Contract) -> None:  # noqa: ARG002 - as every reader
        kept = set(contract.received_names)
        self._kept, self._flattened = kept, parents_of(kept)

    def schema(self, snapshot: Snapshot) -> pa.Schema:
        """Return a file's columns with their types.

        Raises:
            UnreadableFileError: The file is truncated, corrupt, encrypted, or no Parquet.
        """
        with _opened(snapshot) as file:
            return self._plain(file.schema_arrow.empty_table()).schema

    def rows(self, snapshot: Snapshot, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield a file's rows, all of them good.

        Args:
            snapshot: The archived bytes.
            schema: The columns of the tables; those that the file lacks are null.

        Yields:
            Tables with the schema `raw_schema(schema)`; `_line` is the row's number, from 1.

        Raises:
            UnreadableFileError: The file is truncated, corrupt, encrypted, or no Parquet.
        """
        wanted, first = raw_schema(schema), 1
        with _opened(snapshot) as file:
            for batch in file.iter_batches(batch_size=ROWS):
                table = self._plain(pa.Table.from_batches([batch]))
                numbers = np.arange(first, first + table.num_rows)
                first += table.num_rows
                if table.num_rows:
                    origin = (snapshot.file.name, snapshot.version)
                    yield fitted(table, wanted, origin_columns(origin, numbers))

    def _plain(self, table: pa.Table) -> pa.Table:
        """Return the table with names that columns can have, and types that all later can hold."""
        table = table.rename_columns(unique_names(table.column_names))
        fields: dict[str, pa.ChunkedArray] = {}
        for name, column in zip(table.column_names, table.columns, strict=True):
            fields.update(self._flat(name, _simple(column)))
        return pa.table(list(fields.values()), names=list(fields))

    def _flat(self, name: str, column: pa.ChunkedArray) -> Iterator[tuple[str, pa.ChunkedArray]]:
        if name not in self._flattened or not pa.types.is_struct(column.type):
            yield name, column
            return
        if name in self._kept:
            yield name, column
        for index, member in enumerate(column.flatten()):
            yield from self._flat(f"{name}.{column.type.field(index).name}", _simple(member))


def _simple(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column of a type that Polars and every later step can hold, of the same values."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        storage = [chunk.storage for chunk in column.chunks]
        return _simple(pa.chunked_array(storage, kind.storage_type))
    if pa.types.is_interval(kind):
        return pa.chunked_array([pa.array(map(str, column.to_pylist()), pa.string())])
    simple = _simple_type(kind)
    return column if simple == kind else _simple(column.cast(simple))


def _simple_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return kind.value_type
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_decimal(kind):
        fits = kind.precision <= MOST_DIGITS
        return pa.decimal128(kind.precision, kind.scale) if fits else pa.string()
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    return kind


@contextmanager
def _opened(snapshot: Snapshot) -> Iterator[pq.ParquetFile]:
    name = snapshot.file.name
    try:
        with pq.ParquetFile(
            snapshot.path, pre_buffer=False, coerce_int96_timestamp_unit="us"
        ) as file:
            yield file
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise UnreadableFileError(
            f"{name} cannot be read as Parquet: {error}.",
            mend="Have the file sent again; it is truncated, corrupt, encrypted or no Parquet.",
            culprit=name,
        ) from error
