"""Every type there and back, with whatever values it can have."""

from __future__ import annotations

import datetime as dt
import json
import math
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl
import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from dataflow_assets.errors import WarehouseSchemaError, WarehouseValueError
from dataflow_assets.io.postgres.types import Wire, postgres_type, widens
from dataflow_assets.io.warehouse import EntityTable, Publication
from dataflow_assets.transform.types import TYPES as DECLARED
from dataflow_assets_tests.integration.io.postgres.opening import open_warehouse
from dataflow_assets_tests.integration.io.publishing import ledger_row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflow_assets_tests.postgres_server import Server

UTC = dt.UTC
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
MOMENTS = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))  # noqa: DTZ001 - without a zone
FLAGS = pl.Enum(["on", "off", "it's"])
PAIR = pl.Struct({"n": pl.Int64, "texts": pl.List(pl.String), "at": pl.Date})


def whole(bits: int, *, signed: bool = True) -> st.SearchStrategy[int]:
    return (
        st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        if signed
        else st.integers(0, 2**bits - 1)
    )


def decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    most = 10**precision - 1
    return st.integers(-most, most).map(lambda number: Decimal(f"{number}e-{scale}"))


VALUES: dict[str, tuple[pl.DataType, st.SearchStrategy[Any]]] = {
    "int8": (pl.Int8(), whole(8)),
    "int16": (pl.Int16(), whole(16)),
    "int32": (pl.Int32(), whole(32)),
    "int64": (pl.Int64(), whole(64)),
    "uint8": (pl.UInt8(), whole(8, signed=False)),
    "uint16": (pl.UInt16(), whole(16, signed=False)),
    "uint32": (pl.UInt32(), whole(32, signed=False)),
    "uint64": (pl.UInt64(), whole(64, signed=False)),
    "float32": (pl.Float32(), st.floats(width=32)),
    "float64": (pl.Float64(), st.floats()),
    "boolean": (pl.Boolean(), st.booleans()),
    "string": (pl.String(), TEXTS),
    "date": (pl.Date(), st.dates()),
    "time": (pl.Time(), st.times()),
    "timestamp": (pl.Datetime("us", "UTC"), MOMENTS.map(lambda at: at.replace(tzinfo=UTC))),
    "berlin": (
        pl.Datetime("us", "Europe/Berlin"),
        MOMENTS.map(lambda at: at.replace(tzinfo=UTC)),
    ),
    "milliseconds": (
        pl.Datetime("ms"),
        MOMENTS.map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)),
    ),
    "zoneless": (pl.Datetime("us"), MOMENTS),
    "decimal(1,0)": (pl.Decimal(1, 0), decimals(1, 0)),
    "decimal(12,2)": (pl.Decimal(12, 2), decimals(12, 2)),
    "decimal(38,0)": (pl.Decimal(38, 0), decimals(38, 0)),
    "decimal(38,38)": (pl.Decimal(38, 38), decimals(38, 38)),
    "enum": (FLAGS, st.sampled_from(list(FLAGS.categories))),
    "binary": (pl.Binary(), st.binary(max_size=20)),
    "list": (pl.List(pl.Int64), st.lists(st.none() | whole(64), max_size=4)),
    "array": (pl.Array(pl.Boolean, 2), st.lists(st.booleans(), min_size=2, max_size=2)),
    "struct": (
        PAIR,
        st.fixed_dictionaries(
            {
                "n": st.none() | whole(64),
                "texts": st.none() | st.lists(TEXTS, max_size=3),
                "at": st.none() | st.dates(),
            }
        ),
    ),
}
NAMES = {**{name: name for name in VALUES}, "string": 'a "quoted" name'}
SCHEMA = {NAMES[name]: dtype for name, (dtype, _) in VALUES.items()}
TABLE = EntityTable("everything", SCHEMA)


@pytest.fixture(scope="module")
def shared_database(postgres: Server) -> Iterator[str]:
    with postgres.new_database() as url:
        yield url


def publish(url: str, frame: pl.DataFrame, table: EntityTable) -> None:
    with TemporaryDirectory() as folder:
        staged = Path(folder) / "staged.parquet"
        full = frame.with_columns(_source=pl.lit("s"), _raw_ref=pl.lit("v:1"))
        full.write_parquet(staged)
        one = Publication("p", staged, ledger_row("p", frame.height))
        open_warehouse(url).publish(table, [one])


