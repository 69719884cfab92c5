"""From the text of a number as people write it to its value.

What belongs here: marks, groups, negatives, currencies and units of a declaration. What does not:
numbers without any of them, which `parse` reads as they are.

A text is first held against one regular expression that allows nothing but what is declared. Then
all but digits, the sign and the decimal point is dropped. Groups must be right, and the first of
them has no leading zero: `0,123` with the wrong mark declared must not become 123.

Units are exact for whole numbers and decimals: digits are multiplied as 128-bit whole numbers, and
what is not a value of the type then has none. Floats are moved by powers of ten in their text, so
that `0.7 %` is 0.007.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.declaration.reading import SPACES
from dataflow_assets.transform.types import polars_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from decimal import Decimal

    from dataflow_assets.declaration.contract import Column

LOOKALIKES = {**dict.fromkeys(SPACES, SPACES), "'": "'\u2019"}
"""Marks that nobody can tell apart."""

GAP = f"[{SPACES}]*"
EXPONENT = "(?:[eE][+-]?[0-9]+)?"
MOST_POWER = 38
MOST_EXACT = 10**MOST_POWER - 1
"""The largest whole number that a decimal holds."""
POWERS = pl.Series([10**power for power in range(MOST_POWER + 1)], dtype=pl.Int128)


def number_of(text: pl.Expr, column: Column) -> pl.Expr:
    """Return the number that a text writes in the declared way; null where it writes none.

    Args:
        text: Strings without white space around them.
        column: What the contract says about them, with words for numbers.
    """
    written = text.str.to_lowercase() if column.ignore_case else text
    fitting = pl.when(written.str.contains(shape_of(column))).then(written)
    dtype = polars_type(column.type)
    if column.units is None:
        return _digits(fitting, column).cast(dtype, strict=False)
    times = _times if dtype.is_float() else _exactly_times
    product = partial(times, column, dtype)
    return fitting.map_batches(product, return_dtype=dtype, is_elementwise=True)


def reads_plainly(column: Column) -> bool:
    """Whether a text that is a number without any word of the column means just that number."""
    if column.units is not None:
        return False
    if column.is_whole:
        return True
    has_no_exponent = column.type.startswith("float") and bool(column.currency)
    return column.decimal_mark in (None, ".") and not has_no_exponent


def shape_of(column: Column) -> str:
    """Return the regular expression of all texts that are numbers as the column writes them."""
    unit, number = _unit(column), _number(column)
    shapes = list(_valued(number, unit, column))
    after = GAP + _any(_symbols(column.currency, column))
    spelled = _number(column, bare_fraction=False)
    for symbols, first in (_symbolic(column), number), (_lettered(column), spelled):
        if symbols:
            before = _any(symbols) + GAP
            shapes += [before + one for one in _valued(first, unit, column)]
            shapes += _signed(before + first + unit, column, GAP)
    if column.currency:
        shapes += [one + after for one in _valued(number, unit, column)]
        shapes += _signed(number + unit + after, column)
    return f"^{_any(shapes)}$"


def _valued(number: str, unit: str, column: Column) -> Iterator[str]:
    """Yield how a number may stand with its sign and unit: (5) kg, (5 kg)."""
    yield from _signed(number + unit, column)
    if unit:
        yield from (one + unit for one in _signed(number, column))


def _signed(number: str, column: Column, gap: str = "") -> Iterator[str]:
    yield f"(?:[+-]{gap})?{number}"
    if "parentheses" in column.negatives:
        yield rf"\({GAP}{number}{GAP}\)"
    if "trailing_minus" in column.negatives:
        yield f"{number}-"


def _number(column: Column, *, bare_fraction: bool = True) -> str:
    """Return the regular expression of a number without its sign.

    Args:
        column: What says how it is written.
        bare_fraction: Whether it may begin with the decimal mark.
    """
    whole = _any([*_groups(column), "[0-9]+"])
    if column.is_whole and column.units is None:
        return whole
    dtype = polars_type(column.type)
    most = dtype.scale if isinstance(dtype, pl.Decimal) and column.units is None else ""
    point = re.escape(column.decimal_mark or ".")
    fraction = f"(?:{point}[0-9]{{0,{most}}})?" if most != 0 else ""
    beside = column.currency or column.units
    exponent = EXPONENT if dtype.is_float() and not beside else ""
    bare = [f"{point}[0-9]{{1,{most}}}"] if most != 0 and bare_fraction else []
    return _any([whole + fraction, *bare]) + exponent


def _groups(column: Column) -> Iterator[str]:
    """Yield the regular expression of digits in groups, if there is a mark for them."""
    mark = column.thousands_mark
    if mark is not None:
        between = f"[{re.escape(LOOKALIKES.get(mark, mark))}]"
        if column.grouping == "indian":
            yield f"[1-9][0-9]?(?:{between}[0-9]{{2}})*{between}[0-9]{{3}}"
        else:
            yield f"[1-9][0-9]{{0,2}}(?:{between}[0-9]{{3}})+"


def _unit(column: Column) -> str:
    """Return the regular expression of what may stand behind a number."""
    if column.units is None:
        return ""
    named = _symbols(column.units, column)
    unit = f"(?:{GAP}{_any(named)})" if named else ""
    return f"{unit}?" if unit and "" in column.units else unit


def _last_unit(column: Column) -> str:
    """Return the regular expression whose only group is the unit of a text that fits."""
    named = _symbols(column.units or (), column)
    currency = "".join(f"|{one}" for one in _symbols(column.currency, column))
    return f"({'|'.join(named)}|)(?:[{SPACES})-]{currency})*$"


def _symbols(symbols: Iterable[str], column: Column) -> list[str]:
    """Return symbols as regular expressions, longer ones first; without those of no letter."""
    spelled = (symbol.lower() if column.ignore_case else symbol for symbol in symbols)
    return [re.escape(one) for one in sorted(filter(None, spelled), key=len, reverse=True)]


def _lettered(column: Column) -> list[str]:
    """Return currencies after which no decimal mark may follow: `Rs.500` is no half."""
    return _symbols((one for one in column.currency if one[-1].isalpha()), column)


def _symbolic(column: Column) -> list[str]:
    return _symbols((one for one in column.currency if not one[-1].isalpha()), column)


def _any(patterns: Sequence[str]) -> str:
    return patterns[0] if len(patterns) == 1 else f"(?:{'|'.join(patterns)})"


def _digits(fitting: pl.Expr, column: Column) -> pl.Expr:
    """Return texts that fit without anything but sign, digits, decimal point and exponent."""
    mark, point = column.thousands_mark or "", column.decimal_mark or "."
    dropped = dict.fromkeys(_unescaped(column), "")
    if dropped or column.negatives:
        dropped |= dict.fromkeys(SPACES, "")
    dropped |= dict.fromkeys(LOOKALIKES.get(mark, mark), "")
    if column.negatives:
        dropped |= {"(": "-", ")": ""}
    if len(dropped) == 1:
        fitting = fitting.str.replace_all(mark, "", literal=True)
    elif dropped:
        fitting = fitting.str.replace_many(list(dropped), list(dropped.values()), leftmost=True)
    digits = fitting if point == "." else fitting.str.replace(point, ".", literal=True)
    if "trailing_minus" not in column.negatives:
        return digits
    turned = pl.concat_str(pl.lit("-"), digits.str.strip_suffix("-"))
    return pl.when(digits.str.ends_with("-")).then(turned).otherwise(digits)


def _unescaped(column: Column) -> list[str]:
    symbols = (one.lower() if column.ignore_case else one for one in column.symbols)
    return sorted(symbols, key=len, reverse=True)


def _parted(factor: Decimal) -> tuple[int, int]:
    """Return a factor as a whole number times a power of ten."""
    sign, digits, exponent = factor.normalize().as_tuple()
    whole = int("".join(map(str, digits)))
    return (-whole if sign else whole), int(exponent)


def _parts(column: Column, fitting: pl.Series) -> pl.DataFrame:
    """Take texts that fit apart.

    Returns:
        `digits` (string, a plain number), `times` (Int128) and `power` (Int64): the factor of each
        text's unit is times * 10**power.
    """
    units = column.units or {}
    names = [name.lower() if column.ignore_case else name for name in units]
    factors = pl.DataFrame(
        [(name, *_parted(factor)) for name, factor in zip(names, units.values(), strict=True)],
        schema={"unit": pl.String(), "times": pl.Int128(), "power": pl.Int64()},
        orient="row",
    )
    text = pl.col("text")
    rows = fitting.to_frame("text").select(digits=_digits(text, column), text=text)
    if len(units) == 1:
        times, power = (pl.lit(factors[part]).first() for part in ("times", "power"))
        return rows.select("digits", times=times, power=power)
    unit = text.str.extract(_last_unit(column), 1)
    return rows.select(
        "digits",
        *(
            unit.replace_strict(
                factors["unit"], factors[part], default=None, return_dtype=factors[part].dtype
            ).alias(part)
            for part in ("times", "power")
        ),
    )


def _times(column: Column, dtype: pl.DataType, fitting: pl.Series) -> pl.Series:
    """Multiply as floats; powers of ten are written into the text, and so rounded once."""
    rows = _parts(column, fitting)
    moved = pl.concat_str("digits", pl.lit("e"), pl.col("power").cast(pl.String))
    product = moved.cast(pl.Float64, strict=False) * pl.col("times").cast(pl.Float64)
    return rows.select(product.cast(dtype, strict=False)).to_series()


def _exactly_times(column: Column, dtype: pl.DataType, fitting: pl.Series) -> pl.Series:
    """Multiply as whole numbers; null where the product is no value of the type."""
    scale = dtype.scale if isinstance(dtype, pl.Decimal) else 0
    digits, times, value = pl.col("digits"), pl.col("times"), pl.col("value")
    after_point = digits.str.len_bytes() - 1 - digits.str.find(".", literal=True)
    power = pl.col("power") + scale - after_point.cast(pl.Int64).fill_null(0)
    rows = (
        _parts(column, fitting)
        .with_columns(
            value=digits.str.replace(".", "", literal=True).cast(pl.Int128, strict=False),
            up=_power_of_ten(power),
            down=_power_of_ten(0 - power),
        )
        .with_columns(value=_at_most(MOST_EXACT // times.abs()) * times)
        .with_columns(value=_at_most(MOST_EXACT // pl.col("up")) * pl.col("up"))
        .with_columns(value=pl.when(value % pl.col("down") == 0).then(value // pl.col("down")))
    )
    if not isinstance(dtype, pl.Decimal):
        return rows["value"].cast(dtype, strict=False)
    most = pl.lit(10 ** (dtype.precision or MOST_POWER) - 1, pl.Int128)
    return rows.select(_at_most(most).reinterpret(dtype=dtype)).to_series()


def _at_most(most: pl.Expr) -> pl.Expr:
    value = pl.col("value")
    return pl.when(value.is_between(0 - most, most)).then(value)


def _power_of_ten(power: pl.Expr) -> pl.Expr:
    return pl.lit(POWERS).gather(power.clip(0, MOST_POWER))
