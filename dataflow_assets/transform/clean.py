"""From raw rows to cleaned ones and to findings about the others.

What belongs here: the plan that types a raw partition, judges every row by the contract and parts
the good from the rest. What does not: the parsers (`parse`), the rules (`rules`), finding which
rows of a key lose (`io.duplicates`), and writing anything.

Every raw row has exactly one fate, the first of these that applies: **quarantined** (it cannot be
split, or breaks a rule of severity quarantine or block), **filtered** (a repeated header, or
`where` is false or null), **duplicate** (another row of its key wins), **quarantined** after all
(it breaks a rule across rows; these are judged on what is left), **good**.
"""

from __future__ import annotations

import copy
import difflib
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import chain, count
from operator import or_
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from dataflow_assets.declaration.contract import Column, LatestBy
from dataflow_assets.errors import HeaderError
from dataflow_assets.texts import text_expression
from dataflow_assets.transform.findings import as_json, reasons
from dataflow_assets.transform.model_rows import MESSAGES, SAID, TEXT, ModelRows
from dataflow_assets.transform.models import model_of
from dataflow_assets.transform.parse import default_of, text_of, value_of
from dataflow_assets.transform.plugin import read_transforms
from dataflow_assets.transform.references import flagged
from dataflow_assets.transform.rules import (
    REPEATED_HEADER,
    UNEQUAL,
    UNREAD,
    Check,
    column_checks,
    contract_checks,
    contract_rules,
    contract_schema,
    read_where,
    rule_id,
    unknown_check,
)
from dataflow_assets.transform.typed import typed_unread_of, typed_value_of
from dataflow_assets.transform.types import polars_type
from dataflow_assets.transform.zones import why_no_moment

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from dataflow_assets.declaration.contract import Contract
    from dataflow_assets.declaration.rules import Unique
    from dataflow_assets.transform.rules import Lookup

RAW = "_raw:"
"""Prefix of the raw columns while typed ones of the same name stand beside them."""
VALUE = "_value:"
"""Prefix of the value of a raw column that is one of several names of a column."""

ORIGIN = pl.Schema({"_file": pl.String(), "_version": pl.String(), "_line": pl.Int64()})
TECHNICAL = ("_row", *ORIGIN, "_reject", "_text")
DELIMITERS = (";", "\t", "|", ",")
NO_TEXT = pl.lit(None, pl.String)
UNKNOWN = Column()
"""How a column that the contract does not name is read: as text."""
NO_BREAKS: Mapping[str, np.ndarray] = MappingProxyType({})


@dataclass(frozen=True)
class Cleaned:
    """What becomes of a raw partition's rows.

    Attributes:
        good: The cleaned rows: the plan's `cleaned_schema`.
        findings: One row for each raw row that is not good, or about which a rule warns: `_row`,
            `_file`, `_version`, `_line`, `outcome` (quarantined, filtered, duplicate or warned),
            `reasons` (list of `column`, `rule`, `severity`, `value`; empty unless quarantined or
            warned) and `row` (the raw row as JSON, or its text if it could not be split; null
            unless quarantined).
    """

    good: pl.LazyFrame
    findings: pl.LazyFrame


