"""Rules across the rows of a partition, against plain Python, in memory and on disk."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.declaration.contract import Contract
from dataflow_assets.errors import DeclarationError, StorageError
from dataflow_assets.io import breaks, duplicates
from dataflow_assets.io.breaks import find_breaks, find_gaps
from dataflow_assets.io.duplicates import find_losers
from dataflow_assets.transform.clean import CleaningPlan
from dataflow_assets.transform.rules import check_contract
from dataflow_assets_tests.unit.transform.raw_rows import raw_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dataflow_assets.transform.findings import Broken

NAMES = ["id", "group", "n", "note"]
RULES: dict[str, Any] = {
    "alone": {"unique": ["group", "n"]},
    "spared": {"unique": {"columns": "n", "spare": "first"}, "severity": "warn"},
    "rising": {"monotonic": {"column": "n", "per": "group"}},
    "strict": {"monotonic": {"column": "n", "order": "decreasing"}, "severity": "warn"},
    "dense": {"no_gaps": {"column": "n", "step": 2, "per": ["group"]}},
    "whole": {"no_gaps": {"column": "n", "step": 1}},
}
Row = tuple[str, str | None, str | None, str]


def contract(kind: str = "int64", rules: dict[str, Any] | None = None) -> Contract:
    return Contract.model_validate(
        {
            "key": ["id"],
            "columns": {"id": "int64", "group": "string", "n": {"type": kind}, "note": "string"},
            "where": "note <> 'unwanted'",
            "rules": {"note_fits": {"sql": "note <> 'bad'"}, **(RULES if rules is None else rules)},
        }
    )


def fates(
    rows: Sequence[Row], declared: Contract, *, spill: bool = False
) -> tuple[dict[int, str], dict[int, list[str]], dict[str, Broken]]:
    """Return what became of each row, the rules that it breaks, and the gaps."""
    frame = raw_rows({name: [row[n] for row in rows] for n, name in enumerate(NAMES)})
    plan = CleaningPlan(declared, NAMES)
    with TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        if spill:
            patch.setattr(breaks, "SMALL", 0)
            patch.setattr(duplicates, "SMALL", 0)
            patch.setattr(duplicates, "HASH_BYTES", 1 << 40)
        losers = find_losers(frame, plan, len(rows), folder, 128)
        found = find_breaks(frame, plan, losers, len(rows), folder, 128)
        parts = plan.clean(frame, losers, found)
        if not spill:
            parts = plan.clean_in_memory(frame.collect(), losers, found)
        good, findings = parts.good.collect(), parts.findings.collect()
        good.write_parquet(folder / "cleaned.parquet")
        gaps = find_gaps(folder / "cleaned.parquet", declared, good.height, folder, 128)
        assert list(folder.iterdir()) == [folder / "cleaned.parquet"]
    became = {line - 2: "good" for line in good["_line"]}
    reasons = {}
    for row in findings.iter_rows(named=True):
        became[row["_row"]] = row["outcome"]
        reasons[row["_row"]] = sorted(reason["rule"] for reason in row["reasons"])
    assert len(good) + findings.filter(pl.col("outcome") != "warned").height == len(rows)
    return became, reasons, gaps


def expected(rows: Sequence[Row]) -> tuple[dict[int, str], dict[int, list[str]], dict[str, int]]:
    """Say the same in plain Python."""
    became: dict[int, str] = {}
    reasons: dict[int, list[str]] = {}
    winner: dict[str, int] = {}
    for number, (key, _, text, note) in enumerate(rows):
        if note == "bad" or (text is not None and not text.lstrip("-").isdigit()):
            became[number] = "quarantined"
            reasons[number] = ["note_fits"] * (note == "bad")
            reasons[number] += ["n__type"] * (text is not None and not text.lstrip("-").isdigit())
        elif note == "unwanted":
            became[number] = "filtered"
        else:
            if key in winner:
                became[winner[key]] = "duplicate"
            winner[key] = number
    left = sorted(winner.values())
    value = {number: int(text) for number in left if (text := rows[number][2]) is not None}
    valued = [number for number in left if number in value]
    pairs = Counter((rows[number][1], value[number]) for number in valued)
    seen: set[int | None] = set()
    best: dict[str | None, int] = {}
    least: int | None = None
    for number in valued:
        n, group = value[number], rows[number][1]
        broken: list[str] = []
        broken += ["alone"] * (group is not None and pairs[group, n] > 1)
        broken += ["spared"] * (n in seen)
        broken += ["rising"] * (n < best.get(group, n))
        broken += ["strict"] * (least is not None and n >= least)
        seen.add(n)
        best[group] = max(best.get(group, n), n)
        least = n if least is None else min(least, n)
        if broken:
            reasons[number] = sorted(broken)
            became[number] = "quarantined" if {"alone", "rising"} & {*broken} else "warned"
    good = [n for n in left if became.get(n) in (None, "warned")]
    became |= {number: "good" for number in good if number not in became}
    gaps = {"dense": 0, "whole": 0}
    ordered = sorted(value[n] for n in good if n in value)
    gaps["whole"] = sum(b - a > 1 for a, b in pairwise(ordered))
    for group in {rows[n][1] for n in good}:
        own = sorted(value[n] for n in good if rows[n][1] == group and n in value)
        gaps["dense"] += sum(b - a > 2 for a, b in pairwise(own))
    return became, reasons, {name: rows for name, rows in gaps.items() if rows}


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 9).map(str),
            st.sampled_from(["a", "b", None]),
            st.one_of(st.integers(-4, 12).map(str), st.sampled_from(["x", None])),
            st.sampled_from(["", "", "", "fine", "bad", "unwanted"]),
        ),
        min_size=1,
        max_size=14,
    )
)
def test_each_row_meets_the_fate_that_plain_python_gives_it(rows: list[Row]) -> None:
    rows = [(key, group, n, note or "fine") for key, group, n, note in rows]
    became, reasons, gaps = expected(rows)
    for spill in (False, True):
        found, why, between = fates(rows, contract(), spill=spill)
        assert found == became
        assert {number: rules for number, rules in why.items() if rules} == {
            number: sorted(rules) for number, rules in reasons.items() if rules
        }
        assert {name: one.rows for name, one in between.items()} == gaps


@pytest.mark.parametrize(
    ("kind", "values", "step", "ends"),
    [
        ("float64", ["0.1", "0.2", "0.3", "0.5"], 0.1, ("0.3", "0.5")),
        ("decimal(6,2)", ["1.25", "1.50", "1.76"], 0.25, ("1.50", "1.76")),
        ("decimal(38,0)", ["9" * 37, "-" + "9" * 37], 1, ("-" + "9" * 37, "9" * 37)),
        ("date", ["2024-02-28", "2024-02-29", "2024-03-02"], "1d", ("2024-02-29", "2024-03-02")),
        (
            "timestamp",
            ["2024-01-01T00:00Z", "2024-01-01T01:00Z", "2024-01-01T02:00:00.000001Z"],
            "1h",
            ("2024-01-01 01:00:00+00:00", "2024-01-01 02:00:00.000001+00:00"),
        ),
        ("int64", [str(-(2**63)), str(2**63 - 1)], 5, (str(-(2**63)), str(2**63 - 1))),
        ("uint64", ["3", str(2**64 - 1), "2"], 5, ("3", str(2**64 - 1))),
    ],
)
def test_a_gap_is_told_with_its_ends(
    kind: str, values: list[str], step: object, ends: tuple[str, str]
) -> None:
    declared = contract(kind, {"dense": {"no_gaps": {"column": "n", "step": step}}})
    rows: list[Row] = [(str(n), "a", value, "fine") for n, value in enumerate(values)]
    for spill in (False, True):
        _, _, gaps = fates(rows, declared, spill=spill)
        (sample,) = gaps["dense"].samples
        assert json.loads(str(sample.value)) == {"from": ends[0], "to": ends[1]}
        assert (sample.file, sample.line, gaps["dense"].rows) == (
            "a.csv",
            2 + values.index(ends[1] if kind != "timestamp" else values[-1]),
            1,
        )


@pytest.mark.parametrize("kind", ["time", "timestamp", "date", "decimal(5,1)", "float32", "uint8"])
def test_the_order_of_every_ordered_type(kind: str) -> None:
    texts = {
        "time": ["10:00", "09:59", "10:01"],
        "timestamp": ["2024-01-01T00:00Z", "2023-12-31T00:00Z", "2024-01-02T00:00Z"],
        "date": ["2024-01-02", "2024-01-01", "2024-01-03"],
    }.get(kind, ["5", "4", "6"])
    rows: list[Row] = [(str(n), "a", text, "fine") for n, text in enumerate(texts)]
    for per in ([], ["group"]):
        declared = contract(kind, {"rising": {"monotonic": {"column": "n", "per": per}}})
        for spill in (False, True):
            found, why, _ = fates(rows, declared, spill=spill)
            assert found == {0: "good", 1: "quarantined", 2: "good"}
            assert why == {1: ["rising"]}


@pytest.mark.parametrize(
    ("kind", "rule", "says", "place"),
    [
        ("string", {"monotonic": "n"}, "no such order", "monotonic"),
        ("boolean", {"no_gaps": {"column": "n", "step": 1}}, "no such order", "no_gaps"),
        ("time", {"no_gaps": {"column": "n", "step": "1h"}}, "no such order", "no_gaps"),
        ("int64", {"no_gaps": {"column": "n", "step": "1h"}}, "no difference", "no_gaps"),
        ("timestamp", {"no_gaps": {"column": "n", "step": 1}}, "no difference", "no_gaps"),
        ("date", {"no_gaps": {"column": "n", "step": "1h"}}, "whole number of days", "no_gaps"),
    ],
)
def test_columns_that_cannot_be_compared_are_refused(
    kind: str, rule: dict[str, Any], says: str, place: str
) -> None:
    with pytest.raises(DeclarationError, match=says) as raised:
        check_contract(contract(kind, {"wrong": rule}))
    assert raised.value.place[:4] == ("contract", "rules", "wrong", place)


def test_want_of_room_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object) -> duckdb.DuckDBPyConnection:
        raise duckdb.OutOfMemoryException("no room")

    monkeypatch.setattr(breaks, "SMALL", 0)
    monkeypatch.setattr(breaks, "spilling", full)
    declared = contract(rules={"rising": {"monotonic": {"column": "n", "per": "group"}}})
    frame = raw_rows({"id": ["1", "2"], "group": ["a", "a"], "n": ["2", "1"], "note": ["f", "f"]})
    with pytest.raises(StorageError, match=r"rising.*MEMORY_LIMIT_MB"):
        find_breaks(frame, CleaningPlan(declared, NAMES), None, 2, tmp_path, 128)
    assert not list(tmp_path.iterdir())
