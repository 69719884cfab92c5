"""The shape of a source: which columns it sent, of which types, and since when.

What belongs here: what is kept of a partition's columns, beside its rows, to tell later what has
changed. What does not: telling it; that is `drift`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from dataflow_assets.transform.types import declared_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    import polars as pl


class Header(BaseModel):
    """The columns of one file, or of several that have the same.

    Attributes:
        columns: The type of each, in their order: a declared type, or Polars' name for another.
    """

    model_config = ConfigDict(frozen=True)

    columns: dict[str, str]


class Seen(BaseModel):
    """A column as it is received.

    Attributes:
        type: Its type in raw.
        since: The first partition of those in a row that have it so.
        reads_as: The type that all its values had in that partition: of a column that the contract
            does not name, and of one that was received again, or for the first time.
    """

    model_config = ConfigDict(frozen=True)

    type: str
    since: str
    reads_as: str | None = None


class Gone(BaseModel):
    """A column of the contract that is not received.

    Attributes:
        since: The first partition of those in a row that lack it.
        perhaps: The received column that may be the same under another name.
        why: What speaks for that.
        returned: Whether it has been received again; kept of formats without a header, where it
            may go again.
        known: Whether an earlier partition had it.
    """

    model_config = ConfigDict(frozen=True)

    since: str
    perhaps: str | None = None
    why: str = ""
    returned: bool = False
    known: bool = True


class Shape(BaseModel):
    """What a source looked like in one partition.

    Attributes:
        partition: Which one.
        raw: Data version of the raw partition.
        columns: The received columns, in their order.
        gone: Columns of the contract that were not received, or not in every file.
        changed: Columns of the contract of which too many values were not of the declared type,
            with the first partition of those in a row in which it was so. It is known once rows
            are judged: the quarantine's manifest has it.
        before: Of a fixed list, the shape with which this one was compared.
    """

    model_config = ConfigDict(frozen=True)

    partition: str
    raw: str
    columns: dict[str, Seen] = Field(default_factory=dict)
    gone: dict[str, Gone] = Field(default_factory=dict)
    changed: dict[str, str] = Field(default_factory=dict)
    before: Shape | None = None

    def has_any(self, names: Iterable[str]) -> bool:
        """Whether a column was received under one of some names."""
        return any(name in self.columns for name in names)


def header_of(columns: pl.Schema) -> Header:
    """Return columns as what is kept of them."""
    return Header(columns={name: declared_name(dtype) for name, dtype in columns.items()})
