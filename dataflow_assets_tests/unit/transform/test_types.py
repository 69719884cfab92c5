"""Declared types and the literals of declarations."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import polars as pl
import pytest

from dataflow_assets.declaration.contract import SIMPLE_TYPES
from dataflow_assets.errors import DeclarationError
from dataflow_assets.transform.types import declared_name, literal, polars_type


@pytest.mark.parametrize("kind", [*SIMPLE_TYPES, "decimal(38, 9)"])
def test_every_declared_type_has_one_polars_type(kind: str) -> None:
    assert declared_name(polars_type(kind)) == kind


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (5, "int8", 5),
        (5.0, "int64", 5),
        (-2, "float64", -2.0),
        (0.1, "decimal(5,2)", Decimal("0.10")),
        (dt.datetime.fromisoformat("2024-01-02"), "date", dt.date(2024, 1, 2)),
        ("12:30", "time", dt.time(12, 30)),
        (
            dt.datetime.fromisoformat("2024-07-01"),
            "timestamp",
            dt.datetime(2024, 6, 30, 22, tzinfo=dt.UTC),
        ),
        (
            dt.datetime(2024, 7, 1, tzinfo=dt.timezone(dt.timedelta(hours=5))),
            "timestamp",
            dt.datetime(2024, 6, 30, 19, tzinfo=dt.UTC),
        ),
    ],
)
def test_literals_take_the_type(value: object, kind: str, expected: object) -> None:
    result = pl.select(value=literal(value, kind, timezone="Europe/Berlin"))  # type: ignore[arg-type]
    assert result.schema["value"] == polars_type(kind)
    assert result.item() == expected


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1.5, "int64"),
        (300, "int8"),
        (-1, "uint8"),
        ("many", "float64"),
        (Decimal("0.123"), "decimal(5,2)"),
        (1000, "decimal(4,2)"),
        (dt.datetime.fromisoformat("2024-01-01T12:00"), "date"),
        ("yesterday", "timestamp"),
        (7, "time"),
    ],
)
def test_a_literal_that_does_not_fit_is_named(value: object, kind: str) -> None:
    with pytest.raises(DeclarationError) as raised:
        literal(value, kind)  # type: ignore[arg-type]
    assert repr(value) in raised.value.problem
    assert kind in raised.value.problem
