"""Running a step over its partitions: one after another, with each failure decided once.

What belongs here: the loop, its progress, and how its results and failures reach Dagster. What does
not: what is done to a partition.
"""

from __future__ import annotations

import random
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import dagster as dg

from dataflow_assets.builders.stores import digest
from dataflow_assets.errors import DataflowError, UnpartitionedRunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from dataflow_assets.builders.metadata import Metadata

RETRIES = 3
FIRST_WAIT_S = 2.0
StepEvent = dg.MaterializeResult[None] | dg.AssetCheckResult
"""What a step gives Dagster."""
RECORD_EVERY_S = 2.0
RECORD_EVERY = 100
FAILURES_SHOWN = 10


class Result(Protocol):
    """What came of one partition."""

    @property
    def partition(self) -> str:
        """Which one."""

    @property
    def failure(self) -> DataflowError | None:
        """Why it was not published, if it was not."""


R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class Shown:
    """What the Dagster UI is to show of one partition of one asset.

    Attributes:
        data_version: Made of the partition's content.
        metadata: Counts, sizes, preview.
    """

    data_version: str
    metadata: Metadata


@dataclass
class Outcomes(Generic[R]):
    """What came of each partition of a run.

    Attributes:
        results: What was done, by partition, whether or not it stood its audit.
        failures: Why it was not published, by partition.
    """

    results: dict[str, R] = field(default_factory=dict)
    failures: dict[str, DataflowError] = field(default_factory=dict)

    @property
    def published(self) -> dict[str, R]:
        """The results that were published, by partition."""
        return {key: one for key, one in self.results.items() if key not in self.failures}


@contextmanager
def failing(
    context: dg.AssetExecutionContext, name: str, broken: DataflowError | None = None
) -> Iterator[None]:
    """Turn what fails before the first partition into the failure of all partitions of the run.

    Args:
        context: The step's context.
        name: The source or entity.
        broken: Why nothing can be done at all, if so.

    Raises:
        RetryRequested: The failure is transient, and there are tries left.
        Failure: It is not, it failed once too often, or the run has no partitions.
    """
    if not context.run.is_partitioned:
        raise dg.Failure(
            str(
                UnpartitionedRunError(
                    "the run is for no partition; checks cannot be executed by themselves.",
                    mend="Materialize the asset for a partition: that evaluates its checks.",
                    source=name,
                )
            ),
            allow_retries=False,
        )
    if broken is not None:
        fail(context, dict.fromkeys(context.partition_keys, broken.at(source=name)), [])
    try:
        yield
    except DataflowError as error:
        fail(context, dict.fromkeys(context.partition_keys, error.at(source=name)), [])


def run_partitions(
    context: dg.AssetExecutionContext,
    name: str,
    work: Callable[[str], R],
    record: Callable[[Sequence[R]], None],
    *,
    together: bool = False,
) -> Outcomes[R]:
    """Do a piece of work for each partition of the run, and go on where one fails.

    Args:
        context: The step's context.
        name: The source or entity.
        work: What to do for one partition.
        record: Makes the results of several partitions final; called at least every 100 partitions,
            after some seconds, and at the end.
        together: Record at the end only, all at once.
    """
    outcomes: Outcomes[R] = Outcomes()
    waiting: list[R] = []
    last = time.monotonic()
    for number, partition in enumerate(context.partition_keys, start=1):
        try:
            result = outcomes.results[partition] = work(partition)
        except DataflowError as error:
            outcomes.failures[partition] = error.at(source=name, partition=partition)
            continue
        if result.failure is not None:
            outcomes.failures[partition] = result.failure
            continue
        waiting.append(result)
        enough = len(waiting) >= RECORD_EVERY or time.monotonic() - last > RECORD_EVERY_S
        if enough and not together:
            _record(record, name, waiting, outcomes)
            context.log.info("%s of %s partitions", number, len(context.partition_keys))
            waiting, last = [], time.monotonic()
    _record(record, name, waiting, outcomes)
    return outcomes


