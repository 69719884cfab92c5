"""The path of a source's files, made of the path of one of them.

What belongs here: dates in names and folders, and what a path may not hold. What does not: looking
for files.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

Every = Literal["hour", "day", "month"]
FIRST_YEAR, LAST_YEAR = 1970, 2100
BRACES = re.compile(r"[{}]")

YEAR, MONTH, DAY, HOUR = (
    r"(?P<Y>(?:19|20)\d\d)",
    r"(?P<m>[01]\d)",
    r"(?P<d>[0-3]\d)",
    r"(?P<H>[0-2]\d)",
)
ALONE = r"(?<![0-9])", r"(?![0-9])"
KEYED = r"(?:\w+=)?"


@dataclass(frozen=True)
class PathGuess:
    """A path, and how often a file comes.

    Attributes:
        path: What the declaration says.
        every: How long a window is; none without a date in the path.
        moment: When the sample's window begins, in whatever zone the path means.
        remark: What was seen.
    """

    path: str
    every: Every | None
    moment: dt.datetime | None
    remark: str

    @property
    def start(self) -> dt.date | None:
        """The day on which the sample's window begins."""
        return None if self.moment is None else self.moment.date()


def guess_path(path: str) -> PathGuess:
    """Return the path with a placeholder where it holds a date.

    The finest date wins; of several, the first in the file's name. Other dates in the path become
    placeholders too where they are the same date, and wildcards where not.

    Args:
        path: Of the sample, as a declaration would name it.
    """
    name_begins = path.rfind("/") + 1
    for pattern, every in PATTERNS:
        matches = list(pattern.finditer(path))
        in_name = [match for match in matches if match.end() > name_begins]
        for match in (*in_name, *(match for match in reversed(matches) if match not in in_name)):
            moment = _moment_of(match)
            if moment is not None:
                return _dated(path, match, every, moment)
    remark = "no date in the path: one partition, of all that is there"
    if ambiguous := AMBIGUOUS.search(path):
        remark += f" ({ambiguous[0]!r} may be a date, but nothing tells day from month)"
    return PathGuess(BRACES.sub("?", path), None, None, remark)


def _moment_of(match: re.Match[str]) -> dt.datetime | None:
    """Return the moment that a match says, or none if its digits make no date of our times."""
    parts = {name: int(text) for name, text in match.groupdict().items() if text}
    year, month, day, hour = (parts.get(name, 1) for name in "YmdH")
    try:
        moment = dt.datetime(year, month, day, hour if "H" in parts else 0)  # noqa: DTZ001 - a name says no zone
    except ValueError:
        return None
    return moment if FIRST_YEAR <= moment.year <= LAST_YEAR else None


def _dated(path: str, match: re.Match[str], every: Every, moment: dt.datetime) -> PathGuess:
    before, rest = path[: match.start()], path[match.end() :]
    clock = CLOCK.match(rest) if every == "day" else None
    tail = f"*{_others(rest[clock.end() :], moment)}" if clock else _others(rest, moment)
    written = f"{_others(before, moment)}{_placeholder(path, match)}{tail}"
    remark = f"{match[0]!r} in the path is taken as a date"
    return PathGuess(written, every, moment, remark)


def _placeholder(path: str, match: re.Match[str]) -> str:
    return f"{{date:{''.join(_codes(path, match))}}}"


def _others(text: str, moment: dt.datetime) -> str:
    """Return what stands before or behind the date, with placeholders for what follows from it."""
    for pattern in ELSEWHERE:
        for match in pattern.finditer(text):
            parts = {name: int(found) for name, found in match.groupdict().items() if found}
            same = all(getattr(moment, FIELDS[name]) == number for name, number in parts.items())
            if same or "d" in parts:
                middle = _placeholder(text, match) if same else "*"
                head, tail = text[: match.start()], text[match.end() :]
                return f"{_others(head, moment)}{middle}{_others(tail, moment)}"
    return BRACES.sub("?", text)


def _codes(path: str, match: re.Match[str]) -> Iterator[str]:
    """Yield the matched text with each part of the date replaced by its code."""
    groups = sorted((match.start(name), name) for name, text in match.groupdict().items() if text)
    position = match.start()
    for begin, name in groups:
        yield path[position:begin].replace("%", "%%")
        yield f"%{name}"
        position = match.end(name)
    yield path[position : match.end()].replace("%", "%%")


def _pattern(*parts: str) -> re.Pattern[str]:
    return re.compile(ALONE[0] + "".join(parts) + ALONE[1])


PATTERNS: tuple[tuple[re.Pattern[str], Every], ...] = (
    (_pattern(YEAR, "([-_.]?)", MONTH, r"\2", DAY, "[T_-]", HOUR), "hour"),
    (_pattern(YEAR, MONTH, DAY, HOUR), "hour"),
    (_pattern(YEAR, "([-_.]?)", MONTH, r"\2", DAY), "day"),
    (re.compile(rf"{ALONE[0]}{YEAR}{MONTH}{DAY}(?=T?\d{{4}}(?:\d\d)?(?:Z|[^0-9]|\Z))"), "day"),
    (_pattern(YEAR, "/", KEYED, MONTH, "/", KEYED, DAY), "day"),
    (_pattern(r"(?P<d>1[3-9]|2\d|3[01])", "([-_.])", MONTH, r"\2", YEAR), "day"),
    (_pattern(MONTH, "([-_.])", r"(?P<d>1[3-9]|2\d|3[01])", r"\2", YEAR), "day"),
    (_pattern(YEAR, "[-_.]", MONTH), "month"),
    (_pattern(YEAR, "/", KEYED, MONTH), "month"),
)
"""How dates are written in paths, the finest first, with the window that each speaks of."""
ELSEWHERE = (
    _pattern(YEAR, "([-_.]?)", MONTH, r"\2", DAY),
    _pattern(YEAR, "/", KEYED, MONTH, "/", KEYED, DAY),
    _pattern(YEAR, "([-_.])", MONTH),
    _pattern(YEAR, "/", KEYED, MONTH),
    _pattern(YEAR),
)
FIELDS = {"Y": "year", "m": "month", "d": "day"}
CLOCK = re.compile(
    r"(?![T_-]?(?:19|20)\d\d[-_.]?[01]\d[-_.]?[0-3]\d)[T_-]?\d{2}[-_.h]?\d{2}(?:[-_.m]?\d{2})?(?:[.,]\d+)?Z?(?![0-9])"
)
"""A time behind a date: files of one day."""
AMBIGUOUS = re.compile(r"(?<![0-9])[01]\d([-_.])[01]\d\1(?:19|20)\d\d(?![0-9])")
