"""Rules: what a contract promises beside the types of its columns.

What belongs here: what becomes of rows that break a rule, and the words of rules about a row, about
the rows of a partition, and about another table. What does not: what a single column promises; that
is `contract`.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from dataflow_assets.declaration.base import (
    ColumnName,
    Declared,
    Name,
    ShortlyDeclared,
    parse_duration,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Severity = Literal["quarantine", "warn", "block"]
Order = Literal["increasing", "not_decreasing", "decreasing", "not_increasing"]


def _as_list(value: Any) -> Any:  # noqa: ANN401 - Pydantic hands over what the YAML says
    """Let one name stand for a list of it."""
    return [value] if isinstance(value, str) else value


def _no_truth_value(value: Any) -> Any:  # noqa: ANN401 - as above
    if isinstance(value, bool):
        raise ValueError("a truth value is no step")  # noqa: TRY004 - Pydantic wants ValueError
    return value


def is_none(value: object) -> bool:
    """Whether a word is not given: it is then left out of digests, as before it was a word."""
    return value is None


ColumnNames = Annotated[tuple[ColumnName, ...], BeforeValidator(_as_list), Field(min_length=1)]
"""Columns; one alone may be written without brackets."""
Step = Annotated[
    int | float | dt.timedelta,
    Field(union_mode="left_to_right"),
    BeforeValidator(parse_duration),
    BeforeValidator(_no_truth_value),
]


class Limit(Declared):
    """How many rows may break a rule before it is taken to be broken: so many, or so large a share.

    Attributes:
        rows: The most rows.
        share: The largest share of the rows received.
    """

    rows: int | None = Field(default=None, ge=0)
    share: float | None = Field(default=None, ge=0, le=1)

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.rows is None) == (self.share is None):
            raise ValueError(
                "give either rows, such as {rows: 10}, or share, such as {share: 0.01}"
            )
        return self

    def allows(self, rows: int, received: int) -> bool:
        """Whether so many rows of those received are within the limit."""
        if self.rows is not None:
            return rows <= self.rows
        # In whole numbers where it can be: 0.07 * 100 is more than 7.
        return Decimal(rows) <= Decimal(str(self.share)) * received

    def __str__(self) -> str:
        if self.rows is not None:
            return f"{self.rows:,} {'row' if self.rows == 1 else 'rows'}"
        return f"{(Decimal(str(self.share)) * 100).normalize():f} % of the rows"


class Unique(ShortlyDeclared):
    """No two rows of a partition have the same values; a row that lacks one is not looked at.

    Attributes:
        columns: The columns whose values are compared, together.
        spare: Whether ``first`` of the rows that share values is spared; ``none`` is.
    """

    SHORT: ClassVar[str] = "columns"

    columns: ColumnNames
    spare: Literal["none", "first"] = "none"

    @model_validator(mode="before")
    @classmethod
    def _list_form(cls, value: Any) -> Any:  # noqa: ANN401 - Pydantic hands over what the YAML says
        return {"columns": value} if isinstance(value, list | tuple) else value


def _refuse_itself(column: str, per: Sequence[str]) -> None:
    """Refuse rows that are told apart by the very column that is looked at.

    Raises:
        ValueError: They are.
    """
    if column in per:
        raise ValueError(f"per names {column!r}, whose values are compared; name other columns")


class Monotonic(ShortlyDeclared):
    """The values of a column go one way, in the order in which rows are received.

    A row without a value is not looked at.

    Attributes:
        column: Numbers, dates, times or timestamps.
        order: Which way they go.
        per: Columns; the rows of each of their combinations are looked at by themselves.
    """

    SHORT: ClassVar[str] = "column"

    column: ColumnName
    order: Order = "not_decreasing"
    per: Annotated[tuple[ColumnName, ...], BeforeValidator(_as_list)] = ()

    @model_validator(mode="after")
    def _per_others(self) -> Self:
        _refuse_itself(self.column, self.per)
        return self


class NoGaps(Declared):
    """No two neighbours among the values of a column lie further apart than a step.

    Attributes:
        column: Numbers, dates or timestamps.
        step: A number, or for dates and timestamps a duration such as ``1h``.
        per: As for `Monotonic`.
    """

    column: ColumnName
    step: Step
    per: Annotated[tuple[ColumnName, ...], BeforeValidator(_as_list)] = ()

    @model_validator(mode="after")
    def _step_leads_on(self) -> Self:
        nothing = dt.timedelta() if isinstance(self.step, dt.timedelta) else 0
        if not self.step > nothing:  # type: ignore[operator]  # both are of one type
            raise ValueError(f"step {self.step} is not above 0")
        _refuse_itself(self.column, self.per)
        return self


class References(Declared):
    """Each value is found in another table; a row that lacks one is not looked at.

    Attributes:
        columns: The columns of this source.
        source: The source in whose cleaned table they are sought.
        entity: The entity in whose table they are sought, instead of a source.
        to: The columns there, in the order of `columns`; none means the same names.
        partition: Of a source, in which partition they are sought: in the ``same``, in the
            ``latest`` that is there, or in ``all``.
    """

    columns: ColumnNames
    source: Name | None = None
    entity: Name | None = None
    to: ColumnNames | None = None
    partition: Literal["same", "latest", "all"] | None = None

    @model_validator(mode="after")
    def _one_table(self) -> Self:
        if (self.source is None) == (self.entity is None):
            raise ValueError("references needs either a source or an entity to look into")
        if self.entity is not None and self.partition is not None:
            raise ValueError("an entity is looked into as a whole: partition belongs to a source")
        if len(self.target) != len(self.columns):
            raise ValueError(
                f"to lists {len(self.target)} columns, where columns lists {len(self.columns)}"
            )
        return self

    @property
    def target(self) -> tuple[str, ...]:
        """The columns of the other table, in the order of `columns`."""
        return self.to or self.columns

    @property
    def asset(self) -> tuple[str, str]:
        """The key of the other table's asset."""
        if self.source is not None:
            return ("cleaned", self.source)
        return ("normalized", str(self.entity))

    @property
    def which(self) -> Literal["same", "latest", "all"]:
        """The partition in which values are sought."""
        return "all" if self.entity is not None else self.partition or "same"


