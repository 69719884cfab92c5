"""The quarantine table: rows that break the contract, with their reasons, as they were received."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.transform.findings import DISCARDED, QUARANTINED, barring

if TYPE_CHECKING:
    from dataflow_assets.declaration.contract import Contract
    from dataflow_assets.transform.rules import RuleId

OPEN = "open"


def needed_rules(contract: Contract, rules: tuple[RuleId, ...]) -> frozenset[str]:
    """Return the ids of the rules that nobody can release a row from.

    A row that could not be split has no values, no warehouse can hold a NUL byte, and no row can be
    told from others without its key.

    Args:
        contract: What the source promises.
        rules: All its rules, as `contract_rules` gives them.
    """
    return frozenset(
        rule.id
        for rule in rules
        if rule.kind in {"reject", "nul_byte"}
        or (rule.column in contract.key and rule.kind in {"type", "required"})
    )


def quarantine_rows(findings: pl.LazyFrame, partition: str) -> pl.LazyFrame:
    """Return the quarantined rows among findings, in the shape in which they are published.

    Args:
        findings: As `CleaningPlan.clean` gives them; those that a person discarded are marked.
        partition: The partition key.

    Returns:
        `_partition`, `_file`, `_version` (string), `_line` (int64), `state` (open, or discarded by
        a person), `rules` (list of the ids of rules that keep the row out), `reasons` (list of
        `column`, `rule`, `severity`, `value`, `message`) and `row` (JSON, or text that could not be
        split).
    """
    outcome = pl.col("outcome")
    return findings.filter(outcome.is_in([QUARANTINED, DISCARDED])).select(
        pl.lit(partition).alias("_partition"),
        "_file",
        "_version",
        "_line",
        state=pl.when(outcome == DISCARDED).then(pl.lit(DISCARDED)).otherwise(pl.lit(OPEN)),
        rules=barring(pl.col("reasons")),
        reasons="reasons",
        row="row",
    )
