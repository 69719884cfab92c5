"""How a source or entity is cut into partitions: windows of time, or a fixed list."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import StringConstraints, field_validator, model_validator

from dataflow_assets.declaration.base import Declared

Every = Literal["hour", "day", "week", "month"]
KEY_FORMATS: dict[Every, str] = {
    "hour": "%Y-%m-%dT%H",
    "day": "%Y-%m-%d",
    "week": "%Y-%m-%d",
    "month": "%Y-%m",
}
"""How the key of a window is written: the moment at which it begins."""

LATER: dict[Every, dt.timedelta] = {
    "hour": dt.timedelta(hours=1),
    "day": dt.timedelta(days=1),
    "week": dt.timedelta(weeks=1),
    "month": dt.timedelta(days=31),
}
"""From the beginning of a window to a moment within the next."""
PartitionValue = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}$")]


def check_timezone(timezone: str) -> str:
    """Return the name if there is such a time zone.

    Raises:
        ValueError: There is none.
    """
    try:
        ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        message = f"{timezone!r} is no IANA time zone, such as UTC or Europe/Berlin"
        raise ValueError(message) from error
    return timezone


class Partitions(Declared):
    """Either windows of time (`every`, `start`) or a fixed list of `values`.

    Attributes:
        every: Length of a window: hour, day, week (from Monday) or month.
        start: The first window's first day: for weeks a Monday, for months the first.
        end: The day after the last window; none means up to now.
        timezone: IANA name of the zone in which windows begin.
        current: Whether the window that is still open has a partition too.
        values: The fixed list of partition keys.
    """

    every: Every | None = None
    start: dt.date | None = None
    end: dt.date | None = None
    timezone: str = "UTC"
    current: bool = False
    values: tuple[PartitionValue, ...] | None = None

    @field_validator("timezone")
    @classmethod
    def _timezone_exists(cls, timezone: str) -> str:
        return check_timezone(timezone)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.every is None) == (self.values is None):
            raise ValueError("give either every and start (windows of time) or values (a list)")
        if self.values is not None:
            self._check_values(self.values)
        elif self.start is None:
            raise ValueError(f"every: {self.every} needs start, the day of the first window")
        elif self.every == "hour" and self.timezone != "UTC":
            raise ValueError("every: hour needs timezone: UTC, where no hour stands twice in a day")
        elif self.end is not None and self.end <= self.start:
            raise ValueError(f"end {self.end} must lie after start {self.start}")
        else:
            self._check_begins("start", self.start)
            if self.end is not None:
                self._check_begins("end", self.end)
        return self

    def _check_begins(self, word: str, day: dt.date) -> None:
        """Refuse a day amid a window: some of its files would belong to no partition, unnoticed."""
        key = self.key_of(dt.datetime.combine(day, dt.time()))
        first = dt.date.fromisoformat(f"{key}-01"[:10])  # a month's key lacks the day
        if first != day:
            raise ValueError(f"{word} {day} lies amid a {self.every}, which begins on {first}")

    def _check_values(self, values: tuple[str, ...]) -> None:
        if not values:
            raise ValueError("values must list at least one partition key")
        if len(set(values)) != len(values):
            raise ValueError("values lists a partition key twice")
        if self.start is not None or self.end is not None or self.current:
            raise ValueError(
                "start, end and current belong to windows of time, not to a list of values"
            )

    def key_of(self, moment: dt.datetime) -> str:
        """Return the key of the window that holds a moment, given in the partitions' zone."""
        if self.every is None:
            raise ValueError("a fixed list has no windows of time")
        begin = moment.replace(minute=0, second=0, microsecond=0)
        if self.every != "hour":
            begin = begin.replace(hour=0)
        if self.every == "week":
            begin -= dt.timedelta(days=begin.weekday())
        if self.every == "month":
            begin = begin.replace(day=1)
        return begin.strftime(KEY_FORMATS[self.every])

    def begin_of(self, key: str) -> dt.datetime | None:
        """Return the moment, in UTC, at which a window begins; none for an item of a list."""
        window = self.window_of(key)
        return window[0] if window else None

    def window_of(self, key: str) -> tuple[dt.datetime, dt.datetime] | None:
        """Return the moments, in UTC, at which a window begins and ends; none for a list's item."""
        if self.every is None:
            return None
        local = dt.datetime.strptime(key, KEY_FORMATS[self.every])  # noqa: DTZ007 - the zone is ours
        later = self.key_of(local + LATER[self.every])
        next_local = dt.datetime.strptime(later, KEY_FORMATS[self.every])  # noqa: DTZ007 - as above
        zone = ZoneInfo(self.timezone)
        begin, end = (one.replace(tzinfo=zone).astimezone(dt.UTC) for one in (local, next_local))
        return begin, end
