"""The kinds of source that a declaration can name, and what opens each.

What belongs here: choosing. What does not: how a kind works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflow_assets.extract.csv import CsvReader
from dataflow_assets.extract.files import FileFinder, take_snapshots

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from dataflow_assets.declaration.contract import Contract
    from dataflow_assets.declaration.extract import Files
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.extract.extractor import Extractor, Reader, Request
    from dataflow_assets.extract.files import Snapshot
    from dataflow_assets.s3 import Address


def open_extractor(
    source: SourceDeclaration, root: Path | Address, partitions: Collection[str]
) -> Extractor:
    """Return what fetches and reads partitions of a source.

    Args:
        source: The declaration.
        root: The folder, or the place on S3, below which relative paths of files lie.
        partitions: The partitions that will be asked for.

    Raises:
        UnreadableFileError: The source's folder is not there, or may not be read.
    """
    return FilesExtractor(source, root, partitions)


def open_reader(files: Files, contract: Contract) -> Reader:
    """Return what reads files of the declared format."""
    return CsvReader(files, contract)


class FilesExtractor:
    """Files in a folder or on S3, which is listed once for all partitions.

    Args:
        source: The declaration.
        root: The folder, or the place on S3, below which relative paths lie.
        partitions: The partitions that will be asked for.
    """

    def __init__(
        self, source: SourceDeclaration, root: Path | Address, partitions: Collection[str]
    ) -> None:
        files = source.extract.files
        self.reader = open_reader(files, source.contract)
        self._found = FileFinder(files, source.partitions, root).find(only=set(partitions))

    def fetch(self, request: Request) -> Sequence[Snapshot]:
        """Archive the files of a partition."""
        files = self._found.get(request.partition, [])
        return take_snapshots(files, request.archive, stays=request.stays)
