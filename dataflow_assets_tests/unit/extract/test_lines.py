"""Lines of archived files."""

from __future__ import annotations

import gzip
import zipfile
from typing import TYPE_CHECKING

import pytest

from dataflow_assets.declaration.extract import Files
from dataflow_assets.extract.files import FoundFile, Snapshot
from dataflow_assets.extract.lines import CHUNK_BYTES, LONGEST_LINE, read_lines

if TYPE_CHECKING:
    from pathlib import Path

LINES = ["a;b", "", 'ü;"two', 'lines"', "x" * (LONGEST_LINE + 9), "last"]


def snapshot(path: Path, content: bytes) -> Snapshot:
    path.write_bytes(content)
    return Snapshot(FoundFile(path, path.name, len(content), 0), "", path)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
@pytest.mark.parametrize("packed", [False, True])
def test_lines_are_those_of_the_file(
    tmp_path: Path, end: str, encoding: str, *, packed: bool
) -> None:
    content = end.join(LINES).encode(encoding)
    shot = snapshot(tmp_path / "f.csv", gzip.compress(content) if packed else content)
    files = Files.model_validate({"path": "f.csv", "csv": {"encoding": encoding}})
    wanted = {"f.csv": [1, 2, 3, 5, 6, 99]}
    found = read_lines(files, shot, wanted)
    assert found.pop(("f.csv", 5)) == "x" * LONGEST_LINE
    assert found == {("f.csv", number): LINES[number - 1] for number in (1, 2, 3, 6)}


def test_members_and_what_lies_across_chunks(tmp_path: Path) -> None:
    path = tmp_path / "f.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("one.csv", "a\n" + "y" * (CHUNK_BYTES - 4) + "\nabcdef\nz")
        archive.writestr("two.csv", b"a\nb\xff\n")
    shot = snapshot(path, path.read_bytes())
    files = Files.model_validate({"path": "f.zip", "format": "csv"})
    found = read_lines(files, shot, {"f.zip!one.csv": [3, 4], "f.zip!two.csv": [2]})
    assert found == {
        ("f.zip!one.csv", 3): "abcdef",
        ("f.zip!one.csv", 4): "z",
        ("f.zip!two.csv", 2): "b\\xff",
    }


def test_a_document_has_no_lines(tmp_path: Path) -> None:
    shot = snapshot(tmp_path / "f.json", b"[{}]")
    assert read_lines(Files.model_validate({"path": "f.json"}), shot, {"f.json": [1]}) == {}
