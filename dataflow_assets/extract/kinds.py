"""The kinds of source that a declaration can name, and what opens each.

What belongs here: choosing. What does not: how a kind works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflow_assets.extract.csv import CsvReader
from dataflow_assets.extract.excel import ExcelReader
from dataflow_assets.extract.files import FileFinder, take_snapshots
from dataflow_assets.extract.json import JsonReader
from dataflow_assets.extract.parquet import ParquetReader
from dataflow_assets.extract.rest import RestExtractor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from dataflow_assets.declaration.contract import Contract
    from dataflow_assets.declaration.extract import Files
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.extract.extractor import Extractor, Reader, Request, Surroundings
    from dataflow_assets.extract.files import Snapshot

READERS: dict[str, Callable[..., Reader]] = {
    "csv": CsvReader,
    "tsv": CsvReader,
    "json": JsonReader,
    "jsonl": JsonReader,
    "parquet": ParquetReader,
    "excel": ExcelReader,
}


def open_extractor(
    source: SourceDeclaration, around: Surroundings, partitions: Collection[str]
) -> Extractor:
    """Return what fetches and reads partitions of a source.

    Args:
        source: The declaration.
        around: What it finds around it.
        partitions: The partitions that will be asked for.

    Raises:
        UnreadableFileError: The source's folder is not there, or may not be read.
        SettingsError: A variable that the declaration names is not set.
    """
    rest, files = source.extract.rest, source.extract.files
    if rest is not None:
        return RestExtractor(source, rest, open_reader(rest.bodies, source.contract), around)
    if files is not None:
        return FilesExtractor(source, files, around, partitions)
    if source.extract.database is not None:
        from dataflow_assets.extract.database import DatabaseExtractor  # noqa: PLC0415 - heavy

        return DatabaseExtractor(source, source.extract.database, around.files)
    raise AssertionError("a declaration names exactly one kind")


def open_reader(files: Files, contract: Contract) -> Reader:
    """Return what reads bytes of the declared format."""
    return READERS[files.format](files, contract)


class FilesExtractor:
    """Files in a folder or on S3, which is listed once for all partitions.

    Args:
        source: The declaration.
        files: What it says of the files.
        around: Where they are.
        partitions: The partitions that will be asked for.
    """

    def __init__(
        self,
        source: SourceDeclaration,
        files: Files,
        around: Surroundings,
        partitions: Collection[str],
    ) -> None:
        self.reader = open_reader(files, source.contract)
        finder = FileFinder(files, source.partitions, around.files)
        self._found = finder.find(only=set(partitions))

    def fetch(self, request: Request) -> Sequence[Snapshot]:
        """Archive the files of a partition."""
        files = self._found.get(request.partition, [])
        return take_snapshots(files, request.archive, stays=request.stays)
