"""Files in a folder or on S3: which there are, whose partition's, and their archived bytes.

What belongs here: the path template, the walk through folders, fingerprints of what was found, and
the content-addressed archive. What does not: what the bytes mean; that is for the modules
`compression` and `csv`.
"""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import os
import re
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from zoneinfo import ZoneInfo

from dataflow_assets.declaration.extract import PLACEHOLDER
from dataflow_assets.errors import FileChangedError, StorageError, UnreadableFileError
from dataflow_assets.extract.listing import KeyRanges, list_keys
from dataflow_assets.s3 import Address, Listed, at_once, open_bucket
from dataflow_assets.settings import SCHEME

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from io import FileIO

    from dataflow_assets.declaration.extract import Files
    from dataflow_assets.declaration.partitions import Partitions

TEMPORARY = re.compile(r"^\..*|.*(~|\.tmp|\.part|\.crdownload)$", re.DOTALL)
WILDCARD = re.compile(r"\*|\?")
SUFFIXES = re.compile(r"(\.[A-Za-z][A-Za-z0-9]{0,7})*$")
DATE_CODES = {
    "Y": r"\d{4}",
    "G": r"\d{4}",
    "j": r"\d{1,3}",
    "f": r"\d{1,6}",
    "u": r"[1-7]",
    "w": r"[0-6]",
    "b": r"[^\W\d_]+\.?",
    "B": r"[^\W\d_]+",
    "a": r"[^\W\d_]+\.?",
    "A": r"[^\W\d_]+",
    "p": r"[^\W\d_]{2}",
    "z": r"Z|[+-]\d{2}:?\d{2}",
    **dict.fromkeys("mdHIMSyUWV", r"\d{1,2}"),
}
"""How a strptime code looks; whether the digits make a date is left to strptime itself."""

COPY_BYTES = 1 << 20
SMALL_BYTES = 4 << 20
VERSION_DIGITS = 16


