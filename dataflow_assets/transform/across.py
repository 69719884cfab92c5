"""Rules across the rows of a partition: what they compare, and whether columns fit that.

What belongs here: which values such a rule looks at, and when they break it, as expressions. What
does not: finding the rows in bounded memory (`io.breaks`), and rules about one row (`rules`).
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.declaration.contract import ORDERED_TYPES
from dataflow_assets.declaration.reading import NUMBER_TYPES
from dataflow_assets.errors import DeclarationError
from dataflow_assets.transform.types import polars_type

if TYPE_CHECKING:
    from dataflow_assets.declaration.contract import Contract
    from dataflow_assets.declaration.rules import Monotonic, NoGaps, Rule

ROUNDING = 1e-9
"""By how much of a step a difference of floats may be larger than it: 0.3 - 0.2 is above 0.1."""
BEST = "_best"
"""The largest value (of a falling order, the smallest) of the rows before."""
BEFORE = "_before"
"""The neighbour below a value."""


def check_across(name: str, declared: Rule, contract: Contract) -> None:
    """Refuse a rule across rows whose columns cannot be compared so.

    Raises:
        DeclarationError: Naming the column and its type.
    """
    if declared.monotonic is not None:
        _check_type(name, "monotonic", declared.monotonic.column, ORDERED_TYPES, contract)
    if declared.no_gaps is not None:
        types = (*NUMBER_TYPES, "date", "timestamp")
        _check_type(name, "no_gaps", declared.no_gaps.column, types, contract)
        try:
            step_of(declared.no_gaps, contract)
        except DeclarationError as error:
            error.within("contract", "rules", name, "no_gaps", "step")
            raise


def _check_type(
    rule: str, word: str, column: str, types: tuple[str, ...], contract: Contract
) -> None:
    kind = contract.columns[column].type
    if not kind.startswith(types):
        raise DeclarationError(
            f"{word} looks at {column}, a {kind}, whose values have no such order.",
            mend=f"Declare the column as one of {', '.join(types)}, or name another.",
            culprit=f"rule {rule}",
        ).within("contract", "rules", rule, word)


def is_beyond(one: Monotonic, values: pl.Expr, best: pl.Expr) -> pl.Expr:
    """Whether values go the wrong way from the best of the rows before."""
    comparisons = {
        "increasing": values <= best,
        "not_decreasing": values < best,
        "decreasing": values >= best,
        "not_increasing": values > best,
    }
    return comparisons[one.order]


def rises(one: Monotonic) -> bool:
    """Whether the order of a column is upwards."""
    return one.order in ("increasing", "not_decreasing")


def best_so_far(one: Monotonic, values: pl.Expr) -> pl.Expr:
    """Return the best value up to each row, its own included, in the order received.

    A row that goes the wrong way is not the best: so those that go the right way are in order when
    the others are gone.
    """
    return values.cum_max() if rises(one) else values.cum_min()


def step_of(gaps: NoGaps, contract: Contract) -> int | float | Decimal | dt.timedelta:
    """Return the largest difference that is no gap.

    Raises:
        DeclarationError: The step is no difference of values of the column's type.
    """
    kind, step = contract.columns[gaps.column].type, gaps.step
    is_time = not kind.startswith(NUMBER_TYPES)
    if is_time != isinstance(step, dt.timedelta):
        wanted = "a duration, such as 1h or 1d" if is_time else "a number"
        raise DeclarationError(
            f"the step {step} is no difference of two {kind} values.",
            mend=f"Write {wanted}.",
            culprit=gaps.column,
        )
    if isinstance(step, dt.timedelta):
        if kind == "date" and step % dt.timedelta(days=1):
            raise DeclarationError(
                f"the step {step} is no whole number of days, as {gaps.column} is a date.",
                mend="Write a step in days, such as 1d.",
                culprit=gaps.column,
            )
        return step
    if kind.startswith("float"):
        return float(step) * (1 + ROUNDING)
    return Decimal(str(step))


def gap_above(gaps: NoGaps, contract: Contract) -> pl.Expr:
    """Whether a value lies further above its neighbour, `BEFORE`, than a step."""
    kind, step = contract.columns[gaps.column].type, step_of(gaps, contract)
    value, before = pl.col(gaps.column), pl.col(BEFORE)
    if isinstance(step, float | dt.timedelta):
        return (value - before) > step
    dtype = polars_type(kind)
    whole = step * 10**dtype.scale if isinstance(dtype, pl.Decimal) else step
    value, before = (one.to_physical().cast(pl.Int128) for one in (value, before))
    return (value - before) > int(whole)  # differences are whole, so that a fraction adds nothing
