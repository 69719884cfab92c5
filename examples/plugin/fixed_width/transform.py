"""The transform ``scale``: numbers in another unit."""

from __future__ import annotations

import polars as pl
from pydantic import Field

from dataflow_assets.declaration.base import ColumnName, Declared
from dataflow_assets.transform.plugin import TransformPlugin


class Scale(Declared):
    """What a declaration says beside ``use: scale``.

    Attributes:
        columns: Which columns of numbers.
        by: What they are multiplied by.
    """

    columns: tuple[ColumnName, ...] = Field(min_length=1)
    by: float = Field(gt=0)


def scaled(declared: Scale, schema: pl.Schema) -> dict[str, pl.Expr]:
    """Return each column times the factor, in the column's own type."""
    return {
        name: (pl.col(name) * declared.by).cast(schema.get(name, pl.Float64))
        for name in declared.columns
    }


SCALE = TransformPlugin(parameters=Scale, expressions=scaled)
