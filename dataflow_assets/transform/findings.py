"""Findings: what is said about a row that is not good, and how findings are counted.

What belongs here: the shape of a finding's reasons, and their tally. What does not: deciding which
rows are good (`clean`) and what a run does about them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dataflow_assets.transform.rules import Check

REASON = pl.Struct(
    {"column": pl.String(), "rule": pl.String(), "severity": pl.String(), "value": pl.String()}
)
LONGEST_VALUE = 200
"""Characters of a value that a reason shows."""

SAMPLES = 5
"""Rows of which a tally shows where a rule was broken."""

BATCH = 50_000
"""Findings that are counted at once: the bound of the memory that counting needs."""


@dataclass(frozen=True)
class Finding:
    """Where a row breaks a rule.

    Attributes:
        file: The file, relative to the folder of files.
        line: The line on which the row begins, from 1.
        column: The column; none for a rule about the whole row.
        rule: The rule's id.
        value: The raw text of the column, or for the whole row the values that the rule names.
    """

    file: str
    line: int
    column: str | None
    rule: str
    value: str | None


@dataclass(frozen=True)
class Broken:
    """How often a rule is broken.

    Attributes:
        rows: The rows that break it.
        samples: The first few of them, in the order received.
    """

    rows: int
    samples: tuple[Finding, ...]

    def sample_text(self) -> str:
        """Return the samples as one sentence's end: file, line and value of each."""
        return "; ".join(f"{one.file} line {one.line}: {one.value!r}" for one in self.samples)


@dataclass(frozen=True)
class Tally:
    """How many findings there are, by outcome and by rule.

    Attributes:
        quarantined: Rows that broke the contract.
        filtered: Rows that the contract does not want.
        duplicate: Rows that lost against another of their key.
        warned: Good rows about which a rule warns.
        rules: The rules that are broken, by id.
    """

    quarantined: int = 0
    filtered: int = 0
    duplicate: int = 0
    warned: int = 0
    rules: dict[str, Broken] = field(default_factory=dict)

    def most_frequent(self) -> str:
        """Return the ids of the three rules that are broken most often, with their rows."""
        ranked = sorted(self.rules.items(), key=lambda item: -item[1].rows)
        return ", ".join(f"{rule} ({broken.rows:,})" for rule, broken in ranked[:3])


def count_findings(findings: pl.LazyFrame) -> Tally:
    """Count findings batch by batch, so that any number of them takes the same memory.

    Args:
        findings: `outcome`, `reasons`, `_file`, `_line`, as `CleaningPlan.clean` gives them.
    """
    outcomes: Counter[str] = Counter()
    rules: Counter[str] = Counter()
    samples: defaultdict[str, list[Finding]] = defaultdict(list)
    wanted = findings.select("_file", "_line", "outcome", "reasons")
    for batch in wanted.collect_batches(chunk_size=BATCH, maintain_order=True, engine="streaming"):
        outcomes.update(dict(batch["outcome"].value_counts().iter_rows()))
        broken = _broken_rules(batch)
        rules.update(dict(broken["rule"].value_counts().iter_rows()))
        for row in broken.group_by("rule", maintain_order=True).head(SAMPLES).iter_rows(named=True):
            samples[row["rule"]].append(Finding(**row))
    broken_rules = {
        rule: Broken(rows, tuple(samples[rule][:SAMPLES])) for rule, rows in rules.items()
    }
    return Tally(**outcomes, rules=broken_rules)


def quarantine_rows(findings: pl.LazyFrame) -> pl.LazyFrame:
    """Return the quarantine's rows among findings.

    Args:
        findings: As `CleaningPlan.clean` gives them.

    Returns:
        `_file`, `_version`, `_line`, `rules` (list of rule ids), `reasons` and `row`.
    """
    names = pl.col("reasons").list.eval(pl.element().struct.field("rule"))
    return findings.filter(pl.col("outcome") == "quarantined").select(
        "_file", "_version", "_line", names.alias("rules"), "reasons", "row"
    )


def reasons(values: Iterable[tuple[Check, pl.Expr]]) -> pl.Expr:
    """Return the reasons of each row: one for each check that it breaks.

    Args:
        values: The checks, each with the value that shows why.
    """
    broken = [
        pl.when(check.broken).then(
            _reason(check.rule.column, pl.lit(check.rule.id), check.rule.severity, value)
        )
        for check, value in values
    ]
    return pl.concat_list(broken).list.drop_nulls() if broken else pl.lit([], pl.List(REASON))


def reject_reason() -> pl.Expr:
    """Return the one reason of a row that could not be split: ``csv__`` and what was wrong."""
    rule = pl.format("csv__{}", "_reject")
    return pl.concat_list(_reason(None, rule, "quarantine", pl.col("_text")))


def as_json(texts: Mapping[str, pl.Expr]) -> pl.Expr:
    """Return texts as one JSON object per row."""
    if not texts:
        return pl.lit("{}")
    return pl.struct(text.alias(name) for name, text in texts.items()).struct.json_encode()


def _reason(column: str | None, rule: pl.Expr, severity: str, value: pl.Expr) -> pl.Expr:
    return pl.struct(
        pl.lit(column, pl.String).alias("column"),
        rule.alias("rule"),
        pl.lit(severity).alias("severity"),
        value.str.slice(0, LONGEST_VALUE).alias("value"),
    )


def _broken_rules(batch: pl.DataFrame) -> pl.DataFrame:
    """Return one row per reason: `file`, `line`, `column`, `rule`, `value`."""
    each = batch.filter(pl.col("reasons").list.len() > 0).explode("reasons")
    reason = pl.col("reasons").struct
    return each.select(
        pl.col("_file").alias("file"),
        pl.col("_line").alias("line"),
        *(reason.field(name) for name in ("column", "rule", "value")),
    )
