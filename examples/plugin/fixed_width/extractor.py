"""The kind of source ``fixed_width``: files whose columns begin and end at fixed characters.

Files are found and archived as the kind ``files`` does it; what is new is how they are read.
"""

from __future__ import annotations

import io
from itertools import islice
from typing import TYPE_CHECKING, cast

import polars as pl
import pyarrow as pa
from pydantic import Field

from dataflow_assets.declaration.base import ColumnName, Declared
from dataflow_assets.declaration.extract import Files
from dataflow_assets.extract.compression import members
from dataflow_assets.extract.extractor import raw_schema
from dataflow_assets.extract.files import FileFinder, member_version, take_snapshots
from dataflow_assets.extract.plugin import ExtractorPlugin, Opening

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dataflow_assets.extract.extractor import Request
    from dataflow_assets.extract.files import Snapshot

LINES_AT_ONCE = 50_000


class FixedWidth(Declared):
    """What a declaration says below ``fixed_width``.

    Attributes:
        path: Where the files are, as in the kind ``files``.
        columns: How many characters each column has, in the order of the file.
        encoding: A Python codec name.
    """

    path: str = Field(min_length=1)
    columns: dict[ColumnName, int] = Field(min_length=1)
    encoding: str = "utf-8"


class FixedWidthReader:
    """Reads lines, and cuts each into its columns."""

    def __init__(self, declared: FixedWidth) -> None:
        self._declared = declared

    def schema(self, snapshot: Snapshot) -> pa.Schema:  # noqa: ARG002 - the declaration says it
        """Return the declared columns: all text."""
        return pa.schema([pa.field(name, pa.string()) for name in self._declared.columns])

    def rows(self, snapshot: Snapshot, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield a file's rows; a line of another length than declared is rejected."""
        for member in members(snapshot, "auto"):
            lines = io.TextIOWrapper(
                cast("io.BytesIO", io.BufferedReader(cast("io.RawIOBase", member.open()))),
                encoding=self._declared.encoding,
                errors="backslashreplace",
            )
            first = 1
            while block := [line.rstrip("\r\n") for line in islice(lines, LINES_AT_ONCE)]:
                frame = self._cut(pl.DataFrame({"_text": block}), first).with_columns(
                    _file=pl.lit(member.name),
                    _version=pl.lit(member_version(snapshot, member.name)),
                )
                first += len(block)
                if not frame.is_empty():
                    yield _as_raw(frame, schema)

    def _cut(self, lines: pl.DataFrame, first: int) -> pl.DataFrame:
        """Return a row for each line that is not blank, good ones in columns."""
        text, widths = pl.col("_text"), self._declared.columns
        begins = [sum(list(widths.values())[:number]) for number in range(len(widths))]
        good = text.str.len_chars() == sum(widths.values())
        return (
            lines.with_row_index("_line", offset=first)
            .filter(text.str.strip_chars() != "")
            .with_columns(
                *(
                    pl.when(good).then(text.str.slice(begin, width)).alias(name)
                    for begin, (name, width) in zip(begins, widths.items(), strict=True)
                ),
                pl.when(~good).then(pl.lit("length")).alias("_reject"),
                pl.when(~good).then(text).alias("_text"),
            )
        )


def _as_raw(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """Return rows in the shape of the raw layer; columns that are not there are null."""
    wanted = raw_schema(schema)
    missing = [pl.lit(None, pl.String).alias(n) for n in wanted.names if n not in frame.columns]
    return frame.with_columns(missing).select(wanted.names).to_arrow().cast(wanted)


class FixedWidthExtractor:
    """Finds and archives the files of each partition."""

    def __init__(self, declared: FixedWidth, opening: Opening) -> None:
        self.reader = FixedWidthReader(declared)
        finder = FileFinder(
            Files(path=declared.path), opening.source.partitions, opening.around.files
        )
        self._found = finder.find(only=set(opening.partitions))

    def fetch(self, request: Request) -> Sequence[Snapshot]:
        """Archive the files of a partition."""
        return take_snapshots(self._found.get(request.partition, []), request.archive)


FIXED_WIDTH = ExtractorPlugin(parameters=FixedWidth, open=FixedWidthExtractor)
