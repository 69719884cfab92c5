"""Rows and Pydantic: what it says of those that break a contract, and judging what it alone can.

What belongs here: giving rows to Pydantic, so many at once, and taking values and messages from it.
What does not: which columns a model has (`models`), and what becomes of the rows (`clean`).

Pydantic is given values of the columns' types, so that formats and the like hold for it too; the
text where a value could not be read, or where a validator of the model's own comes before its type.
"""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from enum import Enum
from functools import cached_property, partial
from math import isfinite
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import polars as pl
from pydantic import TypeAdapter, ValidationError

from dataflow_assets.transform.types import declared_name, polars_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic import BaseModel

    from dataflow_assets.declaration.contract import Contract
    from dataflow_assets.transform.models import ModelContract

LARGE = 1 << 63
"""What is too large for 64 bits with a sign."""
BATCH = 1_000
"""Rows that Pydantic is given at once."""
NO_SURROGATE = re.compile("[^\ud800-\udfff]*")
TEXT = "_text:"
"""Prefix of the columns that hold a field's text where Pydantic reads it."""
BEFORE = "_before:"
"""Prefix of the columns that hold a value as it was before Pydantic gave another."""
SAID = "_said:"
"""Prefix of the columns that hold what Pydantic says of a field; alone, of the row as a whole."""
MESSAGES = "_messages"
"""The column that holds what Pydantic says of each field of a row that breaks the contract."""
PLAIN: dict[type[pl.DataType], type] = {pl.String: str, pl.Boolean: bool, pl.Date: dt.date}
"""Types of which every value is a value of a column's type."""
Row = dict[str, Any]