def _record(
    record: Callable[[Sequence[R]], None],
    name: str,
    results: Sequence[R],
    outcomes: Outcomes[R],
) -> None:
    if not results:
        return
    try:
        record(results)
    except DataflowError as error:
        for result in results:
            outcomes.failures[result.partition] = error.at(source=name, partition=result.partition)


def _materialize_result(
    context: dg.AssetExecutionContext, key: dg.AssetKey, shown: Mapping[str, Shown]
) -> dg.MaterializeResult[None]:
    """Return the result of one asset for all partitions of the run.

    Dagster gives every partition of a range the same data version, so it is made of all of them.
    """
    versions = [one.data_version for one in shown.values()]
    version = dg.DataVersion(versions[0] if len(versions) == 1 else digest(versions))
    if len(shown) == 1:
        (only,) = shown.values()
        return dg.MaterializeResult(asset_key=key, metadata=only.metadata, data_version=version)
    for partition, one in shown.items():
        context.add_asset_metadata(one.metadata, asset_key=key, partition_key=partition)
    return dg.MaterializeResult(asset_key=key, data_version=version)


def log_materializations(
    context: dg.AssetExecutionContext, key: dg.AssetKey, shown: Mapping[str, Shown]
) -> None:
    """Tell Dagster of partitions that were published though the step does not give their asset."""
    for partition, one in shown.items():
        context.log_event(
            dg.AssetMaterialization(
                asset_key=key,
                partition=partition,
                metadata=one.metadata,
                tags={"dagster/data_version": one.data_version},
            )
        )


def finish(
    context: dg.AssetExecutionContext,
    failures: Mapping[str, DataflowError],
    done: Sequence[tuple[dg.AssetKey, Mapping[str, Shown]]],
    said: Sequence[dg.AssetCheckResult],
) -> Iterator[StepEvent]:
    """Give Dagster what was published, and then what checks say of it.

    In this order, as Dagster takes what a check says to be about the newest materialization.

    Args:
        context: The step's context.
        failures: Why each failed partition failed.
        done: By asset, what to show of each partition that was published.
        said: What the checks say.

    Raises:
        RetryRequested: As `fail`.
        Failure: As `fail`.
    """
    if failures:
        yield from said
    fail(context, failures, done)
    for key, shown in done:
        if key in context.selected_asset_keys:
            yield _materialize_result(context, key, shown)
        else:  # one cannot be published without the other
            log_materializations(context, key, shown)
    yield from said


def fail(
    context: dg.AssetExecutionContext,
    failures: Mapping[str, DataflowError],
    done: Iterable[tuple[dg.AssetKey, Mapping[str, Shown]]],
) -> None:
    """Fail the step if a partition failed; the partitions that were done count all the same.

    Args:
        context: The step's context.
        failures: Why each failed partition failed.
        done: By asset, what to show of each partition that was published.

    Raises:
        RetryRequested: A failure is transient, and there are tries left.
        Failure: A partition failed, for good or once too often.
    """
    if not failures:
        return
    for key, shown in done:
        log_materializations(context, key, shown)
    first = next(iter(failures.values()))
    if any(error.transient for error in failures.values()) and context.retry_number < RETRIES:
        wait = FIRST_WAIT_S * 2**context.retry_number * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
        raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=wait) from first
    texts = list(dict.fromkeys(map(str, failures.values())))
    if len(texts) > FAILURES_SHOWN:
        more = len(texts) - FAILURES_SHOWN
        texts = [*texts[:FAILURES_SHOWN], f"and {more:,} partitions more"]
    raise dg.Failure(
        description="\n".join(texts),
        metadata={
            "code": first.code,
            "mend": first.mend,
            "partitions": ", ".join(list(failures)[:FAILURES_SHOWN]),
        },
        allow_retries=False,
    ) from first
