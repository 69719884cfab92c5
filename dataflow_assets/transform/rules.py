"""What a contract promises, one rule at a time: its id, and when a row breaks it.

What belongs here: the vocabulary of rule ids and the condition behind each. What does not: reading
texts (`parse`), and what becomes of the rows (`clean`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import polars as pl

from dataflow_assets.errors import DeclarationError, ExpressionError
from dataflow_assets.transform.expressions import columns_of, read_condition
from dataflow_assets.transform.parse import check_formats, default_of, value_of
from dataflow_assets.transform.steps import check_steps
from dataflow_assets.transform.types import literal, polars_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dataflow_assets.declaration.contract import Column, Contract, Severity

RuleKind = Literal[
    "type",
    "required",
    "range",
    "length",
    "pattern",
    "one_of",
    "nul_byte",
    "unknown",
    "sql",
    "reject",
]
REJECTS: dict[str, dict[str, str]] = {
    "csv": {
        "ragged": "The row has as many fields as the header",
        "quote": "Quotes are closed and stand where they may",
        "encoding": "The row's bytes are text in the declared encoding",
        "too_long": "The row is not too long to be read",
    },
    "json": {
        "invalid": "The record is JSON",
        "truncated": "The file does not break off",
        "not_an_object": "The record is an object, with names and values",
        "duplicate_key": "The record has no name twice",
        "encoding": "The record's bytes are text in the declared encoding",
        "surrogate": "Escaped surrogates come in pairs",
        "too_deep": "The record is not nested too deeply to be read",
        "too_long": "The record is not too long to be read",
    },
    "feed": {
        "truncated": "The feed does not break off amid the entry",
        "not_an_object": "The entry is an object, with names and values",
    },
}
"""What each format asks of a row that is to be read, by what is wrong where it is not so."""
REPEATED_HEADER = "repeated_header"
UNREAD = "_unread:"
"""Prefix of the columns that hold a field's text where it is no value of the column's type."""


@dataclass(frozen=True)
class RuleId:
    """One promise of a contract.

    Attributes:
        id: Its name in quarantine, checks and messages, such as ``mag__range``.
        column: The column that it is about; none for a rule about the whole row.
        kind: What sort of promise.
        severity: What becomes of a row that breaks it.
        description: The promise, in words.
    """

    id: str
    column: str | None
    kind: RuleKind
    severity: Severity
    description: str


@dataclass(frozen=True)
class Check:
    """A rule with its conditions over typed columns and texts.

    Attributes:
        rule: The promise.
        broken: Boolean, never null: whether a row breaks it.
        names: The columns whose raw values show why.
    """

    rule: RuleId
    broken: pl.Expr
    names: tuple[str, ...]


def contract_schema(contract: Contract) -> pl.Schema:
    """Return the typed columns of a contract, in its order."""
    return pl.Schema({name: polars_type(c.type) for name, c in contract.columns.items()})


def contract_rules(contract: Contract, rejects: str = "csv") -> tuple[RuleId, ...]:
    """Return every rule that a source implies, whatever the data: columns', rows', the format's.

    Args:
        contract: What the source promises.
        rejects: What stands before the rules about rows that cannot be read: see `REJECTS`.
    """
    unread = (
        RuleId(f"{rejects}__{reject}", None, "reject", "quarantine", text)
        for reject, text in REJECTS.get(rejects, {}).items()
    )
    return (*(check.rule for check in contract_checks(contract)), *unread)


def contract_checks(contract: Contract) -> tuple[Check, ...]:
    """Return the rules of a contract with their conditions.

    Raises:
        DeclarationError: A bound, allowed value or format does not fit its column's type.
        ExpressionError: A pattern or an SQL rule is wrong.
    """
    return (
        *(check for name in contract.columns for check in _column_checks(name, contract)),
        *(_sql_check(name, contract) for name in contract.rules),
    )


def read_where(contract: Contract) -> pl.Expr | None:
    """Return the condition of the rows that the contract wants; null counts as not wanted.

    Raises:
        ExpressionError: The condition is wrong.
    """
    if contract.where is None:
        return None
    try:
        condition = read_condition(contract.where, contract_schema(contract), what="where")
    except ExpressionError as error:
        error.within("contract", "where")
        raise
    return condition.fill_null(value=False)


def check_contract(contract: Contract) -> None:
    """Refuse a contract that could not be applied to any data.

    Raises:
        DeclarationError: A bound, allowed value or format does not fit its column's type.
        ExpressionError: A pattern, an SQL rule or `where` is wrong.
    """
    contract_checks(contract)
    read_where(contract)


def unknown_check(name: str, text: pl.Expr) -> Check:
    """Return the rule that a column which the contract does not name holds no value.

    Args:
        name: The raw column.
        text: Its text; null where it means no value.
    """
    rule = RuleId(
        f"{name}__unknown", name, "unknown", "quarantine", f"{name} is not in the contract"
    )
    return Check(rule, text.is_not_null(), (name,))


def _column_checks(name: str, contract: Contract) -> Iterator[Check]:
    """Yield the rules of a column; a value that is missing breaks no rule but ``required``."""
    column = contract.columns[name]
    value, unread = pl.col(name), pl.col(UNREAD + name).is_not_null()
    can_be_unread = column.type != "string" or column.refuses_texts
    try:
        check_formats(column)
        check_steps(column)
        if can_be_unread:
            known = ", and known to its map" if column.refuses_texts else ""
            words = f"{name} is of type {column.type}{known}"
            yield _check(name, contract, "type", unread, words)
        if contract.is_required(name):
            missing = value.is_null() & ~unread if can_be_unread else value.is_null()
            yield _check(name, contract, "required", missing, f"{name} has a value")
        checks = tuple(_value_checks(name, contract, value))
        _check_default(name, column, checks)
        yield from checks
    except DeclarationError as error:
        error.culprit = f"column {name}"
        error.within("contract", "columns", name)
        raise


def _check_default(name: str, column: Column, checks: Iterable[Check]) -> None:
    """Refuse a default that breaks a rule of its own column: each row that needs it would.

    Raises:
        DeclarationError: It does, or is no value of the column's type.
    """
    if column.default is None:
        return
    row = pl.select(default_of(column).alias(name))
    for check in checks:
        if row.select(check.broken).item():
            raise DeclarationError(
                f"The default {column.default!r} breaks {check.rule.id}: {check.rule.description}.",
                mend="Give a default that the column's own rules allow, or change those.",
            )


def _value_checks(name: str, contract: Contract, value: pl.Expr) -> Iterator[Check]:
    column = contract.columns[name]
    if column.min is not None or column.max is not None:
        kept, words = _within(value, column)
        yield _check(name, contract, "range", ~kept, f"{name} {words}")
    if column.min_length is not None or column.max_length is not None:
        kept, words = _long_enough(value.str.len_chars(), column)
        yield _check(name, contract, "length", ~kept, f"{name} has {words}")
    if column.pattern is not None:
        kept = value.str.contains(_whole(column.pattern))
        yield _check(name, contract, "pattern", ~kept, f"{name} matches {column.pattern}")
    if column.one_of is not None:
        allowed = _allowed(column)
        listed = ", ".join(map(str, column.one_of))
        yield _check(
            name, contract, "one_of", ~value.is_in(allowed.implode()), f"{name} is one of {listed}"
        )
    elif column.type == "string":
        broken = value.str.contains("\0", literal=True)
        yield _check(name, contract, "nul_byte", broken, f"{name} holds no NUL byte")


def _check(name: str, contract: Contract, kind: RuleKind, broken: pl.Expr, words: str) -> Check:
    severity = contract.columns[name].severity
    # No warehouse can hold a NUL byte, and no row can be told from others without its key.
    needed = kind == "nul_byte" or (name in contract.key and kind in {"type", "required"})
    if needed and severity == "warn":
        severity = "quarantine"
    rule = RuleId(f"{name}__{kind}", name, kind, severity, words)
    return Check(rule, broken.fill_null(value=False), (name,))


def _within(value: pl.Expr, column: Column) -> tuple[pl.Expr, str]:
    low, high = (
        None if bound is None else literal(bound, column.type, timezone=column.timezone)
        for bound in (column.min, column.max)
    )
    if low is not None and high is not None:
        if pl.select(low > high).item():
            raise DeclarationError(
                f"min {column.min} is above max {column.max}, so that no value would do.",
                mend="Exchange or correct them.",
            )
        return value.is_between(low, high), f"lies between {column.min} and {column.max}"
    if low is not None:
        return value >= low, f"is at least {column.min}"
    return value <= high, f"is at most {column.max}"


def _long_enough(size: pl.Expr, column: Column) -> tuple[pl.Expr, str]:
    low, high = column.min_length or 0, column.max_length
    if high is None:
        return size >= low, f"at least {low} characters"
    return size.is_between(low, high), f"{low} to {high} characters"


def _whole(pattern: str) -> str:
    """Return the pattern such that it matches whole texts only.

    Raises:
        ExpressionError: It is no regular expression that Polars can run.
    """
    try:
        re.compile(pattern) if pattern else None
        whole = rf"\A(?:{pattern})\z"
        pl.select(pl.lit("").str.contains(pattern), whole=pl.lit("").str.contains(whole))
    except (pl.exceptions.PolarsError, re.error) as error:
        raise ExpressionError(
            f"The pattern {pattern!r} is no regular expression: {str(error).splitlines()[0]}.",
            mend="Write one in the syntax of Rust's regex: no look-around, no back references.",
        ) from error
    return whole


def _allowed(column: Column) -> pl.Series:
    """Return the allowed values in the column's type: formats apply, marks and steps do not.

    Raises:
        DeclarationError: One of them is no such value.
    """
    texts = [
        str(value).lower() if isinstance(value, bool) else str(value)
        for value in column.one_of or ()
    ]
    read = value_of(pl.col("value"), column.bare(), ())
    values = pl.Series("value", texts).to_frame().select(read)["value"]
    if values.null_count():
        text = texts[int(values.is_null().arg_max() or 0)]
        raise DeclarationError(
            f"one_of lists {text!r}, which is no value of type {column.type}.",
            mend="Write the value as it stands in the file, or change the type.",
        )
    return values


def _sql_check(name: str, contract: Contract) -> Check:
    declared = contract.rules[name]
    try:
        condition = read_condition(declared.sql, contract_schema(contract), what=f"rule {name}")
    except ExpressionError as error:
        error.within("contract", "rules", name, "sql")
        raise
    words = declared.description or declared.sql
    rule = RuleId(name, None, "sql", declared.severity, words)
    return Check(rule, (~condition).fill_null(value=False), columns_of(condition))