@dataclass(frozen=True, slots=True)
class FoundFile:
    r"""A file that was there when its folder, or its bucket, was looked into.

    Attributes:
        path: Where it is.
        name: Its path relative to the files root, with slashes; bytes that are no UTF-8 are shown
            as ``\xNN``.
        size: Bytes.
        mtime_ns: When it was last written, in nanoseconds since 1970.
        etag: On S3, what changes with its content.
    """

    path: Path | Address
    name: str
    size: int
    mtime_ns: int
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A file's bytes as they were received, in the archive.

    Attributes:
        file: The file as it was found.
        version: First 16 hex digits of the SHA-256 of its bytes.
        path: Where its bytes are archived.
    """

    file: FoundFile
    version: str
    path: Path


class FileFinder:
    """Finds a source's files and assigns each to its partition.

    Hidden files and names of unfinished transfers (``*~``, ``*.tmp``, ``*.part``,
    ``*.crdownload``) are no files of the source. Neither are those whose date is none
    (``2024-13-45``) or whose window begins before the partitions' `start` or at or after their
    `end`.

    Args:
        files: Where the files are, as declared.
        partitions: How the source is cut into partitions.
        root: The folder, or the place on S3, below which a relative path lies.

    Attributes:
        on_s3: Whether the files are on S3, where listing tells all about them, but takes time.
        narrows: Whether the files of some partitions can be listed there without the others'.
    """

    def __init__(self, files: Files, partitions: Partitions, root: Path | Address) -> None:
        on_s3 = files.path.startswith(SCHEME) or (
            isinstance(root, Address) and not files.path.startswith("/")
        )
        template = _BucketTemplate if on_s3 else _Template
        self._template: _Template | _BucketTemplate = template(files.path, root, partitions)
        self.on_s3 = on_s3
        self.narrows = isinstance(self._template, _BucketTemplate) and self._template.narrows
        self._keys = _PartitionKeys(partitions)

    def find(
        self, only: Collection[str] | None = None, most: int | None = None
    ) -> dict[str, list[FoundFile]]:
        """Return the files of each partition that has any, sorted by name.

        Args:
            only: Look at the files of these partitions alone; the others are not even stat'ed, and
                on S3 not listed where their keys allow to leave them out.
            most: Stop after so many files.

        Raises:
            UnreadableFileError: The folder is not there, or may not be read.
        """
        found: dict[str, list[FoundFile]] = defaultdict(list)
        count = 0
        for key, name, entry in self._entries(only):
            if only is not None and key not in only:
                continue
            file = self._template.found(entry, name)
            if file is None:  # it went away since its folder was listed
                continue
            found[key].append(file)
            count += 1
            if count == most:
                break
        return {key: sorted(found[key], key=lambda file: file.name) for key in sorted(found)}

    def find_partition(self, key: str) -> list[FoundFile]:
        """Return the files of one partition, sorted by name; none if it has none.

        Raises:
            UnreadableFileError: The folder is not there, or may not be read.
        """
        return self.find(only=(key,)).get(key, [])

    def partition_names(self) -> dict[str, list[str]]:
        """Return the sorted names of each partition's files, without looking at the files.

        Raises:
            UnreadableFileError: The folder is not there, or may not be read.
        """
        names: dict[str, list[str]] = defaultdict(list)
        for key, name, _ in self._entries(None):
            names[key].append(name)
        return {key: sorted(names[key]) for key in sorted(names)}

    def _entries(self, only: Collection[str] | None) -> Iterator[tuple[str, str, Any]]:
        for entry, match in self._template.walk(only):
            key = self._keys.key_of(match)
            if key is not None:
                yield key, _shown(f"{self._template.prefix}{match.string}"), entry


def _shown(name: str) -> str:
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "backslashreplace")


class _PartitionKeys:
    """Tells from what a path's placeholders matched to which partition it belongs."""

    def __init__(self, partitions: Partitions) -> None:
        self._partitions = partitions
        self._zone = ZoneInfo(partitions.timezone)
        self._known: dict[tuple[str, ...], str | None] = {}

    def key_of(self, match: re.Match[str]) -> str | None:
        """Return the partition's key, or None if the path belongs to none."""
        groups = match.groupdict()
        if self._partitions.values is not None:
            return groups.get("partition", self._partitions.values[0])
        values = tuple(groups.values())
        if values not in self._known:  # parsing a date costs more than all else
            self._known[values] = self._window_of(groups)
        return self._known[values]

    def _window_of(self, groups: dict[str, str]) -> str | None:
        formats = "/".join(f"%{code}" for code in groups)
        try:
            moment = dt.datetime.strptime("/".join(groups.values()), formats)  # noqa: DTZ007
            if moment.tzinfo is not None:
                moment = moment.astimezone(self._zone)
            key = self._partitions.key_of(moment)
            begin = dt.date.fromisoformat(f"{key}-01"[:10])  # a month's key lacks the day
        except (ValueError, OverflowError):  # digits that make no date, or none that has a window
            return None
        start, end = self._partitions.start, self._partitions.end
        if (start is not None and begin < start) or (end is not None and begin >= end):
            return None
        return key


class _Patterns:
    """Turns declared paths into regular expressions."""

    def __init__(self, partitions: Partitions) -> None:
        self._values = partitions.values or ()

    def compile(self, text: str) -> re.Pattern[str]:
        """Turn wildcards and placeholders into a regular expression with a group for each code."""
        pieces: list[str] = []
        groups: set[str] = set()
        position = 0
        for match in PLACEHOLDER.finditer(text):
            pieces.append(_wildcards(text[position : match.start()]))
            pieces.append(self._date(match[2], groups) if match[1] else self._partition(groups))
            position = match.end()
        pieces.append(_wildcards(text[position:]))
        return re.compile("".join(pieces), re.DOTALL)

    def _partition(self, groups: set[str]) -> str:
        values = sorted(self._values, key=len, reverse=True)
        return _group("partition", "|".join(map(re.escape, values)), groups)

    @staticmethod
    def _date(codes: str, groups: set[str]) -> str:
        pieces = []
        for literal, code in re.findall(r"([^%]+)|%(.)", codes, re.DOTALL):
            if literal or code == "%":
                pieces.append(re.escape(literal or code))
            else:
                pieces.append(_group(code, DATE_CODES.get(code, r"[^/]+?"), groups))
        return "".join(pieces)


