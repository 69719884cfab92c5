"""The quarantine table: rows that break the contract, with their reasons, as they were received."""

from __future__ import annotations

import polars as pl


def quarantine_rows(findings: pl.LazyFrame) -> pl.LazyFrame:
    """Return the quarantined rows among findings, in the shape in which they are published.

    Args:
        findings: As `CleaningPlan.clean` gives them.

    Returns:
        `_file`, `_version` (string), `_line` (int64), `rules` (list of rule ids), `reasons` (list
        of `column`, `rule`, `severity`, `value`) and `row` (JSON, or text that could not be split).
    """
    return findings.filter(pl.col("outcome") == "quarantined").select(
        "_file",
        "_version",
        "_line",
        rules=pl.col("reasons").list.eval(pl.element().struct.field("rule")),
        reasons="reasons",
        row="row",
    )
