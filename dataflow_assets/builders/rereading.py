"""The raw layer made anew from the archive: the bytes that were received, read as declared now.

What belongs here: telling whether raw rows were read otherwise than they would be now, and reading
them again. What does not: asking a source for anything (`receiving`).
"""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from dataflow_assets.builders.receiving import (
    RawLayer,
    Received,
    asked_declaration,
    raw_declaration,
    refuse_vanished,
    version_of,
)
from dataflow_assets.errors import PartitionMissingError
from dataflow_assets.extract.files import VERSION_DIGITS, FoundFile, Snapshot
from dataflow_assets.extract.kinds import open_archived

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dataflow_assets.builders.stores import Stores
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.io.lake import Archive, Manifest, ReceivedFile

WHOLE = "!"
"""Behind it in a name is the member of an archive."""


ASKS_OTHERWISE = (
    "extract was changed, and now asks for something else: what it would receive cannot be told"
)
NOT_NOTED = (
    "extract may have been changed, and an older release did not note what it asked for: what is "
    "told is of the bytes that it received"
)
NOT_ARCHIVED = (
    "extract was changed, and the archive does not lead to all bytes that were received: what they "
    "would give cannot be told"
)


def is_read_otherwise(source: SourceDeclaration, raw: Manifest) -> bool:
    """Whether a raw partition was made by another declaration, of asking or of reading."""
    return raw.declaration != raw_declaration(source)


def why_unknown(source: SourceDeclaration, raw: Manifest) -> str:
    """Return why the archive does not tell what a source would give now; empty if it does.

    Args:
        source: The declaration.
        raw: A partition that was made by another one.
    """
    if raw.asked and raw.asked != asked_declaration(source):
        return ASKS_OTHERWISE
    if version_of(raw.declaration, _bare(raw.files)) != raw.data_version:
        return NOT_ARCHIVED
    return "" if raw.asked else NOT_NOTED


class Rereader(RawLayer):
    """Makes raw partitions of one source anew from the archive.

    Args:
        source: The declaration.
        stores: Where it reads and writes.
    """

    @override
    def receive(self, partition: str) -> Received:
        """Read the archived bytes of one partition again and publish their rows.

        What would be received otherwise than it was is left as it stands.

        Raises:
            PartitionMissingError: It has never been received.
            NothingReceivedError: There are no rows where there were some before.
            UnreadableFileError: Bytes cannot be read, or are not in the archive any more.
            HeaderError: A header cannot be found.
        """
        name, lake = self._source.name, self._stores.lake
        with lake.partition_lock(f"raw/{name}", partition):
            before = self._before(partition)
            if not is_read_otherwise(self._source, before) or why_unknown(self._source, before):
                return Received(partition, before, unchanged=True)
            staged, received = self.stage(partition, before)
            lake.publish(staged, "raw", name, partition, rows=received.rows)
        return Received(partition, received, unchanged=False)

    def stage(self, partition: str, before: Manifest) -> tuple[Path, Manifest]:
        """Write the rows that the archived bytes give now to the work folder.

        Args:
            partition: The partition.
            before: Its manifest as it stands.

        Raises:
            NothingReceivedError: There are no rows where there were some before.
            UnreadableFileError: Bytes cannot be read, or are not in the archive any more.
            HeaderError: A header cannot be found.
        """
        started = time.monotonic()
        archive = self._stores.lake.archive(self._source.name, self._work)
        snapshots = [_at_hand(shot, archive) for shot in _bare(before.files)]
        stamp = before.model_copy(
            update={
                "data_version": version_of(self._declaration, snapshots),
                "declaration": self._declaration,
                "run_id": self._stores.run_id,
            }
        )
        reader = open_archived(self._source, self._stores.surroundings)
        staged = self._work / "raw.parquet"
        received = self._write(reader, staged, stamp, snapshots, archive, started)
        refuse_vanished(self._source, partition, before, received)
        return staged, received

    def _before(self, partition: str) -> Manifest:
        before = self._stores.lake.manifest("raw", self._source.name, partition)
        if before is None:
            raise PartitionMissingError(
                "there is no raw partition to read again.",
                mend=f"Materialize raw/{self._source.name} for this partition first.",
                source=self._source.name,
                partition=partition,
            )
        return before


@contextmanager
def read_again(
    source: SourceDeclaration, stores: Stores, partition: str, raw: Manifest, folder: Path
) -> Iterator[Stores]:
    """Give the same stores with the raw partition as it would be read now; nothing is published.

    Args:
        source: The declaration.
        stores: As `beside` gives them.
        partition: The partition.
        raw: Its manifest as it stands.
        folder: For the rows, until the end; it must not be there.

    Raises:
        DataflowError: As `Rereader.stage`.
    """
    under = replace(stores, lake=stores.lake.under(folder))
    with Rereader(source, stores) as rereader:
        staged, read = rereader.stage(partition, raw)
        under.lake.publish(staged, "raw", source.name, partition, rows=read.rows)
    try:
        yield under
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bare(files: Sequence[ReceivedFile]) -> list[Snapshot]:
    """Return what was fetched, each archive once for all its members; the paths are names."""
    found: list[Snapshot] = []
    for file in files:
        path = Path(file.archived)
        version = path.name[:VERSION_DIGITS]
        name = file.name if file.version == version else file.name.partition(WHOLE)[0]
        shot = Snapshot(FoundFile(path, name, file.size, file.mtime_ns), version, path)
        if file.version == version or not found or found[-1] != shot:
            found.append(shot)
    return found


def _at_hand(shot: Snapshot, archive: Archive) -> Snapshot:
    path = archive.bring(shot.path.as_posix())
    return Snapshot(replace(shot.file, path=path), shot.version, path)
