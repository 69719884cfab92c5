"""Listing a bucket on S3: as few keys as a path with dates allows.

What belongs here: which keys can belong to some partitions, and asking S3 for those. What does not:
which of them do; that is for `files`.
"""

from __future__ import annotations

import calendar
import datetime as dt
import re
from itertools import product
from typing import TYPE_CHECKING

from dataflow_assets.declaration.extract import PLACEHOLDER
from dataflow_assets.s3 import at_once

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from dataflow_assets.declaration.partitions import Partitions
    from dataflow_assets.s3 import Bucket, Listed

LISTINGS = 8
"""Up to so many beginnings of keys are listed each by itself; more, all that lies between."""
WILDCARD = re.compile(r"[*?]")
SPELLINGS = {
    "Y": ("{0.year:04}",),
    "y": ("{0:%y}",),
    "m": ("{0.month:02}", "{0.month}"),
    "d": ("{0.day:02}", "{0.day}"),
    "j": ("{0:%j}", "{1}", "{1:02}"),
}
"""How the parts of a day may be written that strptime reads; {1} is the day of the year."""


class KeyRanges:
    """Tells with what the keys of a partition's files begin.

    Args:
        path: The declared path, below the bucket.
        partitions: How the source is cut into partitions.

    Attributes:
        narrows: Whether they begin otherwise than those of other partitions.
    """

    def __init__(self, path: str, partitions: Partitions) -> None:
        self._pieces = list(_pieces(path))
        self._partitions = partitions
        zoned = any("%z" in (match[2] or "") for match in PLACEHOLDER.finditer(path))
        self._dated = partitions.values is None and not zoned
        known = {"code"} if self._dated else {"partition"}
        first = next((kind for kind, _ in self._pieces if kind != "literal"), "")
        self.narrows = first in known

    def beginnings(self, only: Collection[str]) -> list[str]:
        """Return what the keys of partitions begin with, sorted; none of them begins another."""
        found: set[str] = set()
        for key in only:
            for day in self._days(key):
                found.update(self._spelled(key, day))
        kept: list[str] = []
        for one in sorted(found):
            if not kept or not one.startswith(kept[-1]):
                kept.append(one)
        return kept

    def _days(self, key: str) -> Iterable[dt.date | None]:
        """Return the days whose files may belong to a partition."""
        if not self._dated:
            return (None,)
        begin = dt.date.fromisoformat(f"{key}-01"[:10])  # a month's key lacks the day
        count = {"week": 7, "month": calendar.monthrange(begin.year, begin.month)[1]}
        length = count.get(self._partitions.every or "", 1)
        return (begin + dt.timedelta(days=number) for number in range(length))

    def _spelled(self, key: str, day: dt.date | None) -> Iterator[str]:
        choices: list[Sequence[str]] = []
        for kind, text in self._pieces:
            if kind == "literal":
                choices.append((text,))
            elif kind == "partition" and self._partitions.values is not None:
                choices.append((key,))
            elif kind == "code" and text in SPELLINGS and day is not None:
                number = day.timetuple().tm_yday
                choices.append([how.format(day, number) for how in SPELLINGS[text]])
            else:
                break
        yield from map("".join, product(*choices))


def list_keys(bucket: Bucket, beginnings: Sequence[str]) -> Iterator[Listed]:
    """Yield the objects whose keys begin in one of some ways, and perhaps some between them.

    Args:
        bucket: Where they are.
        beginnings: What keys begin with, sorted.
    """
    if len(beginnings) > LISTINGS:
        yield from _between(bucket, beginnings[0], beginnings[-1])
        return
    if len(beginnings) == 1:
        yield from _between(bucket, beginnings[0], beginnings[0])
        return
    for found in at_once(lambda one: list(_between(bucket, one, one)), beginnings):
        yield from found


def _between(bucket: Bucket, first: str, last: str) -> Iterator[Listed]:
    folder = _common_folder(first, last)
    after = _just_before(first) if first != f"{folder}/" else ""
    for found in bucket.below(folder, after=after):
        if found.key > last and not found.key.startswith(last):
            return
        if found.key >= first:
            yield found


def _common_folder(first: str, last: str) -> str:
    folders = first.rpartition("/")[0].split("/")
    others = last.rpartition("/")[0].split("/")
    same = 0
    while same < min(len(folders), len(others)) and folders[same] == others[same]:
        same += 1
    return "/".join(folders[:same])


def _just_before(key: str) -> str:
    """Return a key that sorts before another, and nearly all before it: S3 lists what follows."""
    return f"{key[:-1]}{chr(ord(key[-1]) - 1)}~" if key else ""


def _pieces(path: str) -> Iterator[tuple[str, str]]:
    """Cut a path into literal text, date codes and placeholders, up to its first wildcard."""
    position = 0
    for match in PLACEHOLDER.finditer(path):
        yield from _literal(path[position : match.start()])
        if match[3]:
            yield "partition", ""
        for literal, code in re.findall(r"([^%]+)|%(.)", match[2] or "", re.DOTALL):
            if literal or code == "%":
                yield "literal", literal or code
            else:
                yield "code", code
        position = match.end()
    yield from _literal(path[position:])


def _literal(text: str) -> Iterator[tuple[str, str]]:
    wildcard = WILDCARD.search(text)
    yield "literal", text[: wildcard.start()] if wildcard else text
    if wildcard:
        yield "wildcard", ""
