"""The cleaned layer and the quarantine: hold one partition's raw rows to the contract.

What belongs here: the order write, audit, publish for one partition. What does not: how a rule
becomes an expression (``transform``), how a partition is stored (``io``), and Dagster.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import polars as pl

from dataflow_assets.builders import metadata
from dataflow_assets.builders.anomalies import Anomalies, Looked
from dataflow_assets.builders.conservation import conservation_failure
from dataflow_assets.builders.drift import HISTORY, HISTORY_SHOWN, DriftWatch
from dataflow_assets.builders.references import ReferredTables, references_of
from dataflow_assets.builders.steps import Shown
from dataflow_assets.builders.stores import Workplace, digest, digest_of
from dataflow_assets.errors import (
    BlockingRuleError,
    HeaderError,
    PartitionMissingError,
    QuarantineLimitError,
    RowCountError,
)
from dataflow_assets.io.breaks import find_breaks, find_gaps
from dataflow_assets.io.duplicates import find_losers
from dataflow_assets.io.entries import Entries
from dataflow_assets.io.lake import FINDING_ROWS, Manifest, count_rows
from dataflow_assets.io.ledger import Counts, LedgerRow
from dataflow_assets.transform.clean import CleaningPlan
from dataflow_assets.transform.expressions import POLARS_ERRORS, explain
from dataflow_assets.transform.findings import (
    DISCARDED,
    QUARANTINED,
    RELEASED,
    WARNED,
    Tally,
    count_findings,
)
from dataflow_assets.transform.models import model_stamps
from dataflow_assets.transform.plugin import transform_stamps
from dataflow_assets.transform.quarantine import needed_rules, quarantine_rows
from dataflow_assets.transform.references import flagged
from dataflow_assets.transform.rules import contract_rules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dataflow_assets.builders.anomalies import Figure
    from dataflow_assets.builders.drift import Found
    from dataflow_assets.builders.stores import Stores
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.errors import DataflowError
    from dataflow_assets.io.entries import Decided
    from dataflow_assets.io.lake import Layer
    from dataflow_assets.transform.findings import Broken

CLEANED = "cleaned.parquet"
QUARANTINE = "quarantine.parquet"
FINDINGS = "findings.parquet"
SMALL_ROWS = 50_000
"""Rows up to which a partition is cleaned in memory: streaming pays off only above."""
CLEANED_CODE = "4"
"""Raised when the same raw rows would give other cleaned rows than before."""


@dataclass(frozen=True)
class Cleaned:
    """What came of cleaning one partition.

    Attributes:
        partition: Which one.
        manifest: What the cleaned partition holds now, or would hold.
        tally: The findings, by rule, with samples.
        found: How its columns differ from the contract, and from those before.
        judged: Whether its rows were held to the contract: not if its columns refuse that.
        looked: Its figures, and how they compare with its history.
        decided: What people decided about rows of it, if they did.
        closed: How many open entries of the quarantine closed, by how.
        failure: Why the partition was not published, if it was not.
    """

    partition: str
    manifest: Manifest
    tally: Tally
    found: Found
    looked: Looked = field(default_factory=Looked)
    judged: bool = True
    decided: Decided | None = None
    closed: Mapping[str, int] = field(default_factory=dict)
    failure: DataflowError | None = None

    @property
    def counts(self) -> Counts:
        """Rows received, loaded, quarantined, duplicate and filtered."""
        return self.manifest.counts or Counts()


@dataclass(frozen=True)
class _Given:
    """A raw partition that is judged.

    Attributes:
        partition: Which one.
        raw: Its manifest.
        rows: Its rows with `_row`, the number of each from 0.
    """

    partition: str
    raw: Manifest
    rows: pl.LazyFrame


def cleaned_declaration(source: SourceDeclaration) -> str:
    """Return a digest of all that decides which cleaned rows the same raw rows give."""
    contract = source.contract
    stamps = [*transform_stamps(contract), *model_stamps(contract)]
    return digest(CLEANED_CODE, digest_of(contract), *stamps)


def cleaned_version(
    declaration: str,
    raw: Manifest,
    references: Mapping[str, str] | None = None,
    decisions: str = "",
) -> str:
    """Return the data version of what a declaration makes of a raw partition.

    Args:
        declaration: What `cleaned_declaration` returns: worked out once, not for each partition.
        raw: The raw partition.
        references: By rule, the version of the table that it refers to.
        decisions: Digest of what people decided about rows of it; empty if nothing.
    """
    more = [one for one in (references, decisions) if one]
    return digest(raw.data_version, declaration, *more)


class Cleaner(Workplace):
    """Cleans partitions of one source; what can be worked out once for all of them, it keeps.

    Args:
        source: The declaration.
        stores: Where it reads and writes.
        figures: What is compared with the source's history.
    """

    def __init__(
        self, source: SourceDeclaration, stores: Stores, figures: Sequence[Figure] = ()
    ) -> None:
        super().__init__(source.name, stores)
        self._source = source
        self._declaration = cleaned_declaration(source)
        self._rules = contract_rules(source.contract, source.extract.rejects)
        self._anomalies = Anomalies(source, stores, figures)
        self._plans: dict[tuple[tuple[str, pl.DataType], ...], CleaningPlan] = {}
        self._watch = DriftWatch(source, stores)

    def clean(self, partition: str) -> Cleaned:
        """Clean one partition, audit the outcome, and publish it if it stands the audit.

        The failure of an audit is returned, not raised, so that its counts and samples can be
        shown; so is what the contract refuses of its columns.

        Raises:
            PartitionMissingError: The raw partition has not been published, or a table to which a
                rule refers.
            PartitionBusyError: A table to which a rule refers is not left alone.
        """
        name, lake = self._source.name, self._stores.lake
        with lake.partition_lock(f"cleaned/{name}", partition):
            raw = self.raw(partition)
            cleaned = self.stage(partition, raw)
            if cleaned.failure is None:
                cleaned = self._publish(partition, cleaned, raw)
                self._watch.published(cleaned.found)
                self._anomalies.keep(partition, cleaned.manifest, cleaned.looked)
            else:
                self._note_refused(cleaned)
        return cleaned

    def raw(self, partition: str) -> Manifest:
        """Return the manifest of the raw partition.

        Raises:
            PartitionMissingError: It has not been published.
        """
        raw = self._stores.lake.manifest("raw", self._source.name, partition)
        if raw is None:
            raise PartitionMissingError(
                "there is no raw partition to clean.",
                mend=f"Materialize raw/{self._source.name} for this partition first.",
                source=self._source.name,
                partition=partition,
            )
        return raw

    def staged(self, layer: Layer) -> Path:
        """Return where `stage` wrote one of the two tables."""
        return self._work / (QUARANTINE if layer == "quarantine" else CLEANED)

    def stage(self, partition: str, raw: Manifest) -> Cleaned:
        """Look at the columns, write cleaned rows and findings to the work folder, and audit.

        Args:
            partition: The partition.
            raw: What `raw` returns of it.
        """
        name, lake = self._source.name, self._stores.lake
        try:
            rows = lake.scan("raw", name, partition, self._work, row_index="_row")
            if raw.rows <= SMALL_ROWS:
                rows = rows.collect().lazy()
            found = self._watch.look(partition, raw, lake.raw_schema(name, partition), rows)
            return self._judge(_Given(partition, raw, rows), found)
        except POLARS_ERRORS as error:
            raise explain(error, f"The contract of {name}").at(
                source=name, partition=partition
            ) from error

    def _judge(self, given: _Given, found: Found) -> Cleaned:
        """Hold the rows to the contract; what it refuses of their columns is a failure too."""
        started = time.monotonic()
        partition, raw = given.partition, given.raw
        try:
            plan, references = self._plan_of(given, found.columns)
        except HeaderError as error:
            failure = error.at(source=self._source.name, partition=partition)
            stamp = self._stamp(raw, found, {}, "")
            return Cleaned(partition, stamp, Tally(), found, judged=False, failure=failure)
        decided = self._decided(plan, given)
        stamp = self._stamp(raw, found, references, "" if decided is None else decided.digest)
        tally, found = self._write(plan, given, stamp, found, decided)
        counts = Counts(
            received=raw.rows,
            loaded=count_rows(self._work / CLEANED),
            quarantined=tally.quarantined + tally.discarded,
            duplicate=tally.duplicate,
            filtered=tally.filtered,
        )
        counted = stamp.model_copy(update={"counts": counts})
        staged = pl.scan_parquet(self._work / CLEANED)
        looked = self._anomalies.look(partition, counted, staged, self._work)
        return Cleaned(
            partition=partition,
            manifest=counted.model_copy(update={"duration_s": time.monotonic() - started}),
            tally=tally,
            found=found,
            looked=looked,
            decided=decided,
            failure=self._audit(partition, counts, tally, found, looked),
        )

    def _stamp(
        self, raw: Manifest, found: Found, references: Mapping[str, str], decisions: str
    ) -> Manifest:
        return Manifest(
            data_version=cleaned_version(self._declaration, raw, references, decisions),
            decisions=decisions,
            declaration=self._declaration,
            references=dict(references),
            run_id=self._stores.run_id,
            fingerprint=raw.fingerprint,
            shape=found.shape,
            published_at=dt.datetime.now(dt.UTC),
        )

    def _decided(self, plan: CleaningPlan, given: _Given) -> Decided | None:
        """Find the rows that people decided about; most partitions have none, and cost nothing.

        A row that is released may make others break a rule across rows, and people decide about
        those too: so the rows are judged again with what is released, until no more is.
        """
        decisions = self._entries.decisions(given.partition)
        if decisions is None:
            return None
        rules = self._source.contract.rules.values()
        across = any(one.unique is not None or one.monotonic is not None for one in rules)
        bad, judged, released = [self._bad(plan, given, 0)], plan, 0
        while True:
            found = pl.concat([pl.scan_parquet(path, glob=False) for path in bad])
            decided = self._entries.match(decisions, found, given.raw.rows)
            if not across or decided.released.sum() == released:
                return decided
            released, judged = decided.released.sum(), plan.releasing(decided.released)
            bad.append(self._bad(judged, given, len(bad), known=found.select("_row")))

    def _bad(
        self, plan: CleaningPlan, given: _Given, number: int, known: pl.LazyFrame | None = None
    ) -> Path:
        """Write the rows that break the contract, but for known ones, to the work folder."""
        rows, received, limit = given.rows, given.raw.rows, self._stores.memory_limit_mb
        losers = find_losers(rows, plan, received, self._work, limit)
        breaks = find_breaks(rows, plan, losers, received, self._work, limit)
        found = plan.clean(rows, losers, breaks).findings
        needed = needed_rules(self._source.contract, self._rules)
        rules = pl.col("reasons").list.eval(pl.element().struct.field("rule").is_in(list(needed)))
        bad = found.filter(pl.col("outcome") == QUARANTINED).with_columns(barred=rules.list.any())
        bad = bad if known is None else bad.join(known, on="_row", how="anti")
        path = self._work / f"bad-{number}.parquet"
        bad.drop("reasons", "outcome").sink_parquet(path, engine="streaming")
        return path

    @cached_property
    def _entries(self) -> Entries:
        limit = self._stores.memory_limit_mb
        return Entries(self._stores.lake, self._source.name, self._work, limit)

    def _write(
        self,
        plan: CleaningPlan,
        given: _Given,
        stamp: Manifest,
        found: Found,
        decided: Decided | None,
    ) -> tuple[Tally, Found]:
        """Write cleaned rows and quarantine to the work folder, and count the findings.

        Where values of a changed type are not to be quarantined, that shows only once the rows are
        judged: they are judged again then, which takes as long as it did.
        """
        rows, received = given.rows, given.raw.rows
        findings = self._write_cleaned(plan, given, stamp, decided)
        tally = count_findings(findings)
        changed = self._watch.changed_types(found, rows, received, tally)
        if changed and self._source.contract.changed_types.policy in ("evolve", "discard"):
            findings = self._write_cleaned(plan.sparing(changed), given, stamp, decided)
            tally = count_findings(findings)
        cleaned = self._work / CLEANED
        found = self._watch.judged(found, changed, rows, cleaned, count_rows(cleaned))
        options = self._stores.lake.sink_options(
            stamp.model_copy(update={"shape": found.shape}), FINDING_ROWS
        )
        if any(rule.no_gaps is not None for rule in plan.contract.rules.values()):
            gaps = self._gaps(plan)
            tally = replace(tally, rules=tally.rules | gaps, warning=tally.warning.union(gaps))
        quarantine_rows(findings, given.partition).sink_parquet(
            self._work / QUARANTINE, engine="streaming", **options
        )
        return tally, found

    def _write_cleaned(
        self, plan: CleaningPlan, given: _Given, stamp: Manifest, decided: Decided | None
    ) -> pl.LazyFrame:
        """Write the cleaned rows to the work folder, and return the findings about the others."""
        rows, received = given.rows, given.raw.rows
        if decided is not None:
            plan = plan.releasing(decided.released)
        if received <= SMALL_ROWS:
            options = self._stores.lake.sink_options(stamp)
            findings = self._write_small(plan, rows.collect(), options)
        else:
            findings = self._write_streaming(plan, rows, received, stamp)
        return findings if decided is None else _marked(findings, decided)

    def _gaps(self, plan: CleaningPlan) -> dict[str, Broken]:
        """Find the gaps among the cleaned rows in the work folder."""
        cleaned = self._work / CLEANED
        limit = self._stores.memory_limit_mb
        return find_gaps(cleaned, plan.contract, count_rows(cleaned), self._work, limit)

    def _write_small(
        self, plan: CleaningPlan, rows: pl.DataFrame, options: dict[str, Any]
    ) -> pl.LazyFrame:
        """Write the cleaned rows of a small partition, and return its findings."""
        limit = self._stores.memory_limit_mb
        losers = find_losers(rows.lazy(), plan, rows.height, self._work, limit)
        breaks = find_breaks(rows.lazy(), plan, losers, rows.height, self._work, limit)
        split = plan.clean_in_memory(rows, losers, breaks)
        split.good.collect().write_parquet(self._work / CLEANED, **options)
        return split.findings

    def _write_streaming(
        self, plan: CleaningPlan, rows: pl.LazyFrame, received: int, stamp: Manifest
    ) -> pl.LazyFrame:
        """Write the cleaned rows of a partition of any size, and return its findings."""
        limit, lake = self._stores.memory_limit_mb, self._stores.lake
        losers = find_losers(rows, plan, received, self._work, limit)
        breaks = find_breaks(rows, plan, losers, received, self._work, limit)
        split = plan.clean(rows, losers, breaks)
        findings = self._work / FINDINGS
        pl.collect_all(
            [
                split.good.sink_parquet(
                    self._work / CLEANED, lazy=True, **lake.sink_options(stamp)
                ),
                split.findings.sink_parquet(
                    findings, lazy=True, **lake.sink_options(stamp, FINDING_ROWS)
                ),
            ],
            engine="streaming",
        )
        return pl.scan_parquet(findings)

    def record(self, done: Sequence[Cleaned]) -> None:
        """Write what was published to the ledger."""
        name = self._source.name
        rows, drift = [], []
        for one in done:
            counts = Counts(received=one.counts.received, loaded=one.counts.quarantined or 0)
            quarantine = one.manifest.model_copy(update={"counts": counts})
            rows.append(LedgerRow.of("cleaned", name, one.partition, one.manifest))
            rows.append(LedgerRow.of("quarantine", name, one.partition, quarantine))
            drift += self._watch.ledger_rows(one.found, self._stores.run_id, published=True)
        profiles = self._anomalies.rows_to_record(
            (one.partition, one.manifest, one.looked) for one in done
        )
        self._stores.warehouse.record(rows, [], drift, profiles)

    def drift_history(self) -> pl.DataFrame:
        """Return how the source's columns changed over its partitions, the newest first."""
        return self._stores.warehouse.read(HISTORY, [self._source.name, HISTORY_SHOWN])

    def _note_refused(self, cleaned: Cleaned) -> None:
        """Write to the ledger how the columns of a partition changed that is not published."""
        drift = self._watch.ledger_rows(cleaned.found, self._stores.run_id, published=False)
        if drift:
            self._stores.warehouse.record([], [], drift)

    def show(self, layer: Layer, cleaned: Cleaned, *, preview: bool) -> Shown:
        """Return what the Dagster UI is to show of one partition of one of the two tables."""
        lake, name, counts = self._stores.lake, self._source.name, cleaned.counts
        rows = counts.loaded if layer == "cleaned" else counts.quarantined
        place = (layer, name, cleaned.partition)
        shown = {
            **metadata.partition_metadata(
                cleaned.manifest, lake.uri(*place), lake.size(*place), rows or 0
            ),
            **metadata.count_metadata(counts),
        }
        if layer == "quarantine":
            shown |= metadata.quarantine_metadata(cleaned.tally, cleaned.closed)
        elif cleaned.tally.released:
            shown["released"] = cleaned.tally.released
        if preview:
            shown["preview"] = metadata.preview(lake.head(*place, metadata.PREVIEW_ROWS))
        return Shown(cleaned.manifest.data_version, shown)

    def _plan_of(self, given: _Given, columns: pl.Schema) -> tuple[CleaningPlan, Mapping[str, str]]:
        """Return how a partition is judged, and the versions of the tables that rules refer to."""
        plan = self._plan_for(columns)
        if not references_of(self._source):
            return plan, {}
        values = partial(plan.values, given.rows)
        referred = self._tables.read(given.partition, given.raw.rows, values)
        return plan.referring(referred.lookups), referred.versions

    @cached_property
    def _tables(self) -> ReferredTables:
        return ReferredTables(self._source, self._stores, self._work)

    def _plan_for(self, columns: pl.Schema) -> CleaningPlan:
        key = tuple(columns.items())
        if key not in self._plans:
            source = self._source
            self._plans[key] = CleaningPlan(source.contract, columns, source.extract.rejects)
        return self._plans[key]

    def _publish(self, partition: str, cleaned: Cleaned, raw: Manifest) -> Cleaned:
        """Publish the quarantine first: whoever sees the rows can see what is not among them.

        Before it, which of its entries close is recorded: whoever is killed between does it again.
        """
        name, lake = self._source.name, self._stores.lake
        closed = self._entries.close(
            partition, self.staged("quarantine"), raw, cleaned.manifest, cleaned.decided
        )
        quarantined, loaded = cleaned.counts.quarantined or 0, cleaned.counts.loaded
        lake.publish(self._work / QUARANTINE, "quarantine", name, partition, rows=quarantined)
        lake.publish(self._work / CLEANED, "cleaned", name, partition, rows=loaded)
        return replace(cleaned, closed=closed)

    def _audit(
        self, partition: str, counts: Counts, tally: Tally, found: Found, looked: Looked
    ) -> DataflowError | None:
        """Return why the partition may not be published, if it may not."""
        failure = (
            conservation_failure(counts)
            or found.failure
            or self._audit_rules(counts, tally)
            or self._audit_quarantined(counts, tally)
            or self._audit_row_count(counts)
            or looked.failure
        )
        return (
            None if failure is None else failure.at(source=self._source.name, partition=partition)
        )

    def _audit_rules(self, counts: Counts, tally: Tally) -> DataflowError | None:
        for rule in self._rules:
            broken = tally.rules.get(rule.id)
            if broken is None or not rule.bars or rule.allows(broken.rows, counts.received):
                continue
            more = f", more than its limit of {rule.limit}" if rule.limit else ""
            if rule.severity == "block":
                return BlockingRuleError(
                    f"{broken.rows:,} rows break a rule of severity block{more}: "
                    f"{broken.sample_text()}.",
                    mend="Correct the data or the rule; the partition stays as it was.",
                    culprit=rule.id,
                )
            return QuarantineLimitError(
                f"{broken.rows:,} of {counts.received:,} rows break a rule{more}: "
                f"{broken.sample_text()}.",
                mend="Correct the data, the rule or its limit; the partition stays as it was.",
                culprit=rule.id,
            )
        return None

    def _audit_quarantined(self, counts: Counts, tally: Tally) -> DataflowError | None:
        limit = self._source.checks.quarantined.max_share
        quarantined = tally.quarantined
        if quarantined and not counts.loaded + (counts.filtered or 0):
            return QuarantineLimitError(
                f"all of {counts.received:,} rows break the contract; most often "
                f"{tally.most_frequent()}.",
                mend="Correct the data or the contract; the partition stays as it was.",
            )
        if quarantined <= limit * counts.received:
            return None
        return QuarantineLimitError(
            f"{quarantined:,} of {counts.received:,} rows ({quarantined / counts.received:.1%}) "
            f"break the contract, more than max_share {limit:.1%} allows; most often "
            f"{tally.most_frequent()}.",
            mend="Correct the data, the contract, or checks: {quarantined: {max_share}}; "
            "the partition stays as it was.",
        )

    def _audit_row_count(self, counts: Counts) -> DataflowError | None:
        bounds = self._source.checks.rows
        too_few = counts.loaded < bounds.min and not (counts.received == 0 and bounds.allow_empty)
        if too_few or (bounds.max is not None and counts.loaded > bounds.max):
            return RowCountError(
                f"{counts.loaded:,} cleaned rows are not between {bounds.min:,} and "
                f"{'any number' if bounds.max is None else format(bounds.max, ',')}.",
                mend="Look at what was received, or correct checks: {rows: {min, max}}; "
                "the partition stays as it was.",
            )
        return None


def _marked(findings: pl.LazyFrame, decided: Decided) -> pl.LazyFrame:
    """Tell the rows that people decided about from the others."""
    outcome, row = pl.col("outcome"), pl.col("_row")
    released = (outcome == WARNED) & flagged(decided.released, row)
    discarded = (outcome == QUARANTINED) & flagged(decided.discarded, row)
    return findings.with_columns(
        outcome=pl.when(released)
        .then(pl.lit(RELEASED))
        .when(discarded)
        .then(pl.lit(DISCARDED))
        .otherwise(outcome)
    )
