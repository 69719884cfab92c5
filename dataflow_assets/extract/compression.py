"""Opening a snapshot as one or several streams of bytes.

What belongs here: telling compressions apart, and turning every failure to decompress into one
error. What does not: what the bytes mean.
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

import pyarrow as pa

from dataflow_assets.errors import UnreadableFileError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from _typeshed import WriteableBuffer

    from dataflow_assets.extract.files import Snapshot

Compression = Literal["auto", "gzip", "zip", "zstd", "none"]
MAGIC: dict[bytes, Compression] = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",  # a zip without any member
    b"\x28\xb5\x2f\xfd": "zstd",
}
ENCRYPTED = 0x1
FAILURES = (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Member:
    """One stream of bytes within a file.

    Attributes:
        name: The file's name; for a member of a zip, ``archive.zip!member.csv``.
        open: Opens the decompressed bytes from their beginning. Reading raises
            UnreadableFileError where they are truncated or corrupt.
    """

    name: str
    open: Callable[[], BinaryIO]


def members(snapshot: Snapshot, compression: Compression) -> Iterator[Member]:
    """Yield the streams of a snapshot: one, but as many as a zip has files.

    Folders of a zip, hidden files and what macOS adds (``__MACOSX``) are no members.

    Args:
        snapshot: The archived bytes.
        compression: How they are compressed; ``auto`` looks at the first bytes.

    Raises:
        UnreadableFileError: The file is truncated, corrupt or encrypted.
    """
    name = snapshot.file.name
    if compression == "auto":
        compression = _detect(snapshot.path, name)
    if compression == "zip":
        yield from _zip_members(snapshot.path, name)
        return
    opener = {"gzip": _open_gzip, "zstd": _open_zstd, "none": _open_plain}[compression]
    yield Member(name, lambda: _guarded(name, lambda: opener(snapshot.path)))


def _detect(path: Path, name: str) -> Compression:
    with _reading(name), path.open("rb") as stream:
        head = stream.read(4)
    return next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), "none")


def _open_plain(path: Path) -> BinaryIO:
    return path.open("rb", buffering=0)


def _open_gzip(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path))


def _open_zstd(path: Path) -> BinaryIO:
    return cast("BinaryIO", pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))


def _zip_members(path: Path, name: str) -> Iterator[Member]:
    with _reading(name), zipfile.ZipFile(path) as archive:
        infos = [info for info in archive.infolist() if _is_data(info)]
    for info in infos:
        label = f"{name}!{info.filename}"
        if info.flag_bits & ENCRYPTED:
            raise UnreadableFileError(
                f"{label} is encrypted.",
                mend="Have it sent without a password.",
                culprit=label,
            )
        yield Member(label, _member_opener(path, info, label))


def _is_data(info: zipfile.ZipInfo) -> bool:
    folders = info.filename.split("/")
    return not (info.is_dir() or "__MACOSX" in folders or folders[-1].startswith("."))


def _member_opener(path: Path, info: zipfile.ZipInfo, label: str) -> Callable[[], BinaryIO]:
    def opener() -> BinaryIO:
        with zipfile.ZipFile(path) as archive:  # an open member keeps the file open by itself
            return cast("BinaryIO", archive.open(info))

    return lambda: _guarded(label, opener)


def _guarded(name: str, opener: Callable[[], BinaryIO]) -> BinaryIO:
    with _reading(name):
        return cast("BinaryIO", _GuardedStream(name, opener()))


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn whatever a decompressor raises into the one error that names the file."""
    try:
        yield
    except FAILURES as error:
        raise UnreadableFileError(
            f"{name} cannot be read to its end: {error}.",
            mend="Have the file sent again; it is truncated, corrupt or not what its name says.",
            culprit=name,
        ) from error


class _GuardedStream(io.RawIOBase):
    """A stream whose failures name the file."""

    def __init__(self, name: str, stream: BinaryIO) -> None:
        super().__init__()
        self._name = name
        self._stream = stream

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        with _reading(self._name):
            return self._stream.read(size)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        content = self.read(view.nbytes)
        view[: len(content)] = content
        return len(content)

    def close(self) -> None:
        if not self.closed:
            with closing(self._stream):
                super().close()