RowsRuleKind = Literal["sql", "unique", "monotonic", "no_gaps", "references"]
KINDS: tuple[RowsRuleKind, ...] = ("sql", "unique", "monotonic", "no_gaps", "references")


class Rule(Declared):
    """A promise about whole rows. Exactly one of the first five words says what is promised.

    Attributes:
        sql: A condition over the typed columns that a good row fulfils; a row for which it is null
            fulfils it.
        unique: No two rows share the values of these columns.
        monotonic: The values of a column go one way.
        no_gaps: The values of a column leave no gap.
        references: Each value is found in another table.
        severity: ``quarantine`` the row, ``warn`` about it, or ``block`` the whole partition. A gap
            is rows that are not there: for it, ``warn`` (the default) or ``block``.
        limit: How many rows may break it before that counts.
        description: What it is for; shown in the Dagster UI.
    """

    sql: str | None = Field(default=None, min_length=1)
    unique: Unique | None = Field(default=None, exclude_if=is_none)
    monotonic: Monotonic | None = Field(default=None, exclude_if=is_none)
    no_gaps: NoGaps | None = Field(default=None, exclude_if=is_none)
    references: References | None = Field(default=None, exclude_if=is_none)
    severity: Severity = "quarantine"
    limit: Limit | None = Field(default=None, exclude_if=is_none)
    description: str = ""

    @model_validator(mode="before")
    @classmethod
    def _gaps_warn(cls, value: Any) -> Any:  # noqa: ANN401 - Pydantic hands over what the YAML says
        if isinstance(value, dict) and value.get("no_gaps") is not None:
            return {"severity": "warn", **value}
        return value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"a rule is exactly one of {', '.join(KINDS)}; here is {found}")
        if self.no_gaps is not None and self.severity == "quarantine":
            raise ValueError(
                "a gap is rows that are not there, so none can be quarantined: "
                "severity of no_gaps is warn or block"
            )
        return self

    @property
    def looks_at(self) -> Iterator[tuple[str, str]]:
        """The columns that it names outside of SQL, each with the word that names it."""
        if self.unique is not None:
            yield from (("unique", name) for name in self.unique.columns)
        for word, one in (("monotonic", self.monotonic), ("no_gaps", self.no_gaps)):
            if one is not None:
                yield from ((word, name) for name in (one.column, *one.per))
        if self.references is not None:
            yield from (("references", name) for name in self.references.columns)
