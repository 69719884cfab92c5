"""Small files and how they are read, for the tests of extraction."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dataflow_assets.declaration.contract import Contract
from dataflow_assets.declaration.extract import CsvDialect, Files
from dataflow_assets.extract.csv import CsvReader
from dataflow_assets.extract.extractor import raw_schema
from dataflow_assets.extract.files import FoundFile, Snapshot
from dataflow_assets.extract.kinds import reader_class

if TYPE_CHECKING:
    from pathlib import Path

ANY = Contract.model_validate({"columns": {"id": "string"}})


def contract(*names: str, required: tuple[str, ...] = ()) -> Contract:
    columns = {name: {"type": "string", "required": name in required} for name in names}
    return Contract.model_validate({"columns": columns})


def snapshot(folder: Path, content: bytes, name: str = "sample.csv") -> Snapshot:
    path = folder / name
    path.write_bytes(content)
    stat = path.stat()
    file = FoundFile(path, name, stat.st_size, stat.st_mtime_ns)
    return Snapshot(file, hashlib.sha256(content).hexdigest()[:16], path)


def table(
    taken: Snapshot,
    promised: Contract = ANY,
    *,
    compression: str = "auto",
    sizes: dict[str, int] | None = None,
    **dialect: Any,  # noqa: ANN401 - whatever a dialect may say
) -> pa.Table:
    files = Files.model_validate(
        {"path": "x", "csv": CsvDialect(**dialect), "compression": compression}
    )
    reader = CsvReader(files, promised, **(sizes or {}))
    columns = reader.schema(taken)
    tables = list(reader.rows(taken, columns))
    assert all(part.num_rows for part in tables)
    return pa.concat_tables([raw_schema(columns).empty_table(), *tables])


def read(
    taken: Snapshot,
    promised: Contract = ANY,
    *,
    sizes: dict[str, int] | None = None,
    **files: Any,  # noqa: ANN401 - whatever files may say
) -> pa.Table:
    """Return the rows of a file of any format."""
    declared = Files.model_validate({"path": "x", **files})
    reader = reader_class(declared.format)(declared, promised, **(sizes or {}))
    columns = reader.schema(taken)
    tables = list(reader.rows(taken, columns))
    assert all(part.num_rows for part in tables)
    return pa.concat_tables([raw_schema(columns).empty_table(), *tables])


def good(rows: pa.Table) -> list[tuple[Any, ...]]:
    """Return the user columns of the good rows."""
    names = [name for name in rows.column_names if not name.startswith("_")]
    listed: list[dict[str, Any]] = rows.to_pylist()
    return [tuple(row[name] for name in names) for row in listed if row["_reject"] is None]


def rejected(rows: pa.Table) -> list[tuple[int, str, str]]:
    """Return line, kind and text of the rejected rows."""
    listed = rows.to_pylist()
    return [(row["_line"], row["_reject"], row["_text"]) for row in listed if row["_reject"]]
