from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

import pytest

from dataflow_assets import s3
from dataflow_assets.declaration.extract import Files
from dataflow_assets.declaration.partitions import Partitions
from dataflow_assets.errors import FileChangedError, S3RefusedError
from dataflow_assets.extract.files import FileFinder, fingerprint, take_snapshot, take_snapshots
from dataflow_assets.s3 import PART_BYTES, Address
from dataflow_assets_tests.s3_server import Spoiled

if TYPE_CHECKING:
    from pathlib import Path

    from dataflow_assets_tests.integration.s3.conftest import Shore
    from dataflow_assets_tests.s3_server import Proxy

DAYS = Partitions(every="day", start=dt.date(2024, 1, 1))
MONTHS = Partitions(every="month", start=dt.date(2024, 1, 1))
WEEKS = Partitions(every="week", start=dt.date(2024, 1, 1))
HOURS = Partitions(every="hour", start=dt.date(2024, 1, 1))
PORTS = Partitions(values=("kiel", "kiel-2", "wismar"))


def finder(shore: Shore, path: str, partitions: Partitions = DAYS, root: str = "") -> FileFinder:
    return FileFinder(
        Files(path=path.replace("BUCKET", shore.name)),
        partitions,
        Address(shore.name, root.removeprefix("/")),
    )


def names(found: dict[str, list[Any]]) -> dict[str, list[str]]:
    return {key: [file.name for file in files] for key, files in found.items()}


@pytest.mark.parametrize(
    ("path", "root", "beginning"),
    [
        ("s3://BUCKET/in/{date:%Y-%m-%d}*.csv", "", "s3://BUCKET/"),
        ("in/{date:%Y-%m-%d}*.csv", "", ""),
        ("{date:%Y-%m-%d}*.csv", "in", ""),
        ("s3://BUCKET/in/{date:%Y-%m-%d}*.csv", "in", ""),
        ("s3://BUCKET/in/{date:%Y-%m-%d}*.csv", "other", "s3://BUCKET/"),
    ],
)
def test_files_are_found_below_a_root_or_by_address(
    shore: Shore, path: str, root: str, beginning: str
) -> None:
    for key in ("in/2024-01-01.csv", "in/2024-01-01-b.csv", "in/2024-01-02.csv", "2024-01-03.csv"):
        shore.put(key)
    found = finder(shore, path, root=root).find()
    folder = "" if root == "in" else "in/"
    if beginning:
        folder = f"s3://{shore.name}/in/"
    if not root and path.startswith("s3://"):
        folder = "in/"
    assert names(found) == {
        "2024-01-01": [f"{folder}2024-01-01-b.csv", f"{folder}2024-01-01.csv"],
        "2024-01-02": [f"{folder}2024-01-02.csv"],
    }


@pytest.mark.parametrize(
    ("path", "partitions", "keys", "expected"),
    [
        ("d/{date:%Y/%m/%d}/*.csv", DAYS, ["d/2024/01/02/a.csv", "d/2024/01/02.csv"], [0]),
        (
            "d/{date:%Y-%m-%d}/**/*.csv",
            DAYS,
            ["d/2024-01-02/a.csv", "d/2024-01-02/b/c.csv"],
            [0, 1],
        ),
        ("d/**/{date:%Y%m%d}.csv", DAYS, ["d/20240102.csv", "d/e/20240102.csv"], [0, 1]),
        ("d/*.{date:%d.%m.%Y}", DAYS, ["d/x.02.01.2024", "d/x.2.1.2024", "d/x.2024.01.02"], [0, 1]),
        ("{date:%Y-%m-%d}.csv", DAYS, ["2024-01-02.csv", "2024-1-2.csv", "2024-01-20.csv"], [0, 1]),
        (
            "d/{date:%j of %y}",
            DAYS,
            ["d/002 of 24", "d/2 of 24", "d/02 of 24", "d/20 of 24"],
            [0, 1, 2],
        ),
        ("d/{date:%Y-%m-%dT%H}*", DAYS, ["d/2024-01-02T00", "d/2024-01-02T23x"], [0, 1]),
        ("d/{date:%Y-%m-%dT%H%z}", DAYS, ["d/2024-01-03T00+0100", "d/2024-01-02T23-0100"], [0]),
        ("d/{date:%Y-%m}-?.csv", MONTHS, ["d/2024-01-a.csv", "d/2024-1-a.csv"], []),
        ("d/{date:%Y-%m-%d}", WEEKS, ["d/2024-01-01", "d/2024-01-07", "d/2024-01-08"], []),
        ("d/{date:%Y-%m-%d}.csv", DAYS, ["d/2024-01-02.csv/", "d/.x/2024-01-02.csv"], []),
        ("d/{date:%Y-%m-%d}*", DAYS, ["d/2024-01-02.part", "d/2024-01-02~", "d/2024-01-02"], [2]),
        ("d/{date:%Y-%m-%d}*", DAYS, ["d/2024-01-02/", "d/2024-01-02/x"], []),
        ("d/100%25 [x]/{date:%Y-%m-%d}", DAYS, ["d/100%25 [x]/2024-01-02", "d/x/2024-01-02"], [0]),
    ],
)
def test_the_files_of_one_day_are_found_as_among_all(
    shore: Shore, path: str, partitions: Partitions, keys: list[str], expected: list[int]
) -> None:
    for key in keys:
        shore.put(key, "" if key.endswith("/") else "x")
    looking = finder(shore, path, partitions)
    everything = names(looking.find())
    for partition, files in everything.items():
        assert names(looking.find({partition})) == {partition: files}
        assert sorted(everything) == sorted(looking.partition_names())
    if partitions is DAYS:
        assert everything.get("2024-01-02", []) == sorted(keys[number] for number in expected)
        assert names(looking.find({"2024-01-05"})) == {}
    if partitions is WEEKS:
        assert {key: len(files) for key, files in everything.items()} == {
            "2024-01-01": 2,
            "2024-01-08": 1,
        }
    if partitions is MONTHS:
        assert len(everything["2024-01"]) == 2


