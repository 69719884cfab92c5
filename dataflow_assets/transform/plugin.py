"""Transforms: what packages add to the cleaning of rows, column by column.

What belongs here: the plug-in's side, and the proof that a transform keeps to it. What does not:
finding plug-ins (`plugins`), and when a transform acts (`clean`).

A transform gives expressions over the typed columns of a contract. Each gives one value per row
from that row alone, so that no row can get lost, and a partition can be read in parts.
"""

from __future__ import annotations

from collections.abc import Mapping as AbstractMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from dataflow_assets.errors import DeclarationError, PluginError
from dataflow_assets.plugins import TRANSFORMS, load_plugin, plugin_stamp, read_parameters
from dataflow_assets.transform.expressions import POLARS_ERRORS
from dataflow_assets.transform.rules import contract_schema
from dataflow_assets.transform.types import declared_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic import BaseModel

    from dataflow_assets.declaration.contract import Contract, Transform

PROBES: tuple[int | None, ...] = (2, None, 1, 2, 3)
"""Whole numbers of which sample values of every type are made."""


@dataclass(frozen=True)
class TransformPlugin:
    """A transform; an entry point of the group ``dataflow_assets.transforms`` names one.

    Attributes:
        parameters: The model of what a declaration says beside `use`. Derive it from
            `dataflow_assets.declaration.base.Declared`, which refuses unknown words.
        expressions: Gives, for checked parameters and the typed columns, new values of some of
            these columns: each from its row alone, and of the column's type.
    """

    parameters: type[BaseModel]
    expressions: Callable[[Any, pl.Schema], Mapping[str, pl.Expr]]


@dataclass(frozen=True)
class Step:
    """One transform of a contract, ready to be applied.

    Attributes:
        expressions: The new values, by column.
        reads: The columns that it looks at.
    """

    expressions: tuple[pl.Expr, ...]
    reads: tuple[str, ...]

    @property
    def writes(self) -> tuple[str, ...]:
        """The columns that get new values."""
        return tuple(one.meta.output_name() for one in self.expressions)


def read_transforms(contract: Contract) -> tuple[Step, ...]:
    """Return the transforms of a contract, in their order.

    Raises:
        DeclarationError: A transform is not there, or its parameters do not fit.
        PluginError: Its package cannot be imported, or it does not keep to what a transform is.
    """
    return tuple(_step(contract, number) for number in range(len(contract.transforms)))


def transform_stamps(contract: Contract) -> list[tuple[str, ...]]:
    """Return name, package and version of each transform of a contract, importing none."""
    return [plugin_stamp(TRANSFORMS, one.use) for one in contract.transforms]


def _step(contract: Contract, number: int) -> Step:
    declared = contract.transforms[number]
    try:
        plugin = load_plugin(TRANSFORMS, declared.use, TransformPlugin)
        parameters = read_parameters(plugin.parameters, declared.parameters)
        return _checked(declared, plugin, parameters, contract_schema(contract))
    except DeclarationError as error:
        error.within("contract", "transforms", str(number))
        raise


def _checked(
    declared: Transform, plugin: TransformPlugin, parameters: BaseModel, schema: pl.Schema
) -> Step:
    """Return what a transform gives, once it is proven to keep to what a transform is."""
    try:
        given = plugin.expressions(parameters, schema)
    except (LookupError, ValueError, TypeError, AttributeError, *POLARS_ERRORS) as error:
        raise _faulty(declared, f"fails: {type(error).__name__}: {error}") from error
    if not isinstance(given, AbstractMapping):
        raise _faulty(declared, "gives no mapping of columns to expressions")
    for name, expression in given.items():
        if name not in schema:
            raise DeclarationError(
                f"{declared.use} gives the column {name!r}, which the contract does not name.",
                mend=f"Add it to the contract's columns, which are {', '.join(schema)}.",
                culprit=name,
            )
        problem = _problem(expression, schema, schema[name])
        if problem is not None:
            raise _faulty(declared, f"gives for {name!r} {problem}")
    named = tuple(expression.alias(name) for name, expression in given.items())
    reads = dict.fromkeys(root for one in named for root in one.meta.root_names())
    return Step(named, tuple(reads))


def _problem(expression: Any, schema: pl.Schema, wanted: pl.DataType) -> str | None:  # noqa: ANN401
    """Return what is wrong with an expression, tried on a few rows that no data can be without."""
    if not isinstance(expression, pl.Expr):
        return f"no expression, but {type(expression).__name__}"
    nothing = pl.DataFrame({name: [None] for name in schema}, schema=schema)
    try:
        found = nothing.lazy().select(value=expression).collect().schema["value"]
    except POLARS_ERRORS as error:
        return f"what cannot be: {str(error).splitlines()[0]}"
    if found != wanted:
        return f"{declared_name(found)}, but the contract declares {declared_name(wanted)}"
    return None if _is_row_by_row(expression, schema) else "what depends on other rows"


def _is_row_by_row(expression: pl.Expr, schema: pl.Schema) -> bool:
    """Whether rows alone give what they give together; true where it cannot be tried.

    Polars' own `meta.is_row_separable` knows no functions in Python, and overlooks `x - x.mean()`.
    """
    rows = pl.DataFrame([_samples(name, dtype) for name, dtype in schema.items()]).lazy()
    try:
        together = rows.with_columns(value=expression).collect()
        alone = [rows.slice(n, 1).with_columns(value=expression) for n in range(len(PROBES))]
        return together.equals(pl.concat(alone).collect())
    except pl.exceptions.ShapeError:
        return False
    except POLARS_ERRORS:
        return True  # other values may do what these cannot


def _samples(name: str, dtype: pl.DataType) -> pl.Series:
    numbers = pl.Series(name, PROBES, dtype=pl.Int64)
    if dtype.is_temporal():
        return numbers.cast(pl.Datetime("us")).cast(dtype)
    return numbers.cast(dtype)


def _faulty(declared: Transform, what: str) -> PluginError:
    _, package = plugin_stamp(TRANSFORMS, declared.use)
    return PluginError(
        f"the transform {declared.use!r} of the package {package} {what}.",
        mend=f"Correct its parameters, or have {package} mended.",
        culprit=declared.use,
    )
