"""What the report tells: of ledger, profiles, quarantine, and Dagster's history.

What belongs here: finding it out, in bounded work however many partitions there are. What does
not: how it is drawn (``observe.report``).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from dataflow_assets.builders.checks import COLUMNS, FRESHNESS
from dataflow_assets.builders.freshness import age_of
from dataflow_assets.errors import DataflowError
from dataflow_assets.io.profiles import newest_published
from dataflow_assets.io.warehouse import quoted
from dataflow_assets.observe.report import (
    Bar,
    Check,
    EntityState,
    Report,
    Run,
    Series,
    SourceState,
)
from dataflow_assets.transform.findings import barring
from dataflow_assets.transform.profile import Profile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord
    from dagster._core.storage.dagster_run import RunRecord

    from dataflow_assets.builders.stores import Stores
    from dataflow_assets.declaration.entity import EntityDeclaration
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.io.profiles import Known
    from dataflow_assets.transform.profile import ColumnProfile

FEWEST = 12
"""Partitions that are shown at least, if there are so many: of months, 30 days would be one."""
MOST = 4_000
A_DAY = {"hour": 24, "day": 1, "week": 1, "month": 1}
QUARANTINES = 60
"""The newest partitions with quarantined rows of which rules are counted."""
RULES = 15
EVALUATIONS = 50
"""Of one check, the newest evaluations that are looked at."""
ALARMS = 20
"""Failures of partitions that are shown of one source."""
RUNS = 300
"""The newest runs among which those of each source are sought."""
RUNS_SHOWN = 5
SERIES = 12
LOW, MIDDLE, HIGH = 0.05, 0.5, 0.95
PARTITION_TAGS = (
    "dagster/partition",
    "dagster/asset_partition_range_start",
    "dagster/asset_partition_range_end",
)


def gather(
    sources: Mapping[str, SourceDeclaration],
    entities: Mapping[str, EntityDeclaration],
    checks: Iterable[dg.AssetCheckKey],
    stores: Stores,
    instance: dg.DagsterInstance,
    days: int,
) -> Report:
    """Return the state of all sources and entities.

    Args:
        sources: By name.
        entities: By name.
        checks: The keys of all checks.
        stores: Where data and ledger are.
        instance: Where Dagster's history is.
        days: How many days of partitions to tell of, up to the newest of each source.
    """
    now = dt.datetime.now(dt.UTC)
    by_name = _by_name(checks)
    records = instance.get_run_records(limit=RUNS)
    notes: list[str] = []
    found = []
    for name, source in sorted(sources.items()):
        history = _History(instance, by_name.get(name, []), records)
        try:
            found.append(_source(source, history, stores, now, days))
        except DataflowError as error:
            notes.append(str(error.at(source=name)))
            found.append(_described(source))
    states = [
        _entity(entity, _History(instance, by_name.get(name, []), []), stores)
        for name, entity in sorted(entities.items())
    ]
    return Report(now, days, tuple(found), tuple(states), tuple(notes))


def _by_name(checks: Iterable[dg.AssetCheckKey]) -> dict[str, list[dg.AssetCheckKey]]:
    found: dict[str, list[dg.AssetCheckKey]] = {}
    for key in sorted(checks, key=lambda key: (key.asset_key, key.name)):
        found.setdefault(key.asset_key.path[-1], []).append(key)
    return found


class _History:
    """What Dagster knows of one source or entity.

    Args:
        instance: Where it is known.
        checks: The keys of its checks.
        records: The newest runs, of whatever.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        checks: Sequence[dg.AssetCheckKey],
        records: Sequence[RunRecord],
    ) -> None:
        self._instance = instance
        self._keys = checks
        self._records = records
        self._partitions = {
            one.dagster_run.run_id: one.dagster_run.tags.get(PARTITION_TAGS[0], "")
            for one in records
        }

    def checks(self) -> list[Check]:
        """Return what each check said last, failures first."""
        found = [said[0] for said in self._said.values() if said]
        return sorted(found, key=lambda check: (check.passed, check.severity, check.name))

    @cached_property
    def _said(self) -> dict[dg.AssetCheckKey, list[Check]]:
        """What each check said, the newest first."""
        storage = self._instance.event_log_storage
        return {
            key: [
                check
                for record in storage.get_asset_check_execution_history(key, limit=EVALUATIONS)
                if (check := _check(record)) is not None
            ]
            for key in self._keys
        }

    def _failures(self, key: dg.AssetCheckKey) -> list[Check]:
        """Return the newest failures of a check, the newest of each partition only."""
        found: dict[str, Check] = {}
        for check in self._said[key]:
            partition = check.partition or self._partition_of(check.run_id)
            found.setdefault(partition, replace(check, partition=partition))
        return [check for partition, check in found.items() if partition and not check.passed]

    def _partition_of(self, run_id: str) -> str:
        """Return the partition of a run over one; nothing of a range, or of no run."""
        if run_id not in self._partitions:
            run = self._instance.get_run_by_id(run_id) if run_id else None
            self._partitions[run_id] = run.tags.get(PARTITION_TAGS[0], "") if run else ""
        return self._partitions[run_id]

    def alarms(self, known: Sequence[Known]) -> list[Check]:
        """Return the failures of partitions that are as they were then, newest partition first."""
        published = {one.partition: one.published_at for one in known}
        found = [
            check
            for key in self._keys
            if key.name != FRESHNESS  # it is about no partition
            for check in self._failures(key)
            if check.partition in published and check.at >= published[check.partition]
        ]
        return sorted(found, key=lambda check: (check.partition, check.name), reverse=True)

    def runs(self, name: str) -> list[Run]:
        """Return the last runs of a source, with why they failed."""
        found: list[Run] = []
        for record in self._records:
            if len(found) < RUNS_SHOWN and _is_of(record, name):
                found.append(self._run(record))
        return found

    def _run(self, record: RunRecord) -> Run:
        run = record.dagster_run
        began = record.start_time or record.create_timestamp.timestamp()
        keys = [run.tags[tag] for tag in PARTITION_TAGS if tag in run.tags]
        message = self._why(run.run_id) if run.status == dg.DagsterRunStatus.FAILURE else ""
        return Run(
            run_id=run.run_id,
            status=run.status.value,
            at=dt.datetime.fromtimestamp(began, dt.UTC),
            partitions=" to ".join(dict.fromkeys(keys)),
            message=message,
        )

    def _why(self, run_id: str) -> str:
        """Return why a run failed: the first failure of a step that has a reason of its own."""
        failures = self._instance.all_logs(run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
        for entry in failures:
            data = entry.dagster_event.step_failure_data if entry.dagster_event else None
            if data is not None and data.user_failure_data is not None:
                return data.user_failure_data.description or ""
            if data is not None and data.error is not None:
                return str(data.error.message)
        return ""


def _is_of(record: RunRecord, name: str) -> bool:
    run = record.dagster_run
    if run.job_name == f"{name}_job":
        return True
    return any(key.path[-1] == name for key in run.asset_selection or ())


def _check(record: AssetCheckExecutionRecord | None) -> Check | None:
    event = record.event if record is not None else None
    evaluation = record.evaluation if record is not None else None
    if record is None or event is None or not isinstance(evaluation, dg.AssetCheckEvaluation):
        return None
    return Check(
        name=evaluation.check_name,
        asset=evaluation.asset_key.to_user_string(),
        passed=evaluation.passed,
        severity="error" if evaluation.severity == dg.AssetCheckSeverity.ERROR else "warning",
        text=evaluation.description or "",
        # Not the record's own time: it is of when the check was planned, in whole seconds.
        at=dt.datetime.fromtimestamp(event.timestamp, dt.UTC),
        partition=evaluation.partition or record.partition or "",
        run_id=record.run_id,
    )


def _described(source: SourceDeclaration) -> SourceState:
    return SourceState(
        name=source.name,
        description=source.description,
        place=source.extract.place,
        kind=source.extract.kind,
    )


def _source(
    source: SourceDeclaration, history: _History, stores: Stores, now: dt.datetime, days: int
) -> SourceState:
    known = _shown_partitions(source, stores, days)
    alarms = history.alarms(known)
    said = {
        partition: tuple(f"{one.name}: {one.text}" for one in group)
        for partition, group in groupby(alarms, key=lambda check: check.partition)
    }
    age = age_of(source, stores, now)
    rules, rules_of = _rules(source, stores, known)
    return replace(
        _described(source),
        fresh=age.fresh if age else None,
        age=age.text if age else "",
        partitions=tuple(one.partition for one in known),
        bars=tuple(_bar(one, said.get(one.partition, ())) for one in known),
        rules=rules,
        rules_of=rules_of,
        checks=tuple(history.checks()),
        alarms=tuple(one for one in alarms if one.name != COLUMNS)[:ALARMS],
        drift=tuple(one for one in alarms if one.name == COLUMNS)[:ALARMS],
        series=tuple(_series(source, known))[:SERIES],
        runs=tuple(history.runs(source.name)),
    )


def _shown_partitions(source: SourceDeclaration, stores: Stores, days: int) -> list[Known]:
    """Return the newest partitions, oldest first."""
    every = source.partitions.every
    most = min(MOST, days * A_DAY[every] + FEWEST) if every else MOST
    known = newest_published(stores.warehouse, f"cleaned/{source.name}", most)
    begins = [source.partitions.begin_of(one.partition) for one in known]
    newest = begins[0] if begins else None
    shown = [
        one
        for number, (one, begin) in enumerate(zip(known, begins, strict=True))
        if number < FEWEST
        or begin is None
        or newest is None
        or newest - begin < dt.timedelta(days=days)
    ]
    return shown[::-1]


def _bar(known: Known, alarms: tuple[str, ...]) -> Bar:
    counts = known.counts
    return Bar(
        label=known.partition,
        loaded=counts.loaded,
        quarantined=counts.quarantined or 0,
        duplicate=counts.duplicate or 0,
        filtered=counts.filtered or 0,
        alarms=alarms,
    )


def _rules(
    source: SourceDeclaration, stores: Stores, known: Sequence[Known]
) -> tuple[tuple[tuple[str, int], ...], str]:
    """Return how many rows each rule keeps out, the most frequent first, and where it was counted.

    A rule that warns is none of them; in what an older release published, `rules` names it too.
    """
    with_some = [one.partition for one in known if one.counts.quarantined][-QUARANTINES:]
    counts: dict[str, int] = {}
    with stores.lake.work_dir(source.name) as work:
        for partition in with_some:
            rows = stores.lake.scan("quarantine", source.name, partition, work)
            tally = (
                rows.select(barring(pl.col("reasons")).alias("rules").explode())
                .group_by("rules")
                .len()
            )
            for rule, number in tally.collect(engine="streaming").iter_rows():
                counts[rule] = counts.get(rule, 0) + number
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    words = f"Counted in {len(with_some)} of the partitions shown, the newest that have any."
    return tuple(ordered[:RULES]), words


def _series(source: SourceDeclaration, known: Sequence[Known]) -> Iterable[Series]:
    """Yield the figures of columns that a declaration asks for."""
    profiles = [Profile.model_validate_json(one.figures) if one.figures else None for one in known]
    for column, measures in source.checks.anomalies.columns.items():
        taken = [profile.columns.get(column) if profile else None for profile in profiles]
        rows = [profile.rows if profile else 0 for profile in profiles]
        if "distribution" in measures and any(one and one.steps for one in taken):
            yield Series(
                f"{column}: median, and where 90 % of the values are{_unit(source, column)}",
                middle=tuple(_value_at(one, MIDDLE) for one in taken),
                low=tuple(_value_at(one, LOW) for one in taken),
                high=tuple(_value_at(one, HIGH) for one in taken),
            )
        if "nulls" in measures:
            shares = (
                one.nulls / of if one and one.nulls is not None and of else None
                for one, of in zip(taken, rows, strict=True)
            )
            yield Series(f"{column}: share of rows without a value", tuple(shares), share=True)
        if "distinct" in measures:
            different = (
                float(one.distinct) if one and one.distinct is not None else None for one in taken
            )
            yield Series(f"{column}: different values", tuple(different))


def _unit(source: SourceDeclaration, column: str) -> str:
    """Return in what moments are told; nothing for numbers."""
    declared = source.contract.columns.get(column)
    kind = declared.type if declared else ""
    if kind in ("timestamp", "date") and source.partitions.every is not None:
        return ", in seconds after the partition begins"
    return ", in seconds" if kind in ("timestamp", "date", "time") else ""


def _value_at(column: ColumnProfile | None, share: float) -> float | None:
    """Return the value up to which a share of the rows lies."""
    if column is None or not column.steps:
        return None
    return next((value for value, _, up_to in column.steps if up_to >= share), column.steps[-1][0])


def _entity(entity: EntityDeclaration, history: _History, stores: Stores) -> EntityState:
    failing = tuple(check for check in history.checks() if not check.passed)
    found = EntityState(entity.name, entity.description, failing=failing)
    try:
        published = stores.warehouse.read(
            """select count(*) as partitions, max("partition") as newest, max(published_at) as last
            from dataflow.ledger where asset = $1""",
            [f"normalized/{entity.name}"],
        ).row(0)
    except DataflowError:  # there is no warehouse yet
        return found
    if not published[0]:
        return found
    table = f"normalized.{quoted(entity.name)}"
    rows = stores.warehouse.read(f"select count(*) from {table}").item()  # noqa: S608 - quoted
    return replace(
        found, rows=rows, partitions=published[0], newest=published[1], published_at=published[2]
    )
