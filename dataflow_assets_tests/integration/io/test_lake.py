from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataflow_assets.errors import (
    ConservationError,
    PartitionBusyError,
    PartitionMissingError,
    StorageError,
    UnreadableFileError,
)
from dataflow_assets.io.lake import (
    GROUP_BYTES,
    GROUP_ROWS,
    Lake,
    Manifest,
    RawWriter,
    ReceivedFile,
    count_rows,
)
from dataflow_assets.io.ledger import Counts

SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("_file", pa.string()),
        ("_version", pa.string()),
        ("_line", pa.int64()),
        ("_reject", pa.string()),
        ("_text", pa.string()),
    ]
)
MANIFEST = Manifest(
    data_version="version",
    declaration="declaration",
    run_id="run",
    fingerprint="fingerprint",
    counts=Counts(received=3, loaded=3),
    files=(
        ReceivedFile(
            name="a.csv", version="v", size=9, mtime_ns=1, rows=3, rejected=1, archived="v.csv"
        ),
    ),
    rows=3,
)
WORK_FOR_EVER = """
import sys, time
from pathlib import Path
from dataflow_assets.io.lake import Lake
with Lake(Path(sys.argv[1]), 1).work_dir("shop") as work:
    (work / "staged").touch()
    print(work, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", 0.2)


def path_of(lake: Lake, partition: str = "a") -> Path:
    return Path(unquote(lake.uri("raw", "shop", partition).removeprefix("file://")))


def raw_rows(rows: int, text: str = "anchor") -> pa.Table:
    columns = [[text] * rows, ["a.csv"] * rows, ["v"] * rows, range(1, rows + 1)]
    nothing = pa.nulls(rows, pa.string())
    return pa.table([*map(pa.array, columns), nothing, nothing], schema=SCHEMA)


def stage(folder: Path, rows: int, text: str = "anchor") -> Path:
    staged = folder / "staged.parquet"
    with RawWriter(staged, SCHEMA) as writer:
        if rows:
            writer.write(raw_rows(rows, text))
        writer.finish(MANIFEST)
    return staged


def publish(lake: Lake, partition: str, rows: int, text: str = "anchor") -> None:
    with lake.work_dir("shop") as work:
        lake.publish(stage(work, rows, text), "raw", "shop", partition, rows=rows)


def test_rows_and_manifest_come_back(lake: Lake) -> None:
    publish(lake, "2024-01-01", 3)
    assert lake.manifest("raw", "shop", "2024-01-01") == MANIFEST
    rows = lake.scan("raw", "shop", "2024-01-01", Path(), row_index="_row").collect()
    assert rows.schema == {
        "_row": pl.get_index_type(),
        "name": pl.String,
        "_file": pl.String,
        "_version": pl.String,
        "_line": pl.Int64,
        "_reject": pl.String,
        "_text": pl.String,
    }
    assert rows["_line"].to_list() == [1, 2, 3]
    assert lake.raw_schema("shop", "2024-01-01") == {"name": pl.String()}


def test_polars_writes_the_manifest_too(lake: Lake) -> None:
    with lake.work_dir("shop") as work:
        staged = work / "cleaned.parquet"
        pl.LazyFrame({"id": [1, 2]}).sink_parquet(staged, **lake.sink_options(MANIFEST))
        lake.publish(staged, "cleaned", "shop", "a", rows=2)
    manifest = lake.manifest("cleaned", "shop", "a")
    assert manifest is not None
    assert (manifest.rows, manifest.data_version) == (2, "version")


def test_an_empty_partition_has_its_columns(lake: Lake) -> None:
    publish(lake, "a", 0)
    assert lake.scan("raw", "shop", "a", Path()).collect().shape == (0, 6)


def test_a_partition_is_replaced(lake: Lake) -> None:
    publish(lake, "a", 3, "old")
    publish(lake, "a", 2, "new")
    assert lake.scan("raw", "shop", "a", Path()).collect()["name"].to_list() == ["new", "new"]


def test_whoever_has_opened_the_old_file_reads_it_to_its_end(lake: Lake) -> None:
    publish(lake, "a", 3, "old")
    with path_of(lake).open("rb") as reader:
        publish(lake, "a", 2, "new")
        assert pq.read_table(reader)["name"].to_pylist() == ["old"] * 3


def test_another_number_of_rows_is_not_published(lake: Lake) -> None:
    publish(lake, "a", 3)
    with lake.work_dir("shop") as work, pytest.raises(ConservationError, match="2 rows where 5"):
        lake.publish(stage(work, 2), "raw", "shop", "a", rows=5)
    assert count_rows(path_of(lake)) == 3


def test_a_staged_file_cut_short_is_not_published(lake: Lake) -> None:
    publish(lake, "a", 3)
    with lake.work_dir("shop") as work:
        staged = stage(work, 3)
        staged.write_bytes(staged.read_bytes()[:-10])
        with pytest.raises(StorageError, match="cannot be read back"):
            lake.publish(staged, "raw", "shop", "a", rows=3)
    assert count_rows(path_of(lake)) == 3


def test_a_partition_never_published_has_no_manifest_and_no_rows(lake: Lake) -> None:
    assert lake.manifest("raw", "shop", "a") is None
    with pytest.raises(PartitionMissingError, match="Materialize raw/shop"):
        lake.scan("raw", "shop", "a", Path())


@pytest.mark.parametrize("content", [b"", b"nonsense" * 100])
def test_a_damaged_file_is_named(lake: Lake, content: bytes) -> None:
    publish(lake, "a", 1)
    path = path_of(lake)
    path.write_bytes(content)
    with pytest.raises(UnreadableFileError) as failure:
        lake.manifest("raw", "shop", "a")
    assert failure.value.culprit == path.as_uri()


@pytest.mark.parametrize("metadata", [{}, {"dataflow": "{"}, {"dataflow": "{}"}])
def test_a_file_of_another_program_is_named(lake: Lake, metadata: dict[str, str]) -> None:
    path = path_of(lake)
    path.parent.mkdir(parents=True)
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata(metadata), path)
    with pytest.raises(UnreadableFileError, match="no manifest"):
        lake.manifest("raw", "shop", "a")


@pytest.mark.parametrize("key", ["2024-01-01", "a/b", "..", "100%", "*", "[x]", "Zürich", "a b"])
def test_any_partition_key_is_a_file_of_its_source(lake: Lake, key: str) -> None:
    publish(lake, key, 1)
    publish(lake, "other", 2)
    assert path_of(lake, key).parent == path_of(lake, "other").parent
    assert lake.partitions("raw", "shop") == sorted([key, "other"])
    assert lake.scan("raw", "shop", key, Path()).collect().height == 1


def test_a_second_publisher_of_one_partition_is_told_to_wait(lake: Lake) -> None:
    with lake.partition_lock("raw/shop", "a"):
        with lake.partition_lock("raw/shop", "b"), lake.partition_lock("cleaned/shop", "a"):
            pass
        with (
            pytest.raises(PartitionBusyError) as failure,
            lake.partition_lock("raw/shop", "a"),
        ):
            pass
    assert (failure.value.source, failure.value.partition) == ("raw/shop", "a")


def test_a_work_folder_lives_while_its_process_does(lake: Lake, tmp_path: Path) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-c", WORK_FOR_EVER, str(tmp_path / "lake")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout is not None
    others = Path(worker.stdout.readline().strip())
    with lake.work_dir("shop") as work:
        assert work != others
        assert (others / "staged").exists()
    assert not work.exists()
    worker.kill()
    worker.communicate()
    assert others.exists()
    with lake.work_dir("shop"):
        assert not others.exists()


def test_a_work_folder_is_removed_after_an_error(lake: Lake) -> None:
    with pytest.raises(ZeroDivisionError), lake.work_dir("shop") as work:
        _ = 1 / 0
    assert not work.exists()


def test_many_small_tables_make_one_row_group_in_their_order(tmp_path: Path) -> None:
    staged = tmp_path / "raw.parquet"
    with RawWriter(staged, SCHEMA) as writer:
        for number in range(1000):
            writer.write(raw_rows(2, str(number)))
        writer.finish(MANIFEST)
    assert pq.read_metadata(staged).num_row_groups == 1
    expected = [str(number) for number in range(1000) for _ in range(2)]
    assert pq.read_table(staged)["name"].to_pylist() == expected


def test_row_groups_are_bounded_in_rows_and_in_bytes(tmp_path: Path) -> None:
    staged = tmp_path / "raw.parquet"
    with RawWriter(staged, SCHEMA) as writer:
        writer.write(raw_rows(GROUP_ROWS * 2 + 1))
        writer.write(raw_rows(4000, "x" * 20_000))
        writer.finish(MANIFEST)
    footer = pq.read_metadata(staged)
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    assert footer.num_rows == GROUP_ROWS * 2 + 4001
    assert max(group.num_rows for group in groups) <= GROUP_ROWS
    assert max(group.total_byte_size for group in groups) <= 2.2 * GROUP_BYTES


def test_a_full_disk_is_an_error_of_storage(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(lake, "a", 3)
    staged = stage(tmp_path, 2)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="Free space"):
        lake.publish(staged, "raw", "shop", "a", rows=2)
    assert count_rows(path_of(lake)) == 3


def test_a_lake_that_cannot_be_made_is_an_error_of_storage(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="DATA_DIR"), Lake(tmp_path / "file", 1).work_dir("shop"):
        pass
