"""SQL of a declaration: what is computed is what a person would compute."""

from __future__ import annotations

from contextlib import suppress

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.errors import ExpressionError
from dataflow_assets.transform.expressions import read_condition, read_sql

SCHEMA = pl.Schema({"tiny": pl.Int8(), "small": pl.UInt8(), "big": pl.Int64(), "huge": pl.UInt64()})
BOUNDS = {"tiny": (-128, 127), "small": (0, 255), "big": (-(2**63), 2**63 - 1), "huge": (0, 2**64)}
OPERANDS = st.sampled_from([*SCHEMA, "2", "10000000000", "0"])


def formula(operands: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    signs = st.sampled_from("+-*")
    return st.builds(lambda one, sign, other: f"({one} {sign} {other})", operands, signs, operands)


FORMULAS = st.recursive(formula(OPERANDS), formula, max_leaves=6)
ROWS = st.fixed_dictionaries(
    {name: st.integers(low, high - (name == "huge")) for name, (low, high) in BOUNDS.items()}
)


def computed(sql: str, row: dict[str, int]) -> int:
    expression, dtype = read_sql(sql, SCHEMA, what="it")
    assert dtype.is_integer()
    value = pl.DataFrame([row], schema=SCHEMA).select(expression).item()
    assert isinstance(value, int)
    return value


@settings(max_examples=150, deadline=None)
@given(FORMULAS, ROWS)
def test_whole_numbers_are_computed_exactly_or_not_at_all(sql: str, row: dict[str, int]) -> None:
    expected = eval(sql, {}, row)  # noqa: S307 - arithmetic that this test has written
    with suppress(pl.exceptions.InvalidOperationError, ExpressionError):  # too big on the way
        assert computed(sql, row) == expected


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("tiny * 2", 200),
        ("-small", -1),
        ("small - tiny", -99),
        ("abs(small - tiny)", 99),
        ("big * 2", 2**62),
        ("coalesce(tiny * 3, 0) + 1", 301),
        ("case when small - tiny < 0 then tiny * tiny else 0 end", 10_000),
    ],
)
def test_a_small_type_is_no_bound(sql: str, expected: int) -> None:
    assert computed(sql, {"tiny": 100, "small": 1, "big": 2**61, "huge": 0}) == expected


def test_what_is_too_big_fails_where_it_is_used_and_not_where_it_is_compared() -> None:
    row = pl.DataFrame([{"tiny": 1, "small": 1, "big": 5_000_000_000, "huge": 1}], schema=SCHEMA)
    product, _ = read_sql("big * 10000000000", SCHEMA, what="it")
    with pytest.raises(pl.exceptions.InvalidOperationError):
        row.select(product)
    guarded, _ = read_sql("try_cast(big * 10000000000 as bigint)", SCHEMA, what="it")
    assert row.select(guarded).item() is None
    condition = read_condition("big * 10000000000 > 0 and small - 2 < 0", SCHEMA, what="it")
    assert row.select(condition).item()


def test_other_arithmetic_is_as_it_was() -> None:
    schema = pl.Schema({"day": pl.Date(), "share": pl.Float64(), "price": pl.Decimal(10, 2)})
    for sql in ("day + interval '1 day'", "share * 2", "price * 3", "share / 2 - 1"):
        expression, _ = read_sql(sql, schema, what="it")
        assert expression.meta.eq(pl.sql_expr(sql))
