"""Samples that are files, in a folder or on S3.

What belongs here: the first bytes of a file, its format and dialect, and its place in a path. What
does not: how formats are told apart (`extract.sniffing`).
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflow_assets.builders.scaffolding.sample import MOST_BYTES, Sample, read_rows
from dataflow_assets.builders.scaffolding.tables import table_names
from dataflow_assets.declaration.contract import Contract
from dataflow_assets.declaration.extract import FORMATS, SUFFIX, Files
from dataflow_assets.declaration.partitions import Partitions
from dataflow_assets.errors import DataflowError, SampleError, UnreadableFileError
from dataflow_assets.extract.compression import members
from dataflow_assets.extract.files import TEMPORARY, FileFinder, FoundFile, Snapshot
from dataflow_assets.extract.names import unique_names
from dataflow_assets.extract.sniffing.delimited import guess_dialect, guess_table
from dataflow_assets.extract.sniffing.documents import guess_records, parse
from dataflow_assets.extract.sniffing.encodings import guess_encoding
from dataflow_assets.extract.sniffing.formats import (
    Head,
    no_data,
    sort_of_bytes,
    sort_of_text,
)
from dataflow_assets.extract.sniffing.paths import guess_path
from dataflow_assets.extract.text import detect
from dataflow_assets.s3 import Address, open_bucket
from dataflow_assets.settings import SCHEME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflow_assets.extract.sniffing.delimited import CsvGuess
    from dataflow_assets.extract.sniffing.encodings import EncodingGuess
    from dataflow_assets.extract.sniffing.paths import PathGuess

DIALECT_BYTES = 1 << 18
DOCUMENT_BYTES = 4 << 20
MOST_WHOLE_BYTES = 512 << 20
"""Files that can only be read as a whole, up to this size."""
SHEET_ROWS = 200
WORKBOOK_PARTS = ("[Content_Types].xml", "mimetype")
COMPRESSED = {b"\x1f\x8b": ".gz", b"\x28\xb5\x2f\xfd": ".zst", b"PK\x03\x04": ".zip"}
AUTOMATION = "{sensor: {settle: 30s}}"


@dataclass(frozen=True)
class Written:
    """How a file is written.

    Attributes:
        words: What the declaration says of it, beside the path.
        remarks: What was seen, by word.
        names: The columns' names, where it has no header.
    """

    words: dict[str, Any]
    remarks: dict[str, list[str]]
    names: tuple[str, ...] = ()


def take_file(place: str, root: Path | Address, work: Path) -> Sample:
    """Take a file as the sample.

    Args:
        place: Its path, or its address on S3.
        root: The folder, or the place on S3, below which declared paths lie.
        work: A folder for what has to be copied.

    Raises:
        SampleError: It is not there, or no data.
        UnreadableFileError: It cannot be read.
    """
    if place.startswith(SCHEME):
        snapshot, declared, more = _take_object(place, root, work)
    else:
        snapshot, declared, more = _take_local(Path(place), root)
    path = guess_path(declared)
    snapshot, head = _cut(snapshot, work, more=more)
    written = _written(snapshot, head)
    words = _with_format({"path": path.path, **written.words})
    sample = Sample(
        place=place,
        extract={"files": words},
        partitions=_partitions(path),
        snapshots=[snapshot],
        remarks={"partitions": [path.remark], **written.remarks},
        names=written.names,
        cut=head.cut,
        automation=AUTOMATION,
    )
    return _improved(sample)


def _take_local(path: Path, root: Path | Address) -> tuple[Snapshot, str, bool]:
    try:
        size = path.stat().st_size
    except OSError as error:
        raise SampleError(
            f"the sample {path} cannot be read: {error.strerror}.",
            mend="Give the path of a file that is there, an address on S3 or over HTTP, or "
            "database_url_env with a table.",
            culprit=str(path),
        ) from error
    if not path.is_file():
        raise SampleError(
            f"the sample {path} is no file.", mend="Name one file in it.", culprit=str(path)
        )
    if TEMPORARY.match(path.name):
        raise no_data(path.name, "files of this name are taken to be unfinished, and never read")
    whole = path.resolve()
    _check_found(whole)
    known = isinstance(root, Path) and whole.is_relative_to(root.resolve())
    declared = whole.relative_to(root.resolve()) if known and isinstance(root, Path) else whole
    file = FoundFile(whole, declared.as_posix(), size, 0)
    return Snapshot(file, "sample", whole), declared.as_posix(), False


def _take_object(place: str, root: Path | Address, work: Path) -> tuple[Snapshot, str, bool]:
    """Bring the beginning of an object, or all of one that is read from its end."""
    address = Address.parse(place)
    bucket = open_bucket(address.bucket)
    found = bucket.find(address.key) if address.key else None
    if found is None:
        raise SampleError(
            f"there is no object {place}.", mend="Give the address of one.", culprit=place
        )
    begin = bytes(bucket.range(found, 0, 4) or b"")
    needs_all = begin[:4] in (b"PAR1", b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
    length = MOST_WHOLE_BYTES if needs_all else MOST_BYTES
    content = bytes(bucket.range(found, 0, length) or b"")
    path = work / Path(address.key).name
    path.write_bytes(content)
    declared = place
    if isinstance(root, Address) and place.startswith(f"{root}/"):
        declared = place.removeprefix(f"{root}/")
    file = FoundFile(path, declared, len(content), 0)
    return Snapshot(file, "sample", path), declared, len(content) < found.size


def _cut(snapshot: Snapshot, work: Path, *, more: bool) -> tuple[Snapshot, Head]:
    """Return a sample of bounded size, and its first bytes, decompressed."""
    name = snapshot.file.name
    with snapshot.path.open("rb") as stream:
        begin = stream.read(MOST_BYTES)
    if _is_workbook(snapshot.path) or sort_of_bytes(Head(name, begin, cut=False)) in (
        "parquet",
        "sqlite",
        "duckdb",
    ):
        if more or snapshot.file.size > MOST_WHOLE_BYTES:
            raise no_data(name, f"it has more than {MOST_WHOLE_BYTES >> 20} MB, and is no text")
        return snapshot, Head(name, begin, cut=False)
    content, longer = _decompressed(snapshot, cut=more)
    if not longer and not more:
        return snapshot, Head(name, content, cut=False)
    path = work / "sample.txt"
    path.write_bytes(content)
    return replace(snapshot, path=path), Head(name, content, cut=True)


def _is_workbook(path: Path) -> bool:
    """Whether a zip is a workbook, not an archive of files."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(part in archive.namelist() for part in WORKBOOK_PARTS)


