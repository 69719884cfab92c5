"""What reading a database takes, whichever it is: an address, a session, and words for failures.

What belongs here: the protocol that each system's module fulfils, and what all of them share. What
does not: the SQL or the driver of any one system.
"""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import pyarrow as pa

from dataflow_assets.errors import SettingsError, SourceRefusedError, SourceUnavailableError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from dataflow_assets.declaration.database import Database, System
    from dataflow_assets.s3 import Address as S3Address

Moment = Literal["timestamp", "instant", "date", "number", "text", "any", "other"]
"""What a column can say of time; an instant is a timestamp with a zone, any is text or a number."""
MISFIT = pa.field("_text", pa.string())
"""The text of a row with a value that its column's type cannot hold; null for all others."""
BATCH_ROWS = 10_000
CONNECT_TIMEOUT_S = 10
KEEPALIVE_S = {"idle": 30, "interval": 10}
KEEPALIVES = 3
SCHEMES: dict[System, tuple[str, ...]] = {
    "postgres": ("postgresql", "postgres"),
    "mysql": ("mysql", "mariadb"),
    "sqlite": ("sqlite",),
    "duckdb": ("duckdb",),
}
TIMED_OUT = re.compile(
    r"statement timeout|interrupt|statement execution time|during query \(timed out", re.IGNORECASE
)
"""What databases say of a read that was ended as its time was over."""
HIDDEN = "***"
MOST_SAID = 400


@dataclass(frozen=True)
class Column:
    """A column of a table or query.

    Attributes:
        name: Its name.
        native: The type that the database gives it.
        type: The Arrow type that holds its values exactly.
        moment: What it can say of time.
        select: The SQL expression that reads it in a form that the driver hands over exactly.
        misfit: The SQL condition under which its value has no place in `type`, if there is one.
    """

    name: str
    native: str
    type: pa.DataType
    moment: Moment
    select: str
    misfit: str | None = None


