"""An entity: a normalized table that several sources feed, declared in one YAML document."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from dataflow_assets.declaration.base import ColumnName, Declared, Name, ShortlyDeclared
from dataflow_assets.declaration.contract import check_type
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


class EntityDeclaration(Declared):
    """A normalized table that several sources feed.

    Attributes:
        name: Part of the asset key; the table is ``normalized.<name>``.
        description: What it holds; shown in the Dagster UI.
        owners: ``team:name`` or e-mail addresses.
        tags: Labels shown in the Dagster UI.
        key: The columns that together identify a row within a partition.
        columns: The table's columns, in their order.
        mappings: Per source, the SQL expression over its cleaned columns that gives each column;
            a column left out is null there.
        prefer: Sources in the order in which they win, where two report the same key.
    """

    name: Name
    description: str = ""
    owners: tuple[Owner, ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)
    key: tuple[ColumnName, ...] = Field(min_length=1)
    columns: dict[ColumnName, EntityColumn] = Field(min_length=1)
    mappings: dict[Name, dict[ColumnName, Expression]] = Field(alias="from", min_length=1)
    prefer: tuple[Name, ...] = ()

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

    def precedence(self) -> tuple[str, ...]:
        """Return all sources, those that win first: as preferred, then as they are listed."""
        return (*self.prefer, *(name for name in self.mappings if name not in self.prefer))


def _as_sql(value: Any) -> Any:  # noqa: ANN401 - as above
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value