class CleaningPlan:
    """How the raw columns of one partition become the columns of a contract.

    Made once per contract and set of raw columns; nothing in it depends on the rows.

    Args:
        contract: What the source promises.
        raw_columns: The user columns of the raw partition, without technical ones: their types, or
            the names of columns of text.
        rejects: What stands before the rules about rows that cannot be read: see `REJECTS`.
        lookups: By rule, the table that it refers to.
        changed: Columns whose values are of another type than declared: those that cannot be read
            break no rule, and `changed_types` says what becomes of them.

    Attributes:
        contract: As given.
        key: The columns that together identify a row.
        keep: Which of several rows with one key wins.
        cleaned_schema: The contract's columns, evolved unknown ones, `_file`, `_version`, `_line`.
        unknown_columns: Raw columns that the contract does not name.
        missing_columns: Optional columns of the contract that the raw partition lacks: they are
            null, unless a transform fills them.
        filled_columns: Columns to which transforms give values.
        rule_ids: Every rule that the contract implies.

    Raises:
        HeaderError: A required column is gone, or all are; or there is an unknown one, or one
            less, and the contract freezes that.
        DeclarationError: A literal of the contract does not fit its column's type.
        ExpressionError: A pattern or an SQL condition of the contract is wrong.
    """

    def __init__(
        self,
        contract: Contract,
        raw_columns: pl.Schema | Sequence[str],
        rejects: str = "csv",
        lookups: Mapping[str, Lookup] | None = None,
        changed: Collection[str] = (),
    ) -> None:
        self.contract = contract
        self.key = contract.key
        self.keep = contract.keep
        if not isinstance(raw_columns, pl.Schema):
            raw_columns = pl.Schema(dict.fromkeys(raw_columns, pl.String()))
        self._types = raw_columns
        self._released: np.ndarray | None = None
        self._raw_columns = tuple(raw_columns)
        self._rejects = rejects
        self._lookups = lookups
        self._transforms = read_transforms(contract)
        self._model = model_of(contract)
        self._rows = None if self._model is None else ModelRows(self._model, contract)
        self._lowered = [] if self._rows is None else self._rows.lowered()
        self.filled_columns = frozenset(name for step in self._transforms for name in step.writes)
        self._changed = frozenset(changed)
        self._sources = received_names(contract, raw_columns)
        promised = set(contract.received_names)
        self.unknown_columns = tuple(name for name in raw_columns if name not in promised)
        self.missing_columns = self._missing()
        self._refuse_unknown()
        self._checks = self._all_checks()
        self._evolved = self._evolved_names()
        self._texts = self._text_names()
        self._where = read_where(contract)
        self.rule_ids = contract_rules(contract, rejects)
        self.cleaned_schema = pl.Schema(
            {
                **contract_schema(contract),
                **dict.fromkeys([*self._texts.values(), *self._evolved], pl.String()),
                **ORIGIN,
            }
        )

    def referring(self, lookups: Mapping[str, Lookup]) -> CleaningPlan:
        """Return the same plan with the tables that rules refer to, by rule."""
        return CleaningPlan(self.contract, self._types, self._rejects, lookups, self._changed)

    def sparing(self, changed: Collection[str]) -> CleaningPlan:
        """Return the same plan for columns whose values are of another type than declared."""
        return CleaningPlan(self.contract, self._types, self._rejects, self._lookups, changed)

    def releasing(self, rows: np.ndarray) -> CleaningPlan:
        """Return the plan for a partition of which a person released rows.

        They are good though they break rules; what cannot be read in them is null.

        Args:
            rows: By row number, whether the row is released; none that breaks `needed_rules`.
        """
        plan = copy.copy(self)
        plan._released = rows  # noqa: SLF001 - a plan as this one
        plan.__dict__.pop("_verdicts", None)
        return plan

    def clean(
        self,
        raw: pl.LazyFrame,
        losers: np.ndarray | None = None,
        breaks: Mapping[str, np.ndarray] = NO_BREAKS,
    ) -> Cleaned:
        """Part the good rows of a raw partition from the rest.

        Args:
            raw: The raw partition with `_row`, the number of each row from 0.
            losers: By row number, whether another row of its key wins; none: no row loses.
            breaks: By rule across rows, and by row number, whether a row that is good but for such
                rules breaks it; a rule that is not there is kept.
        """
        across = self._across(breaks)
        judged = self._judged(raw, losers, across)
        return Cleaned(self._good(judged), self._findings(judged, across))

    def clean_in_memory(
        self,
        raw: pl.DataFrame,
        losers: np.ndarray | None = None,
        breaks: Mapping[str, np.ndarray] = NO_BREAKS,
    ) -> Cleaned:
        """As `clean`, at once: for small partitions the faster way, as most have few findings.

        Args:
            raw: As in `clean`, few enough to be held in memory.
            losers: As in `clean`.
            breaks: As in `clean`.
        """
        across = self._across(breaks)
        judged = self._judged(raw.lazy(), losers, across).collect(engine="in-memory")
        good = self._good(judged.lazy()).collect(engine="in-memory")
        found = judged.filter(~pl.col("_good") | pl.col("_warned"))
        if found.is_empty():
            return Cleaned(good.lazy(), self._no_findings.lazy())
        return Cleaned(good.lazy(), self._findings(found.lazy(), across).collect().lazy())

    @cached_property
    def _no_findings(self) -> pl.DataFrame:
        technical = {"_row": pl.UInt32(), **ORIGIN, "_reject": pl.String(), "_text": pl.String()}
        raw = pl.DataFrame(schema=technical | dict(self._types))
        return self._findings(self._judged(raw.lazy(), None)).collect()

    def key_hashes(self, raw: pl.LazyFrame) -> pl.LazyFrame:
        """Return a 64-bit hash, `_hash`, of the key of every row that has one.

        Only the key's columns are read. Equal keys have equal hashes.
        """
        return self.hashes(raw, self.key)

    def candidates(self, raw: pl.LazyFrame, hashes: np.ndarray | None = None) -> pl.LazyFrame:
        """Return the good rows among which duplicates are to be sought.

        Args:
            raw: As in `clean`.
            hashes: The hashes of keys that stand there more than once, ascending; none: all rows.

        Returns:
            `_row`, the key's columns, and the column of `latest_by` if the contract has one.
        """
        rows = raw if hashes is None else self.repeated(raw, self.key, hashes)
        wanted = dict.fromkeys(self.key)
        if isinstance(self.keep, LatestBy):
            wanted[self.keep.latest_by] = None
        return self.good_values(rows, tuple(wanted), None)

    def values(self, raw: pl.LazyFrame, columns: Sequence[str]) -> pl.LazyFrame:
        """Return `_row` and the values of some columns, of all rows, good or not."""
        return self._typed(raw).select("_row", *columns)

    def good_values(
        self, raw: pl.LazyFrame, columns: Sequence[str], losers: np.ndarray | None
    ) -> pl.LazyFrame:
        """Return `_row` and the values of some columns, of rows that break no rule of a row.

        Args:
            raw: As in `clean`.
            columns: Which ones.
            losers: As in `clean`.
        """
        return self._judged(raw, losers).filter("_good").select("_row", *dict.fromkeys(columns))

    def sharing(self, unique: Unique, losers: np.ndarray | None) -> Sharing:
        """Return how rows are compared whose values must be unique.

        Args:
            unique: Which columns are compared.
            losers: As in `clean`.
        """
        return Sharing(self, unique.columns, unique.spare, losers)

    def hashes(self, raw: pl.LazyFrame, columns: Sequence[str]) -> pl.LazyFrame:
        """Return a 64-bit hash, `_hash`, of some columns of every row that has a value in each."""
        return self._hashed(raw, columns).select("_hash").filter(pl.col("_hash").is_not_null())

    @cached_property
    def _written(self) -> frozenset[str]:
        """The columns that get other values than are read for them."""
        return frozenset(
            [
                *(name for step in self._transforms for name in step.writes),
                *(one.meta.output_name() for one in self._lowered),
                *(() if self._model is None else self._model.written),
            ]
        )

    def _missing(self) -> tuple[str, ...]:
        missing = [name for name, raw in self._sources.items() if not raw]
        if self._raw_columns and len(missing) == len(self._sources):
            wanted = self.contract.names_of(missing[0])[0]
            raise HeaderError(
                "None of the contract's columns was received.",
                mend=self._header_mend(wanted),
                culprit=wanted,
            )
        gone = [name for name in missing if name not in self.filled_columns]
        for name in gone:
            frozen = self._raw_columns and self.contract.missing_columns == "freeze"
            if frozen or self.contract.is_required(name):
                raise self._gone(name)
        return tuple(missing)

    def _gone(self, name: str) -> HeaderError:
        wanted = self.contract.names_of(name)[0]
        required = self.contract.is_required(name)
        may_be = "" if required else " If it may be missing, set missing_columns to evolve."
        return HeaderError(
            f"The {'required' if required else 'declared'} column {wanted!r} is gone.",
            mend=f"{self._header_mend(wanted)}{may_be}",
            culprit=wanted,
        )

    def _header_mend(self, wanted: str) -> str:
        there = ", ".join(map(repr, self._raw_columns)) or "none"
        for delimiter in DELIMITERS:
            if len(self._raw_columns) == 1 and delimiter in self._raw_columns[0]:
                return (
                    f"The only column is {there}: the file seems to be delimited by "
                    f"{delimiter!r}; set delimiter in the declaration."
                )
        close = difflib.get_close_matches(wanted, self._raw_columns, n=1)
        hint = f" If {close[0]!r} is meant, add it to the column's aliases." if close else ""
        return f"Columns received are {there}.{hint}"

    def _refuse_unknown(self) -> None:
        if self.contract.unknown_columns == "freeze" and self.unknown_columns:
            names = ", ".join(map(repr, self.unknown_columns))
            raise HeaderError(
                f"There are columns that the contract does not name: {names}.",
                mend="Add them to the contract, or set unknown_columns to evolve or discard.",
                culprit=self.unknown_columns[0],
            )

    def _evolved_names(self) -> dict[str, str]:
        """Return the kept unknown columns by their cleaned name, which no contract column has."""
        names: dict[str, str] = {}
        kept = self.unknown_columns if self.contract.unknown_columns == "evolve" else ()
        taken = {*self.contract.columns, *kept}
        for raw in kept:
            name = raw
            if raw in self.contract.columns:
                name = next(f"{raw}_{n}" for n in count(2) if f"{raw}_{n}" not in taken)
            taken.add(name)
            names[name] = raw
        return names

    def _text_names(self) -> dict[str, str]:
        """Return, by column of a changed type, the column that keeps what cannot be read."""
        kept = self._changed if self.contract.changed_types.policy == "evolve" else ()
        taken = {*self.contract.columns, *self._evolved}
        names: dict[str, str] = {}
        for name in (name for name in self.contract.columns if name in kept):
            numbered = (f"{name}_text_{number}" for number in count(2))
            tries = chain([f"{name}_text"], numbered)
            names[name] = next(one for one in tries if one not in taken)
            taken.add(names[name])
        return names

    def _all_checks(self) -> tuple[Check, ...]:
        checks = contract_checks(self.contract, self._lookups)
        if self.contract.unknown_columns == "quarantine":
            tokens = self.contract.null_tokens
            texts = {
                name: text_of(self._shown(name), UNKNOWN, tokens) for name in self.unknown_columns
            }
            checks += tuple(unknown_check(name, text) for name, text in texts.items())
        return checks

    def _across(self, breaks: Mapping[str, np.ndarray]) -> tuple[Check, ...]:
        """Return the rules across rows that are broken, with the rows that break them."""
        rules = self.contract.rules
        kept = None if self._released is None else ~self._released
        return tuple(
            Check(
                rule_id(name, rules[name]),
                flagged(flags if kept is None else flags & kept, pl.col("_row")),
                tuple(dict.fromkeys(column for _, column in rules[name].looks_at)),
            )
            for name, flags in breaks.items()
        )

    def _judged(
        self, raw: pl.LazyFrame, losers: np.ndarray | None, across: Sequence[Check] = ()
    ) -> pl.LazyFrame:
        """Type every row and judge it, in one pass that both outcomes share.

        Returns:
            Technical columns; raw, typed and unread columns; `_bad`, `_wanted`, `_good`, `_warned`.
        """
        bad, wanted, warned = self._verdicts
        good = ~pl.col("_bad") & pl.col("_wanted")
        if losers is not None:
            good &= ~flagged(losers, pl.col("_row"))
        judged = self._typed(raw).with_columns(bad, wanted).with_columns(good.alias("_good"))
        if across:  # only rows that are good so far break such a rule
            out = _any_of(check for check in across if not check.rule.keeps)
            judged = judged.with_columns(pl.col("_bad") | out, pl.col("_good") & ~out)
            warned |= _any_of(check for check in across if check.rule.keeps)
        return judged.with_columns((pl.col("_good") & warned).alias("_warned"))

    @cached_property
    def _verdicts(self) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
        """Whether a row is bad, whether it is wanted, and whether a rule warns about it."""
        accepted = pl.col("_reject").is_null()
        broken = _any_of(check for check in self._checks if not check.rule.keeps)
        bad = pl.when(accepted).then(broken).otherwise(pl.col("_reject") != REPEATED_HEADER)
        wanted = accepted if self._where is None else accepted & self._where
        warned = _any_of(check for check in self._checks if check.rule.keeps)
        if self._released is not None:
            released = flagged(self._released, pl.col("_row"))
            bad, warned = bad & ~released, warned | released
        return bad.alias("_bad"), wanted.alias("_wanted"), warned

    def _typed(self, raw: pl.LazyFrame) -> pl.LazyFrame:
        """Put the values, and the texts that could not be read, beside the raw columns."""
        kept = [pl.col(name).alias(RAW + name) for name in self._raw_columns]
        values, unread = self._readings
        typed = raw.select(*TECHNICAL, *kept)
        if self._several:
            typed = typed.with_columns(one for parts in self._several.values() for one in parts)
        typed = typed.with_columns(values).with_columns(unread)
        if self._lowered:
            typed = typed.with_columns(self._lowered)
        typed = self._transformed(typed)
        if self._rows is None or self._model is None or not self._model.validates:
            return typed
        return self._rows.validated(typed, self._unbroken)

    @cached_property
    def _unbroken(self) -> pl.Expr:
        """Whether a row breaks none of the rules that are judged without its model."""
        checks = (check for check in column_checks(self.contract) if check.rule.kind != "model")
        return pl.col("_reject").is_null() & ~_any_of(checks)

    def _transformed(self, typed: pl.LazyFrame) -> pl.LazyFrame:
        """Let the contract's transforms give columns new values, one after another."""
        for step in self._transforms:
            typed = typed.with_columns(step.expressions)
        return typed

    @cached_property
    def _several(self) -> dict[str, list[pl.Expr]]:
        """The values under each name of the columns that have several in this partition."""
        return {
            name: [
                value.alias(f"{VALUE}{name}:{raw}")
                for raw, value in zip(names, self._typed_values(name, RAW), strict=True)
            ]
            for name, names in self._sources.items()
            if len(names) > 1
        }

    @cached_property
    def _readings(self) -> tuple[list[pl.Expr], list[pl.Expr]]:
        """The value of each column, and what could not be read of it or contradicts itself."""
        values, unread = [], []
        texts = frozenset() if self._model is None else self._model.texts
        for name, column in self.contract.columns.items():
            if name in texts:
                value, rest = pl.lit(None, polars_type(column.type)), NO_TEXT
                text = text_of(self._raw(name), column, self.contract.null_tokens)
                values.append(text.alias(TEXT + name))
            else:
                value, rest = self._reading(name)
            values.append(value.alias(name))
            if column.type != "string" or column.refuses_texts:
                kept = self._texts.get(name)
                if kept is not None:
                    unread.append(rest.alias(kept))
                unread.append((NO_TEXT if name in self._changed else rest).alias(UNREAD + name))
            if column.aliases:
                unread.append(self._unequal(name).alias(UNEQUAL + name))
        return values, unread

    def _reading(self, name: str) -> tuple[pl.Expr, pl.Expr]:
        """Return a column's value, and its text where that could not be read.

        Of a column with several names in this partition, that is the first that there is.
        """
        names = self._sources[name]
        if not names:
            return default_of(self.contract.columns[name]), NO_TEXT
        if name not in self._several:
            return self._typed_value(name, RAW), self._unread(name, names[0], pl.col(name), RAW)
        values = [pl.col(f"{VALUE}{name}:{raw}") for raw in names]
        pairs = zip(names, values, strict=True)
        rests = [self._unread(name, raw, value, RAW) for raw, value in pairs]
        return self._first_of(name, values, rests), pl.coalesce(rests)

    def _typed_value(self, name: str, prefix: str = "") -> pl.Expr:
        """Return the value of a column that was received, over raw columns of a prefix."""
        values = self._typed_values(name, prefix)
        if len(values) == 1:
            return values[0]
        pairs = zip(self._sources[name], values, strict=True)
        rests = [self._unread(name, raw, value, prefix) for raw, value in pairs]
        return self._first_of(name, values, rests)

    def _typed_values(self, name: str, prefix: str) -> list[pl.Expr]:
        """Return a column's value under each of its names; of several, without the default."""
        zone, zones = self.contract.columns[name].timezone_from, None
        if zone in self.missing_columns:
            zones = NO_TEXT
        elif zone is not None:
            zones = self._typed_value(zone, prefix)
        column, tokens = self._as_read(name), self.contract.null_tokens
        return [
            typed_value_of(pl.col(prefix + raw), self._types[raw], column, tokens, zones)
            for raw in self._sources[name]
        ]

    def _as_read(self, name: str) -> Column:
        """Return what the contract says about a column; of several names none has the default."""
        column = self.contract.columns[name]
        several = len(self._sources[name]) > 1
        return column.model_copy(update={"default": None}) if several else column

    def _unread(self, name: str, raw: str, value: pl.Expr, prefix: str) -> pl.Expr:
        """Return the text under one of a column's names that could not be read."""
        tokens, dtype = self.contract.null_tokens, self._types[raw]
        return typed_unread_of(pl.col(prefix + raw), value, dtype, self._as_read(name), tokens)

    def _first_of(self, name: str, values: list[pl.Expr], rests: list[pl.Expr]) -> pl.Expr:
        """Return the first value under several names, or the default if there is no text either."""
        column, first = self.contract.columns[name], pl.coalesce(values)
        if column.default is None:
            return first
        unread = pl.any_horizontal(rest.is_not_null() for rest in rests)
        return pl.when(unread).then(first).otherwise(pl.coalesce(first, default_of(column)))

    def _unequal(self, name: str) -> pl.Expr:
        """Whether names of a column have different values in a row."""
        if name not in self._several:
            return pl.lit(False)  # noqa: FBT003 - a value
        values = [pl.col(f"{VALUE}{name}:{raw}") for raw in self._sources[name]]
        return pl.any_horizontal(value != pl.coalesce(values) for value in values)

    def _raw(self, name: str) -> pl.Expr:
        """Return the raw text of a contract's column; null where the partition lacks it."""
        texts = [self._meant(name, raw) for raw in self._sources[name]]
        return pl.coalesce(texts) if texts else NO_TEXT

    def _meant(self, name: str, raw: str) -> pl.Expr:
        """Return the text of a raw column; null if it means none and another name may have one."""
        if name not in self._several:
            return self._shown(raw)
        return text_of(self._shown(raw), self.contract.columns[name], self.contract.null_tokens)

    def _shown(self, raw: str) -> pl.Expr:
        """Return the text of a raw column."""
        return text_expression(pl.col(RAW + raw), self._types[raw])

    def _good(self, judged: pl.LazyFrame) -> pl.LazyFrame:
        evolved = [self._shown(raw).alias(name) for name, raw in self._evolved.items()]
        columns = (*self.contract.columns, *self._texts.values())
        return judged.filter("_good").select(*columns, *evolved, *ORIGIN)

    def _findings(self, judged: pl.LazyFrame, across: Sequence[Check] = ()) -> pl.LazyFrame:
        found = judged.filter(~pl.col("_good") | pl.col("_warned"))
        if self._rows is not None:
            shown = (pl.col("_bad") | pl.col("_warned")) & pl.col("_reject").is_null()
            found = found.with_columns(self._rows.messages(shown, UNREAD))
        finding = self._finding_of([*self._checks, *across]) if across else self._finding
        return found.select(*("_row", *ORIGIN), *finding)

    @cached_property
    def _finding(self) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
        return self._finding_of(self._checks)

    def _finding_of(self, checks: Sequence[Check]) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
        """Return what became of a row that is not good, why, and what it was."""
        bad, good = pl.col("_bad"), pl.col("_good")
        rejected = pl.col("_reject").is_not_null()
        outcome = (
            pl.when(bad)
            .then(pl.lit("quarantined"))
            .when(~pl.col("_wanted"))
            .then(pl.lit("filtered"))
            .when(~good)
            .then(pl.lit("duplicate"))
            .otherwise(pl.lit("warned"))
        )
        promises = ((check, self._value(check), self._message(check)) for check in checks)
        why = reasons(promises, bad | good, self._rejects)
        row = (
            pl.when(rejected)
            .then("_text")
            .otherwise(as_json({name: self._shown(name) for name in self._raw_columns}))
        )
        return (
            outcome.alias("outcome"),
            why.alias("reasons"),
            pl.when(bad).then(row).alias("row"),
        )

    def _value(self, check: Check) -> pl.Expr:
        """Return what a reason shows: the raw text, or those that a row's rule names, as JSON."""
        if check.rule.kind == "unknown":
            return self._shown(check.names[0])
        if check.rule.kind == "names":
            return as_json({raw: self._shown(raw) for raw in self._sources[check.names[0]]})
        if check.rule.column is not None:
            return self._raw(check.names[0])
        return as_json({name: self._raw(name) for name in check.names})

    def _message(self, check: Check) -> pl.Expr | None:
        """Return what the contract's model or a clock says where a rule is broken, if one does."""
        if check.rule.kind == "model":
            return pl.col(SAID + (check.rule.column or ""))
        column = check.rule.column
        if column is None:
            return None
        clock = self._why_no_moment(column) if check.rule.kind == "type" else None
        if self._model is None or column not in self._model.fields:
            return clock
        said = pl.col(MESSAGES).struct.field(column)
        return said if clock is None else pl.coalesce(clock, said)

    def _why_no_moment(self, name: str) -> pl.Expr | None:
        """Return what a clock has against the local times of a column, if that has a zone."""
        column, text = self.contract.columns[name].bare(), pl.col(UNREAD + name)
        zones = None if column.timezone_from is None else pl.col(column.timezone_from)
        return why_no_moment(column, zones, lambda one, by: value_of(text, one, (), by))

    def _received(self, columns: Sequence[str]) -> list[pl.Expr] | None:
        """Return the values of columns over the raw ones; none if one of them gets others yet."""
        if self._written.intersection(columns):
            return None
        missing = self.missing_columns
        return [
            (
                default_of(self.contract.columns[name])
                if name in missing
                else self._typed_value(name)
            ).alias(name)
            for name in columns
        ]

    def _hashed(self, raw: pl.LazyFrame, columns: Sequence[str]) -> pl.LazyFrame:
        """Put `_hash`, a hash of columns, beside raw rows; null where one of them lacks a value."""
        received = self._received(columns)
        if received is not None:
            return raw.with_columns(_hash_of(received).alias("_hash"))
        as_received = [pl.col(RAW + name).alias(name) for name in self._raw_columns]
        key = _hash_of([pl.col(name) for name in columns]).alias("_hash")
        return self._typed(raw).select(*TECHNICAL, *as_received, key)

    def repeated(
        self, raw: pl.LazyFrame, columns: Sequence[str], hashes: np.ndarray
    ) -> pl.LazyFrame:
        """Return the raw rows of which some columns have one of the hashes."""
        received = self._received(columns)
        if received is not None:  # a plain filter, which the scan applies as it reads
            return raw.filter(among(_hash_of(received), hashes))
        found = self._hashed(raw, columns).filter(among(pl.col("_hash"), hashes)).drop("_hash")
        return found.collect(engine="streaming").lazy()