def as_sent(value: object, dtype: pl.DataType) -> object:
    """Return a value as it is read back: nested ones as JSON, moments in UTC."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else (value, math.copysign(1, value))
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    if dtype.is_nested() and value is not None:
        return json.dumps(value, default=str, sort_keys=True)
    return int(value) if isinstance(value, Decimal) and dtype == pl.UInt64() else value


def as_found(value: object, dtype: pl.DataType) -> object:
    if dtype.is_nested() and value is not None:
        return json.dumps(json.loads(str(value)), sort_keys=True)
    return as_sent(value, dtype)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    # Shrinking 27 columns takes minutes; the assertion names the column.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(data=st.data())
def test_every_value_of_every_type_comes_back_as_it_was(
    shared_database: str, data: st.DataObject
) -> None:
    rows = data.draw(st.integers(0, 4))
    columns = {
        NAMES[name]: data.draw(
            st.lists(st.none() | values, min_size=rows, max_size=rows), label=name
        )
        for name, (_, values) in VALUES.items()
    }
    frame = pl.DataFrame(columns, schema=SCHEMA, strict=True)
    publish(shared_database, frame, TABLE)
    found = open_warehouse(shared_database).read("select * from normalized.everything")
    assert found.height == rows
    for name, dtype in SCHEMA.items():
        sent = sorted(str(as_sent(value, dtype)) for value in frame[name].to_list())
        back = sorted(str(as_found(value, dtype)) for value in found[name].to_list())
        assert sent == back, name


@pytest.mark.parametrize("kind", [*DECLARED, "decimal"])
def test_every_declared_type_has_a_type_of_postgres(kind: str) -> None:
    assert postgres_type(DECLARED.get(kind, pl.Decimal(10, 2)))


@pytest.mark.parametrize(
    "dtype",
    [
        pl.Datetime("ns"),
        pl.Object(),
        pl.List(pl.Binary),
        pl.Struct({"a": pl.List(pl.Binary)}),
        pl.Int128(),
    ],
    ids=str,
)
def test_types_that_nothing_holds_exactly_are_refused(dtype: pl.DataType) -> None:
    with pytest.raises(WarehouseSchemaError, match="no type of Postgres"):
        postgres_type(dtype)


def test_a_text_of_ten_megabytes_comes_back(database: str) -> None:
    text = "päge " * 2_000_000
    table = EntityTable("long", {"text": pl.String()})
    publish(database, pl.DataFrame({"text": [text]}), table)
    assert open_warehouse(database).read("select text from normalized.long").item() == text


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        ([1.0, math.inf], pl.List(pl.Float64())),
        ({"a": [[math.nan]]}, pl.Struct({"a": pl.List(pl.List(pl.Float32()))})),
        ([math.nan, 1.0], pl.Array(pl.Float64(), 2)),
    ],
)
def test_what_json_cannot_say_is_refused_and_never_turned_into_null(
    database: str, value: object, dtype: pl.DataType
) -> None:
    frame = pl.DataFrame({"nested": [None, value]}, schema={"nested": dtype})
    with pytest.raises(WarehouseValueError, match="an infinity or a NaN inside"):
        publish(database, frame, EntityTable("nested", {"nested": dtype}))


def test_a_nul_byte_inside_a_list_is_refused(database: str) -> None:
    dtype = pl.List(pl.String())
    frame = pl.DataFrame({"nested": [["a\0b"]]}, schema={"nested": dtype})
    with pytest.raises(WarehouseValueError, match="u0000"):
        publish(database, frame, EntityTable("nested", {"nested": dtype}))


def test_a_time_finer_than_a_microsecond_is_refused_and_never_rounded(database: str) -> None:
    frame = pl.DataFrame({"at": pl.Series([1_000_000_001], dtype=pl.Int64).cast(pl.Time)})
    with pytest.raises(WarehouseValueError, match="to the microsecond"):
        publish(database, frame, EntityTable("times", {"at": pl.Time()}))


def test_a_moment_that_postgres_does_not_know_is_refused(database: str) -> None:
    dtype = pl.Datetime("us", "UTC")
    far = pl.Series([-(2**63) + 1], dtype=pl.Int64).cast(dtype)
    with pytest.raises(WarehouseValueError):
        publish(database, pl.DataFrame({"at": far}), EntityTable("far", {"at": dtype}))


def test_the_wire_sees_that_both_sides_mean_the_same_type() -> None:
    schema = pl.Schema({"n": pl.Int64()})
    with pytest.raises(WarehouseSchemaError, match="would be sent as INT8"):
        Wire(schema, pa.schema([("n", pa.int64())]), {"n": "double precision"}, {})


WIDENING = [
    ("smallint", "bigint"),
    ("smallint", "real"),
    ("integer", "double precision"),
    ("integer", "numeric(12,2)"),
    ("bigint", "numeric(19,0)"),
    ("numeric(10,2)", "numeric(12,3)"),
    ("real", "double precision"),
]
NARROWING = [
    ("bigint", "double precision"),
    ("integer", "real"),
    ("bigint", "integer"),
    ("bigint", "numeric(19,1)"),
    ("numeric(10,2)", "numeric(10,3)"),
    ("numeric(10,2)", "numeric(10,1)"),
    ("text", "bigint"),
    ("timestamp without time zone", "timestamp with time zone"),
    ("double precision", "real"),
]


def test_types_widen_only_where_no_value_is_lost() -> None:
    assert [pair for pair in WIDENING if not widens(*pair)] == []
    assert [pair for pair in NARROWING if widens(*pair)] == []


EXTREMES = {
    "smallint": ["-32768", "32767"],
    "integer": ["-2147483648", "2147483647"],
    "bigint": ["-9223372036854775808", "9223372036854775807"],
    "numeric(10,2)": ["-99999999.99", "99999999.99"],
    "real": ["3.4028235e38", "1e-45", "0.1"],
}


@pytest.mark.parametrize(("there", "wanted"), WIDENING)
def test_what_widens_keeps_the_extremes_in_postgres(
    shared_database: str, there: str, wanted: str
) -> None:
    with psycopg.connect(shared_database) as connection:
        for value in EXTREMES[there]:
            same = f"select '{value}'::{there}::{wanted}::{there} = '{value}'::{there}"
            assert connection.execute(same.encode()).fetchone() == (True,)