def _decompressed(snapshot: Snapshot, *, cut: bool) -> tuple[bytes, bool]:
    """Return the first bytes of a file, or of the first in an archive, and whether there are more.

    Raises:
        UnreadableFileError: It is corrupt or encrypted.
        SampleError: An archive holds no file.
    """
    member = next(members(snapshot, "auto"), None)
    if member is None:
        raise no_data(snapshot.file.name, "it is an archive without files")
    pieces, size = [], 0
    with member.open() as stream:
        try:
            while size <= MOST_BYTES and (piece := stream.read(1 << 20)):
                pieces.append(piece)
                size += len(piece)
        except UnreadableFileError:
            if not cut or not pieces:  # a sample that was cut breaks off amid its compression
                raise
    content = b"".join(pieces)
    return content[:MOST_BYTES], len(content) > MOST_BYTES


def _written(snapshot: Snapshot, head: Head) -> Written:
    """Find out how a file is written."""
    if _is_workbook(snapshot.path):
        return _workbook(snapshot)
    sort = sort_of_bytes(head)
    if sort == "parquet":
        return Written({"format": "parquet"}, {})
    if sort == "excel":
        return _workbook(snapshot)
    if sort in ("sqlite", "duckdb"):
        tables = ", ".join(table_names(snapshot.path, sort)[:30]) or "none"
        raise SampleError(
            f"{head.name} is a database of {sort}, and it is not said which table of it.",
            mend=f"Give table: one of {tables}.",
            culprit=head.name,
        )
    encoding = guess_encoding(head.content, cut=head.cut)
    return _text(head, encoding)


