from __future__ import annotations

import datetime as dt
import errno
import hashlib
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from dataflow_assets.declaration.extract import Files
from dataflow_assets.declaration.partitions import Partitions
from dataflow_assets.errors import FileChangedError, StorageError, UnreadableFileError
from dataflow_assets.extract import files as files_module
from dataflow_assets.extract.files import FileFinder, FoundFile, fingerprint, take_snapshot

DAYS = {"every": "day", "start": "2024-01-01", "end": "2025-01-01"}


def finder(root: Path, path: str, **partitions: Any) -> FileFinder:  # noqa: ANN401 - as declared
    declared = Partitions.model_validate(partitions or DAYS)
    return FileFinder(Files(path=path), declared, root)


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def found_file(path: Path) -> FoundFile:
    stat = path.stat()
    return FoundFile(path, path.name, stat.st_size, stat.st_mtime_ns)


def test_files_are_assigned_to_the_window_in_their_name(tmp_path: Path) -> None:
    put(tmp_path, "a/2024-01-02_b.csv", "a/2024-01-02_a.csv", "a/2024-03-04_x.csv")
    put(tmp_path, "a/2024-13-45_x.csv", "a/2023-12-31_x.csv", "a/2025-01-01_x.csv", "a/other.csv")
    put(tmp_path, "b/2024-01-02_c.csv", "a/sub/2024-01-02_d.csv")
    find = finder(tmp_path, "a/{date:%Y-%m-%d}*.csv")
    assert find.partition_names() == {
        "2024-01-02": ["a/2024-01-02_a.csv", "a/2024-01-02_b.csv"],
        "2024-03-04": ["a/2024-03-04_x.csv"],
    }
    everything = find.find()
    assert {key: [file.name for file in files] for key, files in everything.items()} == (
        find.partition_names()
    )
    assert everything["2024-03-04"] == [found_file(tmp_path / "a/2024-03-04_x.csv")] or (
        everything["2024-03-04"][0].size == len("a/2024-03-04_x.csv")
    )
    assert find.find_partition("2024-01-02") == everything["2024-01-02"]
    assert find.find_partition("2024-01-09") == []
    assert list(find.find(only={"2024-03-04"})) == ["2024-03-04"]


def test_unfinished_and_hidden_files_are_left_alone(tmp_path: Path) -> None:
    put(tmp_path, ".a", "a~", "a.tmp", "a.part", "a.crdownload", ".d/x", "d/x", "a.csv")
    assert finder(tmp_path, "**", values=["all"]).partition_names() == {"all": ["a.csv", "d/x"]}


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("{date:%Y}/{date:%m}/{date:%d}.csv", ["2024/01/05.csv"]),
        ("{date:%Y/%m}/{date:%d}.csv", ["2024/01/05.csv"]),
        ("{date:%Y}/x_{date:%Y%m%d}.csv", ["2024/x_20240105.csv"]),
        ("**/{date:%d.%m.%Y}.csv", ["05.01.2024.csv", "a/b/05.01.2024.csv"]),
        ("?/{date:%Y%m%d}*", ["a/20240105", "a/20240105_1200.csv"]),
        ("{date:%d%b%Y}.csv", ["05Jan2024.csv"]),
        ("x[1]/{date:%Y-%j}.csv", ["x[1]/2024-005.csv"]),
    ],
)
def test_templates_may_be_written_in_many_ways(tmp_path: Path, path: str, names: list[str]) -> None:
    put(tmp_path, *names, "2023/x_20240105.csv", "aa/20240105", "x1/2024-005.csv", "zz.csv")
    assert finder(tmp_path, path).partition_names() == {"2024-01-05": sorted(names)}


@pytest.mark.parametrize(
    ("every", "start", "names", "keys"),
    [
        ("hour", "2024-01-01", ["2024-01-01T05.csv"], ["2024-01-01T05"]),
        ("week", "2024-01-01", ["2024-01-04T00.csv"], ["2024-01-01"]),
        ("week", "2024-01-08", ["2024-01-04T00.csv", "2024-01-08T00.csv"], ["2024-01-08"]),
        ("month", "2024-02-01", ["2024-01-20T00.csv", "2024-02-01T00.csv"], ["2024-02"]),
    ],
)
def test_windows_may_have_any_length(
    tmp_path: Path, every: str, start: str, names: list[str], keys: list[str]
) -> None:
    put(tmp_path, *names)
    find = finder(tmp_path, "{date:%Y-%m-%dT%H}.csv", every=every, start=start)
    assert list(find.find()) == keys


