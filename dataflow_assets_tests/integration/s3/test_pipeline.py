"""The harbour with its files on S3 and its lake there too: the same as in folders."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dataflow_assets.builders.discovery import Cursor
from dataflow_assets.builders.sensor import build_discovery
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets_tests.scenario import (
    ARRIVALS,
    AWKWARD_COUNTS,
    DAY,
    GAP_DAY,
    HARBOUR,
    NEXT_DAY,
    drop_awkward,
    ships,
)

if TYPE_CHECKING:
    from dataflow_assets_tests.integration.s3.conftest import Shore
    from dataflow_assets_tests.scenario import World

IMPORTS = """
import sys
import dataflow_assets.definitions
from dataflow_assets.builders.resources import build_resources
from dataflow_assets.settings import get_settings
build_resources(get_settings())["stores"].open()
print(sorted(one for one in ("boto3", "obstore", "dagster_aws") if one in sys.modules))
"""
LEDGER = (
    "select asset, partition, received, loaded, quarantined, duplicate, filtered "
    "from dataflow.ledger order by all"
)
ARRIVALS_ROWS = "select * exclude (_run_id) from normalized.arrivals order by all"


@pytest.fixture
def afar(world: World, shore: Shore, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world whose files and lake are on S3."""
    monkeypatch.setenv("S3_BUCKET", shore.name)
    monkeypatch.setenv("S3_PREFIX", "the/lake")
    monkeypatch.setenv("S3_TAGS", "team=harbour")
    monkeypatch.setenv("FILES_DIR", f"s3://{shore.name}/inbox")
    world.declare(HARBOUR, ARRIVALS)
    return world


def send(world: World, shore: Shore) -> None:
    """Take all files of the inbox to S3."""
    for path in (world.root / "data" / "inbox").rglob("*.*"):
        key = path.relative_to(world.root / "data").as_posix()
        shore.put(key, path.read_bytes())
        path.unlink()


def test_the_same_comes_of_the_same_files(
    afar: World, shore: Shore, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_awkward(afar)
    for variable in ("S3_BUCKET", "FILES_DIR"):
        monkeypatch.delenv(variable)
    afar.declare(HARBOUR, ARRIVALS)
    assert afar.materialize(GAP_DAY).success
    near = [afar.query(LEDGER).rows(), afar.query(ARRIVALS_ROWS).rows()]
    near_rows = afar.rows("cleaned", GAP_DAY)
    (afar.root / "data" / "warehouse.duckdb").unlink()

    monkeypatch.setenv("S3_BUCKET", shore.name)
    monkeypatch.setenv("FILES_DIR", f"s3://{shore.name}/inbox")
    send(afar, shore)
    afar.declare(HARBOUR, ARRIVALS)
    assert afar.materialize(GAP_DAY).success
    assert [afar.query(LEDGER).rows(), afar.query(ARRIVALS_ROWS).rows()] == near
    assert afar.rows("cleaned", GAP_DAY).equals(near_rows)
    cleaned = afar.query("select * from dataflow.ledger where layer = 'cleaned'").to_dicts()[0]
    assert {word: cleaned[word] for word in AWKWARD_COUNTS} == AWKWARD_COUNTS


def test_what_was_archived_is_what_was_received(afar: World, shore: Shore) -> None:
    afar.drop(f"{DAY}.csv", ships(DAY, "Anna"))
    send(afar, shore)
    assert afar.materialize(DAY).success
    (archived,) = afar.query("select archived from dataflow.files").to_series()
    assert shore.get(f"the/lake/{archived}") == shore.get(f"inbox/harbour/{DAY}.csv")
    tags = shore.client.get_object_tagging(Bucket=shore.name, Key=f"the/lake/{archived}")
    assert tags["TagSet"] == [{"Key": "team", "Value": "harbour"}]
    assert not [path for path in (afar.root / "data" / "lake").rglob("*") if path.is_file()]


def test_an_unchanged_partition_is_left_as_it_is(afar: World, shore: Shore) -> None:
    afar.drop(f"{DAY}.csv", ships(DAY, "Anna"))
    send(afar, shore)
    assert afar.materialize(DAY).success
    head = shore.client.head_object(Bucket=shore.name, Key=f"the/lake/raw/harbour/{DAY}.parquet")
    assert afar.materialize(DAY).success
    again = shore.client.head_object(Bucket=shore.name, Key=f"the/lake/raw/harbour/{DAY}.parquet")
    assert again["LastModified"] == head["LastModified"]


def test_a_range_is_one_run_and_a_replaced_file_replaces_its_rows(
    afar: World, shore: Shore
) -> None:
    afar.drop(f"{DAY}.csv", ships(DAY, "Anna", "Berta"))
    afar.drop(f"{NEXT_DAY}.csv", ships(NEXT_DAY, "Clara"))
    send(afar, shore)
    assert afar.materialize(DAY, NEXT_DAY).success
    shore.put(f"inbox/harbour/{DAY}.csv", ships(DAY, "Dora"))
    assert afar.materialize(DAY).success
    rows = afar.query("select _partition, count(*) from normalized.arrivals group by all").rows()
    assert sorted(rows) == [(DAY, 1), (NEXT_DAY, 1)]
    assert afar.stores.lake.partitions("raw", "harbour") == [DAY, NEXT_DAY]


def test_a_wrong_key_fails_the_run_at_once_and_tells_no_secret(
    afar: World, shore: Shore, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shore.server.is_ceph:
        pytest.skip("moto checks no key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-right-one")
    result = afar.materialize(DAY)
    assert not result.success
    events = "\n".join(str(event) for event in result.all_events)
    assert "DA521" in events
    assert "not-the-right-one" not in events
    assert not [
        event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"
    ]


def test_the_sensor_finds_what_is_new_or_changed(afar: World, shore: Shore) -> None:
    source = SourceDeclaration.model_validate(HARBOUR)
    assert source.automation.sensor is not None
    discovery = build_discovery(source, source.automation.sensor, afar.stores)
    keys = [DAY, NEXT_DAY]
    afar.drop(f"{DAY}.csv", ships(DAY, "Anna"))
    send(afar, shore)
    now = discovery.finder.find()[DAY][0].mtime_ns / 1e9
    first = discovery.look(Cursor(1), keys, now + 1)
    assert (first.runs, first.unsettled) == ([], 1)  # it may still be written
    second = discovery.look(first.cursor, keys, now + 60)
    assert second.runs == [[DAY]]
    assert afar.materialize(DAY).success
    assert discovery.look(Cursor(1), keys, now + 60).runs == []  # a lost cursor heals
    shore.put(f"inbox/harbour/{DAY}.csv", ships(DAY, "Bert"))
    assert discovery.look(second.cursor, keys, now + 120).runs == [[DAY]]


def test_the_embedded_default_imports_nothing_of_s3(world: World) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", IMPORTS],
        env=world.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
