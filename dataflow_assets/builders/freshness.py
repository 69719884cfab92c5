"""Freshness: how old the newest data of a source is, whoever materializes what, and whoever not.

What belongs here: the Dagster policy, the check ``freshness``, and the sensor that evaluates it as
time goes by. What does not: taking the newest event time of a partition (``history``).

Dagster's policy asks when the asset was last materialized, whatever the partition: a backfill of
old days satisfies it. The check asks for the newest data there is.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from zoneinfo import ZoneInfo

import dagster as dg
from dagster._utils.schedules import (
    get_latest_completed_cron_tick,
    get_smallest_cron_interval,
    is_valid_cron_string,
)

from dataflow_assets.builders.checks import ERROR, FRESHNESS, WARN
from dataflow_assets.builders.history import History, wanted_of
from dataflow_assets.builders.resources import StoresResource
from dataflow_assets.builders.stores import Stores
from dataflow_assets.declaration.checks import Freshness
from dataflow_assets.declaration.partitions import Partitions
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.errors import DataflowError, DeclarationError
from dataflow_assets.io.profiles import Known, newest_published
from dataflow_assets.transform.profile import Profile

LOOKED_AT = 100
"""The newest partitions among which the newest event is sought; a list has no more."""
TAKEN_ANEW = 2
"""The newest partitions whose event times are read from the lake, if no profile has them."""
LOOKS = 20
"""How often in its greatest age the age of data is looked at."""
SHORTEST_LOOK = dt.timedelta(seconds=30)
LONGEST_LOOK = dt.timedelta(minutes=15)
SECOND = dt.timedelta(seconds=1)


@dataclass(frozen=True)
class Age:
    """How old the newest data is.

    Attributes:
        fresh: Whether it is young enough.
        text: What was found, in a sentence without its full stop.
        newest: The moment of the newest data; none if there is none.
        future: Rows among the newest partitions whose time was in the future.
    """

    fresh: bool
    text: str
    newest: dt.datetime | None = None
    future: int = 0


def clock() -> dt.datetime:
    """Return the time: tests put another clock in its place."""
    return dt.datetime.now(dt.UTC)


def freshness_policy(source: SourceDeclaration) -> dg.FreshnessPolicy | None:
    """Return the policy by which Dagster tells when the asset was last materialized.

    Raises:
        DeclarationError: The cron schedule is none.
    """
    declared = source.checks.freshness
    if declared is None:
        return None
    if declared.within is not None:
        return dg.FreshnessPolicy.time_window(declared.within)
    by = declared.by or ""
    if not is_valid_cron_string(by):
        raise DeclarationError(
            f"{by!r} is no cron schedule.",
            mend="Write five fields: minute, hour, day, month and weekday, such as 15 9 * * *.",
            source=source.name,
            culprit=by,
        ).within("checks", "freshness", "by")
    longest = get_smallest_cron_interval(by)
    return dg.FreshnessPolicy.cron(by, longest, source.partitions.timezone)


def freshness_check_specs(source: SourceDeclaration) -> list[dg.AssetCheckSpec]:
    """Return the check of ``cleaned/<source>`` for the age of its data, if one is declared."""
    declared = source.checks.freshness
    if declared is None:
        return []
    if declared.by is not None:
        meaning = f"The last complete partition is there by {declared.by}."
    else:
        what = f"newest {declared.of}" if declared.of else "newest partition's end"
        meaning = f"The {what} is at most {_span(declared.within)} ago."
    key = dg.AssetKey(["cleaned", source.name])
    return [dg.AssetCheckSpec(FRESHNESS, asset=key, description=meaning)]


def age_of(source: SourceDeclaration, stores: Stores, now: dt.datetime) -> Age | None:
    """Return how old the newest data of a source is; none if nobody asks.

    Args:
        source: The declaration.
        stores: Where it is known.
        now: In any zone.
    """
    declared = source.checks.freshness
    if declared is None:
        return None
    known = newest_published(stores.warehouse, f"cleaned/{source.name}", LOOKED_AT)
    if not known:
        return Age(fresh=False, text="nothing has been published yet")
    if declared.of is not None:
        return _age_of_events(declared, _profiles(source, stores, known), now)
    if source.partitions.values is not None:
        return _age_of_list(declared, source.partitions, known, now)
    # What nobody has filled makes nothing fresh, unless the source may have nothing to say.
    filled = [one for one in known if one.counts.received or source.checks.rows.allow_empty]
    if not filled:
        return Age(fresh=False, text="no partition with rows has been published yet")
    age = _age_of_windows(declared, source.partitions, filled[0], now)
    empty = known.index(filled[0])
    return replace(age, text=f"{age.text}; {empty} newer ones are empty") if empty else age


def _age_of_events(declared: Freshness, profiles: list[Profile], now: dt.datetime) -> Age:
    newest = max((one.newest for one in profiles if one.newest), default=None)
    future = sum(one.future for one in profiles)
    latest = max((one.latest for one in profiles if one.latest), default=None)
    more = f"; {future:,} rows were in the future, up to {_written(latest)}" if latest else ""
    if newest is None:
        return Age(fresh=False, text=f"no value of {declared.of} is known{more}", future=future)
    text = f"the newest {declared.of} is {_written(newest)}, {_span(now - newest)} ago{more}"
    return Age(_within(declared, now - newest), text, newest, future)


def _profiles(source: SourceDeclaration, stores: Stores, known: list[Known]) -> list[Profile]:
    """Return the profiles that tell event times; those of the newest are taken if they lack."""
    event = wanted_of(source).event
    read = [
        Profile.model_validate_json(one.figures) if one.figures else Profile(rows=0)
        for one in known
    ]
    lacking = [n for n, one in enumerate(read[:TAKEN_ANEW]) if one.event != event]
    if lacking:
        history = History(source, stores)
        with stores.lake.work_dir(source.name) as work:
            for n in lacking:
                read[n] = history.profile(known[n], work) or read[n]
        stores.warehouse.record([], [], profiles=history.take_made())
    return [one for one in read if one.event == event]


def _age_of_list(
    declared: Freshness, partitions: Partitions, known: list[Known], now: dt.datetime
) -> Age:
    """Return the age of the item that was published longest ago: a list is as old as that."""
    published = {one.partition: one.published_at for one in known}
    items = partitions.values or ()
    missing = [key for key in items if key not in published]
    if missing:
        return Age(fresh=False, text=f"{', '.join(missing)} has not been published yet")
    oldest = min(items, key=lambda key: published[key])
    at = published[oldest]
    text = f"{oldest} was published {_span(now - at)} ago, at {_written(at)}"
    if declared.by is None:
        return Age(_within(declared, now - at), text, at)
    last = _tick(declared.by, now, partitions)
    return Age(at > _tick(declared.by, last - SECOND, partitions), text, at)


def _age_of_windows(
    declared: Freshness, partitions: Partitions, newest: Known, now: dt.datetime
) -> Age:
    """Return the age of the newest window: since its end, or since its publish while it is open."""
    window = partitions.window_of(newest.partition)
    if window is None:
        raise AssertionError("a list has no windows")
    moment = min(window[1], newest.published_at)
    text = f"the newest partition is {newest.partition}, which ended {_span(now - moment)} ago"
    if moment < window[1]:
        text = f"the newest partition is {newest.partition}, published {_span(now - moment)} ago"
    if partitions.end is not None and window[1] >= _end(partitions):
        return Age(fresh=True, text=f"{text}; it is the last one", newest=moment)
    if declared.by is None:
        return Age(_within(declared, now - moment), text, moment)
    tick = _tick(declared.by, now, partitions)
    due = _complete_at(partitions, tick)
    fresh = newest.partition >= due or _is_before(partitions, due)
    return Age(fresh, f"{text}; {due} was due by {_written(tick)}", moment)


def _within(declared: Freshness, age: dt.timedelta) -> bool:
    return declared.within is not None and age <= declared.within


def _tick(cron: str, now: dt.datetime, partitions: Partitions) -> dt.datetime:
    """Return the last moment up to now that a cron schedule names, in the partitions' zone."""
    return get_latest_completed_cron_tick(cron, now, partitions.timezone)