def decoded(content: bytes, encoding: str) -> str:
    """Return a text without its byte order mark."""
    name = detect(content) if encoding == "auto" else encoding
    return content.decode(name, "replace").removeprefix("\ufeff")


def _text(head: Head, encoding: EncodingGuess) -> Written:
    text = decoded(head.content[:DIALECT_BYTES], encoding.name)
    sort = sort_of_text(head.name, text)
    remarks = [encoding.remark] if encoding.remark else []
    if sort == "xml":
        raise no_data(head.name, "it is XML: of a feed, give the address, not the file")
    if sort in ("json", "jsonl"):
        return _json(head, encoding, sort, remarks)
    return delimited_words(head, encoding)


def delimited_words(head: Head, encoding: EncodingGuess) -> Written:
    """Return how a delimited text is written.

    Raises:
        SampleError: It is no table.
    """
    text = decoded(head.content[:DIALECT_BYTES], encoding.name)
    cut = head.cut or len(head.content) > DIALECT_BYTES
    guess = guess_dialect(text[: text.rfind("\n") + 1] or text if cut else text)
    if guess is None:
        raise no_data(head.name, "it is a text for people: its lines have no fields in common")
    return _delimited(guess, encoding, [encoding.remark] if encoding.remark else [])


def _json(head: Head, encoding: EncodingGuess, sort: str, remarks: list[str]) -> Written:
    block: dict[str, Any] = {} if encoding.name == "auto" else {"encoding": encoding.name}
    if sort == "json":
        path, told = records_path(decoded(head.content[:DOCUMENT_BYTES], encoding.name), head.name)
        block |= {"records": path} if path else {}
        remarks = [*remarks, *told]
    words: dict[str, Any] = {"format": sort}
    return Written({**words, "json": block} if block else words, {"json": remarks})


def records_path(text: str, name: str) -> tuple[str | list[str] | None, list[str]]:
    """Return where the records of a JSON document are, as a declaration says it, and why.

    Raises:
        SampleError: It has none, or is no JSON.
    """
    document = parse(text)
    guess = guess_records(document)
    if guess is None:
        why = "it is no JSON" if document is None else "there are no objects with names in it"
        raise no_data(name, why)
    if guess.single:
        return None, ["the document is one record"]
    told = [f"{guess.count:,} objects at {'.'.join(guess.path) or 'the top'}"]
    if guess.others:
        others = ", ".join(f"{'.'.join(path)} ({count:,})" for path, count in guess.others)
        told.append(f"other lists are {others}")
    dotted = any("." in one or not one.strip() for one in guess.path)
    return (list(guess.path) if dotted else ".".join(guess.path)) or None, told


def _delimited(guess: CsvGuess, encoding: EncodingGuess, remarks: list[str]) -> Written:
    block: dict[str, Any] = {}
    tabs = guess.delimiter == "\t"
    if not tabs and guess.delimiter != ",":
        block["delimiter"] = guess.delimiter
    if guess.quote != '"':
        block["quote"] = guess.quote
    if guess.escape is not None:
        block["escape"] = guess.escape
    if encoding.name != "auto":
        block["encoding"] = encoding.name
    if not guess.header:
        block["header"] = False
    if guess.skip_lines:
        block["skip_lines"] = guess.skip_lines
    if guess.comment:
        block["comment"] = guess.comment
    numbered = tuple(f"column_{n}" for n in range(1, guess.width + 1))
    names = () if guess.header else tuple(unique_names(guess.names)) or numbered
    words: dict[str, Any] = {"format": "tsv" if tabs else "csv"}
    told = [*guess.remarks, *remarks]
    return Written({**words, "csv": block} if block else words, {"csv": told}, names)


