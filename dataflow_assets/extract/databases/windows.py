"""The SQL condition for a window of time, exact for the type of the column.

What belongs here: bounds as SQL literals. What does not: which window is asked for.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from dataflow_assets.declaration.database import EPOCHS
from dataflow_assets.errors import SourceRefusedError

if TYPE_CHECKING:
    from dataflow_assets.declaration.database import DatabaseWindow
    from dataflow_assets.extract.databases.session import Column, Session

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)
MICROSECOND = dt.timedelta(microseconds=1)
DAY = dt.timedelta(days=1)


def condition(
    session: Session,
    window: DatabaseWindow,
    column: Column,
    bounds: tuple[dt.datetime, dt.datetime],
    zone: str,
) -> str:
    """Return the condition under which a row belongs to a window of time.

    Args:
        session: The database; it takes times without a zone as UTC.
        window: What was declared.
        column: The column that says the time.
        bounds: When the window begins and ends, in UTC; the end does not belong to it.
        zone: Zone of values that are written without one.

    Raises:
        SourceRefusedError: The column says no time that could be compared.
    """
    begin, end = (
        _literal(one, window.stored_as, column, zone)
        for one in (bounds[0] - window.overlap, bounds[1])
    )
    name = session.quoted(column.name)
    return f"{name} >= {begin} and {name} < {end}"


def _literal(moment: dt.datetime, stored_as: str | None, column: Column, zone: str) -> str:
    """Return the smallest value of a column's kind that is not before a moment."""
    local = moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    if column.moment in ("number", "any") and stored_as in EPOCHS:
        return str(-((EPOCH - moment) * EPOCHS[stored_as] // SECOND))
    if column.moment in ("text", "any") and stored_as not in EPOCHS:
        return f"'{local.strftime(stored_as) if stored_as else _iso(local)}'"
    if stored_as is not None or column.moment in ("number", "other"):
        raise _not_comparable(stored_as, column)
    if column.moment == "date":
        return f"'{(local + DAY - MICROSECOND).date().isoformat()}'"
    if column.moment == "instant":
        local = moment.astimezone(dt.UTC).replace(tzinfo=None)
    return f"'{local.isoformat(' ')}'"


def _iso(local: dt.datetime) -> str:
    """Return a moment as short as it can be, so that it sorts before all that writes it longer."""
    return local.date().isoformat() if local.time() == dt.time() else local.isoformat(" ")


def _not_comparable(stored_as: str | None, column: Column) -> SourceRefusedError:
    how = f"as {stored_as}" if stored_as else "a date or time"
    return SourceRefusedError(
        f"the window's column {column.name} is of type {column.native or 'unknown'}, not {how}.",
        mend="Name a column of dates or timestamps, or say with stored_as how it writes them: "
        f"{', '.join(EPOCHS)}, or strptime codes for text.",
        culprit=column.name,
    )