class Session(Protocol):
    """A connection that reads, and sees one state of the database."""

    def quoted(self, name: str) -> str:
        """Return a name as an identifier."""

    def columns(self, asked: str) -> Sequence[Column]:
        """Return the columns of a query."""

    def timeless(self, column: Column, *, counted: bool) -> str:
        """Return the SQL condition under which a value is no time, or no count of it."""

    def any(self, asked: str, condition: str) -> bool:
        """Return whether a query has a row that fulfils a condition."""

    def read(
        self, asked: str, columns: Sequence[Column], condition: str | None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query as batches of the columns' types, and `MISFIT`."""


class SqlSession:
    """What most systems write alike: quotes, and values that are no time."""

    def quoted(self, name: str) -> str:
        """Return a name as an identifier."""
        return '"{}"'.format(name.replace('"', '""'))

    def timeless(
        self,
        column: Column,
        *,
        counted: bool,  # noqa: ARG002 - a column's type says what its values are
    ) -> str:
        """Return the SQL condition under which a value is no time, or no count of it."""
        name = self.quoted(column.name)
        if column.moment in ("date", "timestamp", "instant"):
            return f"({name} is null or not isfinite({name}))"
        return f"{name} is null"


class Open(Protocol):
    """Opens a session: what each system's module has."""

    def __call__(
        self, url: DatabaseUrl, timeout: dt.timedelta, files: Path | S3Address
    ) -> AbstractContextManager[Session]:
        """Connect, read only, for at most so long; relative paths lie below `files`."""


@dataclass(frozen=True)
class DatabaseUrl:
    """Where a database is and who asks, which no text may show.

    Attributes:
        variable: The environment variable that it comes from.
        parts: Its parts.
    """

    variable: str
    parts: SplitResult = field(repr=False)

    @classmethod
    def of(cls, database: Database) -> DatabaseUrl:
        """Read the URL of a declared database from the environment.

        Raises:
            SettingsError: It is not set, or is no URL of that system.
        """
        name, schemes = database.url_env, SCHEMES[database.system]
        text = os.environ.get(name, "").strip()
        mend = f"Set {name} to {schemes[0]}://user:password@host/name."
        if database.system in ("sqlite", "duckdb"):
            mend = f"Set {name} to {schemes[0]}:////absolute/path, or ///path below FILES_DIR."
        if not text:
            raise SettingsError(f"{name} is not set.", mend=mend, culprit=name)
        try:
            parts = urlsplit(text)
            known = parts.scheme.partition("+")[0] in schemes and (parts.port or True)
        except ValueError:  # its text holds the URL
            known = False
        if not known:
            raise SettingsError(
                f"{name} is no URL of a {database.system} database.", mend=mend, culprit=name
            ) from None
        return cls(name, parts)

    @property
    def user(self) -> str:
        """Who asks."""
        return unquote(self.parts.username or "")

    @property
    def password(self) -> str:
        """What proves it."""
        return unquote(self.parts.password or "")

    @property
    def options(self) -> dict[str, str]:
        """What stands behind the question mark."""
        return dict(parse_qsl(self.parts.query, keep_blank_values=True))

    def redact(self, text: object) -> str:
        """Return a text in one line, without what must not be shown."""
        said = " ".join(str(text).split())
        secrets = {self.parts.geturl(), self.parts.password or "", self.password}
        secrets |= {value for key, value in self.options.items() if "password" in key}
        for secret in sorted(filter(None, secrets), key=len, reverse=True):
            said = said.replace(secret, HIDDEN)
        return said if len(said) <= MOST_SAID else f"{said[:MOST_SAID]}…"


@contextmanager
def speaking(
    url: DatabaseUrl, kinds: tuple[type[Exception], ...], is_passing: Callable[[Exception], bool]
) -> Iterator[None]:
    """Turn what a driver raises into errors of ours.

    Args:
        url: The database.
        kinds: What the driver raises.
        is_passing: Whether an error may go away by itself.

    Raises:
        SourceUnavailableError: The database does not answer, for now.
        SourceRefusedError: It refuses.
    """
    try:
        yield
    except kinds as error:
        said = url.redact(error).rstrip(". ")
        # The driver's error is not kept as the cause: its text may hold the URL.
        if is_passing(error):
            raise unavailable(url, said) from None
        raise refused(url, said) from None


def unavailable(url: DatabaseUrl, said: str) -> SourceUnavailableError:
    """Return the error for a database that does not answer, for now."""
    if TIMED_OUT.search(said):
        return SourceUnavailableError(
            f"the read took longer than timeout of the declaration allows: {said}.",
            mend="Raise database: {timeout} in the declaration, or read less at once; what was "
            "published stays as it was.",
            culprit=url.variable,
        )
    return SourceUnavailableError(
        f"the database cannot be reached, or broke off: {said}.",
        mend="See that it runs and can be reached from here; what was published stays as it was.",
        culprit=url.variable,
    )


def refused(url: DatabaseUrl, said: str, *, mend: str | None = None) -> SourceRefusedError:
    """Return the error for a database that refuses."""
    return SourceRefusedError(
        f"the database refuses: {said}.",
        mend=mend
        or f"Correct table, query or window in the declaration, or user and password in "
        f"{url.variable}, or give the user the right to read.",
        culprit=url.variable,
    )


def selection(
    session: SqlSession,
    asked: str,
    columns: Sequence[Column],
    condition: str | None,
    *,
    row: str | None = None,
) -> str:
    """Return the query that reads columns in a form that the driver hands over exactly.

    Args:
        session: The database.
        asked: What to read.
        columns: Its columns.
        condition: Which of its rows; none: all.
        row: The SQL expression for the text of a whole row `q`, where `MISFIT` is read too.
    """
    items = [
        f"case when {column.misfit} then null else {column.select} end as "
        if column.misfit
        else f"{column.select} as "
        for column in columns
    ]
    named = [
        item + session.quoted(column.name) for item, column in zip(items, columns, strict=True)
    ]
    if row is not None:
        misfits = " or ".join(column.misfit for column in columns if column.misfit)
        text = f"case when {misfits} then {row} end" if misfits else "cast(null as varchar)"
        named.append(f"{text} as {session.quoted(MISFIT.name)}")
    query = f"select {', '.join(named)} from ({asked}) as q"
    return f"{query} where {condition}" if condition else query


def path_of(url: DatabaseUrl, files: Path | S3Address) -> Path:
    """Return the file of a database that is one.

    Args:
        url: ``sqlite:////absolute/path``, or ``sqlite:///path`` below the files folder.
        files: The files folder.

    Raises:
        SourceRefusedError: There is no such file.
    """
    name = unquote(url.parts.path).removeprefix("/")
    path = Path(name) if name.startswith("/") or not isinstance(files, Path) else files / name
    if not name or not path.is_file():
        raise SourceRefusedError(
            f"there is no database file {path}.",
            mend=f"Correct {url.variable}, or put the file there.",
            culprit=url.variable,
        )
    return path.resolve()