@dataclass(frozen=True)
class Sharing:
    """How the rows of a partition are compared whose values must be unique.

    Attributes:
        plan: Judges the rows.
        key: The columns whose values are compared.
        keep: Whether the first of the rows that share values is spared.
        losers: By row number, whether another row of its key wins.
    """

    plan: CleaningPlan
    key: tuple[str, ...]
    keep: Literal["first", "none"]
    losers: np.ndarray | None

    def key_hashes(self, raw: pl.LazyFrame) -> pl.LazyFrame:
        """Return a 64-bit hash, `_hash`, of every row that has a value in each column."""
        return self.plan.hashes(raw, self.key)

    def candidates(self, raw: pl.LazyFrame, hashes: np.ndarray | None = None) -> pl.LazyFrame:
        """Return `_row` and the columns of the good rows with such a hash, or of all."""
        rows = raw if hashes is None else self.plan.repeated(raw, self.key, hashes)
        good = self.plan.good_values(rows, self.key, self.losers)
        return good.filter(pl.all_horizontal(pl.col(name).is_not_null() for name in self.key))


def received_names(contract: Contract, raw: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return, by column of a contract, those of its names that were received, in its order."""
    return {
        column: tuple(name for name in contract.names_of(column) if name in raw)
        for column in contract.columns
    }


def _hash_of(key: Sequence[pl.Expr]) -> pl.Expr:
    digest = key[0].hash() if len(key) == 1 else pl.struct(key).hash()
    has_all = pl.all_horizontal(part.is_not_null() for part in key)
    return pl.when(has_all).then(digest)


def _any_of(checks: Iterable[Check]) -> pl.Expr:
    return reduce(or_, (check.broken for check in checks), pl.lit(False))  # noqa: FBT003


def among(values: pl.Expr, ascending: np.ndarray) -> pl.Expr:
    """Whether each value stands in an ascending array that is not empty; null counts as no."""

    def found(series: pl.Series) -> pl.Series:
        wanted = series.fill_null(0).to_numpy()
        places = np.searchsorted(ascending, wanted).clip(max=len(ascending) - 1)
        return pl.Series(series.name, ascending[places] == wanted) & series.is_not_null()

    return values.map_batches(found, return_dtype=pl.Boolean, is_elementwise=True)
