"""Snapshots of JSON bodies as tables of raw rows: the list of objects at a path.

What belongs here: top-level fields as columns of text. What does not: types and rules.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dataflow_assets.declaration.base import RESERVED
from dataflow_assets.errors import UnreadableFileError
from dataflow_assets.extract.extractor import raw_schema
from dataflow_assets.extract.pages import MISSING, find

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflow_assets.extract.files import Snapshot


class JsonReader:
    """Reads bodies of JSON, each whole in memory.

    Args:
        path: Where the list of objects stands; none: the body is the list.
    """

    def __init__(self, path: str | None) -> None:
        self._path = path

    def schema(self, snapshot: Snapshot) -> pa.Schema:
        """Return the fields of all objects, in order of appearance."""
        objects = [one for one in self._records(snapshot) if isinstance(one, dict)]
        names = dict.fromkeys(_column(name) for one in objects for name in one)
        return pa.schema([pa.field(name, pa.string()) for name in names])

    def rows(self, snapshot: Snapshot, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield the objects as rows; what is no object is rejected."""
        rows = []
        for number, record in enumerate(self._records(snapshot), start=1):
            row = {"_file": snapshot.file.name, "_version": snapshot.version, "_line": number}
            if isinstance(record, dict):
                row |= {_column(name): _text(value) for name, value in record.items()}
            else:
                row |= {"_reject": "no_object", "_text": _text(record) or "null"}
            rows.append(row)
        if rows:
            yield pa.Table.from_pylist(rows, schema=raw_schema(schema))

    def _records(self, snapshot: Snapshot) -> list[Any]:
        try:
            document = json.loads(snapshot.path.read_bytes())
        except ValueError as error:
            raise _unreadable(snapshot, f"is no JSON: {error}") from error
        records = find(document, self._path) if self._path else document
        if records is MISSING:
            raise _unreadable(snapshot, f"holds nothing at {self._path}")
        if records is None:
            return []
        return records if isinstance(records, list) else [records]


def _column(name: str) -> str:
    return f"column{name}" if RESERVED.match(name) else name


def _text(value: Any) -> str | None:  # noqa: ANN401 - nested JSON
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _unreadable(snapshot: Snapshot, why: str) -> UnreadableFileError:
    return UnreadableFileError(
        f"{snapshot.file.name} {why}.",
        mend="Look at what the host answers, and correct records in the declaration.",
        culprit=snapshot.file.name,
    )
