"""Lines of archived text files, as they were received.

What belongs here: going back from a row's file and line to the text that stands there. What does
not: what the line means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflow_assets.extract.compression import members
from dataflow_assets.extract.text import Utf8Reader

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from dataflow_assets.declaration.extract import Files
    from dataflow_assets.extract.files import Snapshot

CHUNK_BYTES = 1 << 20
LONGEST_LINE = 64 << 10
"""Bytes of a line that are shown."""


def read_lines(
    files: Files, snapshot: Snapshot, wanted: Mapping[str, Collection[int]]
) -> dict[tuple[str, int], str]:
    r"""Return lines of a file, or of the members of an archive.

    Args:
        files: How the file is written.
        snapshot: Its archived bytes.
        wanted: By the name of the file or member, the numbers of the lines, from 1.

    Returns:
        By name and number, the text; undecodable bytes as ``\xNN``. None where lines are not what
        rows are numbered by: JSON documents, Parquet, workbooks.

    Raises:
        UnreadableFileError: The file is truncated, corrupt or encrypted.
    """
    if files.format not in ("csv", "tsv", "jsonl"):
        return {}
    encoding = files.document.encoding if files.format == "jsonl" else files.csv.encoding
    found = {}
    for member in members(snapshot, files.compression):
        if member.name in wanted:
            with member.open() as stream:
                text = Utf8Reader(stream, encoding)
                for number, line in _lines(text, set(wanted[member.name])).items():
                    found[member.name, number] = line.decode(errors="backslashreplace")
    return found


def _lines(text: Utf8Reader, wanted: set[int]) -> dict[int, bytes]:
    """Return lines of a text, without their ends; nothing behind the last one is read."""
    found: dict[int, bytearray] = {}
    last, number = max(wanted), 1
    while number <= last and (chunk := text.read(CHUNK_BYTES)):
        begin = 0
        while begin < len(chunk) and number <= last:
            end = chunk.find(b"\n", begin)
            stop = len(chunk) if end < 0 else end
            if number in wanted:
                line = found.setdefault(number, bytearray())
                line += chunk[begin : min(stop, begin + LONGEST_LINE - len(line))]
            begin = stop + 1
            number += end >= 0
    return {number: bytes(line).removesuffix(b"\r") for number, line in found.items()}