class _BucketTemplate:
    """A declared path on S3: which keys to list, and which of them match.

    Attributes:
        prefix: What stands before the part of a name that is matched: the literal folders.
        narrows: Whether the files of some partitions can be listed without the others'.
    """

    def __init__(self, path: str, root: Path | Address, partitions: Partitions) -> None:
        url = path if path.startswith(SCHEME) else f"{root}/{path}"
        self._address = Address.parse(url)
        literal, parts = _split_literal(PLACEHOLDER.sub(_split_folders, self._address.key))
        self._base = "".join(f"{part}/" for part in literal)
        self.prefix = f"{SCHEME}{self._address.bucket}/{self._base}".removeprefix(f"{root}/")
        self._ranges = KeyRanges(self._address.key, partitions)
        self.narrows = self._ranges.narrows
        self._whole = _Patterns(partitions).compile("/".join(parts))

    def walk(self, only: Collection[str] | None) -> Iterator[tuple[Listed, re.Match[str]]]:
        """Yield each matching object, with what the placeholders stand for."""
        bucket = open_bucket(self._address.bucket)
        beginnings = [self._base] if only is None else self._ranges.beginnings(only)
        for found in list_keys(bucket, beginnings) if beginnings else ():
            below = found.key.removeprefix(self._base)
            match = self._whole.fullmatch(below)
            if match is None or TEMPORARY.match(below.rpartition("/")[2]):
                continue
            if any(folder.startswith(".") for folder in below.split("/")[:-1]):
                continue
            if found.size or bucket.find(found.key) is not None:  # some tools make empty folders
                yield found, match

    def found(self, entry: Listed, name: str) -> FoundFile:
        """Return what an object is."""
        path = Address(self._address.bucket, entry.key)
        return FoundFile(path, name, entry.size, entry.mtime_ns, entry.etag)


class _Template:
    """A declared path: which folders to look into, and which names in them match.

    Attributes:
        prefix: What stands before the part of a name that is matched: the literal folders.
    """

    def __init__(self, path: str, root: Path | Address, partitions: Partitions) -> None:
        root = Path("/") if isinstance(root, Address) else root
        patterns = _Patterns(partitions)
        literal, parts = _split_literal(PLACEHOLDER.sub(_split_folders, path))
        start = Path("/") if Path(path).is_absolute() else root
        self._base = start.joinpath(*literal)
        within = self._base.relative_to(root) if self._base.is_relative_to(root) else self._base
        self.prefix = "" if within == Path() else f"{within.as_posix().rstrip('/')}/"
        self._parts = [patterns.compile(part) if part != "**" else None for part in parts]
        self._whole = patterns.compile("/".join(parts))

    def found(self, entry: os.DirEntry[str], name: str) -> FoundFile | None:
        """Return what a file is, or none if it is gone."""
        try:
            stat = entry.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(entry.path, error) from error
        return FoundFile(Path(entry.path), name, stat.st_size, stat.st_mtime_ns)

    def walk(
        self,
        only: Collection[str] | None,  # noqa: ARG002 - to list a folder costs next to nothing
    ) -> Iterator[tuple[os.DirEntry[str], re.Match[str]]]:
        """Yield each matching file, once, with what the placeholders stand for."""
        if not self._base.is_dir():
            raise UnreadableFileError(
                f"There is no folder {self._base}.",
                mend="Create the folder, or correct path in the declaration or FILES_DIR.",
                culprit=str(self._base),
            )
        seen: set[str] = set()
        for entry, name in self._walk(str(self._base), "", 0, frozenset()):
            match = self._whole.fullmatch(name)
            if match is not None and name not in seen:
                seen.add(name)
                yield entry, match

    def _walk(
        self, folder: str, name: str, depth: int, above: frozenset[tuple[int, int]]
    ) -> Iterator[tuple[os.DirEntry[str], str]]:
        part = self._parts[depth]
        final = depth == len(self._parts) - 1
        if part is None and not final:  # ** may stand for no folder at all
            yield from self._walk(folder, name, depth + 1, above)
        within = above | {_identity(folder)} if part is None else above
        for entry in _list(folder):
            below = f"{name}{entry.name}"
            if final and not TEMPORARY.match(entry.name) and _is(entry.is_file, entry.path):
                yield entry, below
            if (part is None or not final) and self._enters(entry, part, within):
                deeper = depth if part is None else depth + 1
                yield from self._walk(entry.path, f"{below}/", deeper, within)

    @staticmethod
    def _enters(
        entry: os.DirEntry[str], part: re.Pattern[str] | None, above: frozenset[tuple[int, int]]
    ) -> bool:
        if entry.name.startswith(".") or not _is(entry.is_dir, entry.path):
            return False
        if part is not None:
            return part.fullmatch(entry.name) is not None
        return not entry.is_symlink() or _identity(entry.path) not in above