def test_a_fixed_list_is_found_and_no_name_is_taken_for_a_longer_one(shore: Shore) -> None:
    for port in PORTS.values or ():
        shore.put(f"ports/{port}.csv")
    looking = finder(shore, "ports/{partition}.csv", PORTS)
    everything = names(looking.find())
    assert everything == {port: [f"ports/{port}.csv"] for port in PORTS.values or ()}
    assert names(looking.find({"kiel"})) == {"kiel": ["ports/kiel.csv"]}


def test_only_the_keys_that_matter_are_listed(shore: Shore, proxy: Proxy) -> None:
    days = {f"2024-{month:02}-{day:02}" for month in range(1, 13) for day in range(1, 29)}
    keys = [f"d/{day}.csv" for day in days]
    keys += [f"d/2023-{number}.csv" for number in range(1200)]
    bucket = shore.bucket
    list(s3.at_once(lambda key: bucket.write(key, b"x"), keys))
    proxy.requests.clear()
    looking = finder(shore, "d/{date:%Y-%m-%d}*.csv")
    assert len(looking.find({"2024-06-15"})) == 1
    assert proxy.count("GET", "list-type") == 2  # June may be written as 06 and as 6
    proxy.requests.clear()
    assert len(looking.find(days)) == 336
    assert proxy.count("GET", "list-type") == 1
    assert len(looking.find(most=5)) == 5


def test_what_changes_with_a_file_changes_its_fingerprint(shore: Shore) -> None:
    looking = finder(shore, "{date:%Y-%m-%d}.csv")
    shore.put("2024-01-01.csv", "one")
    before = looking.find_partition("2024-01-01")
    assert fingerprint(looking.find_partition("2024-01-01")) == fingerprint(before)
    shore.put("2024-01-01.csv", "two")  # as long, and perhaps of the same second
    assert fingerprint(looking.find_partition("2024-01-01")) != fingerprint(before)


def test_a_bucket_that_is_not_there_is_named(shore: Shore) -> None:
    files = Files(path=f"s3://not-{shore.name}/{{date:%Y-%m-%d}}.csv")
    with pytest.raises(S3RefusedError, match="no bucket"):
        FileFinder(files, DAYS, Address(shore.name, "")).find()


@pytest.mark.parametrize("size", [0, 5, PART_BYTES + 1])
def test_bytes_are_archived_under_their_hash(shore: Shore, tmp_path: Path, size: int) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    shore.put("2024-01-01.CSV.gz", content)
    (file,) = finder(shore, "{date:%Y-%m-%d}.CSV.gz").find_partition("2024-01-01")
    taken = take_snapshot(file, tmp_path / "archive")
    assert taken.path.read_bytes() == content
    assert taken.path.name == f"{taken.version}.csv.gz"
    assert take_snapshot(file, tmp_path / "archive") == taken
    assert [path.name for path in (tmp_path / "archive").iterdir()] == [taken.version[:2]]


@pytest.mark.parametrize("size", [5, 2 * PART_BYTES])
@pytest.mark.parametrize("gone", [False, True])
def test_a_file_that_changes_while_it_is_read_is_noticed(
    shore: Shore, proxy: Proxy, tmp_path: Path, size: int, *, gone: bool
) -> None:
    shore.put("2024-01-01.csv", b"a" * size)
    (file,) = finder(shore, "{date:%Y-%m-%d}.csv").find_partition("2024-01-01")
    changes: list[int] = []

    def change(method: str, target: str) -> None:
        if method == "GET" and target.endswith("2024-01-01.csv") and not changes:
            changes.append(1)
            if gone:
                shore.client.delete_object(Bucket=shore.name, Key="2024-01-01.csv")
            else:
                shore.put("2024-01-01.csv", b"b" * size)

    proxy.before = change
    with pytest.raises(FileChangedError, match=re.escape("2024-01-01.csv")):
        take_snapshot(file, tmp_path / "archive")
    assert not list((tmp_path / "archive").rglob("*.csv"))


def test_many_small_files_are_asked_for_side_by_side(
    shore: Shore, proxy: Proxy, tmp_path: Path
) -> None:
    bucket = shore.bucket
    list(s3.at_once(lambda n: bucket.write(f"2024-01-01-{n:03}.csv", b"%d" % n), range(120)))
    files = finder(shore, "{date:%Y-%m-%d}-*.csv").find_partition("2024-01-01")
    proxy.spoiled.append(Spoiled(len(files), wait_s=0.05, method="GET", contains="2024-01-01-"))
    began = dt.datetime.now(dt.UTC)
    taken = take_snapshots(files, tmp_path / "archive")
    assert (dt.datetime.now(dt.UTC) - began).total_seconds() < 120 * 0.05 / 3
    assert [shot.path.read_bytes() for shot in taken] == [b"%d" % n for n in range(120)]
    assert proxy.count("GET", "2024-01-01-") == 120
