"""What all declaration models share: they are frozen, and refuse words they do not know."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    StringConstraints,
    model_validator,
)

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
"""The name of a source or an entity: part of asset keys, paths and table names."""

RESERVED = re.compile(r"_|\*\Z|\^.*\$\Z", re.DOTALL)
"""How names begin that no column may have: technical ones, and what Polars takes for patterns."""

TEMPLATE = re.compile(r"\{\{[^{}]*\}\}")
"""What is filled in before a text is used, such as ``{{ env.NAME }}``."""


def _check_column_name(name: str) -> str:
    if RESERVED.match(name):
        raise ValueError(f"{name!r} is reserved, as is all that begins with _ or looks like ^...$")
    return name


ColumnName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128, pattern=r"^[^_]"),
    AfterValidator(_check_column_name),
]
"""The name of a column; names that begin with an underscore are kept for technical columns."""


DURATION = re.compile(r"^(\d+)(s|m|h|d)$")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(value: Any) -> Any:  # noqa: ANN401 - Pydantic hands over what the YAML says
    """Turn ``30s``, ``15m``, ``26h`` or ``2d`` into a span of time; leave all else to Pydantic."""
    if not isinstance(value, str):
        return value
    match = DURATION.match(value)
    if match is None:
        raise ValueError(f"{value!r} is no duration, such as 30s, 15m, 26h or 2d")
    return dt.timedelta(**{UNITS[match[2]]: int(match[1])})


Duration = Annotated[dt.timedelta, BeforeValidator(parse_duration)]


class Declared(BaseModel):
    """A part of a declaration."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        str_strip_whitespace=False,
        hide_input_in_errors=True,  # it may be a secret that somebody wrote in the wrong place
    )


class ShortlyDeclared(Declared):
    """A part for which one word alone may stand: ``id: string`` for ``id: {type: string}``."""

    SHORT: ClassVar[str] = "type"
    """The word that may stand alone."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:  # noqa: ANN401 - Pydantic hands over what the YAML says
        return {cls.SHORT: value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Tell ``dg check`` and editors of the short form, which the fields do not show."""
        return {"anyOf": [{"type": "string"}, handler(core_schema)]}
