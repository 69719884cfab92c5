"""Asset checks: specified by the declaration, evaluated from what a step counted.

What belongs here: names, specifications and evaluations of checks. What does not: deciding whether
a partition is published; the steps do, and their checks show it.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from dataclasses import dataclass, field
from itertools import chain, count
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.events import (
    DagsterEvent,
    DagsterEventBatchMetadata,
    DagsterEventType,
)

from dataflow_assets.builders import metadata
from dataflow_assets.errors import DeclarationError
from dataflow_assets.transform.findings import Broken
from dataflow_assets.transform.rules import contract_rules

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import polars as pl

    from dataflow_assets.builders.cleaning import Cleaned
    from dataflow_assets.builders.drift import Found
    from dataflow_assets.builders.normalizing import Normalized
    from dataflow_assets.builders.patches import Patch
    from dataflow_assets.builders.receiving import Received
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.io.ledger import Counts
    from dataflow_assets.transform.findings import Finding
    from dataflow_assets.transform.rules import RuleId

CONSERVATION = "conservation"
FILES = "files_found"
KEPT = "files_kept"
FILES_NAMED = 10
COLUMNS_NAMED = 20
SPLIT = "rows_split"
COMPLETE = "rows_complete"
ROWS = "row_count"
QUARANTINED = "quarantined_share"
COLUMNS = "columns_as_declared"
BEFORE = "columns_as_before"
DECISIONS = "decisions_applied"
KEYS = "key_present"
FRESHNESS = "freshness"
VOLUME = "volume_anomaly"
OWN_CHECKS = (CONSERVATION, ROWS, QUARANTINED, COLUMNS, BEFORE, DECISIONS, FRESHNESS, VOLUME)
FOREIGN = re.compile(r"[^A-Za-z0-9_]")
"""What Dagster does not allow in the name of a check."""

FAILURES_A_CHECK = 100
"""Of one check over a range, the most partitions whose failure is logged one by one."""

UNBROKEN = Broken(0, ())


@dataclass(frozen=True)
class DriftShown:
    """What is shown of columns that differ, beside how they do.

    Attributes:
        patch: How the declaration could take them.
        history: How the source's columns changed over its partitions.
    """

    patch: Patch | None = None
    history: pl.DataFrame | None = None


NOTHING_SHOWN = DriftShown()
WARN = dg.AssetCheckSeverity.WARN
ERROR = dg.AssetCheckSeverity.ERROR


@dataclass(frozen=True)
class Outcome:
    """The outcome of one check on one partition.

    Attributes:
        name: The check's name.
        passed: Whether all was well.
        severity: Whether a failure is a warning or an error.
        description: What was found, in a sentence.
        metadata: Counts, and a sample as a Markdown table.
    """

    name: str
    passed: bool
    severity: dg.AssetCheckSeverity = WARN
    description: str = ""
    metadata: metadata.Metadata = field(default_factory=dict)


def raw_check_specs(source: SourceDeclaration) -> list[dg.AssetCheckSpec]:
    """Return the checks of ``raw/<source>``."""
    key = dg.AssetKey(["raw", source.name])
    path = source.extract.place
    specs = [
        dg.AssetCheckSpec(FILES, asset=key, description=f"There is something at {path}."),
        dg.AssetCheckSpec(KEPT, asset=key, description="No file of before has gone."),
        dg.AssetCheckSpec(SPLIT, asset=key, description="Every row could be split into fields."),
    ]
    if _total_path(source) is not None:
        described = f"As many rows were received as {_total_path(source)} says there are."
        specs.append(dg.AssetCheckSpec(COMPLETE, asset=key, description=described))
    return specs


def _total_path(source: SourceDeclaration) -> str | None:
    """Return where the answers of an API say how many rows there are, if that is declared."""
    rest = source.extract.rest
    return None if rest is None else rest.total


def cleaned_check_specs(
    source: SourceDeclaration, rules: Mapping[str, RuleId]
) -> list[dg.AssetCheckSpec]:
    """Return the checks of ``cleaned/<source>``: the built-in ones, and one for each rule."""
    key = dg.AssetKey(["cleaned", source.name])
    specs = [
        dg.AssetCheckSpec(
            CONSERVATION,
            asset=key,
            blocking=True,
            description="received = loaded + quarantined + duplicate + filtered",
        ),
        dg.AssetCheckSpec(
            ROWS, asset=key, blocking=True, description="As many rows as checks: rows allows."
        ),
        dg.AssetCheckSpec(
            QUARANTINED,
            asset=key,
            blocking=True,
            description="No more rows break the contract than checks: quarantined allows.",
        ),
        dg.AssetCheckSpec(
            COLUMNS, asset=key, description="The columns received are those of the contract."
        ),
        dg.AssetCheckSpec(
            BEFORE, asset=key, description="The columns are as in the partition before."
        ),
        dg.AssetCheckSpec(
            DECISIONS,
            asset=key,
            description="Rows that a person released from the quarantine are loaded.",
        ),
    ]
    specs += [
        dg.AssetCheckSpec(
            name,
            asset=key,
            blocking=rule.bars,
            description=rule_words(rule),
        )
        for name, rule in rules.items()
    ]
    return specs


def rule_checks(source: SourceDeclaration) -> dict[str, RuleId]:
    """Return each rule of a contract by the name of its check.

    That is the rule's id, as far as Dagster's alphabet allows.

    Columns may be named in any script, with spaces and dots; where two ids become one name that
    way, the later ones get a number.

    Raises:
        DeclarationError: A rule has the name of another check.
    """
    rules = contract_rules(source.contract, source.extract.rejects)
    counts = Counter([*OWN_CHECKS, *(rule.id for rule in rules)])
    twice = next((rule.id for rule in rules if counts[rule.id] > 1), None)
    if twice is not None:
        raise DeclarationError(
            f"the name {twice!r} stands for two checks.",
            mend="Give the rule another name.",
            source=source.name,
            culprit=twice,
        ).within("contract", "rules", twice)
    names: dict[str, str] = {rule.id: rule.id for rule in rules if not FOREIGN.search(rule.id)}
    taken = {*OWN_CHECKS, *names.values()}
    for rule in rules:
        if rule.id in names:
            continue
        plain = FOREIGN.sub("_", rule.id)
        numbered = (f"{plain}_{number}" for number in count(2))
        names[rule.id] = next(name for name in chain([plain], numbered) if name not in taken)
        taken.add(names[rule.id])
    return {names[rule.id]: rule for rule in rules}


def normalized_check_specs(entity: str) -> list[dg.AssetCheckSpec]:
    """Return the checks of ``normalized/<entity>``."""
    key = dg.AssetKey(["normalized", entity])
    return [
        dg.AssetCheckSpec(
            CONSERVATION, asset=key, blocking=True, description="received = loaded + duplicate"
        ),
        dg.AssetCheckSpec(
            KEYS, asset=key, blocking=True, description="Every row has a value where it must have."
        ),
    ]


def raw_outcomes(source: SourceDeclaration, received: Received) -> Iterator[Outcome]:
    """Evaluate the checks of one raw partition."""
    files = len(received.manifest.files)
    yield Outcome(FILES, passed=files > 0, description=f"{files:,} files")
    yield Outcome(
        KEPT,
        passed=not received.gone,
        description=f"{len(received.gone):,} files, and their rows, are gone"
        + "".join(f"; {name}" for name in received.gone[:FILES_NAMED]),
    )
    rejected = sum(file.rejected for file in received.manifest.files)
    yield Outcome(
        SPLIT,
        passed=rejected == 0,
        description=f"{rejected:,} of {received.manifest.rows:,} rows could not be split",
        metadata={"rejected": dg.MetadataValue.int(rejected)},
    )
    if (path := _total_path(source)) is not None:
        yield _complete_outcome(path, received.manifest.rows, received.manifest.told)


def _complete_outcome(path: str, rows: int, total: int | None) -> Outcome:
    """Evaluate whether all rows came that the source says there are; more may have."""
    if total is None:
        described = f"{rows:,} rows; no number of all of them stands at {path}"
        return Outcome(COMPLETE, passed=not rows, description=described)
    return Outcome(
        COMPLETE,
        passed=rows >= total,
        description=f"{rows:,} of {total:,} rows, as {path} says",
        metadata={"received": dg.MetadataValue.int(rows), "total": dg.MetadataValue.int(total)},
    )


def cleaned_outcomes(
    source: SourceDeclaration,
    rules: Mapping[str, RuleId],
    cleaned: Cleaned,
    shown: DriftShown = NOTHING_SHOWN,
) -> Iterator[Outcome]:
    """Evaluate the checks of one cleaned partition.

    Args:
        source: The declaration.
        rules: Its rules by the names of their checks, as `rule_checks` gives them.
        cleaned: What came of the partition.
        shown: What is shown besides of columns that differ.
    """
    yield _columns_outcome(cleaned.found, shown)
    yield _before_outcome(cleaned.found, shown)
    if not cleaned.judged:
        return
    yield conservation_outcome(cleaned.counts)
    yield _row_count_outcome(source, cleaned.counts)
    yield _quarantined_outcome(source, cleaned)
    yield _decisions_outcome(cleaned)
    for name, rule in rules.items():
        yield _rule_outcome(name, rule, cleaned.tally.rules.get(rule.id, UNBROKEN), cleaned.counts)


def _rule_outcome(name: str, rule: RuleId, broken: Broken, counts: Counts) -> Outcome:
    """Evaluate one rule: passed up to its limit, with a note where rows break it all the same."""
    allowed = "" if rule.limit is None else f"; its limit is {rule.limit}"
    return Outcome(
        name,
        passed=rule.allows(broken.rows, counts.received),
        severity=ERROR if rule.bars else WARN,
        description=f"{broken.rows:,} rows break it{allowed}",
        metadata={
            "rows": dg.MetadataValue.int(broken.rows),
            "sample": dg.MetadataValue.md(sample_table(broken.samples)),
        }
        if broken.rows
        else {},
    )


def rule_words(rule: RuleId) -> str:
    """Return what a rule promises, and what happens where it is broken, in words."""
    if rule.limit is None:
        return rule.description
    beyond = {
        "warn": "a warning",
        "quarantine": "the partition is not published",
        "block": "the partition is not published",
    }[rule.severity]
    return f"{rule.description} (limit: {rule.limit}; beyond that, {beyond})"


def conservation_outcome(counts: Counts) -> Outcome:
    """Evaluate whether every row received is accounted for."""
    words = ("received", "loaded", "quarantined", "duplicate", "filtered")
    return Outcome(
        CONSERVATION,
        passed=counts.lost == 0,
        severity=ERROR,
        description="every row is accounted for"
        if counts.lost == 0
        else f"{counts.lost:,} rows are unaccounted for",
        metadata={word: dg.MetadataValue.int(getattr(counts, word) or 0) for word in words},
    )


def normalized_outcomes(normalized: Normalized) -> Iterator[Outcome]:
    """Evaluate the checks of one partition of an entity."""
    yield conservation_outcome(normalized.counts)
    yield Outcome(
        KEYS,
        passed=normalized.without_key == 0,
        severity=ERROR,
        description=f"{normalized.without_key:,} rows lack a value in a column that must have one",
    )


def sample_table(samples: Sequence[Finding]) -> str:
    """Return findings as a Markdown table: file, line, column, value, and what a model says."""
    words = ["file", "line", "column", "value"]
    if any(one.message for one in samples):
        words.append("message")
    return metadata.markdown_table(
        words, [[getattr(one, word) for word in words] for one in samples]
    )


def _row_count_outcome(source: SourceDeclaration, counts: Counts) -> Outcome:
    bounds = source.checks.rows
    loaded = counts.loaded or 0
    empty_is_fine = counts.received == 0 and bounds.allow_empty
    fits = bounds.min <= loaded and (bounds.max is None or loaded <= bounds.max)
    return Outcome(
        ROWS, passed=fits or empty_is_fine, severity=ERROR, description=f"{loaded:,} rows"
    )


def _quarantined_outcome(source: SourceDeclaration, cleaned: Cleaned) -> Outcome:
    limits, received = source.checks.quarantined, cleaned.counts.received
    quarantined = cleaned.tally.quarantined
    share = quarantined / received if received else 0.0
    return Outcome(
        QUARANTINED,
        passed=share <= min(limits.warn_share, limits.max_share),
        severity=ERROR if share > limits.max_share else WARN,
        description=f"{quarantined:,} of {received:,} rows ({share:.2%})",
        metadata={"share": dg.MetadataValue.float(share)},
    )


def _decisions_outcome(cleaned: Cleaned) -> Outcome:
    tally, decided = cleaned.tally, cleaned.decided
    barred = 0 if decided is None else decided.barred
    description = f"{tally.released:,} rows released, {tally.discarded:,} discarded by hand"
    if barred:
        description += f"; {barred:,} released ones cannot be loaded: they have no key or values"
    counts = {"released": tally.released, "discarded": tally.discarded, "not_loadable": barred}
    return Outcome(
        DECISIONS,
        passed=barred == 0,
        description=description,
        metadata={word: dg.MetadataValue.int(rows) for word, rows in counts.items() if rows},
    )


def _columns_outcome(found: Found, shown: DriftShown) -> Outcome:
    """Evaluate whether a partition's columns are those of the contract."""
    drift = found.undeclared
    words = {"new": "not declared", "gone": "not received", "retyped": "of another type"}
    described = [
        f"{text}: {_some([one.column for one in drift if one.kind == kind])}"
        for kind, text in words.items()
        if any(one.kind == kind for one in drift)
    ]
    details: metadata.Metadata = {}
    if drift:
        details["drift"] = dg.MetadataValue.md(metadata.drift_table(drift))
    if drift and shown.patch is not None:
        details |= metadata.patch_metadata(shown.patch)
    return Outcome(
        COLUMNS,
        passed=not drift,
        description="; ".join(described) or "as the contract declares",
        metadata=details,
    )


