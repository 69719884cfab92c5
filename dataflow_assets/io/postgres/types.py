"""Polars types in Postgres: which type holds which, and how columns travel there exactly.

What belongs here: the one table of types, what widens to what, and the casts before a binary COPY.
What does not: sending anything.

A binary COPY trusts its sender: 8 bytes of a float are taken for 8 bytes of an integer without a
word. So nothing is sent of which `Wire` has not seen that both sides mean the same type.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pgpq
import polars as pl
import pyarrow as pa
from pgpq import encoders
from pgpq.schema import Jsonb

from dataflow_assets.errors import WarehouseSchemaError, WarehouseValueError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgpq import ArrowToPostgresBinaryEncoder
    from pgpq._pgpq import EncoderBuilder
    from polars.datatypes import DataTypeClass

TEXT = "text"
TYPES: dict[type[pl.DataType], str] = {
    pl.String: TEXT,
    pl.Enum: TEXT,
    pl.Categorical: TEXT,
    pl.Boolean: "boolean",
    pl.Int8: "smallint",
    pl.Int16: "smallint",
    pl.Int32: "integer",
    pl.Int64: "bigint",
    pl.UInt8: "smallint",
    pl.UInt16: "integer",
    pl.UInt32: "bigint",
    pl.UInt64: "numeric(20,0)",
    pl.Float32: "real",
    pl.Float64: "double precision",
    pl.Date: "date",
    pl.Time: "time without time zone",
    pl.Binary: "bytea",
    pl.List: "jsonb",
    pl.Array: "jsonb",
    pl.Struct: "jsonb",
}
"""As ``format_type`` writes them, so that they compare with what the catalog says."""
WIDER: dict[str, tuple[str, ...]] = {
    "smallint": ("integer", "bigint", "real", "double precision"),
    "integer": ("bigint", "double precision"),
    "real": ("double precision",),
}
"""Types that hold every value of another exactly."""
WHOLE_DIGITS = {"smallint": 5, "integer": 10, "bigint": 19}
NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
WIRE_NAMES = {
    TEXT: "TEXT",
    "boolean": "BOOL",
    "smallint": "INT2",
    "integer": "INT4",
    "bigint": "INT8",
    "real": "FLOAT4",
    "double precision": "FLOAT8",
    "date": "DATE",
    "time without time zone": "TIME",
    "timestamp without time zone": "TIMESTAMP",
    "timestamp with time zone": "TIMESTAMP",
    "bytea": "BYTEA",
    "jsonb": "JSONB",
}
"""What pgpq calls the binary form of a type; both kinds of timestamp have one."""
NOT_IN_JSON = (pl.Binary, pl.Object)
SELDOM_FINITE = (pl.Float32, pl.Float64)


def postgres_type(dtype: pl.DataType) -> str:
    """Return the Postgres type that holds every value of a Polars type.

    Raises:
        WarehouseSchemaError: There is none.
    """
    if isinstance(dtype, pl.Decimal):
        return f"numeric({dtype.precision},{dtype.scale})"
    if isinstance(dtype, pl.Datetime) and dtype.time_unit != "ns":
        return f"timestamp {'with' if dtype.time_zone else 'without'} time zone"
    if type(dtype) not in TYPES or any(_within(dtype, kind) for kind in NOT_IN_JSON):
        raise WarehouseSchemaError(
            f"no type of Postgres holds every value of {dtype}.",
            mend="Cast the column to a type that a declaration can name.",
        )
    return TYPES[type(dtype)]


def widens(there: str, wanted: str) -> bool:
    """Whether every value of one Postgres type is exactly a value of another."""
    if wanted in WIDER.get(there, ()):
        return True
    new = NUMERIC.fullmatch(wanted)
    if not new:
        return False
    room = int(new[1]) - int(new[2])
    old = NUMERIC.fullmatch(there)
    if old:
        return int(new[2]) >= int(old[2]) and room >= int(old[1]) - int(old[2])
    return there in WHOLE_DIGITS and room >= WHOLE_DIGITS[there]


class Wire:
    """How the batches of one Parquet file become the bytes of one binary COPY.

    Args:
        schema: Polars types of the file's columns.
        arrow: Arrow types of the same columns, as they are read.
        types: The Postgres type of every column of the table that is sent, in this order; those
            that the file lacks are constants.
        constants: One text for every row, by column.

    Raises:
        WarehouseSchemaError: pgpq would write another type than the table has.
    """

    def __init__(
        self,
        schema: pl.Schema,
        arrow: pa.Schema,
        types: Mapping[str, str],
        constants: Mapping[str, str],
    ) -> None:
        self._schema = schema
        self._arrow = arrow
        self._types = types
        self._constants = constants
        self._fields = pa.schema([pa.field(name, self._arrow_type(name)) for name in types])
        self._encoder = self._make_encoder()

    def start(self) -> bytes:
        """Return what stands before the first row."""
        return self._encoder.write_header()

    def rows(self, batch: pa.RecordBatch) -> bytes:
        """Return the bytes of a batch of the file.

        Raises:
            WarehouseValueError: A value has no exact form in Postgres.
        """
        columns = [self._column(name, batch) for name in self._types]
        try:
            return self._encoder.write_batch(
                pa.RecordBatch.from_arrays(columns, schema=self._fields)
            )
        except ValueError as error:
            raise WarehouseValueError(
                f"a value has no binary form in Postgres: {error}.",
                mend="Postgres knows moments from 4713 BC to the year 294276.",
            ) from error

    def end(self) -> bytes:
        """Return what stands behind the last row."""
        return self._encoder.finish()

    def _arrow_type(self, name: str) -> pa.DataType:
        """Return the Arrow type of which pgpq makes the column's Postgres type."""
        if name in self._constants or self._types[name] == "jsonb":
            return pa.string()
        read = self._arrow.field(name).type
        if self._types[name] == TEXT:
            return pa.string() if pa.types.is_dictionary(read) else read
        dtype = self._schema[name]
        if dtype == pl.Time():
            return pa.time64("us")
        return pa.timestamp("us", dtype.time_zone) if isinstance(dtype, pl.Datetime) else read

    def _make_encoder(self) -> ArrowToPostgresBinaryEncoder:
        encoder = pgpq.ArrowToPostgresBinaryEncoder.new_with_encoders(
            self._fields, {field.name: _builder(field, self._types) for field in self._fields}
        )
        for column in encoder.schema().columns:
            wanted = self._types[column.name]
            name = "NUMERIC" if NUMERIC.fullmatch(wanted) else WIRE_NAMES.get(wanted)
            if column.data_type.ddl() != name:
                raise WarehouseSchemaError(
                    f"the column {column.name!r} would be sent as {column.data_type.ddl()}, but is "
                    f"{wanted}; nothing was published.",
                    mend="This is a bug in dataflow_assets. Please report it.",
                    culprit=column.name,
                )
        return encoder

    def _column(self, name: str, batch: pa.RecordBatch) -> pa.Array:
        if name in self._constants:
            return pa.repeat(pa.scalar(self._constants[name]), batch.num_rows)
        column, wanted = batch.column(name), self._fields.field(name).type
        try:
            if self._types[name] == "jsonb":
                return _as_json(pl.Series(name, column, dtype=self._schema[name])).cast(wanted)
            return column if column.type == wanted else column.cast(wanted)
        except pa.ArrowInvalid as error:
            raise WarehouseValueError(
                f"the column {name!r} has a value that Postgres cannot hold: {error}.",
                mend="Postgres knows times to the microsecond, and texts of valid UTF-8.",
                culprit=name,
            ) from error