def _complete_at(partitions: Partitions, moment: dt.datetime) -> str:
    """Return the key of the last window that is over at a moment."""
    local = moment.astimezone(ZoneInfo(partitions.timezone)).replace(tzinfo=None)
    open_window = partitions.begin_of(partitions.key_of(local))
    if open_window is None:
        raise AssertionError("a list has no windows")
    before = (open_window - SECOND).astimezone(ZoneInfo(partitions.timezone))
    return partitions.key_of(before.replace(tzinfo=None))


def _is_before(partitions: Partitions, key: str) -> bool:
    """Whether a window lies before the first."""
    window, start = partitions.window_of(key), partitions.start
    if window is None or start is None:
        return False
    zone = ZoneInfo(partitions.timezone)
    return window[0] < dt.datetime.combine(start, dt.time(), zone)


def _end(partitions: Partitions) -> dt.datetime:
    if partitions.end is None:
        raise AssertionError("without an end there is no last window")
    return dt.datetime.combine(partitions.end, dt.time(), ZoneInfo(partitions.timezone))


def _written(moment: dt.datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _span(span: dt.timedelta | None) -> str:
    """Return a span of time in its two largest units."""
    seconds = int(span.total_seconds()) if span else 0
    parts = []
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        number, seconds = divmod(max(seconds, 0), length)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2]) or "0 s"