def _before_outcome(found: Found, shown: DriftShown) -> Outcome:
    """Evaluate whether a partition's columns are what they were in the partition before."""
    drift = found.changed
    details: metadata.Metadata = {}
    if not drift:
        as_before = found.before and f"as in {found.before}"
        described = as_before or "there is no partition before"
        return Outcome(BEFORE, passed=True, description=described, metadata=details)
    kinds = dict.fromkeys(one.kind for one in drift)
    words = [
        f"{kind}: {_some([one.column for one in drift if one.kind == kind])}".rstrip(": ")
        for kind in kinds
    ]
    details["before"] = found.before
    details["drift"] = dg.MetadataValue.md(metadata.drift_table(drift))
    if shown.history is not None:
        table = metadata.markdown_table(shown.history.columns, shown.history.rows())
        details["history"] = dg.MetadataValue.md(table)
    return Outcome(
        BEFORE,
        passed=False,
        description=f"other than in {found.before}: {'; '.join(words)}",
        metadata=details,
    )


def _some(columns: Sequence[str]) -> str:
    """Return the first of some columns, and how many others there are."""
    more = len(columns) - COLUMNS_NAMED
    return ", ".join(columns[:COLUMNS_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def check_results(
    context: dg.AssetExecutionContext,
    specs: Sequence[dg.AssetCheckSpec],
    outcomes: Mapping[str, Sequence[Outcome]],
) -> Iterator[dg.AssetCheckResult]:
    """Give Dagster what the checks found, partition by partition.

    A run over one partition gives one result per check. Over a range, conservation and whatever
    failed are logged for each partition, and one result per check says how many partitions passed:
    thousands of events that say that nothing happened would take longer than the work.

    Args:
        context: The step's context.
        specs: All checks of the asset.
        outcomes: What was found, by partition.
    """
    by_name = {spec.name: spec for spec in specs}
    found: dict[str, dict[str, Outcome]] = {name: {} for name in by_name}
    for partition, of_partition in outcomes.items():
        for outcome in of_partition:
            found[outcome.name][partition] = outcome
    for name, by_partition in found.items():
        if by_name[name].key not in context.selected_asset_check_keys:
            continue
        if len(outcomes) == 1:
            yield from (_result(by_name[name], *found) for found in by_partition.items())
        elif by_partition:
            _log(context, list(_evaluations(by_name[name], by_partition)))
            yield _summary(by_name[name], by_partition)


def _result(spec: dg.AssetCheckSpec, partition: str, outcome: Outcome) -> dg.AssetCheckResult:
    """Return a check's result; Dagster shows no partition of it, so that its metadata names it."""
    return dg.AssetCheckResult(
        asset_key=spec.asset_key,
        check_name=spec.name,
        passed=outcome.passed,
        severity=outcome.severity,
        description=outcome.description,
        metadata={"partition": partition, **outcome.metadata},
    )


def _evaluations(
    spec: dg.AssetCheckSpec, by_partition: Mapping[str, Outcome]
) -> Iterator[dg.AssetCheckEvaluation]:
    """Evaluate a check on partitions of a range: on all for conservation, else where it failed."""
    failed = 0
    for partition, outcome in by_partition.items():
        failed += not outcome.passed
        if spec.name != CONSERVATION and (outcome.passed or failed > FAILURES_A_CHECK):
            continue
        yield dg.AssetCheckEvaluation(
            asset_key=spec.asset_key,
            check_name=spec.name,
            passed=outcome.passed,
            severity=outcome.severity,
            description=outcome.description,
            metadata=outcome.metadata,
            partition=partition,
            blocking=spec.blocking,
        )


def _log(context: dg.AssetExecutionContext, evaluations: Sequence[dg.AssetCheckEvaluation]) -> None:
    """Tell Dagster of evaluations in one batch; by `context.log_event` each is one by itself."""
    step, batch = context.get_step_execution_context(), str(uuid.uuid4())
    for number, evaluation in enumerate(evaluations, start=1):
        DagsterEvent.from_step(
            DagsterEventType.ASSET_CHECK_EVALUATION,
            step,
            evaluation,
            f"{evaluation.check_name} {'passes' if evaluation.passed else 'fails'} in "
            f"{evaluation.partition}: {evaluation.description}",
            DagsterEventBatchMetadata(batch, is_end=number == len(evaluations)),
        )


def _summary(spec: dg.AssetCheckSpec, by_partition: Mapping[str, Outcome]) -> dg.AssetCheckResult:
    failed = {key: outcome for key, outcome in by_partition.items() if not outcome.passed}
    worst = ERROR if any(one.severity == ERROR for one in failed.values()) else WARN
    shown = [(key, outcome.description) for key, outcome in failed.items()][:FAILURES_A_CHECK]
    table = metadata.markdown_table(("partition", "found"), shown)
    return dg.AssetCheckResult(
        asset_key=spec.asset_key,
        check_name=spec.name,
        passed=not failed,
        severity=worst,
        description=f"{len(by_partition) - len(failed):,} of {len(by_partition):,} partitions pass",
        metadata={"failed": dg.MetadataValue.md(table)} if failed else {},
    )
