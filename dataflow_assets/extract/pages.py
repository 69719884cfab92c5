"""From one page of answers to the request for the next, for each way of cutting pages.

What belongs here: where the next page is, when there is none, and telling that rows moved between
pages while they were read. What does not: asking (`http`), and keeping pages (`rest`).

Rows that come into or leave a list while it is read shift those behind them. What shifts back is
received twice, which the contract's key settles. What shifts forward would be missed: where the
body tells a total, it must stay the same, and with an overlap the last row of a page must be seen
again on the next. Otherwise the list is read anew. Pages by cursor or link are the host's to keep
in order.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urljoin

from pydantic import BaseModel, ConfigDict, JsonValue
from typing_extensions import override

from dataflow_assets.errors import SourceRefusedError
from dataflow_assets.extract.http import with_params
from dataflow_assets.extract.json_objects import is_repeated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dataflow_assets.declaration.rest import (
        CursorPages,
        LinkPages,
        NextPages,
        NumberPages,
        OffsetPages,
        Pages,
    )

LINK = re.compile(r"<([^>]*)>([^<]*)")
RELATION = re.compile(r"""\brel\s*=\s*"?([^";,]*)""", re.IGNORECASE)
NOTHING = "nothing"
"""Anchor behind a single row, which cannot be asked for again: nothing more may come."""
MISSING = object()
"""Stands for what a document does not hold."""


class PagesShiftedError(Exception):
    """Rows moved while they were read: the pages do not make one list."""


class Position(BaseModel):
    """Which page to ask for.

    Attributes:
        url: The address, without secrets.
        body: What is sent with POST.
        number: Which page it is, from 1.
        begin: How many rows of the host's list are before it.
        total: How many rows, or pages, there are, as the page before said.
        longest: Rows of the longest page so far.
        again: How many rows of the page before are asked for again.
        anchor: Digest of the last of them.
    """

    model_config = ConfigDict(frozen=True)

    url: str
    body: JsonValue | None = None
    number: int = 1
    begin: int = 0
    longest: int = 0
    again: int = 0
    total: int | None = None
    anchor: str | None = None

    def then(self, *, url: str | None = None, **more: Any) -> Position:  # noqa: ANN401 - fields
        """Return the position of the next page."""
        given = {"number": self.number + 1, "url": url or self.url, **more}
        return self.model_copy(update=given)

    def asking(self, params: Mapping[str, JsonValue]) -> Position:
        """Return the position with other parameters: in the body if there is one."""
        if isinstance(self.body, dict):
            return self.model_copy(update={"body": {**self.body, **params}})
        texts = {name: str(value) for name, value in params.items()}
        return self.model_copy(update={"url": with_params(self.url, texts)})


@dataclass(frozen=True)
class Page:
    """An answer.

    Attributes:
        url: The address that answered, without the parameters that hold secrets.
        name: The address as people may see it.
        headers: Its headers.
        document: The body, if it is JSON.
        records: The rows in it.
        is_empty: Whether the host said that there is nothing: 204.
    """

    url: str
    name: str
    headers: Mapping[str, str]
    document: Any
    records: Sequence[Any]
    is_empty: bool = False


class Pager(Protocol):
    """One way of cutting pages."""

    def first(self, start: Position) -> Position:
        """Return where the first page is."""

    def after(self, position: Position, page: Page) -> Position | None:
        """Return where the next page is, or none after the last.

        Raises:
            PagesShiftedError: Rows moved since the page before was read.
            SourceRefusedError: The page does not say what the declaration promises.
        """


def open_pager(pages: Pages | None) -> Pager:
    """Return what turns pages as declared."""
    if pages is None:
        return OnePage()
    ways: list[tuple[Any, type[Any]]] = [
        (pages.link, ByLink),
        (pages.next, ByNext),
        (pages.cursor, ByCursor),
        (pages.offset, ByOffset),
        (pages.number, ByNumber),
    ]
    pager: Pager = next(way(declared) for declared, way in ways if declared is not None)
    return pager


class OnePage(Pager):
    """There is one page only."""

    @override
    def first(self, start: Position) -> Position:
        return start

    @override
    def after(self, position: Position, page: Page) -> Position | None:
        return None


class ByLink(OnePage):
    """The header ``Link`` leads on."""

    def __init__(self, declared: LinkPages) -> None:
        self._rel = declared.rel.lower()

    @override
    def after(self, position: Position, page: Page) -> Position | None:
        for url, parameters in LINK.findall(page.headers.get("Link", "")):
            relation = RELATION.search(parameters)
            if relation is not None and self._rel in relation[1].lower().split():
                return position.then(url=urljoin(page.url, url))
        return None


class ByNext(OnePage):
    """The body holds the next address."""

    def __init__(self, declared: NextPages) -> None:
        self._path = declared.path

    @override
    def after(self, position: Position, page: Page) -> Position | None:
        url = find(page.document, self._path, page.name)
        if url is MISSING or not url:
            return None
        if not isinstance(url, str):
            raise _unfit(page, f"holds no address at {self._path}")
        return position.then(url=urljoin(page.url, url))


class ByCursor(OnePage):
    """The body holds what to ask for the next page with."""

    def __init__(self, declared: CursorPages) -> None:
        self._declared = declared

    @override
    def after(self, position: Position, page: Page) -> Position | None:
        declared = self._declared
        more = find(page.document, declared.more, page.name) if declared.more else True
        cursor = find(page.document, declared.path, page.name)
        gone = cursor is MISSING or cursor is None or cursor == "" or cursor is False
        if gone and declared.more and more is True:
            raise _unfit(page, f"says that there is more, but holds no cursor at {declared.path}")
        if gone or more is MISSING or not more:
            return None
        if not isinstance(cursor, str | int):
            raise _unfit(page, f"holds no cursor at {declared.path}")
        return position.then().asking({declared.param: cursor})


class ByOffset(Pager):
    """Pages are asked for by the number of rows before them."""

    def __init__(self, declared: OffsetPages) -> None:
        self._declared = declared

    @override
    def first(self, start: Position) -> Position:
        limit = self._declared.limit_param
        params = {self._declared.param: 0, **({limit: self._declared.limit} if limit else {})}
        return start.asking(params)

    @override
    def after(self, position: Position, page: Page) -> Position | None:
        declared = self._declared
        rows = [_digest(record) if declared.overlap else "" for record in page.records]
        behind = _rows_behind(position, rows)
        longest = max(position.longest, len(rows))
        if len(rows) == longest > position.again:
            behind = len(rows)  # rows in front may have moved the others back, out of sight
        total = _count(position, page, declared.total)
        if not declared.overlap and position.number > 1 and total != position.total:
            raise PagesShiftedError
        end = position.begin + len(rows)
        if _is_last(end, total, behind):
            return None
        back = min(declared.overlap, len(rows) - 1)
        anchor = (rows[-1] if back else NOTHING) if declared.overlap else None
        following = position.then(
            begin=end - back, again=back, longest=longest, total=total, anchor=anchor
        )
        return following.asking({declared.param: end - back})


class ByNumber(Pager):
    """Pages are asked for by their number."""

    def __init__(self, declared: NumberPages) -> None:
        self._declared = declared

    @override
    def first(self, start: Position) -> Position:
        size = self._declared.size_param
        params = {
            self._declared.param: self._declared.first,
            **({size: self._declared.size} if size else {}),
        }
        return start.asking(params)

    @override
    def after(self, position: Position, page: Page) -> Position | None:
        declared = self._declared
        total = _count(position, page, declared.total or declared.total_pages)
        if position.number > 1 and total != position.total:
            raise PagesShiftedError
        begin = position.begin + len(page.records)
        reached = begin if declared.total else position.number
        if _is_last(reached, total, len(page.records)):
            return None
        following = position.then(begin=begin, total=total)
        return following.asking({declared.param: declared.first + position.number})


def find(document: Any, path: str, name: str) -> Any:  # noqa: ANN401 - nested JSON
    """Return what stands at a path of names and positions, or MISSING.

    Args:
        document: The body of a page.
        path: Where to look.
        name: The address of the page, for messages.

    Raises:
        SourceRefusedError: A name on the way is there twice: what is below one would be lost.
    """
    for step in path.split("."):
        if is_repeated(document, step):
            raise SourceRefusedError(
                f"{name} has {step!r} twice, on the way to {path}: what is below one of them would "
                "be lost.",
                mend="Have it sent with every name once.",
                culprit=name,
            )
        if isinstance(document, dict):
            document = document.get(step, MISSING)
        elif isinstance(document, list) and step.isdigit() and int(step) < len(document):
            document = document[int(step)]
        else:
            return MISSING
    return document


def _rows_behind(position: Position, rows: Sequence[str]) -> int:
    """Return how many rows of a page are behind the last of the page before.

    Raises:
        PagesShiftedError: That row is not there: others may have moved in front of it, unseen.
    """
    if position.anchor is None:
        return len(rows)
    if position.anchor == NOTHING and not rows:
        return 0
    if position.anchor not in rows:
        raise PagesShiftedError
    return rows[::-1].index(position.anchor)


def _is_last(reached: int, total: int | None, fresh: int) -> bool:
    """Whether a page is the last: all are there, or nothing new came."""
    if total is None:
        return not fresh
    if reached < total and not fresh:
        raise PagesShiftedError
    return reached >= total


def _count(position: Position, page: Page, path: str | None) -> int | None:
    """Return how many rows or pages there are, as a page says, or the one before an empty one."""
    if path is None:
        return None
    if page.is_empty:
        return position.total
    count = find(page.document, path, page.name)
    if isinstance(count, str) and count.isdigit():
        return int(count)
    if not isinstance(count, int) or isinstance(count, bool):
        raise _unfit(page, f"holds no number at {path}")
    return count


def _digest(record: Any) -> str:  # noqa: ANN401 - nested JSON
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:16]


def _unfit(page: Page, what: str) -> SourceRefusedError:
    return SourceRefusedError(
        f"{page.name} {what}.",
        mend="Correct pages in the declaration; the archived body of the first page shows what "
        "the host says.",
        culprit=page.name,
    )
