"""The contract: the columns and rules that a source promises."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, field_validator, model_validator

from dataflow_assets.declaration.base import ColumnName, Declared, Name, ShortlyDeclared
from dataflow_assets.declaration.partitions import check_timezone
from dataflow_assets.declaration.reading import AS_MODEL, NUMBER_TYPES, Reading
from dataflow_assets.declaration.rules import Limit, Rule, Severity, is_none

SIMPLE_TYPES = (
    "string",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float32",
    "float64",
    "boolean",
    "date",
    "time",
    "timestamp",
)
DECIMAL = re.compile(r"^decimal\((\d{1,2}), ?(\d{1,2})\)$")
MOST_DIGITS = 38
MODEL_PATH = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"
"""How a Pydantic model is named: its module and its class."""
FORMATTED_TYPES = ("date", "time", "timestamp", "boolean")
ORDERED_TYPES = (*NUMBER_TYPES, "date", "time", "timestamp")

Bound = Annotated[
    int | float | Decimal | dt.datetime | dt.date | dt.time | str, Field(union_mode="left_to_right")
]


def check_type(kind: str) -> str:
    """Return the declared type if there is such a type.

    Raises:
        ValueError: There is none; the message lists those that there are.
    """
    decimal = DECIMAL.match(kind)
    if decimal and 1 <= int(decimal[1]) <= MOST_DIGITS and int(decimal[2]) <= int(decimal[1]):
        return kind
    if kind in SIMPLE_TYPES:
        return kind
    allowed = ", ".join(SIMPLE_TYPES)
    if kind.startswith("decimal(") and not kind.endswith(")"):
        raise ValueError(
            f"{kind!r} is no type: within braces, write it in quotes: "
            '"decimal(10, 2)", as a comma ends it there'
        )
    if decimal and int(decimal[1]) > MOST_DIGITS:
        raise ValueError(f"{kind!r} is no type: a decimal has up to {MOST_DIGITS} digits")
    raise ValueError(f"{kind!r} is no type; allowed are {allowed} and decimal(precision, scale)")


class Column(Reading):
    """A column that the source promises; the words of `Reading` say more of how its text is read.

    Attributes:
        type: One of the simple types, or ``decimal(precision, scale)``.
        source_name: The column's name in the file, where it is another one.
        aliases: Other names that files of other times have for it.
        description: What it means; shown in the Dagster UI.
        formats: How a date, time or timestamp is written, tried in order: strptime codes, ``iso``
            for what is read by default, and for a timestamp that counts from 1970 ``epoch_s``,
            ``epoch_ms`` or ``epoch_us``; for a boolean, pairs ``true/false`` such as ``yes/no``.
        timezone: Zone of timestamps that are written without one; they become UTC.
        required: Whether a row without a value breaks the contract.
        min: Smallest allowed value.
        max: Largest allowed value.
        above: What values must be larger than.
        below: What values must be smaller than.
        multiple_of: What numbers must be a whole multiple of.
        min_length: Fewest characters of a string.
        max_length: Most characters of a string.
        pattern: Regular expression that the whole string must match.
        one_of: The allowed values, as they are written.
        null_tokens: Texts that mean no value here, instead of the contract's.
        trim: Whether white space around the text is dropped before anything else.
        severity: What becomes of a row that breaks one of this column's rules.
        limit: How many rows may break one of them before that counts.
    """

    type: str = "string"
    source_name: str | None = None
    aliases: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(), exclude_if=lambda said: not said
    )
    description: str = ""
    formats: tuple[str, ...] = ()
    timezone: str = "UTC"
    required: bool = False
    min: Bound | None = None
    max: Bound | None = None
    above: Bound | None = Field(default=None, exclude_if=is_none)
    below: Bound | None = Field(default=None, exclude_if=is_none)
    multiple_of: int | float | Decimal | None = Field(default=None, exclude_if=is_none)
    min_length: int | None = Field(default=None, ge=0)
    max_length: int | None = Field(default=None, ge=0)
    pattern: str | None = None
    one_of: tuple[str | int | float | bool, ...] | None = None
    null_tokens: tuple[str, ...] | None = None
    trim: bool = True
    severity: Severity = "quarantine"
    limit: Limit | None = Field(default=None, exclude_if=is_none)

    @field_validator("type")
    @classmethod
    def _type_exists(cls, kind: str) -> str:
        return kind if kind == AS_MODEL else check_type(kind)

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, timezone: str) -> str:
        return check_timezone(timezone)

    @model_validator(mode="after")
    def _rules_fit_the_type(self) -> Self:
        if self.type != AS_MODEL:
            self._check_words()
        return self

    def _check_words(self) -> None:
        if self.formats and self.type not in FORMATTED_TYPES:
            raise ValueError(f"formats do not apply to {self.type}, only to {FORMATTED_TYPES}")
        self._check_bounds()
        texts = (self.min_length, self.max_length, self.pattern)
        if any(rule is not None for rule in texts) and self.type != "string":
            raise ValueError("min_length, max_length and pattern apply to strings only")
        low, high = self.min_length, self.max_length
        if low is not None and high is not None and low > high:
            raise ValueError(f"min_length {low} is above max_length {high}")
        if self.one_of is not None and not self.one_of:
            raise ValueError("one_of must list at least one value")
        for pair in self.formats if self.type == "boolean" else ():
            if len(pair.split("/")) != 2 or not all(pair.split("/")):  # noqa: PLR2004 - a pair
                raise ValueError(f"{pair!r} is no pair of words for true and false, such as yes/no")

    @model_validator(mode="after")
    def _no_word_is_true_and_false(self) -> Self:
        if self.type == "boolean" and self.formats:
            pairs = [pair.lower() if self.ignore_case else pair for pair in self.formats]
            true, false = zip(*(pair.split("/") for pair in pairs), strict=True)
            both = sorted(set(true).intersection(false))
            if both:
                raise ValueError(f"{both[0]!r} stands for true and for false")
        return self

    @property
    def is_bounded(self) -> bool:
        """Whether there is a smallest or largest value."""
        bounds = (self.min, self.max, self.above, self.below)
        return any(bound is not None for bound in bounds)

    def _check_bounds(self) -> None:
        if self.is_bounded and not self.type.startswith(ORDERED_TYPES):
            raise ValueError(f"min and max do not apply to {self.type}; for text, use min_length")
        for twins in (("min", "above"), ("max", "below")):
            if all(getattr(self, word) is not None for word in twins):
                raise ValueError(f"{' and '.join(twins)} say the same in two ways: leave one out")
        if self.multiple_of is not None and not self.type.startswith(NUMBER_TYPES):
            raise ValueError(f"multiple_of does not apply to {self.type}, only to numbers")
        if self.multiple_of is not None and not self.multiple_of > 0:
            raise ValueError(f"multiple_of is {self.multiple_of}, which is not above 0")


class Transform(Declared):
    """A step of a plug-in that gives columns new values, once they are typed.

    Attributes:
        use: The plug-in's name; the words beside it are its own.
    """

    model_config = ConfigDict(extra="allow")

    use: str = Field(min_length=1)

    @property
    def parameters(self) -> dict[str, Any]:
        """What the declaration says beside `use`."""
        return dict(self.model_extra or {})


class LatestBy(Declared):
    """Of several rows with one key, the one with the largest value in a column wins."""

    latest_by: ColumnName


class ChangedTypes(ShortlyDeclared):
    """What becomes of a column whose values are not of the declared type any more.

    Attributes:
        policy: ``quarantine`` rows as single bad values are, ``evolve``: keep the values as text
            beside the column, ``discard`` the values, or ``freeze``: refuse the partition.
        share: The share of a partition's values without the declared type above which the column
            counts as changed.
    """

    SHORT = "policy"
    policy: Literal["evolve", "freeze", "discard", "quarantine"] = "quarantine"
    share: float = Field(default=0.5, ge=0, lt=1)


class Contract(Declared):
    """The columns and rules that a source promises.

    Attributes:
        columns: The promised columns, by their name in the cleaned table.
        key: The columns that together identify a row; they are required.
        keep: Which of several rows with one key wins: ``first``, ``last`` (in the order received)
            or ``{latest_by: column}``, ties going to the last received.
        where: SQL condition over the typed columns; other rows are filtered, and counted.
        null_tokens: Texts that mean no value.
        unknown_columns: What becomes of columns that the contract does not name: ``evolve`` keeps
            them as text, ``freeze`` refuses the partition, ``discard`` drops them, ``quarantine``
            puts rows with a value there into quarantine.
        missing_columns: What becomes of optional columns that a file lacks: ``evolve`` leaves them
            null, ``freeze`` refuses the partition. Required ones are always refused.
        changed_types: What becomes of columns whose values are of another type than declared.
        transforms: Steps of plug-ins, in their order: they give columns new values after these are
            typed, and before any rule is asked.
        rules: Promises about whole rows, by name.
        model: A Pydantic model that promises columns, as ``package.module:Model``; what stands
            under `columns` adds to it.
    """

    columns: dict[ColumnName, Column] = Field(default_factory=dict)
    key: tuple[ColumnName, ...] = ()
    keep: Literal["first", "last"] | LatestBy = "last"
    where: str | None = None
    null_tokens: tuple[str, ...] = ("",)
    unknown_columns: Literal["evolve", "freeze", "discard", "quarantine"] = "evolve"
    missing_columns: Literal["evolve", "freeze"] = Field(
        default="evolve", exclude_if=lambda said: said == "evolve"
    )
    changed_types: ChangedTypes = Field(
        default=ChangedTypes(), exclude_if=lambda said: said == ChangedTypes()
    )
    transforms: tuple[Transform, ...] = ()
    rules: dict[Name, Rule] = Field(default_factory=dict)
    model: str | None = Field(default=None, pattern=MODEL_PATH, exclude_if=is_none)

    @model_validator(mode="before")
    @classmethod
    def _types_may_be_the_models(cls, value: Any) -> Any:  # noqa: ANN401 - Pydantic hands over what the YAML says
        """Leave the types of columns open that the YAML does not type, where there is a model."""
        if not isinstance(value, dict) or not value.get("model"):
            return value
        columns = value.get("columns")
        if not isinstance(columns, dict):
            return value
        typed = {
            name: {"type": AS_MODEL, **column} if isinstance(column, dict) else column
            for name, column in columns.items()
        }
        return {**value, "columns": typed}

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        if self.model is None:
            self.check_names()
        return self

    def check_names(self) -> None:
        """Refuse names of columns that are not there; those of a model must be filled in before.

        Raises:
            ValueError: Naming the word and the columns that there are.
        """
        if not self.columns:
            raise ValueError("a contract needs columns, or a model that has some")
        for column in self.columns.values():
            check_type(column.type)
        wanted = dict.fromkeys(self.key, "key")
        if isinstance(self.keep, LatestBy):
            wanted[self.keep.latest_by] = "keep"
        for name, word in wanted.items():
            if name not in self.columns:
                known = ", ".join(self.columns)
                raise ValueError(f"{word} names {name!r}, which is no column; columns are {known}")
        self._check_rules()
        self._check_zones()
        if len({name.lower() for name in self.columns}) != len(self.columns):
            raise ValueError("two columns differ only in upper and lower case")
        owners: dict[str, str] = {}
        for owner in self.columns:
            for name in self.names_of(owner):
                if name in owners:
                    raise ValueError(_twice(name, owners[name], owner))
                owners[name] = owner

    def _check_rules(self) -> None:
        known = ", ".join(self.columns)
        for rule, declared in self.rules.items():
            for word, name in declared.looks_at:
                if name not in self.columns:
                    raise ValueError(
                        f"{word} of the rule {rule} names {name!r}, which is no column; "
                        f"columns are {known}"
                    )

    def _check_zones(self) -> None:
        for name, column in self.columns.items():
            zone = self.columns.get(column.timezone_from or name)
            if zone is None:
                known = ", ".join(self.columns)
                raise ValueError(
                    f"timezone_from of {name} names {column.timezone_from!r}, which is no column; "
                    f"columns are {known}"
                )
            if column.timezone_from is not None and zone.type != "string":
                raise ValueError(
                    f"timezone_from of {name} names {column.timezone_from!r}, a {zone.type}; names "
                    f"of zones are a string"
                )

    def names_of(self, name: str) -> tuple[str, ...]:
        """Return the names that a column may have in a file, those of today first."""
        column = self.columns[name]
        return (column.source_name or name, *column.aliases)

    @property
    def received_names(self) -> tuple[str, ...]:
        """All names that columns may have in a file."""
        return tuple(name for column in self.columns for name in self.names_of(column))

    def is_required(self, name: str) -> bool:
        """Whether a row must have a value in the column."""
        return self.columns[name].required or name in self.key


def _twice(name: str, one: str, other: str) -> str:
    if one == other:
        return f"the column {one!r} has the name {name!r} twice"
    return f"two columns, {one!r} and {other!r}, have the name {name!r} in files"
