"""An entity: a normalized table that several sources feed, declared in one YAML document."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from dataflow_assets.declaration.base import ColumnName, Declared, Name, ShortlyDeclared
from dataflow_assets.declaration.contract import ORDERED_TYPES, check_type
from dataflow_assets.declaration.source import Owner

Expression = Annotated[str, WithJsonSchema({"type": ["string", "number", "boolean"]})]
"""SQL that gives one value per row; a number or boolean of YAML stands for itself."""


class EntityColumn(ShortlyDeclared):
    """A column of the normalized table.

    Attributes:
        type: One of the types that a contract knows.
        description: What it means; shown in the Dagster UI and kept in the warehouse.
    """

    type: str
    description: str = ""

    @field_validator("type")
    @classmethod
    def _type_exists(cls, kind: str) -> str:
        return check_type(kind)


class Write(ShortlyDeclared):
    """How a partition's rows enter the table.

    Attributes:
        mode: ``replace`` the partition's rows; ``append`` rows of new keys; ``upsert``: insert or
            replace by key, unless the row there is newer; ``history``: keep every version of a row
            with the time in which it was valid.
        latest_by: Of upsert: the column that says which of two rows with one key is newer; none
            means that the row of the later partition is.
        valid_from: Of history: the column that says when a row changed; none means when the
            partition's window begins.
        deletes: Of history: whether the version of a key that a partition lacks is closed. None
            means ``close``, or ``keep`` where `valid_from` is given.
    """

    SHORT: ClassVar[str] = "mode"

    mode: Literal["replace", "append", "upsert", "history"]
    latest_by: ColumnName | None = None
    valid_from: ColumnName | None = None
    deletes: Literal["close", "keep"] | None = None

    @model_validator(mode="after")
    def _words_fit_the_mode(self) -> Self:
        for word, mode in (
            ("latest_by", "upsert"),
            ("valid_from", "history"),
            ("deletes", "history"),
        ):
            if getattr(self, word) is not None and self.mode != mode:
                raise ValueError(f"{word} belongs to mode: {mode}, not to mode: {self.mode}")
        return self

    @property
    def closes_absent(self) -> bool:
        """Whether the version of a key that a partition lacks is closed."""
        return self.deletes == "close" or (self.deletes is None and self.valid_from is None)


REPLACE = Write(mode="replace")
HISTORY_COLUMNS = ("valid_from", "valid_to")
"""Columns that the table of an entity has besides those declared, when it keeps the history."""


class EntityDeclaration(Declared):
    """A normalized table that several sources feed.

    Attributes:
        name: Part of the asset key; the table is ``normalized.<name>``.
        description: What it holds; shown in the Dagster UI.
        owners: ``team:name`` or e-mail addresses.
        tags: Labels shown in the Dagster UI.
        key: The columns that together identify a row: within a partition, and in any mode of
            `write` but ``replace`` within the whole table.
        columns: The table's columns, in their order.
        mappings: Per source, the SQL expression over its cleaned columns that gives each column;
            a column left out is null there.
        prefer: Sources in the order in which they win, where two report the same key.
        write: How a partition's rows enter the table.
    """

    name: Name
    description: str = ""
    owners: tuple[Owner, ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)
    key: tuple[ColumnName, ...] = Field(min_length=1)
    columns: dict[ColumnName, EntityColumn] = Field(min_length=1)
    mappings: dict[Name, dict[ColumnName, Expression]] = Field(alias="from", min_length=1)
    prefer: tuple[Name, ...] = ()
    # Left out of digests where it is the default: what was published before the word was stands.
    write: Write = Field(default=REPLACE, exclude_if=lambda write: bool(write == REPLACE))

    @field_validator("mappings", mode="before")
    @classmethod
    def _literals_are_sql(cls, value: Any) -> Any:  # noqa: ANN401 - Pydantic hands over what the YAML says
        """Let YAML numbers and booleans stand for themselves in a mapping."""
        if not isinstance(value, dict):
            return value
        return {
            source: {column: _as_sql(expression) for column, expression in mapping.items()}
            if isinstance(mapping, dict)
            else mapping
            for source, mapping in value.items()
        }

    @field_validator("columns")
    @classmethod
    def _names_differ(cls, columns: dict[str, EntityColumn]) -> dict[str, EntityColumn]:
        """Refuse names that are one and the same to the warehouse."""
        if len({name.lower() for name in columns}) != len(columns):
            raise ValueError("two columns differ only in upper and lower case")
        return columns

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        known = ", ".join(self.columns)
        for name in self.key:
            if name not in self.columns:
                raise ValueError(f"key names {name!r}, which is no column; columns are {known}")
        for source, mapping in self.mappings.items():
            for name in mapping:
                if name not in self.columns:
                    raise ValueError(f"from {source} maps {name!r}, no column; there are {known}")
            for name in self.key:
                if name not in mapping:
                    raise ValueError(f"from {source} must map {name!r}, a column of the key")
        for source in self.prefer:
            if source not in self.mappings:
                raise ValueError(f"prefer names {source!r}, from which nothing is mapped")
        return self

    @model_validator(mode="after")
    def _write_fits_the_columns(self) -> Self:
        if self.write.latest_by is not None:
            self._check_order("latest_by", self.write.latest_by, ORDERED_TYPES)
        if self.write.valid_from is not None:
            self._check_order("valid_from", self.write.valid_from, ("timestamp",))
            for source, mapping in self.mappings.items():
                if self.write.valid_from not in mapping:
                    word = f"{self.write.valid_from!r}, which says when a row changed"
                    raise ValueError(f"from {source} must map {word}")
        if self.write.mode == "history":
            for name in self.columns:
                if name.lower() in HISTORY_COLUMNS:
                    raise ValueError(
                        f"mode: history has a column {name!r} of its own; rename yours"
                    )
        return self

    def _check_order(self, word: str, name: str, types: tuple[str, ...]) -> None:
        """Refuse a column that cannot order rows of one key, on every warehouse alike."""
        if name not in self.columns:
            known = ", ".join(self.columns)
            raise ValueError(f"{word} names {name!r}, which is no column; columns are {known}")
        if name in self.key:
            raise ValueError(f"{word} names {name!r}, a column of the key: it is always the same")
        kind = self.columns[name].type
        if not kind.startswith(types):
            raise ValueError(f"{word} names {name!r}, a {kind}; it must be {' or '.join(types)}")

    @property
    def needed(self) -> tuple[str, ...]:
        """The columns in which every row must have a value."""
        return (*self.key, *filter(None, [self.write.valid_from]))

    def precedence(self) -> tuple[str, ...]:
        """Return all sources, those that win first: as preferred, then as they are listed."""
        return (*self.prefer, *(name for name in self.mappings if name not in self.prefer))


def _as_sql(value: Any) -> Any:  # noqa: ANN401 - as above
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value
