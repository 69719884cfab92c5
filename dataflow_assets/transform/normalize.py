"""The mapping from a source's cleaned columns to an entity's.

What belongs here: the expressions of one source in one entity, their types and their lineage. What
does not: which source wins where two report one key, and writing anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import polars as pl

from dataflow_assets.errors import ExpressionError
from dataflow_assets.transform.clean import among
from dataflow_assets.transform.expressions import columns_of, read_sql
from dataflow_assets.transform.references import flagged
from dataflow_assets.transform.types import declared_name, polars_type

if TYPE_CHECKING:
    import numpy as np

    from dataflow_assets.declaration.entity import EntityDeclaration

WHOLE_BITS: dict[pl.DataType, int] = {
    pl.Int8(): 7,
    pl.Int16(): 15,
    pl.Int32(): 31,
    pl.Int64(): 63,
    pl.UInt8(): 8,
    pl.UInt16(): 16,
    pl.UInt32(): 32,
    pl.UInt64(): 64,
    pl.Float32(): 24,
    pl.Float64(): 53,
}
"""How many bits of a whole number, besides its sign, a type holds exactly."""


SQL_NAMES = {
    "string": "varchar",
    "int8": "tinyint",
    "int16": "smallint",
    "int32": "int",
    "int64": "bigint",
    "uint8": "utinyint",
    "uint16": "usmallint",
    "uint32": "uinteger",
    "uint64": "ubigint",
    "float32": "real",
    "float64": "double",
    "timestamp": "timestamptz",
}
"""What types are called in a cast, where that differs from their declared names."""


def entity_schema(entity: EntityDeclaration) -> pl.Schema:
    """Return the declared columns of an entity, in its order."""
    return pl.Schema({name: polars_type(c.type) for name, c in entity.columns.items()})


class Mapping:
    """How one source's cleaned rows become rows of an entity.

    Args:
        entity: The entity, which maps the source.
        source: The source's name.
        schema: The columns that the source's contract promises, with their types.

    Attributes:
        lineage: Per mapped column of the entity, the source's columns that it is made of.

    Raises:
        ExpressionError: An expression does not parse, names an unknown column, looks at other
            rows, or does not give the declared type.
    """

    def __init__(self, entity: EntityDeclaration, source: str, schema: pl.Schema) -> None:
        self._source = source
        self._columns: list[pl.Expr] = []
        self.lineage: dict[str, tuple[str, ...]] = {}
        for name, dtype in entity_schema(entity).items():
            sql = entity.mappings[source].get(name)
            value = pl.lit(None, dtype)
            if sql is not None:
                try:
                    value = _column(sql, schema, dtype, f"{entity.name}.{name} from {source}")
                except ExpressionError as error:
                    error.within("from", source, name)
                    raise
                self.lineage[name] = columns_of(value)
            self._columns.append(value.alias(name))

    def apply(self, cleaned: pl.LazyFrame) -> pl.LazyFrame:
        """Map cleaned rows, one to one.

        Args:
            cleaned: The source's promised columns, `_version` and `_line`.

        Returns:
            The entity's columns in their order and type (null where nothing is mapped), `_source`
            and `_raw_ref`, which is ``<version>:<line>``.
        """
        return cleaned.select(
            *self._columns,
            pl.lit(self._source).alias("_source"),
            pl.format("{}:{}", "_version", "_line").alias("_raw_ref"),
        )


class EntityRows:
    """Rows mapped to an entity, those of preferred sources first: which of one key is kept.

    Args:
        entity: The entity.

    Attributes:
        key: The columns that together identify a row.
        keep: The first row of a key wins.
    """

    def __init__(self, entity: EntityDeclaration) -> None:
        self.key = entity.key
        self.keep: Literal["first"] = "first"
        parts = [pl.col(name) for name in entity.key]
        self._hash = parts[0].hash() if len(parts) == 1 else pl.struct(parts).hash()
        self._without_key = pl.any_horizontal(pl.col(name).is_null() for name in entity.needed)

    def key_hashes(self, mapped: pl.LazyFrame) -> pl.LazyFrame:
        """Return a 64-bit hash, `_hash`, of every row's key; equal keys have equal hashes."""
        return mapped.select(self._hash.alias("_hash"))

    def candidates(self, mapped: pl.LazyFrame, hashes: np.ndarray | None = None) -> pl.LazyFrame:
        """Return `_row` and the key of rows with one of the hashes, or of all rows."""
        rows = mapped if hashes is None else mapped.filter(among(self._hash, hashes))
        return rows.select("_row", *self.key)

    def count_without_key(self, mapped: pl.LazyFrame) -> int:
        """Return how many rows lack a value in a column that must have one, such as the key's."""
        return int(mapped.select(self._without_key.sum()).collect(engine="streaming").item())

    def winners(self, mapped: pl.LazyFrame, losers: np.ndarray | None) -> pl.LazyFrame:
        """Return the mapped rows, without `_row`, that do not lose against another of their key."""
        kept = mapped if losers is None else mapped.filter(~flagged(losers, pl.col("_row")))
        return kept.drop("_row")


def _column(sql: str, schema: pl.Schema, wanted: pl.DataType, what: str) -> pl.Expr:
    expression, given = read_sql(sql, schema, what=what)
    if given == wanted:
        return expression
    if _widens(given, wanted) or (not columns_of(expression) and _holds(wanted, expression)):
        return expression.cast(wanted)
    known = {name: declared_name(dtype) for name, dtype in schema.items()}
    there = ", ".join(f"{name} ({known[name]})" for name in columns_of(expression))
    raise ExpressionError(
        f"{what}: {sql!r} gives {declared_name(given)}, but {declared_name(wanted)} is declared.",
        mend=f"Declare another type, or write cast(... as {_sql_name(wanted)})"
        f"{f'; columns are {there}' if there else ''}.",
        culprit=what,
    )


def _holds(wanted: pl.DataType, constant: pl.Expr) -> bool:
    """Whether a type holds a constant as it is written, such as 0.5 in a float64."""
    value = pl.select(value=constant)["value"]
    fitting = value.cast(wanted, strict=False)
    number = value.dtype.is_numeric() and wanted.is_numeric()
    return number and fitting.cast(value.dtype, strict=False).equals(value)


def _widens(given: pl.DataType, wanted: pl.DataType) -> bool:
    """Whether every value of one type is exactly a value of the other."""
    if given == pl.Null():
        return True
    if given.is_integer():
        return _integer_fits(given, wanted)
    if isinstance(given, pl.Decimal) and isinstance(wanted, pl.Decimal):
        more_digits = wanted.precision - wanted.scale >= given.precision - given.scale
        return bool(wanted.scale >= given.scale and more_digits)
    return given == pl.Float32() and wanted == pl.Float64()


def _integer_fits(given: pl.DataType, wanted: pl.DataType) -> bool:
    bits = WHOLE_BITS.get(given)
    if bits is None:
        return False
    if isinstance(wanted, pl.Decimal):
        return bool(wanted.precision - wanted.scale >= len(str(2**bits)))
    if wanted.is_unsigned_integer() and not given.is_unsigned_integer():
        return False
    return bits <= WHOLE_BITS.get(wanted, 0)


def _sql_name(dtype: pl.DataType) -> str:
    name = declared_name(dtype)
    return SQL_NAMES.get(name, name)
