from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import polars as pl
import pyarrow.parquet as pq
import pytest

from dataflow_assets import s3
from dataflow_assets.errors import (
    ConservationError,
    PartitionBusyError,
    PartitionMissingError,
    S3UnavailableError,
    UnreadableFileError,
)
from dataflow_assets.extract.files import archive_bytes
from dataflow_assets.io import leases
from dataflow_assets.io.lake import Lake, Manifest, ReceivedFile
from dataflow_assets.io.places import FOOTER_BYTES, S3Place
from dataflow_assets_tests.s3_server import Spoiled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dataflow_assets_tests.integration.s3.conftest import Shore
    from dataflow_assets_tests.s3_server import Proxy

PREFIX = "some/lake"
KEY = f"{PREFIX}/raw/shop/2024-01-01.parquet"
DAY = "2024-01-01"
NOW = datetime(2024, 1, 1, tzinfo=UTC)
STAMP = Manifest(data_version="v", declaration="d", run_id="r", fingerprint="f")
PUBLISH = """
import sys
from pathlib import Path
from dataflow_assets.io.lake import Lake
from dataflow_assets.io.places import S3Place
from dataflow_assets.s3 import Bucket
bucket, root, staged, rows = sys.argv[1:]
lake = Lake(Path(root), 60, S3Place(Bucket(bucket), "some/lake"))
with lake.partition_lock("raw/shop", "2024-01-01"):
    print("locked", flush=True)
    lake.publish(Path(staged), "raw", "shop", "2024-01-01", rows=int(rows))
"""


