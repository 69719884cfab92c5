"""Tables kept from when they are made until they are wanted, so that they need not be made twice.

What belongs here: keeping tables out of memory. What does not: what is in them, and how long they
are wanted.
"""

from __future__ import annotations

from functools import cached_property
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING

import pyarrow as pa

from dataflow_assets.extract.storing import storing

if TYPE_CHECKING:
    from pathlib import Path

    Place = tuple[int, int]
    """Where a table begins, and how many bytes it has."""

MOST_BYTES_IN_MEMORY = 16 << 20


class Spool:
    """Tables of any schemas: in memory while they are few, then in a file without a name.

    The file is gone with the process, whatever becomes of that.

    Args:
        folder: Where the file is; none: where the system keeps temporary files.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def keep(self, table: pa.Table) -> Place:
        """Keep a table, and return where it is.

        Raises:
            StorageError: There is no room for it.
        """
        with storing("rows on their way", self._folder):
            begin = self._file.seek(0, 2)
            with pa.ipc.new_stream(self._file, table.schema) as stream:
                stream.write_table(table)
            return begin, self._file.tell() - begin

    def table(self, place: Place) -> pa.Table:
        """Return the table at a place."""
        begin, size = place
        with storing("rows on their way", self._folder):
            self._file.seek(begin)
            return pa.ipc.open_stream(self._file.read(size)).read_all()

    def clear(self) -> None:
        """Forget all tables."""
        with storing("rows on their way", self._folder):
            self._file.truncate(0)

    @cached_property
    def _file(self) -> SpooledTemporaryFile[bytes]:
        if self._folder is None:
            return SpooledTemporaryFile(MOST_BYTES_IN_MEMORY)
        self._folder.mkdir(parents=True, exist_ok=True)
        return SpooledTemporaryFile(MOST_BYTES_IN_MEMORY, dir=str(self._folder))
