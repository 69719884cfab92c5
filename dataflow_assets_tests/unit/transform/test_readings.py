"""Whatever a column says and a text holds, a row has one fate, in memory and streamed."""

from __future__ import annotations

from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.declaration.contract import Contract
from dataflow_assets.transform.clean import CleaningPlan
from dataflow_assets_tests.unit.transform.raw_rows import raw_rows

COLUMNS: list[dict[str, Any]] = [
    {"type": "float64", "decimal_mark": ",", "thousands_mark": "."},
    {"type": "int32", "thousands_mark": " ", "negatives": "parentheses", "default": 7},
    {"type": "decimal(9, 2)", "currency": "$", "units": {"k": 1000, "": 1}},
    {"type": "float64", "units": {"%": 0.01}, "clean": [{"replace": {"x": "%"}}]},
    {"type": "timestamp", "timezone_from": "zone", "ambiguous": "later", "skipped": "earlier"},
    {"type": "timestamp", "timezone": "Europe/Berlin", "formats": ["%d.%m.%Y", "%Y-%m-%d %H:%M"]},
    {"type": "boolean", "formats": ["ja/nein", "x/-"], "ignore_case": True, "default": False},
    {"type": "date", "clean": [{"split": " ", "part": 1}]},
    {"clean": ["strip_html", "lower", {"map": {"ja": "yes", "nein": "-"}}], "default": "n"},
    {"clean": [{"map": {"x": "5 k"}, "others": "keep"}, "title"], "null_tokens": ["JA"]},
    {"clean": [{"split": ".", "part": -1}, "nfkc", "collapse"], "required": True, "trim": False},
]
ZONES = ["Europe/Berlin", "America/New_York", "Mars", "", None]
TEXTS = [None, "", " ", "-", "x", "ja", "JA ", "nein", "5", " 5 k", "$5", "(5)", "1.234,5", "1 234",
         "12.5 %", "7x", "\0", "<b>ja</b>", "2024-03-31 02:30", "2024-10-27 02:30", "31.03.2024",
         "2024-10-27 02:30Z", "\u00a0", "a &amp; b"]  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(
    columns=st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=4),
    rows=st.lists(
        st.tuples(st.sampled_from(ZONES), *[st.sampled_from(TEXTS)] * 4), min_size=1, max_size=8
    ),
    missing=st.booleans(),
)
def test_every_row_has_one_fate(
    columns: list[dict[str, Any]], rows: list[tuple[str | None, ...]], *, missing: bool
) -> None:
    declared = {"zone": {}, **{f"c{number}": column for number, column in enumerate(columns)}}
    raw = {name: [row[place] for row in rows] for place, name in enumerate(declared)}
    if missing:
        del raw["zone"]
    contract = Contract.model_validate({"columns": declared})
    plan = CleaningPlan(contract, list(raw))
    lazy = raw_rows(raw)
    streamed, at_once = plan.clean(lazy), plan.clean_in_memory(lazy.collect())
    good = at_once.good.collect()
    found = at_once.findings.sort("_row").collect()
    assert streamed.good.collect(engine="streaming").sort("_line").equals(good.sort("_line"))
    assert streamed.findings.collect(engine="streaming").sort("_row").equals(found)
    assert good.height + found.height == len(rows)
    assert found.filter(pl.col("reasons").list.len() == 0).is_empty()
    _check_alone(plan, raw, good)


def _check_alone(plan: CleaningPlan, raw: dict[str, list[str | None]], good: pl.DataFrame) -> None:
    """Check that each row alone gives what it gives among others."""
    for number in range(len(next(iter(raw.values())))):
        one = raw_rows({name: [texts[number]] for name, texts in raw.items()})
        alone = plan.clean_in_memory(one.collect()).good.collect().drop("_line")
        together = good.filter(pl.col("_line") == number + 2).drop("_line")
        assert alone.equals(together)
