"""SQL of a declaration as Polars expressions, checked before there is any data.

What belongs here: reading one SQL expression, and proving that it names known columns, gives one
value per row from that row alone, and has the type that is asked for. What does not: what the
expression is used for; that is `rules` and `normalize`.
"""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any

import polars as pl

from dataflow_assets.errors import ExpressionError, MappingError
from dataflow_assets.transform.types import declared_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SOME_FUNCTIONS = (
    "lower, upper, trim, ltrim, rtrim, replace, substr, left, right, length, concat, concat_ws, "
    "split_part, starts_with, strpos, regexp_like, coalesce, nullif, greatest, least, if, abs, "
    "round, floor, ceil, sqrt, power, mod, extract, date_part, strptime, cast, try_cast, "
    "case when, like, in, between, ||"
)
ROW_BY_ROW = frozenset({"Column", "Literal", "BinaryExpr", "Cast", "Ternary", "Alias", "Function"})
ACROSS_ROWS = frozenset(
    {
        "Any",
        "All",
        "Correlation",
        "CumCount",
        "CumMax",
        "CumMin",
        "CumProd",
        "CumSum",
        "Diff",
        "DropNans",
        "DropNulls",
        "FillNullWithStrategy",
        "NullCount",
        "Quantile",
        "Random",
        "Range",
        "Rank",
        "Shift",
        "Unique",
    }
)
CLOCK = re.compile(
    r"\b(now|today|current_date|current_time|current_timestamp|localtime\w*)\b", re.IGNORECASE
)
QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
SIDES = ("left", "right")
SUMS = ("Plus", "Minus")
PRODUCTS = ("Multiply", "Mul")
COMPARISONS = frozenset({"Eq", "NotEq", "Lt", "LtEq", "Gt", "GtEq", "EqValidity", "NotEqValidity"})
POLARS_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException)


def read_sql(sql: str, schema: pl.Schema, *, what: str) -> tuple[pl.Expr, pl.DataType]:
    """Return an SQL expression over some columns, and its type.

    Args:
        sql: One expression that gives one value per row from that row alone.
        schema: The columns that it may name.
        what: What it belongs to, such as ``rule depth_positive``.

    Raises:
        ExpressionError: It does not parse, names what does not exist, does not fit its columns'
            types, looks at other rows, or reads the clock.
    """
    problem = _clock_problem(sql)
    if problem is None:
        try:
            expression = pl.sql_expr(sql)
            problem = _across_rows_problem(expression)
            if problem is None:
                _probe(expression, schema)
                expression = _exact(expression, schema)
                return expression, _probe(expression, schema)
        except POLARS_ERRORS as error:
            problem = _first_line(error)
    known = ", ".join(schema)
    raise ExpressionError(
        f"{what}: {sql!r} is no expression over the columns: {problem}.",
        mend=(
            f"Columns are {known}. Names in double quotes, texts in single quotes; moments as "
            f"timestamptz '2024-01-01T00:00:00Z', dates as date '2024-01-01'. "
            f"There are {SOME_FUNCTIONS}."
        ),
        culprit=what,
    )


def read_condition(sql: str, schema: pl.Schema, *, what: str) -> pl.Expr:
    """Return an SQL condition over some columns; as `read_sql`, but it must be true or false."""
    expression, dtype = read_sql(sql, schema, what=what)
    if dtype not in (pl.Boolean(), pl.Null()):
        raise ExpressionError(
            f"{what}: {sql!r} gives {declared_name(dtype)}, not true or false.",
            mend="Write a condition, such as depth >= 0 or status in ('new', 'done').",
            culprit=what,
        )
    return expression.cast(pl.Boolean)


def columns_of(expression: pl.Expr) -> tuple[str, ...]:
    """Return the columns that an expression names, each once, in the order of their mention."""
    return tuple(dict.fromkeys(expression.meta.root_names()))


def explain(error: BaseException, what: str) -> MappingError:
    """Return what Polars says about data that an expression failed on as an error of ours.

    Args:
        error: What Polars raised while a plan ran.
        what: What the plan was for, such as ``cleaning usgs_events``.
    """
    return MappingError(
        f"{what} failed on the data: {_first_line(error)}",
        mend=(
            "An SQL expression of the declaration cannot work on these values: write try_cast for "
            "cast, or guard it with case when."
        ),
        culprit=what,
    )


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else repr(error)


def _clock_problem(sql: str) -> str | None:
    found = CLOCK.search(QUOTED.sub("", sql))
    if found is None:
        return None
    return f"{found[1]} reads the clock, so the same data would not give the same rows"


def _across_rows_problem(expression: pl.Expr) -> str | None:
    tree = json.loads(expression.meta.serialize(format="json"))
    foreign = next((name for name in _parts(tree) if name not in ROW_BY_ROW), None)
    if foreign is None:
        return None
    return f"it looks at other rows than its own ({foreign})"


def _parts(tree: Any) -> Iterator[str]:  # noqa: ANN401 - JSON of any shape
    """Yield the names of an expression's nodes, and of the functions that look across rows."""
    if isinstance(tree, str):
        if tree == "Len":
            yield tree
        return
    for name, inner in tree.items():
        yield name
        yield from _parts_of(name, inner)


