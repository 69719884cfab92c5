from __future__ import annotations

import gzip
import io
import zipfile
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from dataflow_assets.errors import UnreadableFileError
from dataflow_assets.extract.compression import members
from dataflow_assets_tests.unit.extract.samples import good, snapshot, table

if TYPE_CHECKING:
    from pathlib import Path

TEXT = b"id,b\n" + b"".join(b"%d,%d\n" % (line, line * line) for line in range(20_000))


def zstd(content: bytes) -> bytes:
    compressed: bytes = pa.Codec("zstd").compress(content).to_pybytes()
    return compressed


def zipped(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        TEXT,
        gzip.compress(TEXT),
        gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:]),
        zstd(TEXT),
        zstd(TEXT[:1000]) + zstd(TEXT[1000:]),
        zipped({"a.csv": TEXT}),
    ],
)
def test_compressions_are_told_apart(tmp_path: Path, content: bytes) -> None:
    rows = table(snapshot(tmp_path, content))
    assert good(rows)[-1] == ("19999", "399960001")
    assert rows.num_rows == 20_000


def test_a_zip_has_a_member_for_each_file(tmp_path: Path) -> None:
    taken = snapshot(
        tmp_path,
        zipped(
            {"d/": b"", "d/a.csv": b"id\n1\n", "__MACOSX/d/._a.csv": b"x", "b.csv": b"b,id\n2,3\n"}
        ),
        "a.zip",
    )
    assert [member.name for member in members(taken, "auto")] == ["a.zip!d/a.csv", "a.zip!b.csv"]
    rows = table(taken)
    assert good(rows) == [("1", None), ("3", "2")]
    assert rows["_file"].to_pylist() == ["a.zip!d/a.csv", "a.zip!b.csv"]
    assert rows["_line"].to_pylist() == [2, 2]


@pytest.mark.parametrize("pack", [gzip.compress, zstd, lambda text: zipped({"a.csv": text})])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_truncated_file_is_never_half_loaded(tmp_path: Path, pack: object, kept: float) -> None:
    assert callable(pack)
    content = pack(TEXT)
    with pytest.raises(UnreadableFileError, match=r"sample\.csv"):
        table(snapshot(tmp_path, content[: int(len(content) * kept)]))


@pytest.mark.parametrize("pack", [gzip.compress, lambda text: zipped({"a.csv": text})])
def test_a_corrupt_file_is_noticed(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    content = bytearray(pack(TEXT))
    content[len(content) // 2] ^= 0xFF
    with pytest.raises(UnreadableFileError, match=r"sample\.csv"):
        table(snapshot(tmp_path, bytes(content)))


def test_what_is_declared_must_be_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match=r"sample\.csv"):
        table(snapshot(tmp_path, TEXT), compression="gzip")
    rows = table(snapshot(tmp_path, b"PK\x03\x04\n1\n"), compression="none")
    assert good(rows) == [("1",)]


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    content = bytearray(zipped({"a.csv": TEXT}))
    central = content.rindex(b"PK\x01\x02")
    content[central + 8] |= 1
    with pytest.raises(UnreadableFileError, match="encrypted"):
        table(snapshot(tmp_path, bytes(content)))