def _group(name: str, pattern: str, groups: set[str]) -> str:
    """Return a named group; where the name stands again, the same text must stand again."""
    if name in groups:
        return f"(?P={name})"
    groups.add(name)
    return f"(?P<{name}>{pattern})"


def _wildcards(text: str) -> str:
    pieces = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        pieces.get(piece, re.escape(piece)) for piece in re.split(r"(\*\*/|\*\*|\*|\?)", text)
    )


def _split_folders(placeholder: re.Match[str]) -> str:
    """Turn ``{date:%Y/%m}`` into ``{date:%Y}/{date:%m}``: each folder's part by itself."""
    codes = placeholder[2]
    if codes is None:
        return placeholder[0]
    return "/".join(f"{{date:{part}}}" for part in codes.split("/"))


def _split_literal(path: str) -> tuple[list[str], list[str]]:
    """Split a path into the leading folders that are literal, and all that follows."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    count = 0
    while count < len(parts) - 1 and not WILDCARD.search(parts[count]) and "{" not in parts[count]:
        count += 1
    return parts[:count], parts[count:]


def _identity(folder: str) -> tuple[int, int]:
    try:
        stat = os.stat(folder)  # noqa: PTH116 - a Path for each of many folders costs time
    except OSError as error:
        raise _unreadable(folder, error) from error
    return stat.st_dev, stat.st_ino


def _list(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except FileNotFoundError:  # it went away since the folder above was listed
        return []
    except OSError as error:
        raise _unreadable(folder, error) from error


def _is(kind: Callable[[], bool], path: str) -> bool:
    """Whether an entry is of a kind; a link to nothing, or back to itself, is of none."""
    try:
        return kind()
    except OSError as error:
        if error.errno == errno.ELOOP:
            return False
        raise _unreadable(path, error) from error


def _unreadable(path: str | Path, error: OSError) -> UnreadableFileError:
    return UnreadableFileError(
        f"{path} may not be read: {error.strerror}.",
        mend="Give the user who runs this the right to read it.",
        culprit=str(path),
    )


def fingerprint(files: Iterable[FoundFile]) -> str:
    """Return 12 hex digits that change when a name, size or time of writing does.

    The order in which the files are given does not matter.
    """
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda file: file.name):
        digest.update(f"{file.name}\0{file.size}\0{file.mtime_ns}\0{file.etag}".encode())
    return digest.hexdigest()[:12]


def take_snapshots(
    files: Sequence[FoundFile], archive: Path, *, stays: bool = True
) -> list[Snapshot]:
    """Copy the bytes of files into the archive; see `take_snapshot`.

    Small ones on S3 are asked for side by side, and big ones in parts: memory is bounded by both.
    Side by side, files of a folder would take longer: the folder of the archive is one for all.

    Args:
        files: The files as they were found.
        archive: The source's folder in the archive; made if it is not there.
        stays: Whether the folder is where the bytes stay. What comes from S3 and goes on to S3 need
            not survive a crash of the machine in between.
    """
    small = [file for file in files if isinstance(file.path, Address) and file.size <= SMALL_BYTES]

    def take(file: FoundFile) -> Snapshot:
        if isinstance(file.path, Address):
            return _archive_object(file, file.path, archive, stays=stays)
        return take_snapshot(file, archive)

    taken = dict(zip(small, at_once(take, small), strict=True))
    return [taken.get(file) or take(file) for file in files]


def archive_bytes(
    name: str, content: bytes, at: dt.datetime, archive: Path, *, stays: bool = True
) -> Snapshot:
    """Write bytes that a host sent into the archive; see `take_snapshot`.

    Args:
        name: What to call them; its suffixes are kept.
        content: The bytes.
        at: When they were received.
        archive: The source's folder in the archive; made if it is not there.
        stays: Whether the folder is where the bytes stay, so that they must be on disk before they
            are named.

    Raises:
        StorageError: The archive cannot be written.
    """
    file = FoundFile(archive, name, len(content), int(at.timestamp() * 1e9))
    snapshot = _snapshot(file, hashlib.sha256(content).hexdigest(), archive)
    if not _is_archived(snapshot):
        with Draft(archive) as draft:
            draft.write(content)
            draft.publish(snapshot.path, synced=stays)
    return snapshot


def take_snapshot(file: FoundFile, archive: Path) -> Snapshot:
    """Copy a file's bytes into the archive, under the hash of its content.

    A version that is archived already is left as it is. What stands in the archive is complete:
    bytes get their name there when all of them are on disk.

    Args:
        file: The file as it was found.
        archive: The source's folder in the archive; made if it is not there.

    Raises:
        FileChangedError: The file is not the one that was found any more, or vanished.
        UnreadableFileError: The file may not be read.
        StorageError: The archive cannot be written.
    """
    if isinstance(file.path, Address):
        return _archive_object(file, file.path, archive, stays=True)
    try:
        with file.path.open("rb", buffering=0) as stream:
            _check_unchanged(file, stream)
            if file.size <= SMALL_BYTES:
                return _archive_small(file, stream, archive)
            return _archive_big(file, stream, archive)
    except FileNotFoundError as error:
        raise _changed(file, "vanished") from error
    except OSError as error:
        raise _unreadable(file.path, error) from error


def _archive_object(file: FoundFile, address: Address, archive: Path, *, stays: bool) -> Snapshot:
    """Copy an object, asking for the very content that was found."""
    found = Listed(address.key, file.size, file.etag, dt.datetime.now(dt.UTC))
    bucket = open_bucket(address.bucket)
    with Draft(archive) as draft:
        if file.size <= SMALL_BYTES:
            content = bucket.range(found, 0, file.size)
            digest = None if content is None else hashlib.sha256(content).hexdigest()
            draft.write(content or b"")
        else:
            digest = bucket.download(found, draft.path)
        if digest is None:
            raise _changed(file, "was written anew, or vanished, since it was found")
        snapshot = _snapshot(file, digest, archive)
        if not _is_archived(snapshot):
            draft.publish(snapshot.path, synced=stays)
    return snapshot


def _archive_small(file: FoundFile, stream: FileIO, archive: Path) -> Snapshot:
    """Hash in memory first: a version that is archived already is not written at all."""
    content = stream.read(file.size + 1) or b""
    while len(content) < file.size and (more := stream.read(file.size + 1 - len(content))):
        content += more
    _check_complete(file, stream, len(content))
    snapshot = _snapshot(file, hashlib.sha256(content).hexdigest(), archive)
    if not _is_archived(snapshot):
        with Draft(archive) as draft:
            draft.write(content)
            draft.publish(snapshot.path)
    return snapshot


def _archive_big(file: FoundFile, stream: FileIO, archive: Path) -> Snapshot:
    """Hash each chunk while it is written; one buffer serves for all of them."""
    digest = hashlib.sha256()
    size = 0
    buffer = memoryview(bytearray(COPY_BYTES))
    with Draft(archive) as draft, ThreadPoolExecutor(1, "archive-hash") as pool:
        while size <= file.size and (read := stream.readinto(buffer)):
            hashed = pool.submit(digest.update, buffer[:read])
            draft.write(buffer[:read])
            hashed.result()
            size += read
        _check_complete(file, stream, size)
        snapshot = _snapshot(file, digest.hexdigest(), archive)
        if not _is_archived(snapshot):
            draft.publish(snapshot.path)
    return snapshot


def member_version(snapshot: Snapshot, name: str) -> str:
    """Return the version of one of the files in a snapshot.

    A file that is no archive is its own member; members of an archive are told apart by name, so
    that version and line lead to one row.
    """
    if name == snapshot.file.name:
        return snapshot.version
    return hashlib.sha256(f"{snapshot.version}/{name}".encode()).hexdigest()[:VERSION_DIGITS]


def _snapshot(file: FoundFile, digest: str, archive: Path) -> Snapshot:
    version = digest[:VERSION_DIGITS]
    suffixes = SUFFIXES.search(file.name.rpartition("/")[2])
    name = f"{version}{suffixes[0].lower() if suffixes else ''}"
    return Snapshot(file, version, archive / version[:2] / name)


def _is_archived(snapshot: Snapshot) -> bool:
    try:
        return snapshot.path.stat().st_size == snapshot.file.size
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _unwritable(snapshot.path, error) from error


def _check_complete(file: FoundFile, stream: FileIO, size: int) -> None:
    if size != file.size:
        raise _changed(file, f"had {file.size} bytes and now has another number")
    _check_unchanged(file, stream)


def _check_unchanged(file: FoundFile, stream: FileIO) -> None:
    stat = os.fstat(stream.fileno())
    if (stat.st_size, stat.st_mtime_ns) != (file.size, file.mtime_ns):
        raise _changed(file, "was written to since it was found")


def _changed(file: FoundFile, what: str) -> FileChangedError:
    return FileChangedError(
        f"{file.name} {what}.",
        mend="Wait until its sender has finished it; the next run reads it anew.",
        culprit=file.name,
    )


def _unwritable(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"The archive {path} cannot be written: {error.strerror}.",
        mend="Make room on the disk, or give the user who runs this the right to write there.",
        culprit=str(path),
    )


class Draft:
    """A file in the archive that has no name yet by which others would find it."""

    def __init__(self, archive: Path) -> None:
        self._archive = archive

    def __enter__(self) -> Self:
        try:
            self._archive.mkdir(parents=True, exist_ok=True)
            handle, path = tempfile.mkstemp(prefix=".draft-", dir=self._archive)
        except OSError as error:
            raise _unwritable(self._archive, error) from error
        self.path = Path(path)
        self._stream = os.fdopen(handle, "wb", buffering=0)
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self.path.unlink(missing_ok=True)

    def write(self, content: bytes | memoryview) -> None:
        """Write bytes behind those that were written before."""
        rest = memoryview(content)
        try:
            while rest:
                rest = rest[self._stream.write(rest) :]
        except OSError as error:
            raise _unwritable(self._archive, error) from error

    def publish(self, path: Path, *, synced: bool = True) -> None:
        """Give the bytes their name, once they are on disk if they are to be synced."""
        try:
            if synced:
                os.fsync(self._stream.fileno())
            path.parent.mkdir(exist_ok=True)
            self.path.chmod(0o644)
            self.path.replace(path)
        except OSError as error:
            raise _unwritable(path, error) from error