def _parts_of(name: str, inner: Any) -> Iterator[str]:  # noqa: ANN401 - JSON of any shape
    if name == "Function":
        for argument in inner["input"]:
            yield from _parts(argument)
        yield from _names_across_rows(inner["function"])
    elif name == "BinaryExpr":
        yield from (*_parts(inner["left"]), *_parts(inner["right"]))
    elif name == "Cast":
        yield from _parts(inner["expr"])
    elif name == "Ternary":
        for branch in ("predicate", "truthy", "falsy"):
            yield from _parts(inner[branch])
    elif name == "Alias":
        yield from _parts(inner[0])


def _names_across_rows(function: Any) -> Iterator[str]:  # noqa: ANN401 - JSON of any shape
    if isinstance(function, str):
        if function in ACROSS_ROWS:
            yield function
    elif isinstance(function, dict):
        for name, inner in function.items():
            if name in ACROSS_ROWS:
                yield name
            yield from _names_across_rows(inner)


def _exact(expression: pl.Expr, schema: pl.Schema) -> pl.Expr:
    """Return an expression whose sums and products of whole numbers never overflow unnoticed.

    Polars computes in the type of the operands and goes on at the other end where that ends: twice
    100 in an int8 is -56. Here they have 128 bits on the way, and are int64 where they are used: a
    number that is too big for that fails, and says so.
    """
    tree = json.loads(expression.meta.serialize(format="json"))
    exact = _exact_tree(tree, schema)
    return expression if exact == tree else _expression(exact)


def _exact_tree(tree: Any, schema: pl.Schema) -> Any:  # noqa: ANN401 - JSON of any shape
    if isinstance(tree, list):
        return [_exact_tree(one, schema) for one in tree]
    if not isinstance(tree, dict):
        return tree
    inner = {name: _exact_tree(one, schema) for name, one in tree.items()}
    operator, operands = _operation(tree)
    if operator in (*SUMS, *PRODUCTS):
        kinds = [_dtype(operand, schema) for operand in operands]
        return _computed(inner, kinds) if all(kind.is_integer() for kind in kinds) else inner
    return _compared(inner) if operator in COMPARISONS or "Cast" in tree else inner


def _computed(tree: Mapping[str, Any], kinds: Sequence[pl.DataType]) -> dict[str, Any]:
    """Return a sum or product of whole numbers with 128 bits on the way."""
    operator, operands = _operation(tree)
    left, right = (
        _cast(_wide(one) if operator in SUMS else _narrow(one, kind), "Int128")
        for one, kind in zip(operands, kinds, strict=True)
    )
    sign = operator if operator in SUMS else "Multiply"
    return _cast({"BinaryExpr": {"left": left, "op": sign, "right": right}}, "Int64")


def _compared(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a comparison, or a cast, of what has 128 bits if it is a sum or product."""
    ((name, node),) = tree.items()
    return {name: {word: _wide(one) for word, one in node.items()}}


def _operation(tree: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Return the operator of two operands that a node is, and these; nothing if it is none."""
    if "BinaryExpr" in tree:
        node = tree["BinaryExpr"]
        return str(node["op"]), [node[side] for side in SIDES]
    function = tree["Function"]["function"] if "Function" in tree else None
    sql = function.get("Sql") if isinstance(function, dict) else None
    if isinstance(sql, dict) and "Binary" in sql:
        return str(sql["Binary"]), tree["Function"]["input"]
    return "", []


def _cast(tree: Any, dtype: str) -> dict[str, Any]:  # noqa: ANN401 - JSON of any shape
    return {"Cast": {"expr": tree, "dtype": {"Literal": dtype}, "options": "Strict"}}


def _wide(tree: Any) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return an exact sum or product with its 128 bits; anything else as it is."""
    if not isinstance(tree, dict) or "Cast" not in tree:
        return tree
    inner = tree["Cast"]["expr"]
    return inner if tree == _cast(inner, "Int64") and "BinaryExpr" in inner else tree


def _narrow(tree: Any, dtype: pl.DataType) -> Any:  # noqa: ANN401 - JSON of any shape
    """Return an operand with at most 64 bits and a sign, so that a product has at most 127."""
    return _cast(tree, "Int64") if dtype in (pl.UInt64(), pl.Int128()) else tree


def _dtype(tree: Any, schema: pl.Schema) -> pl.DataType:  # noqa: ANN401 - JSON of any shape
    rows = pl.LazyFrame(schema=schema)
    return rows.select(_expression(tree).alias("result")).collect_schema()["result"]


def _expression(tree: Any) -> pl.Expr:  # noqa: ANN401 - JSON of any shape
    return pl.Expr.deserialize(io.StringIO(json.dumps(tree)), format="json")


def _probe(expression: pl.Expr, schema: pl.Schema) -> pl.DataType:
    """Run an expression on a row of nulls and on a row of ones, to find what no data can mend."""
    nothing = pl.DataFrame({name: [None] for name in schema}, schema=schema)
    result = nothing.lazy().select(expression.alias("result")).collect()
    ones = pl.DataFrame([_one(name, dtype) for name, dtype in schema.items()])
    try:
        ones.lazy().select(expression.alias("result")).collect()
    except POLARS_ERRORS as error:
        # Other values may do what a one cannot; only what no value can do is a mistake.
        if "not supported" in str(error):
            raise
    return result.schema["result"]


def _one(name: str, dtype: pl.DataType) -> pl.Series:
    if dtype == pl.String:
        return pl.Series(name, ["1"])
    whole = pl.Series(name, [1], dtype=pl.Int64)
    return whole.cast(pl.Datetime("us")).cast(dtype) if dtype.is_temporal() else whole.cast(dtype)
