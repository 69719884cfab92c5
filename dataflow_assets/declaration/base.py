"""What all declaration models share: they are frozen, and refuse words they do not know."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
"""The name of a source or an entity: part of asset keys, paths and table names."""

ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[^_]")]
"""The name of a column; names that begin with an underscore are kept for technical columns."""


class Declared(BaseModel):
    """A part of a declaration."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=False)
