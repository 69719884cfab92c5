"""The kinds of source that a declaration can name, and what opens each.

What belongs here: choosing. What does not: how a kind works.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from dataflow_assets.declaration.rest import Endpoint
from dataflow_assets.extract.authentication import open_credentials
from dataflow_assets.extract.csv import CsvReader
from dataflow_assets.extract.files import FileFinder, take_snapshots
from dataflow_assets.extract.hosts import Budget, HostGuard
from dataflow_assets.extract.http import HttpClient, Limits
from dataflow_assets.extract.plugin import Opening, open_plugin
from dataflow_assets.extract.rest import RestExtractor

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from dataflow_assets.declaration.contract import Contract
    from dataflow_assets.declaration.extract import Feed, Files
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.extract.extractor import Extractor, Reader, Request, Surroundings
    from dataflow_assets.extract.files import Snapshot


JSON = ("json", "jsonl")


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
        PluginError: The kind is a plug-in's, which cannot be imported.
    """
    declared = source.extract
    if declared.rest is not None:
        opening = partial(open_reader, declared.rest.bodies, source.contract, around)
        return RestExtractor(source, declared.rest, opening, around)
    if declared.feed is not None:
        return _open_feed(declared.feed, around)
    if declared.files is not None:
        return FilesExtractor(source, declared.files, around, partitions)
    if declared.database is not None:
        from dataflow_assets.extract.database import DatabaseExtractor

        return DatabaseExtractor(source, declared.database, around.files)
    if declared.plugin is not None:
        return open_plugin(*declared.plugin, Opening(source, around, partitions))
    raise AssertionError("a declaration names exactly one kind")


def open_archived(source: SourceDeclaration, around: Surroundings) -> Reader:
    """Return what reads bytes of a source that were archived; nobody is asked for anything.

    Args:
        source: The declaration.
        around: What it finds around it.

    Raises:
        PluginError: The kind is a plug-in's, which cannot be imported.
    """
    declared = source.extract
    if declared.feed is not None:
        from dataflow_assets.extract.feed import FeedReader

        return FeedReader()
    if declared.database is not None:
        from dataflow_assets.extract.database import ArchivedRows

        return ArchivedRows()
    if declared.plugin is not None:
        return open_plugin(*declared.plugin, Opening(source, around, ())).reader
    written = declared.files if declared.rest is None else declared.rest.bodies
    if written is None:
        raise AssertionError("a declaration names exactly one kind")
    return open_reader(written, source.contract, around)


def _open_feed(feed: Feed, around: Surroundings) -> Extractor:
    from dataflow_assets.extract.feed import FeedExtractor

    guard = HostGuard(around.shared, Budget(around.scratch / "budgets", 0))
    limits = Limits(most_bytes=feed.most_bytes)
    credentials = open_credentials(Endpoint(url=feed.url, auth=feed.auth), limits, guard)
    for _, value in parse_qsl(urlsplit(feed.url).query):
        credentials.hide(value)  # it may have been filled in from the environment: a key, for one
    return FeedExtractor(feed, HttpClient(credentials, limits, guard))


def open_reader(files: Files, contract: Contract, around: Surroundings) -> Reader:
    """Return what reads bytes of the declared format."""
    room = {"scratch": around.scratch} if files.format in JSON else {}
    return reader_class(files.format)(files, contract, **room)


def reader_class(file_format: str) -> Callable[..., Reader]:
    """Return the class that reads a format; a library for another format is not imported."""
    if file_format in JSON:
        from dataflow_assets.extract.json import JsonReader

        return JsonReader
    if file_format == "parquet":
        from dataflow_assets.extract.parquet import ParquetReader

        return ParquetReader
    if file_format == "excel":
        from dataflow_assets.extract.excel import ExcelReader

        return ExcelReader
    return CsvReader


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
        self._open_reader = partial(open_reader, files, source.contract, around)
        self.reader = self._open_reader()
        finder = FileFinder(files, source.partitions, around.files)
        self._found = finder.find(only=set(partitions))

    def fetch(self, request: Request) -> Sequence[Snapshot]:
        """Archive the files of a partition."""
        self.reader = self._open_reader()  # what another knew of partitions before is forgotten
        files = self._found.get(request.partition, [])
        return take_snapshots(files, request.archive, stays=request.stays)
