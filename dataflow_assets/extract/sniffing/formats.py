"""What sort of file a sample is: by its first bytes, and where they are text, by the text.

What belongs here: telling formats apart, and what is no data. What does not: how a format is
written in detail (`delimited`, `documents`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Literal

from dataflow_assets.errors import SampleError

Sort = Literal["delimited", "json", "jsonl", "parquet", "excel", "sqlite", "duckdb", "xml"]
MAGIC: tuple[tuple[bytes, Sort], ...] = (
    (b"PAR1", "parquet"),
    (b"PK\x03\x04", "excel"),  # a zip of data was opened before
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "excel"),
    (b"SQLite format 3\0", "sqlite"),
)
DUCKDB_PLACE = slice(8, 12)
NO_DATA = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"ARROW1", "an Arrow file: write it as Parquet"),
    (b"Obj\x01", "an Avro file: write it as Parquet"),
    (b"ORC", "an ORC file: write it as Parquet"),
    (b"BZh", "compressed with bzip2: use gzip, zip or zstd"),
    (b"\xfd7zXZ", "compressed with xz: use gzip, zip or zstd"),
    (b"7z\xbc\xaf", "a 7-Zip archive: use gzip, zip or zstd"),
    (b"Rar!", "a RAR archive: use gzip, zip or zstd"),
    (b"{\\rtf", "an RTF document"),
)
PAGES = re.compile(
    r"\s*(?:<!--.*?-->\s*)*(?:<!doctype\s+html|<html|<head|<body|<table)", re.IGNORECASE | re.DOTALL
)
MARKUP = re.compile(r"\s*(?:<\?xml|<[A-Za-z!][^>]*>)", re.DOTALL)
SUFFIXES_OF_TEXTS = {
    "md": "Markdown",
    "rst": "a text for people",
    "html": "a web page",
    "htm": "a web page",
    "sql": "SQL: load it into a database and take a table of it as the sample",
    "py": "a program",
    "js": "a program",
    "yaml": "YAML",
    "yml": "YAML",
    "toml": "TOML",
    "svg": "an image",
    "css": "a style sheet",
}
SQL = re.compile(
    r"(?:^|\n)\s*(?:insert\s+into\s+\S+|create\s+table\s+\S+\s*\(|begin\s+transaction)",
    re.IGNORECASE,
)
MOST_NULS = 0.01
ENDING = re.compile(r"\.(\w+)(?:\.(?:gz|gzip|zip|zst|zstd))?\Z", re.IGNORECASE)


@dataclass(frozen=True)
class Head:
    """The beginning of a sample.

    Attributes:
        name: What it is called.
        content: Its first bytes, decompressed.
        cut: Whether there are more.
    """

    name: str
    content: bytes
    cut: bool


def sort_of_bytes(head: Head) -> Sort | None:
    """Return what sort of file a sample is, as its first bytes say; none for text.

    Raises:
        SampleError: It is no data.
    """
    if not head.content.strip(b"\0"):
        raise no_data(head.name, "it is empty")
    for magic, what in NO_DATA:
        if head.content.startswith(magic):
            raise no_data(head.name, f"it is {what}")
    if head.content[DUCKDB_PLACE] == b"DUCK":
        return "duckdb"
    for magic, sort in MAGIC:
        if head.content.startswith(magic):
            return sort
    return None


def sort_of_text(name: str, text: str) -> Sort:
    """Return what sort of text a sample is.

    Args:
        name: What it is called.
        text: Its beginning.

    Raises:
        SampleError: It is no data.
    """
    ending = ENDING.search(name)
    suffix = ending[1].lower() if ending else ""
    if suffix in SUFFIXES_OF_TEXTS:
        raise no_data(name, f"it is {SUFFIXES_OF_TEXTS[suffix]}")
    if text[:4096].count("\0") > MOST_NULS * len(text[:4096]):
        raise no_data(name, "it is no text, nor a format that is read")
    if PAGES.match(text):
        raise no_data(name, "it is a web page")
    if MARKUP.match(text):
        return "xml"
    if text.lstrip()[:1] in ("{", "["):
        return _sort_of_json(text, suffix)
    if SQL.search(text[:20_000]):
        raise no_data(name, f"it is {SUFFIXES_OF_TEXTS['sql']}")
    return "delimited"


def _sort_of_json(text: str, suffix: str) -> Sort:
    """Tell one document from one object per line: there, the first two lines are objects."""
    lines = (line for line in text.splitlines() if line.strip())
    first, second = next(lines, ""), next(lines, None)
    if not _is_object(first):
        return (
            "json" if text.lstrip().startswith(("{", "[")) and not _is_marked(text) else "delimited"
        )
    if second is None:
        return "jsonl" if suffix in ("jsonl", "ndjson") else "json"
    return "jsonl"


def _is_marked(text: str) -> bool:
    """Whether what looks like JSON is a log whose lines begin with a bracket."""
    return re.match(r"\s*\[(?![\s\]\[{\"\d-]|true|false|null|NaN|Infinity)", text) is not None


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def no_data(name: str, why: str) -> SampleError:
    """Return the error for a sample of which no declaration can be made."""
    return SampleError(
        f"no declaration can be made of {name}: {why}.",
        mend="Samples are CSV or TSV files, JSON, JSON Lines, Parquet, workbooks (xlsx, xls, ods), "
        "addresses of an API or a feed, and tables of databases.",
        culprit=name,
    )