class ModelRows:
    """Gives the rows of a partition to a model.

    Args:
        model: The model.
        contract: The contract, with the model's columns.
    """

    def __init__(self, model: ModelContract, contract: Contract) -> None:
        self._model = model
        self._columns = {name: contract.columns[name] for name in model.fields}
        self._names = tuple(model.fields)
        self._needed = frozenset(name for name in self._names if contract.is_required(name))

    def lowered(self) -> list[pl.Expr]:
        """Return the columns whose letters are made small ones."""
        given = []
        for name, one in self._model.fields.items():
            if one.lowered:  # what is none is told as it was received
                fits = pl.col(name).str.contains(rf"^(?:{self._columns[name].pattern})$")
                small = pl.col(name).str.to_lowercase()
                given.append(pl.when(fits).then(small).otherwise(name).alias(name))
        return given

    def validated(self, typed: pl.LazyFrame, unbroken: pl.Expr) -> pl.LazyFrame:
        """Let Pydantic judge the rows that break no rule of a column, and take its values.

        Args:
            typed: The typed columns, and `TEXT` columns.
            unbroken: Boolean: the rows that are worth its while.

        Returns:
            The same with the values that Pydantic gives, `BEFORE` columns of those that it may
            change, and `SAID` columns.
        """
        given = [self._input(name) for name in self._names]
        schema = {
            **{name: polars_type(self._columns[name].type) for name in self._model.written},
            **{SAID + name: pl.String() for name in ("", *self._model.judged)},
        }
        judged = pl.map_batches(
            [unbroken, *given],
            partial(self._judge, schema),
            return_dtype=pl.Struct(schema),
            is_elementwise=True,
        )
        before = [pl.col(name).alias(BEFORE + name) for name in self._model.written]
        held = "_judged"
        return (
            typed.with_columns(before)
            .with_columns(judged.alias(held))
            .with_columns(pl.col(held).struct.field(name) for name in schema)
            .drop(held)
        )

    def messages(self, shown: pl.Expr, unread: str) -> pl.Expr:
        """Return what Pydantic says of rows, as a struct of the model's fields; null of others.

        Args:
            shown: Boolean: the rows that break the contract.
            unread: Prefix of the columns that hold what could not be read.
        """
        said = pl.Struct(dict.fromkeys(self._names, pl.String()))
        texts = [
            pl.col(unread + name)
            if name not in self._model.texts and self._can_be_unread(name)
            else pl.lit(None, pl.String)
            for name in self._names
        ]
        values = [
            pl.col(BEFORE + name)
            if name in self._model.written and name not in self._model.texts
            else self._input(name)
            for name in self._names
        ]
        return pl.map_batches(
            [shown, *values, *texts],
            partial(self._say, said),
            return_dtype=said,
            is_elementwise=True,
        ).alias(MESSAGES)

    def _can_be_unread(self, name: str) -> bool:
        column = self._columns[name]
        return column.type != "string" or column.refuses_texts

    def _input(self, name: str) -> pl.Expr:
        return pl.col(TEXT + name) if name in self._model.texts else pl.col(name)

    def _judge(self, schema: Mapping[str, pl.DataType], given: Sequence[pl.Series]) -> pl.Series:
        """Validate the rows that are worth it; `schema` says which columns come of it."""
        worth, *columns = _alike(given)
        chosen = worth.fill_null(value=False).arg_true()
        found = _Found(self._model.written, self._model.judged)
        for rows in _batches(self._rows([column.gather(chosen) for column in columns])):
            for row, said in self._outcomes(rows):
                self._take(found, row, said)
        frame = pl.DataFrame({name: found.columns[name] for name in schema}, schema=dict(schema))
        spread = pl.DataFrame({"_row": chosen}).hstack(frame)
        whole = pl.DataFrame({"_row": pl.int_range(len(worth), eager=True, dtype=pl.UInt32)})
        joined = whole.join(spread, on="_row", how="left", maintain_order="left")
        return joined.select(pl.struct(list(schema))).to_series()

    def _take(self, found: _Found, row: BaseModel | None, said: dict[str, str]) -> None:
        """Note a row's values, in the columns' types, and what Pydantic says of it."""
        values: Row = {}
        if row is None and not said:
            said[""] = "the model gives no row: a validator of its own returned None"
        for name in found.written if row is not None else ():
            try:
                values[name] = self._value(name, getattr(row, name))
            except (ValueError, TypeError, ArithmeticError) as error:
                said[name if name in found.judged else ""] = str(error)
        found.add({} if said else values, said)

    def _value(self, name: str, value: Any) -> Any:  # noqa: ANN401 - whatever a validator gives
        column = self._columns[name]
        one = self._model.fields[name]
        if value is None and (name in self._needed or not (one.optional or one.default is None)):
            message = f"a validator gives {name} no value: it may lack a return"
            raise ValueError(message)
        return _as_column(value, polars_type(column.type), column.timezone)

    def _outcomes(self, rows: Sequence[Row]) -> Iterator[tuple[BaseModel | None, dict[str, str]]]:
        """Yield each row as the model makes it, or what Pydantic says of it."""
        try:
            whole = self._adapter.validator.validate_python(rows, by_alias=False, by_name=True)
        except Exception:  # noqa: BLE001 - whatever a validator raises is told row by row
            yield from map(self._outcome, rows)
        else:
            for row in whole:
                yield row, {}

    def _outcome(self, row: Row) -> tuple[BaseModel | None, dict[str, str]]:
        validator = self._model.cls.__pydantic_validator__
        try:
            return validator.validate_python(row, by_alias=False, by_name=True), {}
        except ValidationError as error:
            judged, said = self._model.judged, self._told(error)
            of_row = "; ".join(f"{name}: {text}" for name, text in said.items() if name)
            of_fields = {name: text for name, text in said.items() if name in judged}
            return None, of_fields or {"": said.get("", of_row)}
        except Exception as error:  # noqa: BLE001 - a validator's own mistake is one row's, too
            return None, {"": f"{type(error).__name__}: {error}"}

    @cached_property
    def _adapter(self) -> TypeAdapter[list[BaseModel]]:
        return TypeAdapter(list[self._model.cls])  # type: ignore[name-defined]

    def _told(self, error: ValidationError) -> dict[str, str]:
        """Return the first thing that Pydantic says of each field, and of the row as ``""``."""
        said: dict[str, str] = {}
        for one in error.errors(include_url=False, include_context=False, include_input=False):
            place = str(one["loc"][0]) if one["loc"] else ""
            said.setdefault(self._by_alias.get(place, place), one["msg"])
        return said

    @cached_property
    def _by_alias(self) -> dict[str, str]:
        fields = self._model.cls.model_fields.items()
        return {str(one.validation_alias): name for name, one in fields if one.validation_alias}

    def _say(self, said: pl.Struct, given: Sequence[pl.Series]) -> pl.Series:
        shown, *columns = _alike(given)
        chosen = shown.fill_null(value=False).arg_true()
        gathered = [column.gather(chosen) for column in columns]
        values, texts = gathered[: len(self._names)], gathered[len(self._names) :]
        told: list[dict[str, str] | None] = []
        for rows in _batches(self._rows(values, texts)):
            told.extend(self._message(row) for row in rows)
        spread: list[dict[str, str] | None] = [None] * len(shown)
        for number, one in zip(chosen.to_list(), told, strict=True):
            spread[number] = one
        return pl.Series("said", spread, dtype=said)

    def _message(self, row: Row) -> dict[str, str] | None:
        try:
            self._model.cls.__pydantic_validator__.validate_python(
                row, by_alias=False, by_name=True
            )
        except ValidationError as error:
            return self._told(error)
        except Exception:  # noqa: BLE001 - the row is quarantined for another reason already
            return None
        return None

    def _rows(self, values: Sequence[pl.Series], texts: Sequence[pl.Series] = ()) -> Iterator[Row]:
        """Yield rows as Pydantic takes them: without what has no value, unless null is one."""
        fields = [(name, one.takes_null) for name, one in self._model.fields.items()]
        zones = [self._zone(name) for name in self._names]
        columns = [
            series.to_list()
            if zone is None
            else [_by_clock(moment, ZoneInfo(zone)) for moment in series.to_list()]
            for series, zone in zip(values, zones, strict=True)
        ]
        written = [series.to_list() for series in texts] or [[None] * len(values[0])] * len(columns)
        for row, raw in zip(zip(*columns, strict=True), zip(*written, strict=True), strict=True):
            yield {
                name: text if text is not None else value
                for (name, nullable), value, text in zip(fields, row, raw, strict=True)
                if value is not None or text is not None or nullable
            }

    def _zone(self, name: str) -> str | None:
        """Return the zone in which a field has moments without one, if it does."""
        column = self._columns[name]
        naive = self._model.fields[name].naive and name not in self._model.texts
        return column.timezone if naive and column.type == "timestamp" else None


