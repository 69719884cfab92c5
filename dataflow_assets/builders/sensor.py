"""The file sensor and the schedule of a source: what starts its runs.

What belongs here: turning what a look found into run requests. What does not: what counts as
changed (``discovery``).
"""

import datetime as dt
import time
from collections.abc import Sequence
from dataclasses import replace

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)
from dagster._utils.schedules import is_valid_cron_string

from dataflow_assets.builders.breakers import why_blocked
from dataflow_assets.builders.discovery import Cursor, Discovery, Look, ranges
from dataflow_assets.builders.leftovers import failed_ranges, unhindered
from dataflow_assets.builders.resources import STORES, StoresResource
from dataflow_assets.builders.stores import Stores, digest
from dataflow_assets.declaration.source import Sensor, SourceDeclaration
from dataflow_assets.errors import DataflowError, DeclarationError
from dataflow_assets.extract.files import FileFinder

REQUESTS_A_TICK = 50
"""The most runs asked for at once: submitting one takes the daemon about 0.1 s."""
PARTITIONS_A_RUN = 366
SINGLE_RUNS = 10
"""Up to so many changed partitions get a run each; starting one takes some seconds."""


def build_sensor(
    source: SourceDeclaration,
    declared: Sensor,
    job: UnresolvedAssetJobDefinition,
    partitions: dg.PartitionsDefinition[str],
) -> dg.SensorDefinition:
    """Return the sensor that asks for runs when a source's files are new, changed or late."""
    name = f"{source.name}_files"

    @dg.sensor(
        name=name,
        job=job,
        minimum_interval_seconds=max(1, int(declared.every.total_seconds())),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Materializes the partitions of {source.name} whose files are new, changed "
        f"or late, once they have been left alone for {declared.settle.total_seconds():.0f} s.",
    )
    def evaluate(context: dg.SensorEvaluationContext, stores: StoresResource) -> dg.SensorResult:
        now = time.time()
        keys = list(partitions.get_partition_keys(dynamic_partitions_store=context.instance))
        opened = stores.open()
        discovery = build_discovery(source, declared, opened)
        before = Cursor.parse(context.cursor, now)
        failed = failed_ranges(context.instance, name, before.failed_at)
        try:
            look = discovery.look(before, keys, now)
            requests = [_request(source.name, run, look) for run in look.runs]
            for one in failed:
                going = unhindered(source, opened, discovery.finder, one.partitions(keys))
                runs = ranges(going, keys, PARTITIONS_A_RUN)
                requests += [run_request(f"{one.run_id}:{run[0]}", run) for run in runs]
        except DataflowError as error:
            raise dg.Failure(str(error.at(source=source.name)), allow_retries=False) from error
        cursor = replace(look.cursor, failed_at=failed[-1].failed_at) if failed else look.cursor
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else _why_nothing(look),
            cursor=cursor.dump(),
        )

    return evaluate


def build_discovery(source: SourceDeclaration, declared: Sensor, stores: Stores) -> Discovery:
    """Return what finds the source's changed partitions, in the folder and the lake given."""
    files = source.extract.files
    if files is None:
        raise AssertionError("a declaration without files has no sensor")

    def published(partitions: Sequence[str]) -> dict[str, str]:
        manifests = stores.lake.manifests("raw", source.name, partitions)
        return {key: manifest.fingerprint for key, manifest in manifests.items()}

    return Discovery(
        finder=FileFinder(files, source.partitions, stores.files),
        published=published,
        settle_s=declared.settle.total_seconds(),
        most_runs=REQUESTS_A_TICK,
        longest=PARTITIONS_A_RUN,
        singles=SINGLE_RUNS,
    )


def build_schedule(
    source: SourceDeclaration,
    cron: str,
    job: UnresolvedAssetJobDefinition,
    partitions: dg.PartitionsDefinition[str],
) -> dg.ScheduleDefinition:
    """Return the schedule that materializes what is due of a source."""
    if not is_valid_cron_string(cron):
        raise DeclarationError(
            f"{cron!r} is no cron schedule.",
            mend="Write five fields: minute, hour, day, month and weekday, such as 15 1 * * *.",
            source=source.name,
        ).within("automation", "cron")

    asks_host = source.extract.host is not None

    @dg.schedule(
        name=f"{source.name}_schedule",
        job=job,
        cron_schedule=cron,
        execution_timezone=source.partitions.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Materializes {_scheduled(source)} of {source.name}.",
        required_resource_keys={STORES} if asks_host else set(),
    )
    def evaluate(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        blocked = asks_host and why_blocked(source, context.resources.stores.open())
        if blocked:
            return dg.SkipReason(blocked)
        with dg.partition_loading_context(context.scheduled_execution_time):
            keys = partitions.get_partition_keys()
        due = _due(source, keys, context.scheduled_execution_time)
        return run_request(None, due) if due else dg.SkipReason("no partition is due yet")

    return evaluate


def _scheduled(source: SourceDeclaration) -> str:
    if source.partitions.values is not None:
        return "all partitions"
    if source.extract.tells_of_now:
        return "the current partition"
    last = source.automation.last
    return f"the last complete {'partition' if last == 1 else f'{last} partitions'}"


def _due(source: SourceDeclaration, keys: Sequence[str], now: dt.datetime) -> Sequence[str]:
    """Return the window that is open, of a source that says what is now; else the last complete.

    Only the last window can be open. The items of a list are due all together.
    """
    window = source.partitions.window_of(keys[-1]) if keys else None
    if window is None:
        return keys
    is_open = now < window[1]
    if source.extract.tells_of_now:
        return keys[-1:] if is_open else ()
    complete = keys[:-1] if is_open else keys
    return complete[-source.automation.last :]


def _request(name: str, run: Sequence[str], look: Look) -> dg.RunRequest:
    """Ask for one run over neighbouring partitions."""
    state = digest([(key, look.prints[key]) for key in run])
    return run_request(f"{name}:{look.cursor.generation}:{state}", run)


def run_request(run_key: str | None, run: Sequence[str]) -> dg.RunRequest:
    """Ask for one run over neighbouring partitions."""
    if len(run) == 1:
        return dg.RunRequest(run_key=run_key, partition_key=run[0])
    return dg.RunRequest(
        run_key=run_key,
        tags={
            ASSET_PARTITION_RANGE_START_TAG: run[0],
            ASSET_PARTITION_RANGE_END_TAG: run[-1],
        },
    )


def _why_nothing(look: Look) -> str:
    if look.unsettled:
        return f"{look.files:,} files seen; {look.unsettled:,} partitions are still being written"
    return f"{look.files:,} files seen, nothing new"