def _builder(field: pa.Field, types: Mapping[str, str]) -> EncoderBuilder:
    if types[field.name] == "jsonb":
        return encoders.StringEncoderBuilder.new_with_output(field, Jsonb())
    return pgpq.ArrowToPostgresBinaryEncoder.infer_encoder(field)


def _as_json(values: pl.Series) -> pa.Array:
    """Return lists or structs as JSON texts; where there is none, the text is null too.

    Raises:
        WarehouseValueError: A number within is infinite or none, which JSON cannot say.
    """
    frame = values.alias("v").to_frame()
    if frame.select(_endless(pl.col("v"), values.dtype).any()).item():
        raise WarehouseValueError(
            f"the column {values.name!r} has an infinity or a NaN inside, which JSON cannot say.",
            mend="Map it to a column of its own, or to null.",
            culprit=values.name,
        )
    whole = pl.struct("v").struct.json_encode()
    inner = whole.str.slice(len('{"v":'), whole.str.len_chars() - len('{"v":}'))
    return frame.select(pl.when(pl.col("v").is_not_null()).then(inner))["v"].to_arrow()


def _endless(value: pl.Expr, dtype: pl.DataType | DataTypeClass) -> pl.Expr:
    """Return whether there is an infinity or a NaN anywhere within a nested value."""
    if dtype in SELDOM_FINITE:
        return ~value.is_finite()
    if isinstance(dtype, pl.Array):
        return _endless(value.arr.to_list(), pl.List(dtype.inner))
    if isinstance(dtype, pl.List) and any(_within(dtype, kind) for kind in SELDOM_FINITE):
        return value.list.eval(_endless(pl.element(), dtype.inner)).list.any()
    if isinstance(dtype, pl.Struct) and dtype.fields:
        parts = [_endless(value.struct.field(f.name), f.dtype) for f in dtype.fields]
        return pl.any_horizontal(parts)
    return pl.lit(value=False)


def _within(dtype: pl.DataType | DataTypeClass, kind: type[pl.DataType]) -> bool:
    """Whether a type is to be found inside a nested one."""
    if isinstance(dtype, pl.List | pl.Array):
        return dtype.inner == kind or _within(dtype.inner, kind)
    if isinstance(dtype, pl.Struct):
        return any(f.dtype == kind or _within(f.dtype, kind) for f in dtype.fields)
    return False
