"""A database that a source reads: a table or a query, by windows of a column or as a whole."""

from __future__ import annotations

import datetime as dt
import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from dataflow_assets.declaration.base import Declared, Duration
from dataflow_assets.declaration.partitions import check_timezone

System = Literal["postgres", "mysql", "sqlite", "duckdb"]
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
EPOCHS = {"epoch_s": 1, "epoch_ms": 1_000, "epoch_us": 1_000_000}
"""Ways to count time since 1970, and how many units make a second."""
LONGEST_NAME = 128


class DatabaseWindow(Declared):
    """The column that says to which window of time a row belongs.

    Attributes:
        column: A column of the table or query: a date, a timestamp, or what `stored_as` says.
        overlap: How far before its window a partition reads too, so that rows that were committed
            late are found again; the contract's key lets each stand once.
        stored_as: How a column of text or numbers writes the time: strptime codes, or ``epoch_s``,
            ``epoch_ms``, ``epoch_us``. Text without it is ISO 8601.
        timezone: Zone of values that are written without one; unset, the partitions' zone.
        nulls: Whether rows without a time, which no window would ever read, are refused
            (``refuse``) or left out (``ignore``).
    """

    column: str = Field(min_length=1, max_length=LONGEST_NAME)
    overlap: Duration = Field(default=dt.timedelta(0), ge=dt.timedelta(0))
    stored_as: str | None = None
    timezone: str | None = None
    nulls: Literal["refuse", "ignore"] = "refuse"

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, timezone: str | None) -> str | None:
        return timezone if timezone is None else check_timezone(timezone)

    @field_validator("stored_as")
    @classmethod
    def _is_known(cls, stored_as: str | None) -> str | None:
        if stored_as is not None and stored_as not in EPOCHS and "%Y" not in stored_as:
            allowed = ", ".join(EPOCHS)
            raise ValueError(f"{stored_as!r} is neither one of {allowed} nor begins with a %Y")
        return stored_as


class Database(Declared):
    """A table or a query of a database.

    Attributes:
        system: Which database: ``postgres``, ``mysql`` (MariaDB too), ``sqlite`` or ``duckdb``.
        url_env: Name of the environment variable that holds its URL.
        table: The table or view, with its schema if need be, as the database writes it.
        query: What to read instead of a table: one ``select``.
        window: How the rows are cut into windows; without it, each partition is all of them, as
            they are when it is made.
        timeout: How long one read may take.
    """

    system: System
    url_env: str
    table: str | None = Field(default=None, min_length=1)
    query: str | None = Field(default=None, min_length=1)
    window: DatabaseWindow | None = None
    timeout: Duration = Field(default=dt.timedelta(hours=1), gt=dt.timedelta(0))

    @field_validator("url_env")
    @classmethod
    def _is_a_name(cls, url_env: str) -> str:
        if not VARIABLE.fullmatch(url_env):  # it may be the URL itself: it is not shown
            raise ValueError(
                "url_env is no name of an environment variable, such as SHOP_DB; "
                "the URL itself, which holds a password, does not belong in a declaration"
            )
        return url_env

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.table is None) == (self.query is None):
            raise ValueError("give either table or query")
        if self.table is not None and not all(self.table.split(".")):
            raise ValueError(f"{self.table!r} is no table, such as orders or shop.orders")
        return self

    @property
    def name(self) -> str:
        """What is read, as archived rows are named after it."""
        return self.table or "query"