class _Found:
    """What came of rows, column by column."""

    def __init__(self, written: Sequence[str], judged: Sequence[str]) -> None:
        self.written = written
        self.judged = frozenset(judged)
        self.columns: dict[str, list[Any]] = {name: [] for name in written}
        self.columns |= {SAID + name: [] for name in ("", *judged)}

    def add(self, values: Mapping[str, Any], said: Mapping[str, str]) -> None:
        for name in self.written:
            self.columns[name].append(values.get(name))
        for name in ("", *self.judged):
            self.columns[SAID + name].append(said.get(name))


def _alike(given: Sequence[pl.Series]) -> list[pl.Series]:
    """Spread what expressions without columns give: one value for all rows."""
    most = max(map(len, given))
    return [one if len(one) == most else one.new_from_index(0, most) for one in given]


def _by_clock(moment: dt.datetime | None, zone: ZoneInfo) -> dt.datetime | None:
    """Return what the clock of a zone shows; `fold` tells apart what it shows twice."""
    return None if moment is None else moment.astimezone(zone).replace(tzinfo=None)


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _check_text(text: object) -> None:
    """Refuse a text that no warehouse holds.

    Raises:
        ValueError: It holds a NUL byte, or half of a pair of surrogates.
    """
    if not isinstance(text, str):
        return
    if "\0" in text or not (text.isascii() or NO_SURROGATE.fullmatch(text)):
        message = f"the validated value {text!r} holds a NUL byte or half of a surrogate pair"
        raise ValueError(message)


def _as_column(value: Any, dtype: pl.DataType, zone: str) -> Any:  # noqa: ANN401 - of any type
    """Return a value as a column of a type holds it.

    Raises:
        ValueError: It is no such value.
    """
    if isinstance(value, Enum):
        value = value.value
    _check_text(value)
    if value is None or type(value) is PLAIN.get(type(dtype)):
        return value
    if dtype == pl.String:
        return str(value)
    if isinstance(value, dt.datetime) and isinstance(dtype, pl.Datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=ZoneInfo(zone))
        value = moment.astimezone(dt.UTC)
    if isinstance(dtype, pl.Decimal) and isinstance(value, int | float | Decimal):
        value = Decimal(str(value))
    if type(value) is int and dtype == pl.Int64 and abs(value) < LARGE:
        return value
    if type(value) is float and dtype == pl.Float64 and isfinite(value):
        return value
    try:
        held = pl.Series([value], dtype=dtype, strict=True).item()
    except (pl.exceptions.PolarsError, TypeError, OverflowError) as error:
        message = f"the validated value {value!r} is no {declared_name(dtype)}"
        raise ValueError(message) from error
    if held != value:
        message = f"the validated value {value!r} is no {declared_name(dtype)}"
        raise ValueError(message)
    return held