def freshness_results(
    context: dg.AssetExecutionContext, source: SourceDeclaration, stores: Stores
) -> Iterator[dg.AssetCheckResult]:
    """Evaluate the check in a step, if it is declared and selected."""
    key = dg.AssetCheckKey(dg.AssetKey(["cleaned", source.name]), FRESHNESS)
    if key not in context.selected_asset_check_keys:
        return
    age = age_of(source, stores, clock())
    if age is None:
        return
    yield dg.AssetCheckResult(
        asset_key=key.asset_key,
        check_name=key.name,
        passed=age.fresh,
        severity=_severity(source),
        description=age.text,
        metadata=_shown(age),
    )


def build_freshness_sensor(source: SourceDeclaration) -> dg.SensorDefinition | None:
    """Return the sensor that tells when data has become too old, or fresh again.

    It tells of changes only: thousands of events that say that nothing happened help nobody.
    """
    declared = source.checks.freshness
    if declared is None:
        return None
    span = declared.within / LOOKS if declared.within else SHORTEST_LOOK * 2
    every = min(max(span, SHORTEST_LOOK), LONGEST_LOOK)
    key = dg.AssetCheckKey(dg.AssetKey(["cleaned", source.name]), FRESHNESS)

    @dg.sensor(
        name=f"{source.name}_freshness",
        minimum_interval_seconds=int(every.total_seconds()),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Tells when the newest data of {source.name} has become too old.",
    )
    def evaluate(context: dg.SensorEvaluationContext, stores: StoresResource) -> dg.SensorResult:
        try:
            age = age_of(source, stores.open(), clock())
        except DataflowError as error:
            raise dg.Failure(str(error.at(source=source.name)), allow_retries=False) from error
        if age is None or _said_last(context.instance, key) == age.fresh:
            return dg.SensorResult(skip_reason=age.text if age else None)
        event = dg.AssetCheckEvaluation(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=age.fresh,
            severity=_severity(source),
            description=age.text,
            metadata=_shown(age),
        )
        return dg.SensorResult(asset_events=[event])

    return evaluate


def _said_last(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> bool | None:
    """Return whether the check passed when it was evaluated last; none if it never was."""
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key([key]).get(key)
    evaluation = found.evaluation if found else None
    return evaluation.passed if isinstance(evaluation, dg.AssetCheckEvaluation) else None


def _severity(source: SourceDeclaration) -> dg.AssetCheckSeverity:
    declared = source.checks.freshness
    return ERROR if declared and declared.severity == "error" else WARN


def _shown(age: Age) -> dict[str, dg.MetadataValue]:
    newest = {"newest": dg.MetadataValue.timestamp(age.newest)} if age.newest else {}
    return {**newest, "rows_in_the_future": dg.MetadataValue.int(age.future)}
