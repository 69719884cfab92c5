"""What becomes of a disk that does not take what was received.

What belongs here: the error that names the place. What does not: what is stored.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from dataflow_assets.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def storing(what: str, where: Path | None) -> Iterator[None]:
    """Turn a failure of the disk into an error that names the place.

    Args:
        what: What is stored, as the beginning of a sentence.
        where: The file or folder; none: where the system keeps temporary files.

    Raises:
        StorageError: It could not be written or read.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{what} cannot be kept: {error.strerror or error}.",
            mend="Make room on the disk, or make the folder writable.",
            culprit=str(where or "the folder for temporary files"),
        ) from error