def test_a_time_with_an_offset_counts_in_the_partitions_zone(tmp_path: Path) -> None:
    put(tmp_path, "20240105T2330+0000.csv")
    path = "{date:%Y%m%dT%H%M%z}.csv"
    days = {**DAYS, "timezone": "Europe/Berlin"}
    assert list(finder(tmp_path, path, **days).find()) == ["2024-01-06"]


def test_files_are_assigned_to_listed_values(tmp_path: Path) -> None:
    put(tmp_path, "de/de.csv", "at/at.csv", "de/at.csv", "fr/fr.csv", "de-x/de-x.csv")
    find = finder(tmp_path, "{partition}/{partition}.csv", values=["de", "at", "de-x"])
    assert find.partition_names() == {
        "at": ["at/at.csv"],
        "de": ["de/de.csv"],
        "de-x": ["de-x/de-x.csv"],
    }


def test_only_a_missing_literal_folder_is_an_error(tmp_path: Path) -> None:
    put(tmp_path, "a/x.csv")
    assert finder(tmp_path, "a/*/y/{date:%Y-%m-%d}.csv").find() == {}
    with pytest.raises(UnreadableFileError, match="no folder"):
        finder(tmp_path, "b/*/{date:%Y-%m-%d}.csv").find()


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a/b/x.csv")
    listing = os.scandir

    def scandir(folder: str) -> Any:  # noqa: ANN401 - an iterator that has no public name
        if folder.endswith("b"):
            raise PermissionError(errno.EACCES, "Permission denied", folder)
        return listing(folder)

    with (
        mock.patch.object(os, "scandir", scandir),
        pytest.raises(UnreadableFileError, match="a/b may not be read"),
    ):
        finder(tmp_path, "a/**/*.csv", values=["all"]).find()


def test_links_that_lead_back_do_not_lead_on_for_ever(tmp_path: Path) -> None:
    put(tmp_path, "a/b/x.csv")
    (tmp_path / "a/b/back").symlink_to(tmp_path / "a")
    (tmp_path / "a/gone.csv").symlink_to(tmp_path / "nowhere")
    (tmp_path / "a/same.csv").symlink_to(tmp_path / "a/b/x.csv")
    names = finder(tmp_path, "**/*.csv", values=["all"]).partition_names()
    assert names == {"all": ["a/b/x.csv", "a/same.csv"]}