def _workbook(snapshot: Snapshot) -> Written:
    """Find the sheet with the most cells, and where its table begins."""
    import python_calamine as calamine  # noqa: PLC0415 - only for workbooks

    name = snapshot.file.name
    try:
        book = calamine.CalamineWorkbook.from_path(snapshot.path)
        sheets = [book.get_sheet_by_index(number) for number in range(len(book.sheet_names))]
        sizes = [(sheet.height * sheet.width, sheet) for sheet in sheets if sheet.height]
        if not sizes:
            raise no_data(name, "its sheets are empty")
        best = max(sizes, key=lambda one: one[0])[1]
        rows = best.to_python(skip_empty_area=False, nrows=SHEET_ROWS)
    except (calamine.CalamineError, OSError) as error:
        raise no_data(name, f"it cannot be read as a workbook ({error})") from error
    skip, header = guess_table([[str(cell) for cell in row] for row in rows])
    block: dict[str, Any] = {}
    if best.name != book.sheet_names[0]:
        block["sheet"] = best.name
    if skip:
        block["skip_lines"] = skip
    if not header:
        block["header"] = False
    told = [
        f"sheets are {', '.join(map(repr, book.sheet_names))}; {best.name!r} has the most cells"
    ]
    told = told if len(sheets) > 1 else []
    names = () if header else tuple(f"column_{n}" for n in range(1, len(rows[0]) + 1))
    words: dict[str, Any] = {"format": "excel"}
    return Written({**words, "excel": block} if block else words, {"excel": told}, names)


def _with_format(words: dict[str, Any]) -> dict[str, Any]:
    """Leave out the format where the path's ending says it."""
    suffix = SUFFIX.search(str(words["path"]))
    by_ending = FORMATS.get(suffix[1].lower(), "csv") if suffix else "csv"
    return {word: said for word, said in words.items() if word != "format" or said != by_ending}


def _partitions(path: PathGuess) -> dict[str, Any]:
    if path.every is None:
        return {"values": ["all"]}
    return {"every": path.every, "start": path.start}


def _check_found(path: Path) -> None:
    """See that the guessed path leads back to the sample.

    Raises:
        SampleError: It does not.
    """
    guess = guess_path(path.as_posix())
    partitions = Partitions.model_validate(_partitions(guess))
    files = Files(path=guess.path, format="csv")
    key = "all" if guess.moment is None else partitions.key_of(guess.moment)
    found = FileFinder(files, partitions, Path("/")).find(only=(key,)).get(key, ())
    if not any(Path(str(file.path)).resolve() == path for file in found):
        raise SampleError(
            f"the path {guess.path!r} does not lead back to the sample.",
            mend="Give the file a name of plain characters.",
            culprit=str(path),
        )


def _improved(sample: Sample) -> Sample:
    """Try other quotes, escapes and a filling of short rows where rows could not be split."""
    files = sample.extract["files"]
    if files.get("format", sample.declared.files and sample.declared.files.format) not in (
        "csv",
        "tsv",
    ):
        return sample
    best, rejected, rows = sample, *_rejects(sample)
    if not rejected:
        return sample
    for changes, remark in _variants(files.get("csv", {}), share=rejected / rows):
        words = {**files, "csv": {**files.get("csv", {}), **changes}}
        remarks = {**sample.remarks, "csv": [*sample.remarks.get("csv", ()), remark]}
        other = replace(sample, extract={"files": words}, remarks=remarks)
        left, _ = _rejects(other)
        if left < rejected:
            best, rejected = other, left
        if not left:
            break
    return best


def _variants(block: dict[str, Any], share: float) -> Iterator[tuple[dict[str, Any], str]]:
    if "escape" not in block:
        yield {"escape": "\\"}, "a backslash stands before quotes within quotes"
    if block.get("quote", '"') is not None:
        yield {"quote": None}, "quotes stand amid fields: they are taken as text"
    if share > 0.1:  # noqa: PLR2004 - a few ragged rows are mistakes, many are a habit
        yield {"ragged": "fill"}, "many rows are shorter than the others: filled up with nulls"


def _rejects(sample: Sample) -> tuple[int, int]:
    """Return how many rows of a sample cannot be read, and how many there are."""
    names = dict.fromkeys(sample.names or ("column_1",), "string")
    try:
        rows = read_rows(sample, Contract.model_validate({"columns": names})).rows
    except DataflowError:
        return MOST_BYTES, MOST_BYTES
    return int(rows["_reject"].is_not_null().sum()), max(rows.height, 1)
