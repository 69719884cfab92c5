"""What a failed range run leaves undone though nothing is wrong with it.

What belongs here: finding such runs, and which of their partitions can go on without those that
failed. What does not: asking for runs (``sensor``).

Dagster skips what hangs on a failed step, for all partitions of the run. So one bad day of a range
would keep the others from the tables until somebody came.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dagster import DagsterRunStatus, RunsFilter
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    SENSOR_NAME_TAG,
    WILL_RETRY_TAG,
)

from dataflow_assets.builders.cleaning import cleaned_declaration, cleaned_version
from dataflow_assets.extract.files import fingerprint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dagster import DagsterInstance

    from dataflow_assets.builders.stores import Stores
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.extract.files import FileFinder

RUNS_A_TICK = 20


@dataclass(frozen=True)
class FailedRange:
    """A run over several partitions that failed.

    Attributes:
        run_id: Which one.
        first: Its first partition.
        last: Its last partition.
        failed_at: When it ended, in seconds since the epoch.
    """

    run_id: str
    first: str
    last: str
    failed_at: float

    def partitions(self, keys: Sequence[str]) -> list[str]:
        """Return those of all keys that the run was for; none if its ends are no keys any more."""
        if self.first not in keys or self.last not in keys:
            return []
        return list(keys[keys.index(self.first) : keys.index(self.last) + 1])


def failed_ranges(instance: DagsterInstance, sensor: str, since: float) -> list[FailedRange]:
    """Return the range runs of a sensor that failed for good after a moment, the first of them.

    Args:
        instance: Knows the runs.
        sensor: The sensor that asked for them.
        since: Seconds since the epoch.
    """
    records = instance.get_run_records(
        RunsFilter(
            statuses=[DagsterRunStatus.FAILURE],
            tags={SENSOR_NAME_TAG: sensor},
            updated_after=dt.datetime.fromtimestamp(since, dt.UTC),
        ),
        limit=RUNS_A_TICK,
        order_by="update_timestamp",
        ascending=True,
    )
    found = []
    for record in records:
        tags = record.dagster_run.tags
        if ASSET_PARTITION_RANGE_START_TAG in tags and tags.get(WILL_RETRY_TAG) != "true":
            first, last = tags[ASSET_PARTITION_RANGE_START_TAG], tags[ASSET_PARTITION_RANGE_END_TAG]
            ended = record.update_timestamp.timestamp()
            found.append(FailedRange(record.dagster_run.run_id, first, last, ended))
    return found


def unhindered(
    source: SourceDeclaration, stores: Stores, finder: FileFinder, keys: Sequence[str]
) -> list[str]:
    """Return the partitions of a failed range run that can go on without the others.

    Those are the ones that the layer which failed did publish; none if no partition of the raw or
    cleaned layer failed, as the run then failed of something else, or in its last layer.

    Args:
        source: The declaration.
        stores: Knows what was published.
        finder: Finds the source's files.
        keys: The partitions of the run.
    """
    files = finder.find(set(keys))
    raw = {key: stores.lake.manifest("raw", source.name, key) for key in keys}
    received = [
        key
        for key, one in raw.items()
        if one and one.fingerprint == fingerprint(files.get(key, []))
    ]
    if len(received) < len(keys):
        return received
    declaration = cleaned_declaration(source)
    cleaned = {key: stores.lake.manifest("cleaned", source.name, key) for key in keys}
    published = [
        key
        for key, one in cleaned.items()
        if one
        and (before := raw[key])
        and one.data_version == cleaned_version(declaration, before, one.references, one.decisions)
    ]
    return published if len(published) < len(keys) else []
