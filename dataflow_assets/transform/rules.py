"""What a contract promises, one rule at a time: its id, and when a row breaks it.

What belongs here: the vocabulary of rule ids and the condition behind each. What does not: reading
texts (`parse`), and what becomes of the rows (`clean`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING, Literal, Protocol

import polars as pl

from dataflow_assets.declaration.rules import KINDS
from dataflow_assets.errors import DeclarationError, ExpressionError
from dataflow_assets.transform.across import check_across
from dataflow_assets.transform.expressions import columns_of, read_condition
from dataflow_assets.transform.model_rows import BEFORE, SAID, TEXT
from dataflow_assets.transform.models import model_of
from dataflow_assets.transform.parse import check_formats, default_of, value_of
from dataflow_assets.transform.steps import check_steps
from dataflow_assets.transform.types import literal, polars_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from dataflow_assets.declaration.contract import Column, Contract
    from dataflow_assets.declaration.rules import Limit, Rule, Severity
    from dataflow_assets.transform.models import ModelContract

RuleKind = Literal[
    "type",
    "required",
    "range",
    "length",
    "pattern",
    "one_of",
    "multiple_of",
    "nul_byte",
    "unknown",
    "names",
    "sql",
    "unique",
    "monotonic",
    "no_gaps",
    "references",
    "model",
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
UNEQUAL = "_unequal:"
"""Prefix of the columns that say whether two names of a column have different values in a row."""


@dataclass(frozen=True)
class RuleId:
    """One promise of a contract.

    Attributes:
        id: Its name in quarantine, checks and messages, such as ``mag__range``.
        column: The column that it is about; none for a rule about the whole row.
        kind: What sort of promise.
        severity: What becomes of a row that breaks it.
        description: The promise, in words.
        limit: How many rows may break it before that counts.
        keeps: Whether a row that breaks it stays among the good ones.
    """

    id: str
    column: str | None
    kind: RuleKind
    severity: Severity
    description: str
    limit: Limit | None = None
    keeps: bool = False

    def allows(self, rows: int, received: int) -> bool:
        """Whether so many rows of those received may break it without anything being said."""
        return rows == 0 if self.limit is None else self.limit.allows(rows, received)

    @property
    def bars(self) -> bool:
        """Whether more rows than it allows keep a partition from being published."""
        return self.severity == "block" or (
            self.severity == "quarantine" and self.limit is not None
        )


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


class Lookup(Protocol):
    """Knows which values another table has."""

    def absent(self, values: Sequence[pl.Expr]) -> pl.Expr:
        """Whether values are not there, row by row, never null; false where one is null."""


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
    columns = (check.rule for check in column_checks(contract))
    return (*columns, *(rule_id(name, one) for name, one in contract.rules.items()), *unread)


def contract_checks(
    contract: Contract, lookups: Mapping[str, Lookup] | None = None
) -> tuple[Check, ...]:
    """Return the rules of a contract that look at one row at a time, with their conditions.

    Args:
        contract: What the source promises.
        lookups: By rule, the table that it refers to. Rules without one are taken to be kept.

    Raises:
        DeclarationError: A bound, allowed value or format does not fit its column's type.
        ExpressionError: A pattern or an SQL rule is wrong.
    """
    return (
        *column_checks(contract),
        *_row_checks(contract, lookups or {}),
    )


def column_checks(contract: Contract) -> tuple[Check, ...]:
    """Return the rules of a contract's columns, those that only its model can judge last.

    Raises:
        DeclarationError: As `contract_checks`.
        ExpressionError: A pattern is wrong.
    """
    model = model_of(contract)
    plain = (check for name in contract.columns for check in _column_checks(name, contract, model))
    return (*plain, *(() if model is None else _model_checks(model, contract)))


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


def _column_checks(name: str, contract: Contract, model: ModelContract | None) -> Iterator[Check]:
    """Yield the rules of a column; a value that is missing breaks no rule but ``required``."""
    column = contract.columns[name]
    try:
        check_formats(column)
        check_steps(column)
        if model is not None and name in model.texts:  # its type is Pydantic's business
            missing = pl.col(TEXT + name).is_null()
            if contract.is_required(name):
                yield _check(name, contract, "required", missing, f"{name} has a value")
            yield from _value_checks(name, contract, pl.col(name))
            return
        changed = model is not None and name in model.written
        value = pl.col(BEFORE + name if changed else name)
        unread = pl.col(UNREAD + name).is_not_null()
        can_be_unread = column.type != "string" or column.refuses_texts
        if can_be_unread:
            known = ", and known to its map" if column.refuses_texts else ""
            words = f"{name} is of type {column.type}{known}"
            yield _check(name, contract, "type", unread, words)
        if contract.is_required(name):
            missing = value.is_null() & ~unread if can_be_unread else value.is_null()
            yield _check(name, contract, "required", missing, f"{name} has a value")
        if column.aliases:
            yield _check(name, contract, "names", pl.col(UNEQUAL + name), _one_value(name))
        checks = tuple(_value_checks(name, contract, value))
        _check_default(value, column, checks)
        yield from checks
    except DeclarationError as error:
        error.culprit = f"column {name}"
        error.within("contract", "columns", name)
        raise


def _check_default(value: pl.Expr, column: Column, checks: Iterable[Check]) -> None:
    """Refuse a default that breaks a rule of its own column: each row that needs it would.

    Raises:
        DeclarationError: It does, or is no value of the column's type.
    """
    if column.default is None:
        return
    row = pl.select(default_of(column).alias(value.meta.output_name()))
    for check in checks:
        if row.select(check.broken).item():
            raise DeclarationError(
                f"The default {column.default!r} breaks {check.rule.id}: {check.rule.description}.",
                mend="Give a default that the column's own rules allow, or change those.",
            )


def _model_checks(model: ModelContract, contract: Contract) -> Iterator[Check]:
    """Yield what only Pydantic can judge: of fields, and of the row as a whole."""
    called = model.cls.__name__
    for name in model.judged:
        words = f"{name} is what {called} takes"
        yield _check(name, contract, "model", pl.col(SAID + name).is_not_null(), words)
    if model.validates:
        rule = RuleId("model", None, "model", "quarantine", f"the row is what {called} takes")
        yield Check(rule, pl.col(SAID).is_not_null(), tuple(model.fields))


def _one_value(name: str) -> str:
    return f"{name} has one value, whichever of its names the file uses"


def _value_checks(name: str, contract: Contract, value: pl.Expr) -> Iterator[Check]:
    column = contract.columns[name]
    if column.is_bounded:
        kept, words = _within(value, column)
        yield _check(name, contract, "range", ~kept, f"{name} {words}")
    if column.multiple_of is not None:
        broken = ~_is_multiple(value, column)
        words = f"{name} is a multiple of {column.multiple_of}"
        yield _check(name, contract, "multiple_of", broken, words)
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
    severity, limit = contract.columns[name].severity, contract.columns[name].limit
    # No warehouse can hold a NUL byte, and no row can be told from others without its key.
    needed = kind == "nul_byte" or (name in contract.key and kind in {"type", "required"})
    if needed and severity == "warn":
        severity = "quarantine"
    keeps = _keeps(severity, limit) and not needed
    rule = RuleId(f"{name}__{kind}", name, kind, severity, words, limit, keeps)
    return Check(rule, broken.fill_null(value=False), (name,))


def _within(value: pl.Expr, column: Column) -> tuple[pl.Expr, str]:
    low, high = (
        None if bound is None else literal(bound, column.type, timezone=column.timezone)
        for bound in (
            column.min if column.above is None else column.above,
            column.max if column.below is None else column.below,
        )
    )
    if low is not None and high is not None:
        _check_room(low, high, column)
        if column.above is None and column.below is None:
            return value.is_between(low, high), f"lies between {column.min} and {column.max}"
    kept, words = [], []
    if low is not None:
        kept.append(value >= low if column.above is None else value > low)
        words.append(
            f"is at least {column.min}" if column.above is None else f"is above {column.above}"
        )
    if high is not None:
        kept.append(value <= high if column.below is None else value < high)
        words.append(
            f"is at most {column.max}" if column.below is None else f"is below {column.below}"
        )
    return reduce(and_, kept), " and ".join(words)


def _check_room(low: pl.Expr, high: pl.Expr, column: Column) -> None:
    """Refuse bounds between which there is no value."""
    strict = column.above is not None or column.below is not None
    if pl.select((low >= high) if strict else (low > high)).item():
        least, words = (column.min, "min") if column.above is None else (column.above, "above")
        most, other = (column.max, "max") if column.below is None else (column.below, "below")
        raise DeclarationError(
            f"{words} {least} is above {other} {most}, so that no value would do."
            if not strict
            else f"{words} {least} and {other} {most} leave no value between them.",
            mend="Exchange or correct them.",
        )


def _is_multiple(value: pl.Expr, column: Column) -> pl.Expr:
    """Whether numbers are whole multiples; of floats, as near as 9 digits tell."""
    number = Decimal(str(column.multiple_of))
    if column.type.startswith("float"):
        unit = float(number)
        rest, most = (value % unit).abs(), value.abs() / 1e9
        return (rest <= most) | ((rest - unit).abs() <= most)
    unit_of = literal(str(number), column.type)
    return value % unit_of == unit_of - unit_of


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


def rule_id(name: str, declared: Rule) -> RuleId:
    """Return the promise of a rule about whole rows."""
    kind = next(kind for kind in KINDS if getattr(declared, kind) is not None)
    return RuleId(
        id=name,
        column=None,
        kind=kind,
        severity=declared.severity,
        description=declared.description or _in_words(declared),
        limit=declared.limit,
        keeps=_keeps(declared.severity, declared.limit),
    )


def _keeps(severity: Severity, limit: Limit | None) -> bool:
    """Whether a row that breaks a rule stays: where it warns, or blocks only beyond a limit."""
    return severity == "warn" or (severity == "block" and limit is not None)


def _in_words(declared: Rule) -> str:
    if declared.unique is not None:
        others = "no row before" if declared.unique.spare == "first" else "no other row"
        return f"{others} has the same {', '.join(declared.unique.columns)}"
    if declared.monotonic is not None:
        one = declared.monotonic
        return f"{one.column} is {one.order.replace('_', ' ')} as received" + _per(one.per)
    if declared.no_gaps is not None:
        gaps = declared.no_gaps
        return f"neighbours of {gaps.column} are at most {gaps.step} apart" + _per(gaps.per)
    if declared.references is not None:
        one_of = declared.references
        there = f"{', '.join(one_of.target)} of {'/'.join(one_of.asset)}"
        return f"{', '.join(one_of.columns)} is found in {there}"
    return declared.sql or ""


def _per(columns: tuple[str, ...]) -> str:
    return f", per {', '.join(columns)}" if columns else ""


def _row_checks(contract: Contract, lookups: Mapping[str, Lookup]) -> Iterator[Check]:
    for name, declared in contract.rules.items():
        if declared.sql is not None:
            yield _sql_check(name, declared, declared.sql, contract)
        elif declared.references is not None:
            names = declared.references.columns
            absent = pl.lit(value=False)
            if name in lookups:
                absent = lookups[name].absent([pl.col(one) for one in names])
            yield Check(rule_id(name, declared), absent, names)
        else:
            check_across(name, declared, contract)


def _sql_check(name: str, declared: Rule, sql: str, contract: Contract) -> Check:
    try:
        condition = read_condition(sql, contract_schema(contract), what=f"rule {name}")
    except ExpressionError as error:
        error.within("contract", "rules", name, "sql")
        raise
    broken = (~condition).fill_null(value=False)
    return Check(rule_id(name, declared), broken, columns_of(condition))