def test_names_that_are_no_utf8_are_shown_escaped(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.csv"
    Path(os.fsdecode(path)).write_bytes(b"x")
    (file,) = finder(tmp_path, "*.csv", values=["all"]).find_partition("all")
    assert file.name == r"caf\xe9.csv"
    assert take_snapshot(file, tmp_path / "archive").path.read_bytes() == b"x"


def test_an_absolute_path_needs_no_root(tmp_path: Path) -> None:
    put(tmp_path, "x/a.csv")
    (file,) = finder(Path("/nowhere"), f"{tmp_path}/x/*.csv", values=["a"]).find_partition("a")
    assert file.name == f"{tmp_path}/x/a.csv"


def test_fingerprints_change_with_any_file(tmp_path: Path) -> None:
    one, two = FoundFile(tmp_path, "a", 1, 2), FoundFile(tmp_path, "b", 1, 2)
    assert fingerprint([one, two]) == fingerprint([two, one])
    others = [[one], [one, FoundFile(tmp_path, "b", 1, 3)], [one, FoundFile(tmp_path, "b", 2, 2)]]
    assert len({fingerprint(files) for files in [[one, two], [], *others]}) == 5
    assert len(fingerprint([])) == 12


@pytest.mark.parametrize("small", [0, 8 << 20], ids=["streamed", "at once"])
@pytest.mark.parametrize("content", [b"", b"id\n1\n", os.urandom(9 << 20)], ids=len)
def test_snapshots_are_archived_by_content(tmp_path: Path, content: bytes, small: int) -> None:
    path = tmp_path / "a.b-1.CSV.gz"
    path.write_bytes(content)
    with mock.patch.object(files_module, "SMALL_BYTES", small):
        taken = take_snapshot(found_file(path), tmp_path / "archive")
        version = hashlib.sha256(content).hexdigest()[:16]
        assert taken.version == version
        assert taken.path == tmp_path / "archive" / version[:2] / f"{version}.csv.gz"
        assert taken.path.read_bytes() == content
        written = taken.path.stat()
        assert take_snapshot(found_file(path), tmp_path / "archive") == taken
    assert taken.path.stat().st_ino == written.st_ino
    assert [file for file in (tmp_path / "archive").rglob("*") if file.is_file()] == [taken.path]


def test_half_a_version_is_written_again(tmp_path: Path) -> None:
    put(tmp_path, "a.csv")
    file = found_file(tmp_path / "a.csv")
    taken = take_snapshot(file, tmp_path / "archive")
    taken.path.write_bytes(b"a")
    assert take_snapshot(file, tmp_path / "archive").path.read_bytes() == b"a.csv"


@pytest.mark.parametrize("small", [0, 8 << 20])
def test_a_file_that_changed_is_not_taken(tmp_path: Path, small: int) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a" * 100)
    file = found_file(path)
    grown = FoundFile(path, "a.csv", 99, file.mtime_ns)
    touched = FoundFile(path, "a.csv", 100, file.mtime_ns - 1)
    gone = FoundFile(tmp_path / "b.csv", "b.csv", 100, file.mtime_ns)
    with mock.patch.object(files_module, "SMALL_BYTES", small):
        for other in (grown, touched, gone):
            with pytest.raises(FileChangedError, match=r"\.csv"):
                take_snapshot(other, tmp_path / "archive")


@pytest.mark.parametrize("small", [0, 8 << 20])
def test_a_file_that_grows_while_it_is_read_is_not_taken(tmp_path: Path, small: int) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a" * 100)
    file = found_file(path)
    checks = iter([None])
    check = files_module._check_unchanged  # noqa: SLF001 - the moment between two looks

    def check_then_grow(file: FoundFile, stream: Any) -> None:  # noqa: ANN401 - as the original
        check(file, stream)
        if next(checks, 1) is None:
            with path.open("ab") as more:
                more.write(b"more")

    with (
        mock.patch.object(files_module, "SMALL_BYTES", small),
        mock.patch.object(files_module, "_check_unchanged", check_then_grow),
        pytest.raises(FileChangedError),
    ):
        take_snapshot(file, tmp_path / "archive")
    assert not [found for found in (tmp_path / "archive").rglob("*") if found.is_file()]


@pytest.mark.parametrize("small", [0, 8 << 20])
def test_a_full_disk_is_said_to_be_full(tmp_path: Path, small: int) -> None:
    put(tmp_path, "a.csv")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        mock.patch.object(files_module, "SMALL_BYTES", small),
        mock.patch.object(os, "fsync", full),
        pytest.raises(StorageError, match="No space left"),
    ):
        take_snapshot(found_file(tmp_path / "a.csv"), tmp_path / "archive")
    assert not [found for found in (tmp_path / "archive").rglob("*") if found.is_file()]


def test_a_disk_that_fills_up_while_copying_stops_the_copy(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"a" * 1000)
    failure = StorageError("full.", mend="Make room.")
    with (
        mock.patch.object(files_module, "SMALL_BYTES", 0),
        mock.patch.object(files_module, "COPY_BYTES", 10),
        mock.patch.object(files_module.Draft, "write", side_effect=failure),
        pytest.raises(StorageError, match="full"),
    ):
        take_snapshot(found_file(path), tmp_path / "archive")


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    file = FoundFile(tmp_path, "folder.csv", 1, dt.datetime.now(dt.UTC).microsecond)
    with pytest.raises(UnreadableFileError, match="may not be read"):
        take_snapshot(file, tmp_path / "archive")