@pytest.fixture
def lake(shore: Shore, tmp_path: Path) -> Lake:
    return make_lake(shore, tmp_path)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let locks beat and lapse fast, so that a test need not wait."""
    monkeypatch.setattr(leases, "BEAT_S", 0.1)
    monkeypatch.setattr(leases, "LOST_S", 0.6)
    monkeypatch.setattr(leases, "LEASE_S", 1.2)


def make_lake(shore: Shore, root: Path, timeout_s: float = 0.2) -> Lake:
    return Lake(root / "lake", timeout_s, S3Place(s3.Bucket(shore.name), PREFIX))


def stage(folder: Path, frame: pl.DataFrame, stamp: Manifest = STAMP, **options: int) -> Path:
    staged = folder / "staged.parquet"
    metadata = {"dataflow": stamp.model_dump_json()}
    frame.write_parquet(staged, metadata=metadata, **options)  # type: ignore[arg-type]
    return staged


def publish(lake: Lake, folder: Path, frame: pl.DataFrame, partition: str = DAY) -> None:
    lake.publish(stage(folder, frame), "raw", "shop", partition, rows=frame.height)


def big(megabytes: int, seed: int = 0) -> pl.DataFrame:
    """Return a frame that stays as big however it is compressed."""
    step = os.urandom(1) if seed == 0 else bytes([seed])
    return pl.DataFrame({"noise": [step + os.urandom(1 << 20) for _ in range(megabytes)]})


def test_rows_and_manifest_come_back(lake: Lake, shore: Shore, tmp_path: Path) -> None:
    frame = pl.DataFrame({"name": ["Anna", "Berta"], "_line": [1, 2]})
    publish(lake, tmp_path, frame)
    assert shore.keys() == [KEY]
    manifest = lake.manifest("raw", "shop", DAY)
    assert manifest == STAMP.model_copy(update={"rows": 2, "published_at": STAMP.published_at})
    assert lake.scan("raw", "shop", DAY, tmp_path).collect().equals(frame)
    assert lake.raw_schema("shop", DAY) == {"name": pl.String()}
    assert lake.head("raw", "shop", DAY, 1).equals(frame.head(1))
    assert lake.uri("raw", "shop", DAY) == f"s3://{shore.name}/{KEY}"
    assert lake.size("raw", "shop", DAY) == len(shore.get(KEY))
    assert not (tmp_path / "staged.parquet").exists()


def test_a_manifest_longer_than_the_first_look_is_read(lake: Lake, tmp_path: Path) -> None:
    files = tuple(
        ReceivedFile(name=f"{number:06}.csv", version="v" * 16, size=1, mtime_ns=1, archived="a")
        for number in range(2_000)
    )
    stamp = STAMP.model_copy(update={"files": files})
    assert len(stamp.model_dump_json()) > 2 * FOOTER_BYTES
    frame = pl.DataFrame({"a": [1]})
    lake.publish(stage(tmp_path, frame, stamp), "raw", "shop", DAY, rows=1)
    manifest = lake.manifest("raw", "shop", DAY)
    assert manifest is not None
    assert manifest.files == files


def test_a_partition_in_many_parts_comes_back(lake: Lake, tmp_path: Path) -> None:
    frame = big(20)
    publish(lake, tmp_path, frame)
    assert lake.scan("raw", "shop", DAY, tmp_path).collect().equals(frame)
    assert lake.head("raw", "shop", DAY, 3).equals(frame.head(3))


def test_a_partition_is_replaced_at_once(lake: Lake, tmp_path: Path) -> None:
    publish(lake, tmp_path, pl.DataFrame({"a": [1]}))
    first = lake.scan("raw", "shop", DAY, tmp_path)
    publish(lake, tmp_path, pl.DataFrame({"a": [2, 3]}))
    second = lake.scan("raw", "shop", DAY, tmp_path)
    assert second.collect()["a"].to_list() == [2, 3]
    del first


def test_what_was_never_published_is_not_there(lake: Lake, tmp_path: Path) -> None:
    assert lake.manifest("raw", "shop", DAY) is None
    assert lake.partitions("raw", "shop") == []
    with pytest.raises(PartitionMissingError, match="Materialize raw/shop"):
        lake.scan("raw", "shop", DAY, tmp_path)


@pytest.mark.parametrize("key", ["2024-01-01", "a/b", "..", "100%", "*", "[x]", "Zürich", "a b"])
def test_any_partition_key_is_an_object(lake: Lake, tmp_path: Path, key: str) -> None:
    publish(lake, tmp_path, pl.DataFrame({"a": [1]}), key)
    publish(lake, tmp_path, pl.DataFrame({"a": [1, 2]}), "other")
    assert lake.partitions("raw", "shop") == sorted([key, "other"])
    assert lake.scan("raw", "shop", key, tmp_path).collect().height == 1


def test_rows_lost_on_the_way_are_not_published(lake: Lake, shore: Shore, tmp_path: Path) -> None:
    staged = stage(tmp_path, pl.DataFrame({"a": [1, 2]}))
    with pytest.raises(ConservationError, match="2 rows where 5"):
        lake.publish(staged, "raw", "shop", DAY, rows=5)
    assert shore.keys() == []


@pytest.mark.parametrize("content", [b"", b"nonsense" * 100, b"x" * 100_000])
def test_a_damaged_object_is_named(lake: Lake, shore: Shore, content: bytes) -> None:
    shore.put(KEY, content)
    with pytest.raises(UnreadableFileError) as failure:
        lake.manifest("raw", "shop", DAY)
    assert failure.value.culprit == f"s3://{shore.name}/{KEY}"


def test_bytes_that_are_not_those_written_are_noticed(
    lake: Lake, shore: Shore, tmp_path: Path
) -> None:
    publish(lake, tmp_path, pl.DataFrame({"a": [1, 2]}))
    metadata = shore.client.head_object(Bucket=shore.name, Key=KEY)["Metadata"]
    content = bytearray(shore.get(KEY))
    content[8] ^= 1
    shore.client.put_object(Bucket=shore.name, Key=KEY, Body=bytes(content), Metadata=metadata)
    with pytest.raises(UnreadableFileError, match="SHA-256"):
        lake.scan("raw", "shop", DAY, tmp_path)


def test_a_killed_upload_leaves_what_stood_there(
    lake: Lake, shore: Shore, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = big(20, 1)
    publish(lake, tmp_path, before)
    stage(tmp_path, big(20, 2))
    child = start_publisher(shore, tmp_path, rows=20)
    written = proxy.count("PUT", "partNumber")

    def kill_at_second_part(method: str, _: str) -> None:
        if method == "PUT" and proxy.count("PUT", "partNumber") >= written + 2:
            child.kill()

    proxy.before = kill_at_second_part
    assert child.wait() == -9
    proxy.before = None
    assert lake.scan("raw", "shop", DAY, tmp_path).collect().equals(before)
    left = shore.client.list_multipart_uploads(Bucket=shore.name)["Uploads"]
    assert [one["Key"] for one in left] == [KEY]

    monkeypatch.setattr(s3, "LEFTOVER_AGE", timedelta(0))
    publish(lake, tmp_path, big(9))
    assert "Uploads" not in shore.client.list_multipart_uploads(Bucket=shore.name)


def test_an_upload_that_fails_leaves_what_stood_there(
    shore: Shore, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = make_lake(shore, tmp_path)
    publish(lake, tmp_path, big(9, 1))
    monkeypatch.setattr(s3, "TRIES", 1)
    other = make_lake(shore, tmp_path)
    proxy.spoiled.append(Spoiled(999, status=503, method="PUT", contains="partNumber=2"))
    with pytest.raises(S3UnavailableError):
        publish(other, tmp_path, big(9, 2))
    noise = lake.scan("raw", "shop", DAY, tmp_path).collect()["noise"]
    assert {one[0] for one in noise} == {1}
    assert "Uploads" not in shore.client.list_multipart_uploads(Bucket=shore.name)


def test_a_second_publisher_of_one_partition_is_told_who_holds_it(
    lake: Lake, shore: Shore, tmp_path: Path
) -> None:
    other = make_lake(shore, tmp_path)
    with lake.partition_lock("raw/shop", DAY):
        with other.partition_lock("raw/shop", "b"), other.partition_lock("cleaned/shop", DAY):
            pass
        with (
            pytest.raises(PartitionBusyError, match=f"process {os.getpid()} on"),
            other.partition_lock("raw/shop", DAY),
        ):
            pass
    with other.partition_lock("raw/shop", DAY):
        pass
    assert shore.keys() == []


def test_many_wait_for_one_lock_and_each_is_alone(shore: Shore, tmp_path: Path) -> None:
    inside: list[int] = []
    done: list[int] = []

    def work(number: int) -> None:
        lake = make_lake(shore, tmp_path, timeout_s=60)
        with lake.partition_lock("raw/shop", DAY):
            inside.append(number)
            assert inside == [number]
            time.sleep(0.01)
            inside.remove(number)
        done.append(number)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(work, range(12)))
    assert sorted(done) == list(range(12))


@pytest.mark.usefixtures("hurried")
def test_a_lock_is_kept_for_as_long_as_it_is_held(shore: Shore, tmp_path: Path) -> None:
    lake, other = make_lake(shore, tmp_path), make_lake(shore, tmp_path, timeout_s=3)
    with lake.partition_lock("raw/shop", DAY):
        with pytest.raises(PartitionBusyError), other.partition_lock("raw/shop", DAY):
            pass
        publish(lake, tmp_path, pl.DataFrame({"a": [1]}))


@pytest.mark.usefixtures("hurried")
def test_the_lock_of_a_killed_process_is_taken_over_by_one(shore: Shore, tmp_path: Path) -> None:
    with abandoned_lock(shore, tmp_path):
        inside: list[int] = []

        def work(number: int) -> None:
            with make_lake(shore, tmp_path, timeout_s=60).partition_lock("raw/shop", DAY):
                inside.append(number)
                assert inside == [number]
                time.sleep(0.02)
                inside.remove(number)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))


@pytest.mark.usefixtures("hurried")
def test_who_lost_the_lock_publishes_no_more(
    shore: Shore, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "TRIES", 0)
    lake = make_lake(shore, tmp_path)
    with lake.partition_lock("raw/shop", DAY):
        proxy.spoiled.append(Spoiled(999, status=503, contains=".locks"))
        time.sleep(1)
        with pytest.raises(PartitionBusyError, match="could not be renewed"):
            publish(lake, tmp_path, pl.DataFrame({"a": [1]}))
    assert shore.keys(KEY) == []


def test_a_lock_whose_answer_was_lost_is_had(shore: Shore, proxy: Proxy, tmp_path: Path) -> None:
    proxy.spoiled.append(Spoiled(1, cut_after=0, method="PUT", contains=".locks"))
    with make_lake(shore, tmp_path).partition_lock("raw/shop", DAY):
        assert len(shore.keys()) == 1
    assert shore.keys() == []


@contextmanager
def abandoned_lock(shore: Shore, folder: Path) -> Iterator[None]:
    """Let a process lock the partition, and kill it."""
    stage(folder, big(30))
    child = start_publisher(shore, folder, rows=30)
    child.kill()
    child.wait()
    assert shore.keys(f"{PREFIX}/.locks/")
    yield


def start_publisher(shore: Shore, folder: Path, rows: int) -> subprocess.Popen[str]:
    """Start a process that publishes the staged file; it has the lock by now."""
    arguments = [shore.name, folder / "lake", folder / "staged.parquet", rows]
    child = subprocess.Popen(
        [sys.executable, "-c", PUBLISH, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child.stdout:
        assert child.stdout.readline() == "locked\n"
    return child


def test_what_polars_writes_has_its_manifest(lake: Lake, tmp_path: Path) -> None:
    staged = tmp_path / "staged.parquet"
    pl.LazyFrame({"id": [1, 2]}).sink_parquet(staged, **lake.sink_options(STAMP))
    assert pq.read_metadata(staged).num_rows == 2
    lake.publish(staged, "cleaned", "shop", "a", rows=2)
    manifest = lake.manifest("cleaned", "shop", "a")
    assert manifest is not None
    assert manifest.rows == 2


def test_all_archived_bytes_are_brought_back_side_by_side(lake: Lake) -> None:
    contents = [f"poll {number}".encode() for number in range(40)]
    with lake.work_dir("first") as work:
        archive = lake.archive("news", work)
        paths = [archive_bytes("a.http", one, NOW, archive.folder).path for one in contents]
        assert len({path.parent for path in paths}) < len(paths)
        archive.keep(paths)
        names = [archive.name_of(path) for path in paths]
    with lake.work_dir("second") as work:
        archive = lake.archive("news", work)
        brought = [archive.bring(name) for name in names]
        assert [path.read_bytes() for path in brought] == contents
        assert [archive.name_of(path) for path in brought] == names
        new = archive_bytes("a.http", b"new", NOW, archive.folder).path
        archive.keep([*brought, new])
        assert lake.archive("news", work).bring(archive.name_of(new)).read_bytes() == b"new"
        with pytest.raises(UnreadableFileError, match="does not hold"):
            archive.bring("archive/news/00/gone.http")
