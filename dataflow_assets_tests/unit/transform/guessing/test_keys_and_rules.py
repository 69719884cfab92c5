from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.transform.guessing.columns import guess_columns
from dataflow_assets.transform.guessing.keys import guess_key
from dataflow_assets.transform.guessing.rules import guess_rules, shape_of

COUNT = 30


def key_of(frame: pl.DataFrame) -> tuple[str, ...]:
    return guess_key(guess_columns(frame), frame).received


def test_an_id_comes_first() -> None:
    numbers = [str(n) for n in range(COUNT)]
    frame = pl.DataFrame({"sum": numbers, "order_id": numbers[::-1], "code": numbers})
    assert key_of(frame) == ("order_id",)


def test_a_first_column_of_codes() -> None:
    codes = [f"A{n:03}" for n in range(COUNT)]
    assert key_of(pl.DataFrame({"iata": codes, "n": ["1"] * COUNT})) == ("iata",)


def test_first_names_are_no_key_by_chance() -> None:
    names = [f"{chr(65 + n % 26)}nna{'x' * n}" for n in range(COUNT)]
    assert key_of(pl.DataFrame({"first": names, "n": ["1"] * COUNT})) == ()


def test_a_pair() -> None:
    frame = pl.DataFrame(
        {
            "symbol": ["A", "B"] * 15,
            "date": [f"2024-01-{1 + n // 2:02}" for n in range(COUNT)],
            "price": [f"{n}.5" for n in range(COUNT)],
        }
    )
    assert key_of(frame) == ("symbol", "date")


def test_measures_identify_nothing() -> None:
    frame = pl.DataFrame({"x": [f"{n}.5" for n in range(COUNT)], "y": ["a"] * COUNT})
    assert key_of(frame) == ()


def test_no_key_in_a_column_with_gaps() -> None:
    numbers: list[str | None] = [str(n) for n in range(COUNT - 1)]
    frame = pl.DataFrame({"id": [*numbers, None]})
    assert key_of(frame) == ()


def test_rows_that_repeat_are_told_of() -> None:
    frame = pl.DataFrame({"a": ["x", "x", "y", "z"], "b": ["1.5", "1.5", "1.5", "2.5"]})
    assert "1 row repeat" in guess_key(guess_columns(frame), frame).remark


@pytest.mark.parametrize(
    ("values", "shape"),
    [
        (["AB-12", "CD-34"], "[A-Z]{2}-[0-9]{2}"),
        (["us1", "us22"], "us[0-9]{1,2}"),
        (["10001", "00544"], "[0-9]{5}"),
        (["a1b2", "c3d4"], "[a-z][0-9][a-z][0-9]"),
        (["58fa", "b4e7"], "[0-9a-f]{4}"),
        (["1.2.3", "4.5.6"], "[0-9]\\.[0-9]\\.[0-9]"),
        (["red", "blue"], None),
        (["a b1", "c d2"], None),
        (["x{1}", "y{2}"], None),
        (["é1", "ü2"], None),
    ],
)
def test_shapes_of_codes(values: list[str], shape: str | None) -> None:
    assert shape_of(pl.Series(values)) == shape


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=6))
def test_every_text_has_the_shape_that_is_guessed(values: list[str]) -> None:
    texts = pl.Series(values)
    shape = shape_of(texts)
    if shape is not None:
        assert texts.str.contains(f"^(?:{shape})$").all()


def test_few_values_are_listed() -> None:
    (one,) = guess_columns(pl.DataFrame({"status": ["new", "paid"] * 60}))
    assert guess_rules(one).values == ("new", "paid")
    (one,) = guess_columns(pl.DataFrame({"status": ["new", "paid"] * 10}))
    assert guess_rules(one).values == ()


def test_bounds_by_meaning() -> None:
    (one,) = guess_columns(pl.DataFrame({"latitude": ["-10.5", "80"]}))
    assert guess_rules(one).words == {"min": -90, "max": 90}
    (one,) = guess_columns(pl.DataFrame({"latitude": ["-10.5", "800"]}))
    assert guess_rules(one).words == {}
    (one,) = guess_columns(pl.DataFrame({"flat": ["1.5", "8"]}))
    assert guess_rules(one).words == {}
