"""Where the lake's bytes are: a folder, or a bucket on S3.

What belongs here: putting a file in its place at once, getting it back whole, and locks between
those who do. What does not: what the files are and how they are called; that is for `lake`.

Names are those of files below the lake, with slashes. What is on its way is in a local folder for
either place: readers see a file when all of it is there.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager
from hashlib import file_digest
from io import BytesIO
from typing import IO, TYPE_CHECKING, Protocol, TypeVar

import pyarrow.parquet as pq
from typing_extensions import override

from dataflow_assets.errors import FileChangedError, StorageError, UnreadableFileError
from dataflow_assets.io.leases import Lease
from dataflow_assets.io.locks import exclusive
from dataflow_assets.s3 import PART_BYTES, at_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from dataflow_assets.errors import DataflowError
    from dataflow_assets.s3 import Bucket

T = TypeVar("T")
R = TypeVar("R")
FOOTER_BYTES = 1 << 16
"""What is read of a Parquet file's end at first; its footer is seldom longer."""
TRAILER_BYTES = 8
SMALL_BYTES = 1 << 20
"""The most of a file that is read at once."""
CHECKSUM = "sha256"
"""Under which a file's hash stands beside its content on S3."""


class Place(Protocol):
    """Where the lake's bytes are."""

    def uri(self, name: str) -> str:
        """Return the address of a file."""

    def size(self, name: str) -> int:
        """Return the bytes of a file that is there."""

    def names(self, folder: str) -> Iterable[str]:
        """Yield the names of the files in a folder, without the folder."""

    def footer(self, name: str) -> pq.FileMetaData | None:
        """Return the footer of a Parquet file, or none if there is no such file."""

    def open(self, name: str) -> IO[bytes]:
        """Open a file that is there for reading here and there."""

    def read(self, name: str) -> bytes | None:
        """Return the content of a small file, or none if there is no such file."""

    def get(self, name: str, work: Path) -> Path | None:
        """Return a local file with a file's content, whole, or none if there is no such file.

        Args:
            name: The file.
            work: A folder for a copy, where one is needed.
        """

    def put(self, staged: Path, name: str) -> None:
        """Put a staged file in the place of another, at once; it is gone from where it was."""

    def archive(self, folder: str, work: Path) -> Path:
        """Return the local folder in which bytes that are archived begin their life.

        Args:
            folder: The folder in the lake.
            work: A folder for what is on its way.
        """

    def keep(self, archive: Path, folder: str, files: Iterable[Path]) -> None:
        """See to it that files of an archive folder are in the lake, and stay."""

    def lock(
        self, name: str, *, timeout_s: float, busy: Callable[[], DataflowError]
    ) -> AbstractContextManager[None]:
        """Hold a lock alone, among all who use the lake."""

    def check_locks(self) -> None:
        """Refuse to go on if a lock that is held was lost."""

    def each(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Do a piece of work for each item, side by side where most of it is waiting."""


class FolderPlace(Place):
    """A folder.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, name: str) -> Path:
        """Return where a file is."""
        return self._root / name

    @override
    def uri(self, name: str) -> str:
        return self.path(name).as_uri()

    @override
    def size(self, name: str) -> int:
        return self.path(name).stat().st_size

    @override
    def names(self, folder: str) -> Iterator[str]:
        for path in self.path(folder).glob("*"):
            yield path.name

    @override
    def footer(self, name: str) -> pq.FileMetaData | None:
        try:
            return pq.read_metadata(self.path(name))
        except FileNotFoundError:
            return None

    @override
    def open(self, name: str) -> IO[bytes]:
        return self.path(name).open("rb")

    @override
    def read(self, name: str) -> bytes | None:
        path = self.path(name)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UnreadableFileError(
                f"the lake's file cannot be read: {error.strerror}.",
                mend="Give the user who runs this the right to read it.",
                culprit=str(path),
            ) from error

    @override
    def get(self, name: str, work: Path) -> Path | None:
        path = self.path(name)
        return path if path.exists() else None

    @override
    def put(self, staged: Path, name: str) -> None:
        path = self.path(name)
        with storage_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _sync(staged)
            staged.replace(path)

    @override
    def archive(self, folder: str, work: Path) -> Path:
        return self.path(folder)

    @override
    def keep(self, archive: Path, folder: str, files: Iterable[Path]) -> None:
        """Do nothing: they were archived in the lake itself."""

    @override
    def lock(
        self, name: str, *, timeout_s: float, busy: Callable[[], DataflowError]
    ) -> AbstractContextManager[None]:
        return exclusive(self.path(f"{name}.lock"), timeout_s=timeout_s, busy=busy)

    @override
    def check_locks(self) -> None:
        """Do nothing: the kernel keeps them."""

    @override
    def each(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        return map(work, items)


class S3Place(Place):
    """A bucket on S3, or the part of one below a prefix.

    Args:
        bucket: The bucket.
        prefix: Stands before all keys; may be empty.
    """

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._leases: list[Lease] = []

    @override
    def uri(self, name: str) -> str:
        return self._bucket.url(self._key(name))

    @override
    def size(self, name: str) -> int:
        found = self._bucket.find(self._key(name))
        return found.size if found else 0

    @override
    def names(self, folder: str) -> Iterator[str]:
        beginning = len(self._key(folder)) + 1
        for found in self._bucket.below(self._key(folder)):
            yield found.key[beginning:]

    @override
    def footer(self, name: str) -> pq.FileMetaData | None:
        tail = self._bucket.tail(self._key(name), FOOTER_BYTES)
        if tail is None:
            return None
        length = int.from_bytes(tail[-TRAILER_BYTES:-4], "little") + TRAILER_BYTES
        if length > len(tail) == FOOTER_BYTES:
            tail = self._bucket.tail(self._key(name), length) or b""
        return pq.read_metadata(BytesIO(tail))

    @override
    def open(self, name: str) -> IO[bytes]:
        return self._bucket.open(self._key(name))

    @override
    def read(self, name: str) -> bytes | None:
        return self._bucket.tail(self._key(name), SMALL_BYTES)

    @override
    def get(self, name: str, work: Path) -> Path | None:
        key = self._key(name)
        found = self._bucket.find(key)
        if found is None:
            return None
        to = work / f"{name.rpartition('/')[0].replace('/', '-')}.parquet"
        to.unlink(missing_ok=True)  # what is read of another partition still is left alone
        received = self._bucket.download(found, to)
        if received is None:
            raise FileChangedError(
                f"{self.uri(name)} was published anew while it was read.",
                mend="The next try reads what stands there now.",
                culprit=self.uri(name),
            )
        if (found.attributes or {}).get(CHECKSUM, received) != received:
            raise UnreadableFileError(
                "the lake's file is not what was written: its SHA-256 differs.",
                mend="Remove it and materialize the partition again.",
                culprit=self.uri(name),
            )
        return to

    @override
    def put(self, staged: Path, name: str) -> None:
        with staged.open("rb") as file:
            checksum = file_digest(file, "sha256").hexdigest()
        self._bucket.upload(staged, self._key(name), {CHECKSUM: checksum})
        staged.unlink()

    @override
    def archive(self, folder: str, work: Path) -> Path:
        local = work / folder
        shutil.rmtree(local, ignore_errors=True)  # of the partition before
        return local

    @override
    def keep(self, archive: Path, folder: str, files: Iterable[Path]) -> None:
        """Upload them side by side; big ones only if they are not there."""

        def upload(path: Path) -> None:
            key = self._key(f"{folder}/{path.relative_to(archive).as_posix()}")
            size = path.stat().st_size
            if size > PART_BYTES:
                found = self._bucket.find(key)
                if found is not None and found.size == size:
                    return
            self._bucket.upload(path, key)

        for _ in at_once(upload, files):
            pass

    @override
    @contextmanager
    def lock(
        self, name: str, *, timeout_s: float, busy: Callable[[], DataflowError]
    ) -> Iterator[None]:
        lease = Lease(self._bucket, self._key(f"{name}.lock"))
        with lease.held(timeout_s=timeout_s, busy=busy):
            self._leases.append(lease)
            try:
                yield
            finally:
                self._leases.remove(lease)

    @override
    def check_locks(self) -> None:
        for lease in self._leases:
            lease.check()

    @override
    def each(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        return at_once(work, items)

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name


class LaidOverPlace(Place):
    """A folder over another place: takes what is put, and hides what is below under that name.

    Args:
        folder: The folder.
        below: The other place; nothing is put there.
    """

    def __init__(self, folder: Path, below: Place) -> None:
        self._folder = folder
        self._over = FolderPlace(folder)
        self._below = below

    def _place(self, name: str) -> Place:
        return self._over if self._over.path(name).exists() else self._below

    @override
    def uri(self, name: str) -> str:
        return self._place(name).uri(name)

    @override
    def size(self, name: str) -> int:
        return self._place(name).size(name)

    @override
    def names(self, folder: str) -> Iterable[str]:
        return {*self._over.names(folder), *self._below.names(folder)}

    @override
    def footer(self, name: str) -> pq.FileMetaData | None:
        return self._place(name).footer(name)

    @override
    def open(self, name: str) -> IO[bytes]:
        return self._place(name).open(name)

    @override
    def read(self, name: str) -> bytes | None:
        return self._place(name).read(name)

    @override
    def get(self, name: str, work: Path) -> Path | None:
        return self._place(name).get(name, work)

    @override
    def put(self, staged: Path, name: str) -> None:
        self._over.put(staged, name)

    @override
    def archive(self, folder: str, work: Path) -> Path:
        return self._below.archive(folder, work)

    @override
    def keep(self, archive: Path, folder: str, files: Iterable[Path]) -> None:
        """Do nothing: what is read here was archived before."""

    @override
    def lock(
        self, name: str, *, timeout_s: float, busy: Callable[[], DataflowError]
    ) -> AbstractContextManager[None]:
        return self._over.lock(name, timeout_s=timeout_s, busy=busy)

    @override
    def check_locks(self) -> None:
        self._over.check_locks()

    @override
    def each(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        return self._below.each(work, items)


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into an error of ours."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise StorageError(
            f"the lake cannot be written: {error.strerror or error}.",
            mend="Free space on its disk."
            if full
            else "Make its folder writable, or set DATA_DIR.",
            culprit=str(path),
        ) from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
