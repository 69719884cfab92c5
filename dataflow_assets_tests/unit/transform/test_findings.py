"""Counting findings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.declaration.contract import Contract
from dataflow_assets.transform import findings as module
from dataflow_assets.transform.clean import CleaningPlan
from dataflow_assets.transform.findings import Broken, Finding, Tally, count_findings
from dataflow_assets_tests.unit.transform.raw_rows import raw_rows

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def findings_of(texts: list[str]) -> pl.LazyFrame:
    contract = Contract.model_validate(
        {
            "columns": {"n": {"type": "int64", "max": 5}},
            "where": "n <> 0",
            "rules": {"even": {"sql": "n % 2 = 0", "severity": "warn"}},
        }
    )
    return CleaningPlan(contract, ["n"]).clean(raw_rows({"n": texts})).findings


def test_outcomes_rules_and_samples_are_counted() -> None:
    tally = count_findings(findings_of(["1", "2", "x", "0", "7", "y", ""]))
    assert tally == Tally(
        quarantined=3,
        filtered=2,
        duplicate=0,
        warned=1,
        rules={
            "even": Broken(
                2,
                (
                    Finding("a.csv", 2, None, "even", '{"n":"1"}'),
                    Finding("a.csv", 6, None, "even", '{"n":"7"}'),
                ),
            ),
            "n__type": Broken(
                2,
                (
                    Finding("a.csv", 4, "n", "n__type", "x"),
                    Finding("a.csv", 7, "n", "n__type", "y"),
                ),
            ),
            "n__range": Broken(1, (Finding("a.csv", 6, "n", "n__range", "7"),)),
        },
        warning=frozenset({"even"}),
    )
    assert tally.most_frequent() == "n__type (2), n__range (1)"  # `even` keeps no row out
    assert tally.rules["n__type"].sample_text() == "a.csv line 4: 'x'; a.csv line 7: 'y'"


def test_many_batches_count_as_one_and_keep_the_first_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 7)
    path = tmp_path / "findings.parquet"
    findings_of(["x"] * 100 + ["9"] * 3).sink_parquet(path, row_group_size=11)
    tally = count_findings(pl.scan_parquet(path))
    assert tally.quarantined == 103
    assert tally.rules["n__type"].rows == 100
    assert [one.line for one in tally.rules["n__type"].samples] == [2, 3, 4, 5, 6]
    assert [one.line for one in tally.rules["n__range"].samples] == [102, 103, 104]


def test_nothing_found_is_nothing_counted() -> None:
    assert count_findings(findings_of(["2", "4"])) == Tally()
