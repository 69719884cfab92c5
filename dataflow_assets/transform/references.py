"""References: whether a value is found in another table.

What belongs here: holding the values of the other table, looking values up in them, and which types
can be compared. What does not: where the other table is (`builders.references`), and finding the
rows in bounded memory where its values are too many to hold (`io.absent`).
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from dataflow_assets.errors import DeclarationError
from dataflow_assets.transform.types import polars_type

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dataflow_assets.declaration.contract import Contract
    from dataflow_assets.declaration.rules import References

WHOLE = ("int", "uint")
ROW = "_row"


def check_types(rule: str, declared: References, own: Contract, other: Mapping[str, str]) -> None:
    """Refuse a reference to columns that are not there, or whose values are never equal.

    Args:
        rule: The rule's name.
        declared: What it says.
        own: The contract that it belongs to.
        other: The types of the other table's columns, by name.

    Raises:
        DeclarationError: Naming the columns and their types.
    """
    table = "/".join(declared.asset)
    for name, target in zip(declared.columns, declared.target, strict=True):
        if target not in other:
            raise DeclarationError(
                f"{table} has no column {target!r}.",
                mend=f"Columns there are {', '.join(other)}; name them under to.",
                culprit=f"rule {rule}",
            ).within("contract", "rules", rule, "references", "to" if declared.to else "columns")
        kinds = (own.columns[name].type, other[target])
        if not _comparable(*kinds):
            raise DeclarationError(
                f"{name} is {kinds[0]}, but {target} of {table} is {kinds[1]}.",
                mend="Declare both alike: values of these types are never compared.",
                culprit=f"rule {rule}",
            ).within("contract", "rules", rule, "references", "columns")


def _comparable(own: str, other: str) -> bool:
    families = (WHOLE, ("decimal",))
    return own == other or any(
        own.startswith(family) and other.startswith(family) for family in families
    )


def as_own(table: pl.LazyFrame, declared: References, contract: Contract) -> pl.LazyFrame:
    """Return the values of another table, as the columns that refer to them have them.

    Args:
        table: The other table.
        declared: Which columns refer to which.
        contract: The types of those that refer.

    Returns:
        The columns of `declared.columns`, of their types, without rows that lack a value, or whose
        value that type cannot hold: nothing is equal to them.
    """
    pairs = zip(declared.columns, declared.target, strict=True)
    values = [
        _exactly(pl.col(target), polars_type(contract.columns[name].type)).alias(name)
        for name, target in pairs
    ]
    return table.select(values).drop_nulls()


def _exactly(values: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    def converted(series: pl.Series) -> pl.Series:
        if series.dtype == dtype:
            return series
        there = series.cast(dtype, strict=False)
        same = (there.cast(series.dtype, strict=False) == series).fill_null(value=False)
        return there.zip_with(same, there.clear(len(there)))

    return values.map_batches(converted, return_dtype=dtype, is_elementwise=True)


class KnownValues:
    """The values of another table, held in memory, and whether others are among them.

    Values are looked up by their hash, and then compared themselves.

    Args:
        values: One column for each that refers, none of them null.
    """

    def __init__(self, values: pl.DataFrame) -> None:
        distinct = values.unique()
        self._names = distinct.columns
        for seed in count():
            hashes = _hash_of(distinct, seed)
            if hashes.n_unique() == len(hashes):
                break
        self._seed = seed
        order = hashes.arg_sort()
        self._hashes = hashes.gather(order).to_numpy()
        self._values = distinct.select(pl.all().gather(order))

    def absent(self, values: Sequence[pl.Expr]) -> pl.Expr:
        """Whether values are not there, row by row, never null; false where one is null."""
        return pl.map_batches(values, self._absent, return_dtype=pl.Boolean, is_elementwise=True)

    def _absent(self, values: Sequence[pl.Series]) -> pl.Series:
        sought = pl.DataFrame(
            [one.alias(name) for one, name in zip(values, self._names, strict=True)]
        )
        complete = sought.select(pl.all_horizontal(pl.all().is_not_null())).to_series()
        if not len(self._hashes):
            return complete
        hashes = _hash_of(sought, self._seed).to_numpy()
        places = np.searchsorted(self._hashes, hashes).clip(max=len(self._hashes) - 1)
        found = pl.Series(self._hashes[places] == hashes)
        for name in self._names:
            found &= (self._values[name].gather(places) == sought[name]).fill_null(value=False)
        return complete & ~found


class AbsentRows:
    """Row numbers whose values were found to be absent before.

    Args:
        flags: By row number, whether it is absent; none if no row is.
    """

    def __init__(self, flags: np.ndarray | None) -> None:
        self._flags = flags

    def absent(self, values: Sequence[pl.Expr]) -> pl.Expr:  # noqa: ARG002 - as of a `Lookup`
        """Whether values are not there, row by row, as was found."""
        return pl.lit(value=False) if self._flags is None else flagged(self._flags, pl.col(ROW))


def flagged(flags: np.ndarray, numbers: pl.Expr) -> pl.Expr:
    """Look up the flag of each row number.

    Where the outcome does not depend on a row's flag, Polars may hand over null for its number.
    """
    return numbers.map_batches(
        lambda rows: pl.Series(rows.name, flags[rows.fill_null(0).to_numpy()]),
        return_dtype=pl.Boolean,
        is_elementwise=True,
    )


def _hash_of(values: pl.DataFrame, seed: int) -> pl.Series:
    return values.select(pl.struct(pl.all()).hash(seed)).to_series()
