"""Numbers as people write them, against a slow reader that takes texts apart by hand."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.declaration.contract import Column
from dataflow_assets.transform.parse import unread_of, value_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SPACES = " \t\u00a0\u2007\u2009\u202f"
DIGITS = "0123456789"
THOROUGH = settings(max_examples=80, deadline=None)
MARKS: list[dict[str, Any]] = [
    {},
    {"decimal_mark": ","},
    {"decimal_mark": ",", "thousands_mark": "."},
    {"thousands_mark": ","},
    {"thousands_mark": " "},
    {"thousands_mark": "'", "decimal_mark": ","},
    {"thousands_mark": ",", "grouping": "indian"},
    {"decimal_mark": ",", "thousands_mark": "_"},
]
BESIDE: list[dict[str, Any]] = [
    {},
    {"negatives": ["parentheses"]},
    {"negatives": ["trailing_minus", "parentheses"]},
    {"currency": ["$", "USD", "US$"]},
    {"currency": ["kr.", "kr", "€"], "negatives": ["parentheses", "trailing_minus"]},
    {"units": {"%": 0.01}},
    {"units": {"kg": 1, "g": 0.001, "t": 1000, "": 1}, "ignore_case": True},
    {"units": {"m2": 1, "sq ft": 0.09290304}, "negatives": ["parentheses"]},
    {"units": {"k": 1000, "CR": -1, "": 2}, "currency": ["$", "kr"], "negatives": "trailing_minus"},
]
TYPES = ["float64", "decimal(12, 3)", "decimal(38, 10)", "int64", "int16"]
TOKENS = [*DIGITS, "00", "123", "1234", *",.'\u2019_ \u00a0-+()eE", "$", "USD", "US$", "kr", "kr.",
          "€", "%", "kg", "KG", "g", "t", "m2", "sq ft", "k", "CR"]  # fmt: skip


def column_of(kind: str, *words: dict[str, Any]) -> Column:
    merged = {key: value for part in words for key, value in part.items()}
    if kind.startswith("int") and "units" not in merged:
        merged.pop("decimal_mark", None)
    return Column.model_validate({"type": kind, **merged})


COLUMNS = st.builds(
    column_of, st.sampled_from(TYPES), st.sampled_from(MARKS), st.sampled_from(BESIDE)
)


def read(texts: Sequence[str], column: Column) -> list[Any]:
    raw = pl.col("raw")
    frame = pl.DataFrame({"raw": texts}, schema={"raw": pl.String})
    frame = frame.with_columns(value=value_of(raw, column, ("",)))
    frame = frame.with_columns(rest=unread_of(raw, pl.col("value"), column, ("",)))
    for text, value, rest in frame.iter_rows():
        assert (rest is None) == (value is not None or not text.strip()), text
    return frame["value"].to_list()


def expected(text: str, column: Column) -> Any:  # noqa: ANN401 - a number of any type
    """Return the value of a text by taking away currency, sign and unit, in each allowed order."""
    text = text.strip()
    values = set(_values(text.lower() if column.ignore_case else text, column))
    assert len(values) <= 1, (text, values)
    return next(iter(values), None)


def _values(text: str, column: Column) -> Iterator[Any]:
    for inner, bare in _without_currency(text, column):  # $(5) kg, $(5 kg)
        for sign, body in _signs(inner, column):
            yield from _with_unit(sign, body, column, bare=bare)
        if column.units is not None:
            for signed, factor in _units(inner, column):
                for sign, body in _signs(signed, column):
                    yield from _number(sign, body, factor, column, bare=bare)
    for sign, body in _signs(text, column, gap=True):  # ($5 kg)
        for inner, bare in _without_currency(body, column):
            if inner != body:
                yield from _with_unit(sign, inner, column, bare=bare)


def _with_unit(sign: int, body: str, column: Column, *, bare: bool) -> Iterator[Any]:
    for number, factor in _units(body, column):
        yield from _number(sign, number, factor, column, bare=bare)


def _without_currency(text: str, column: Column) -> Iterator[tuple[str, bool]]:
    """Yield the text without one currency, and whether it may then begin with a decimal mark."""
    yield text, True
    for symbol in column.currency:
        one = symbol.lower() if column.ignore_case else symbol
        if text.startswith(one):
            yield text[len(one) :].lstrip(SPACES), not one[-1].isalpha()
        if text.endswith(one):
            yield text[: -len(one)].rstrip(SPACES), True


def _signs(text: str, column: Column, *, gap: bool = False) -> Iterator[tuple[int, str]]:
    yield 1, text
    if text[:1] in ("+", "-"):
        yield (-1 if text[0] == "-" else 1), text[1:].lstrip(SPACES if gap else "")
    if "parentheses" in column.negatives and text.startswith("(") and text.endswith(")"):
        yield -1, text[1:-1].strip(SPACES)
    if "trailing_minus" in column.negatives and text.endswith("-"):
        yield -1, text[:-1]


def _units(text: str, column: Column) -> Iterator[tuple[str, Decimal]]:
    if column.units is None:
        yield text, Decimal(1)
        return
    for name, factor in column.units.items():
        one = name.lower() if column.ignore_case else name
        if not one:
            yield text, factor
        elif text.endswith(one):
            yield text[: -len(one)].rstrip(SPACES), factor


def _number(sign: int, text: str, factor: Decimal, column: Column, *, bare: bool) -> Iterator[Any]:
    exponent = ""
    if column.type == "float64" and not column.currency and column.units is None:
        text, exponent = _without_exponent(text)
    has_fraction = not column.type.startswith("int") or column.units is not None
    whole, _, fraction = (
        text.partition(column.decimal_mark or ".") if has_fraction else (text, "", "")
    )
    if not (_is_digits(fraction) or not fraction):
        return
    if not whole and not (bare and fraction):
        return
    groups = _groups(whole, column.thousands_mark)
    if whole and not _are_right(groups, column):
        return
    yield from _fitting(f"{''.join(groups)}.{fraction}0e{exponent or 0}", sign, factor, column)


def _fitting(number: str, sign: int, factor: Decimal, column: Column) -> Iterator[Any]:
    try:
        exact = Fraction(Decimal(number)) * Fraction(factor) * sign
    except (InvalidOperation, ValueError):
        return
    if column.type == "float64":
        if abs(exact) < Fraction(2) ** 1024:
            yield float(Decimal(number) * factor * sign) if column.units is None else float(exact)
        return
    if column.type.startswith("int"):
        bits = int(column.type[3:])
        if exact.denominator == 1 and -(2 ** (bits - 1)) <= exact < 2 ** (bits - 1):
            yield int(exact)
        return
    precision, scale = map(int, column.type[8:-1].split(","))
    written = len(number.partition("e")[0].partition(".")[2]) - 1
    if column.units is None and written > scale:
        return
    if (exact * 10**scale).denominator == 1 and abs(exact) * 10**scale < 10**precision:
        yield Decimal(int(exact * 10**scale)).scaleb(-scale)


def _without_exponent(text: str) -> tuple[str, str]:
    for mark in "eE":
        number, found, exponent = text.partition(mark)
        digits = exponent[1:] if exponent[:1] in ("+", "-") else exponent
        if found and _is_digits(digits) and len(digits) < 6:
            return number, exponent
    return text, ""


def _is_digits(text: str) -> bool:
    return bool(text) and set(text) <= set(DIGITS)


def _groups(whole: str, mark: str | None) -> list[str]:
    alike = SPACES if mark == " " else "'\u2019" if mark == "'" else mark or ""
    for one in alike:
        whole = whole.replace(one, "|")
    return whole.split("|")


def _are_right(groups: list[str], column: Column) -> bool:
    if not all(map(_is_digits, groups)):
        return False
    if len(groups) == 1:
        return True
    first, *middle, last = map(len, groups)
    size = 2 if column.grouping == "indian" else 3
    return (
        first <= size and last == 3 and all(one == size for one in middle) and groups[0][0] != "0"
    )


def _same(found: Any, wanted: Any) -> bool:  # noqa: ANN401 - numbers of any type
    if isinstance(wanted, float) and found is not None:
        return bool(found == pytest.approx(wanted, rel=4e-16, abs=0))
    return bool(found == wanted)


@THOROUGH
@given(st.lists(st.lists(st.sampled_from(TOKENS), max_size=8).map("".join), min_size=20), COLUMNS)
def test_any_text_is_read_as_by_hand(texts: list[str], column: Column) -> None:
    for text, value in zip(texts, read(texts, column), strict=True):
        assert _same(value, expected(text, column)), (text, value, expected(text, column))


@st.composite
def written(draw: st.DrawFn) -> tuple[Column, str]:
    """Return a column, and a number written nearly as it declares."""
    column = draw(COLUMNS)
    digits = str(draw(st.integers(0, 10 ** draw(st.integers(1, 20)))))
    mark = draw(st.sampled_from([column.thousands_mark or "", ",", ""]))
    size = draw(st.sampled_from([3, 3, 2]))
    groups = [digits[max(0, end - size) : end] for end in range(len(digits), 0, -size)]
    text = mark.join(reversed(groups))
    if draw(st.booleans()):
        text += draw(st.sampled_from([column.decimal_mark or ".", "."])) + draw(
            st.text(DIGITS, max_size=9)
        )
    gap = draw(st.sampled_from(["", " ", "\u00a0"]))
    for _ in range(2):
        text = draw(
            st.sampled_from(
                [text, f"-{text}", f"({text})", f"{text}-"]
                + [f"{text}{gap}{unit}" for unit in column.units or ()] * 2
                + [f"{one}{gap}{text}" for one in column.currency]
                + [f"{text}{gap}{one}" for one in column.currency]
            )
        )
    return column, text


@THOROUGH
@given(written())
def test_what_looks_right_is_read_as_by_hand(case: tuple[Column, str]) -> None:
    column, text = case
    (value,) = read([text], column)
    assert _same(value, expected(text, column)), (text, value, expected(text, column))


@THOROUGH
@given(st.decimals(-(10**9), 10**9, places=3), st.sampled_from([0.01, 0.001, 1, 100]))
def test_powers_of_ten_are_rounded_once(number: Decimal, factor: float) -> None:
    column = Column.model_validate({"type": "float64", "units": {"x": factor}})
    assert read([f"{number:f} x"], column) == [float(number * Decimal(str(factor)))]


NINES = "9" * 28 + "." + "9" * 10


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (f"{NINES} m", Decimal(NINES)),
        ("10000000000000000000000000000 m", None),
        ("0." + "0" * 60 + " m", Decimal(0)),
        ("0." + "0" * 60 + "1 m", None),
        ("1" * 39 + " mm", None),
        ("0.0000001 mm", Decimal("0.0000000001")),
        ("0.00000001 mm", None),
        ("-0 mm", Decimal(0)),
    ],
)  # fmt: skip
def test_the_ends_of_what_decimals_hold(text: str, value: Decimal | None) -> None:
    column = Column.model_validate({"type": "decimal(38, 10)", "units": {"m": 1, "mm": 0.001}})
    assert read([text], column) == [value]


@pytest.mark.parametrize("words", [{"currency": "E"}, {"currency": "$"}, {"units": {"": 1}}])
def test_there_is_no_exponent_beside_a_currency_or_unit(words: dict[str, Any]) -> None:
    column = Column.model_validate({"type": "float64", **words})
    assert read(["1e5", " 1e5 ", "1E5", "15"], column) == [None, None, None, 15.0]


def test_null_tokens_win_over_what_could_be_read() -> None:
    column = Column.model_validate(
        {"type": "int64", "thousands_mark": ",", "null_tokens": ["-1", "9,999"]}
    )
    frame = pl.DataFrame({"raw": ["-1", " 9,999 ", "9999", "1,000"]})
    assert frame.select(value_of(pl.col("raw"), column, ("",))).to_series().to_list() == [
        None, None, 9999, 1000,
    ]  # fmt: skip
