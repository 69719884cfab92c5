"""Values have the column's type and are the same values, or are told of."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.extract.databases.fitting import PLAIN_VALUES, fit_texts, fit_values

VALUES = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(), st.binary()
)
KINDS = [*PLAIN_VALUES, pa.decimal128(10, 2)]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@settings(deadline=None)
@given(values=st.lists(VALUES, max_size=8))
def test_a_value_is_the_same_or_told_of(kind: pa.DataType, values: list[Any]) -> None:
    array, misfits = fit_values(values, kind)
    told = [False] * len(values) if misfits is None else misfits.tolist()
    for value, found, misfit in zip(values, array.to_pylist(), told, strict=True):
        assert misfit == (found is None and value is not None)
        if found is None:
            continue
        if kind == pa.string() and not isinstance(value, str):
            assert found == repr(value)
        elif pa.types.is_decimal(kind):
            assert found == Decimal(repr(value))
        else:
            assert found == value


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.decimals(-(10**8), 10**8, places=2)), max_size=8))
def test_decimals_written_as_floats_come_back(values: list[Decimal | None]) -> None:
    floats = [None if value is None else float(value) for value in values]
    array, misfits = fit_values(floats, pa.decimal128(11, 2))
    assert misfits is None
    assert array.to_pylist() == values


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (b"0000-00-00", pa.date32()),
        (b"2024-02-30", pa.date32()),
        (b"25:00:00", pa.time64("us")),
        (b"-00:00:01", pa.time64("us")),
        (b"0000-00-00 00:00:00", pa.timestamp("us", "UTC")),
        (b"\xff", pa.string()),
        (b"128", pa.int8()),
    ],
)
def test_text_that_is_no_value_is_told_of(text: bytes, kind: pa.DataType) -> None:
    array, misfits = fit_texts(pa.array([None, text, text], pa.binary()), kind)
    assert array.null_count == 3
    assert misfits is not None
    assert misfits.tolist() == [False, True, True]
