"""Ordinary Dagster runs, started by a command and ended when it ends."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import dagster as dg
from dagster._cli.utils import get_possibly_temporary_instance_for_cli
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from dataflow_assets.builders.discovery import ranges
from dataflow_assets.builders.sensor import PARTITIONS_A_RUN
from dataflow_assets.builders.source import ARCHIVE, RAW_OF
from dataflow_assets.commands.location import keys_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dataflow_assets.commands.location import Location
    from dataflow_assets.declaration.source import SourceDeclaration

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
"""What a run says is in Dagster's history; the command says what came of it."""


@dataclass(frozen=True)
class RunDone:
    """What came of one run.

    Attributes:
        run_id: The run.
        first: The first partition of its range.
        last: The last.
        reasons: Why it failed; empty if it did not.
    """

    run_id: str
    first: str
    last: str
    reasons: tuple[str, ...]

    def text(self) -> str:
        """Return it as a line."""
        span = self.first if self.first == self.last else f"{self.first}...{self.last}"
        done = "".join(f"\n  {one}" for one in self.reasons)
        return f"run {self.run_id} over {span}: {'failed' + done if self.reasons else 'done'}"


def replay_partitions(
    location: Location,
    source: SourceDeclaration,
    partitions: Sequence[str],
    *,
    reread: bool = False,
) -> Iterator[RunDone]:
    """Make partitions of a source anew from raw, up to the tables that it feeds.

    Neighbouring partitions are one run. A history is applied anew from the first of them on, in a
    run of its own: it cannot be changed in its middle.

    Args:
        location: The code location.
        source: The source.
        partitions: Which ones, in any order.
        reread: Whether raw is made anew too, of the archived bytes.
    """
    keys = keys_of(source)
    histories = [
        dg.AssetKey(["normalized", entity.name])
        for entity in location.declared.entities.values()
        if source.name in entity.mappings and entity.write.mode == "history"
    ]
    word = "job" if reread else "replay"
    job = location.definitions.resolve_job_def(f"{source.name}_{word}")
    others = [key for key in job.asset_layer.selected_asset_keys if key not in histories]
    with _instance() as instance:
        for run in ranges(partitions, keys, PARTITIONS_A_RUN):
            yield _run(job, instance, others, run[0], run[-1], {RAW_OF: ARCHIVE} if reread else {})
        if histories and partitions:
            there = set(location.stores.lake.partitions("cleaned", source.name)) & set(keys)
            first = min(partitions, key=keys.index)
            last = max(there | set(partitions), key=keys.index)
            yield _run(job, instance, histories, first, last, {})


@contextmanager
def _instance() -> Iterator[dg.DagsterInstance]:
    with get_possibly_temporary_instance_for_cli("dataflow-assets") as instance:
        yield instance


def _run(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    assets: Sequence[dg.AssetKey],
    first: str,
    last: str,
    more: Mapping[str, str],
) -> RunDone:
    span = {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}
    result = job.execute_in_process(
        instance=instance,
        asset_selection=list(assets),
        raise_on_error=False,
        run_config=QUIET,
        tags={**more, **({} if first == last else span)},
        partition_key=first if first == last else None,
    )
    reasons = [_reason(event) for event in result.all_events if event.is_step_failure]
    if not result.success and not reasons:
        reasons = ["see the run in Dagster"]
    return RunDone(result.run_id, first, last, tuple(reasons))


def _reason(event: dg.DagsterEvent) -> str:
    data = event.step_failure_data
    if data.user_failure_data is not None and data.user_failure_data.description:
        return data.user_failure_data.description
    error = data.error
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message.strip() if error is not None else str(event.message)
