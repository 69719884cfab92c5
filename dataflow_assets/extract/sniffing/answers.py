"""What an answer of an API tells of itself: where its records are, and where the next page is.

What belongs here: hints in addresses, headers and bodies. What does not: asking; whoever follows
these hints asks for the next page and sees whether it is one.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from dataflow_assets.extract.pages import LINK, RELATION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SECRET = re.compile(
    r"key|token|secret|passw|pwd|auth|signature|\bsig\b|credential|session|access", re.IGNORECASE
)
"""Names of parameters whose values no declaration may hold."""
SECRET_VALUE = re.compile(r"(?=.*\d)(?=.*[A-Za-z])[A-Za-z0-9_\-.~+/=]{24,}")
"""Values that look like keys, whatever their parameter is called."""
BEGINS = re.compile(
    r"^(?:from|start|since|begin|after|min)|(?:from|start|since|begin|after|_gte?|min)$",
    re.IGNORECASE,
)
ENDS = re.compile(
    r"^(?:to|end|until|before|till|max)|(?:to|end|until|before|till|_lte?|max)$", re.IGNORECASE
)
MOMENTS = (
    (re.compile(r"\d{4}-\d\d-\d\d"), "%Y-%m-%d"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "%Y-%m-%dT%H:%M:%SZ"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"), "%Y-%m-%dT%H:%M:%S"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"), "%Y-%m-%dT%H:%M:%S.000Z"),
    (re.compile(r"(?:19|20)\d{6}"), "%Y%m%d"),
    (re.compile(r"1\d{9}"), "%s"),
)
NEXT = re.compile(r"^next(?:_?(?:page|url|link|href|uri))?(?:_?url)?$", re.IGNORECASE)
CURSOR = re.compile(
    r"^(?:next_?)?(?:cursor|page_?token|continuation(?:_?token)?|marker|after|start_?key)$|"
    r"^next_?(?:cursor|token|page_?token|marker|key|after)$|^end_?cursor$",
    re.IGNORECASE,
)
CURSOR_PARAMS = (
    *("cursor", "page_token", "pageToken", "after", "next_token", "token", "continuation"),
    *("marker", "next", "starting_after", "next_cursor"),
)
TOTAL = re.compile(
    r"^(?:total(?:_?(?:count|results|items|records|rows|hits))?|count|num_?found)$", re.IGNORECASE
)
TOTAL_PAGES = re.compile(
    r"^(?:total_?pages|page_?count|pages|last_?page|num_?pages)$", re.IGNORECASE
)
PAGE = re.compile(r"^(?:page|current_?page|page_?(?:number|no|index))$", re.IGNORECASE)
OFFSET = re.compile(r"^(?:offset|skip|start|from|start_?index)$", re.IGNORECASE)
LIMIT = re.compile(
    r"^(?:limit|per_?page|page_?size|size|count|max_?results|rows|take)$", re.IGNORECASE
)
COUNT = "count"
"""A name that in a body may be of the records of that one answer."""
DEEPEST = 3


@dataclass(frozen=True)
class AddressGuess:
    """An address, parted into what may be written and what may not.

    Attributes:
        url: The address without parameters, user and fragment.
        params: The parameters; a secret is ``{"env": NAME}``.
        secrets: The secrets, by the name of the variable that is to hold each.
        every: How long a window is, if two parameters say where it begins and ends.
        start: The day on which the sample's window begins.
        remarks: What was seen.
    """

    url: str
    params: Mapping[str, Any]
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    every: str | None = None
    start: dt.date | None = None
    remarks: tuple[str, ...] = ()


def guess_address(url: str, name: str) -> AddressGuess:
    """Part an address.

    Args:
        url: The address.
        name: Of the source: variables are named after it.
    """
    parts = urlsplit(url)
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    plain = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    params: dict[str, Any] = {}
    secrets: dict[str, str] = {}
    remarks: list[str] = []
    for word, value in pairs:
        if value and (SECRET.search(word) or SECRET_VALUE.fullmatch(value)):
            variable = re.sub(r"\W", "_", f"{name}_{word}").upper()
            secrets[variable] = value
            params[word] = {"env": variable}
            remarks.append(
                f"{word} looks like a secret: set {variable}; its value is not written here"
            )
        else:
            params[word] = value
    window = _window(params)
    if window is None:
        return AddressGuess(plain, params, secrets, remarks=tuple(remarks))
    begin, end, start = window
    told = (
        f"{begin[0]} and {end[0]} said {params[begin[0]]} and {params[end[0]]}: "
        "taken as a window of a day"
    )
    params = {**params, begin[0]: f"{{begin:{begin[1]}}}", end[0]: f"{{end:{end[1]}}}"}
    return AddressGuess(plain, params, secrets, "day", start, (*remarks, told))


def _window(params: Mapping[str, Any]) -> tuple[tuple[str, str], tuple[str, str], dt.date] | None:
    """Return the parameters that say where a day begins and ends, with their codes, and the day."""
    found: dict[str, tuple[str, str, dt.datetime]] = {}
    for word, value in params.items():
        for side, pattern in (("begin", BEGINS), ("end", ENDS)):
            code = next(
                (c for p, c in MOMENTS if isinstance(value, str) and p.fullmatch(value)), None
            )
            if pattern.search(word) and code and (moment := _parsed(str(value), code)):
                found.setdefault(side, (word, code, moment))
    if len(found) < 2 or found["begin"][0] == found["end"][0]:  # noqa: PLR2004 - both sides
        return None
    begin, end = found["begin"], found["end"]
    if end[2] - begin[2] != dt.timedelta(days=1):
        return None
    return (begin[0], begin[1]), (end[0], end[1]), begin[2].date()


def _parsed(value: str, code: str) -> dt.datetime | None:
    try:
        if code == "%s":
            return dt.datetime.fromtimestamp(int(value), dt.UTC)
        return dt.datetime.strptime(value, code.replace(".000", ".%f")).replace(tzinfo=dt.UTC)
    except ValueError:
        return None


@dataclass(frozen=True)
class PagesGuess:
    """A way in which answers may be cut into pages.

    Attributes:
        words: What the declaration says of pages.
        remark: What was seen.
    """

    words: Mapping[str, Any]
    remark: str


def guess_pages(
    params: Mapping[str, Any],
    headers: Mapping[str, str],
    document: Any,  # noqa: ANN401 - nested JSON
    count: int,
) -> Iterator[PagesGuess]:
    """Yield the ways in which an answer may be cut, the surest first.

    Args:
        params: What was asked.
        headers: What the host said.
        document: The body.
        count: How many records it held.
    """
    for _, said in LINK.findall(headers.get("Link", "")):
        relation = RELATION.search(said)
        if relation and "next" in relation[1].lower().split():
            yield PagesGuess({"link": {}}, "the header Link names a next page")
    if not isinstance(document, dict):
        yield from _by_params(params, {}, count)
        return
    said = dict(_scalars(document, ()))
    for path, value in said.items():
        if _is_next(path, value):
            yield PagesGuess({"next": {"path": path}}, f"{path} in the body is an address")
    for path, value in said.items():
        if CURSOR.match(path.rpartition(".")[2]) and value not in (None, "", False):
            known = [word for word in CURSOR_PARAMS if word in params]
            for param in dict.fromkeys((*known, *CURSOR_PARAMS)):
                words = {"path": path, "param": param}
                yield PagesGuess({"cursor": words}, f"{path} in the body, sent as {param}")
    yield from _by_params(params, said, count)


def _is_next(path: str, value: object) -> bool:
    *above, name = path.split(".")
    is_link = NEXT.match(name) or (
        name.lower() in ("href", "url") and above and NEXT.match(above[-1])
    )
    return bool(is_link) and isinstance(value, str) and value.startswith(("http", "/", "?"))


def _by_params(
    params: Mapping[str, Any], said: Mapping[str, Any], count: int
) -> Iterator[PagesGuess]:
    """Yield ways that count rows or pages, where the request or the body names such numbers."""
    counts = [path for path in said if _is_count(said[path])]
    names = {path.rpartition(".")[2]: path for path in reversed(counts)}
    asked = [name for name, value in params.items() if _number(value) is not None]
    known = (*asked, *(name for name in names if name not in params))

    def named(pattern: re.Pattern[str]) -> list[str]:
        return [name for name in dict.fromkeys(known) if pattern.match(name)]

    def value(name: str, default: int) -> int:
        told = said.get(names.get(name, ""), default)
        return _number(params.get(name)) or int(told)

    total = _total(said, count)
    pages = next((path for name, path in names.items() if TOTAL_PAGES.match(name)), None)
    totals = {"total": total[0]} if total else {}
    ends = {"total_pages": pages} if pages else totals
    sizes = [name for name in named(LIMIT) if name in asked or name.lower() != COUNT]
    limit = next((name for name in sizes if names.get(name) not in totals.values()), None)
    size = value(limit, count) if limit else count
    for offset in named(OFFSET) if size else ():
        words = {"param": offset, "limit_param": limit, "limit": size}
        yield PagesGuess({"offset": {**words, **totals}}, f"{offset} counts the rows before")
    for page in named(PAGE) if size else ():
        words = {"param": page, "first": min(value(page, 1), 1)}
        sized = {"size_param": limit, "size": size} if limit else {}
        yield PagesGuess({"number": {**words, **sized, **ends}}, f"{page} counts the pages")


def guess_total(document: Any, count: int) -> tuple[str, int] | None:  # noqa: ANN401 - nested JSON
    """Return where a body says how many rows there are in all, and how many.

    Args:
        document: The body.
        count: How many records it held.
    """
    return _total(dict(_scalars(document, ())), count) if isinstance(document, dict) else None


def _total(said: Mapping[str, Any], count: int) -> tuple[str, int] | None:
    """Return the largest number that is named as a total; fewer than the records are none."""
    found = [
        (path, value)
        for path, value in said.items()
        if _is_count(value) and value >= count and TOTAL.match(name := path.rpartition(".")[2])
        if value > count or name.lower() != COUNT
    ]
    return max(found, key=lambda one: one[1], default=None)


def _number(value: object) -> int | None:
    """Return a whole number; a day or a moment written with digits is none."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,18}", value):
        return None
    is_moment = any(p.fullmatch(value) and _parsed(value, code) for p, code in MOMENTS)
    return None if is_moment else int(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _scalars(value: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield what stands in an object and the objects in it, by its path."""
    for name, member in value.items():
        if "." in name or not name or re.search(r"\s", name):  # no path leads there
            continue
        if isinstance(member, dict) and len(path) < DEEPEST:
            yield from _scalars(member, (*path, name))
        elif not isinstance(member, (dict, list)):
            yield ".".join((*path, name)), member
