"""RSS, Atom and CDF.

What belongs here: from what feedparser finds to entries. What does not: JSON Feed, and fetching.

feedparser, the field's reference, is given bytes alone: from those it never fetches. It mends what
it can, so that the entries of an ill-formed feed are found too. It is told neither to sanitize HTML
nor to rewrite addresses in it: rows are as received, and whoever shows them has to sanitize them.
"""

from __future__ import annotations

import datetime as dt
import re
from io import BytesIO
from typing import TYPE_CHECKING, Any

from dataflow_assets.errors import UnreadableFileError
from dataflow_assets.extract.feed_entries import (
    Entry,
    Feed,
    Rejected,
    identity,
    iso,
    json_text,
    text,
    whole,
)

if TYPE_CHECKING:
    from time import struct_time

    from dataflow_assets.extract.messages import Message

REFERENCE = re.compile(rb"&#(?:[xX]([0-9a-fA-F]{1,8})|([0-9]{1,10}));")
SURROGATES = range(0xD800, 0xE000)
MOST_CODE = 0x10FFFF
ROOT = re.compile(rb"\A\s*(?:<[?!][^>]*>\s*)*<(?:\w+:)?channel[\s>]", re.IGNORECASE)
"""How CDF begins, of which feedparser knows the version only by its items."""
COLUMNS = ("title", "published", "updated", "author", "summary")
"""Columns that are what feedparser calls so."""
TAKEN = ("id", "link", "links", "tags", "content")
"""What else it finds that columns are made of."""
MARK = re.compile(rb"</?(?:\w+:)?(?:item|entry)\b[^<>]*>", re.IGNORECASE)
"""Where an entry begins or ends, or both at once."""
LONGEST_PROBLEM = 500


def read_xml_feed(message: Message, name: str) -> Feed:
    """Return what an RSS, Atom or CDF feed says.

    Args:
        message: The feed as a host sent it; its content type has a say in its encoding.
        name: What to call it in an error.

    Raises:
        UnreadableFileError: It is no feed.
    """
    parsed = _parse(message, name)
    version = dict.get(parsed, "version") or ""
    if not version and not parsed.entries and not ROOT.match(message.body):
        raise _no_feed(message, name, _problem(parsed) or "feedparser finds none in it")
    base = message.headers.get("content-location", "")
    about = parsed.feed
    return Feed(
        title=text(dict.get(about, "title")),
        link=whole(base, dict.get(about, "link")),
        language=text(dict.get(about, "language")),
        format=version or "cdf",
        problem=_problem(parsed),
        entries=_entries(message, parsed, base),
    )


def _parse(message: Message, name: str) -> Any:  # noqa: ANN401 - feedparser has no types
    import feedparser

    headers = {key: message.headers[key] for key in message.headers if key != "content-location"}
    try:
        return feedparser.parse(
            BytesIO(REFERENCE.sub(_character, message.body)),
            response_headers=headers,
            resolve_relative_uris=False,
            sanitize_html=False,
        )
    except Exception as error:
        # Meant never to raise, it does so on some bytes, with errors of any kind.
        raise _no_feed(message, name, f"{type(error).__name__}: {error}") from error


def _character(reference: re.Match[bytes]) -> bytes:
    """Replace references to no character, at which feedparser gives up."""
    code = int(reference[1], 16) if reference[1] else int(reference[2])
    return b"&#xFFFD;" if code in SURROGATES or code > MOST_CODE else reference[0]


def _no_feed(message: Message, name: str, why: str) -> UnreadableFileError:
    begin = message.body[:80].decode("utf-8", "backslashreplace").split("\n")[0]
    return UnreadableFileError(
        f"{name} gave no feed, but {message.headers.get('content-type', 'no content type')} "
        f"that begins with {begin!r}: {why}.",
        mend="Open the address in a browser, and correct url if the feed has moved.",
        culprit=name,
    )


def _problem(parsed: Any) -> str | None:  # noqa: ANN401 - as above
    if not parsed.bozo:
        return None
    error = dict.get(parsed, "bozo_exception")
    return text(f"{type(error).__name__}: {error}"[:LONGEST_PROBLEM])


def _entries(message: Message, parsed: Any, base: str) -> list[Entry | Rejected]:  # noqa: ANN401
    """Return the entries; of one amid which the feed was cut off, some words may be missing."""
    entries: list[Entry | Rejected] = [_entry(one, base) for one in parsed.entries]
    if entries and parsed.bozo and _is_cut(message.body):
        last = dict(parsed.entries[-1])
        entries[-1] = Rejected("truncated", json_text(last) or "")
    return entries


def _is_cut(body: bytes) -> bool:
    """Whether a feed ends before its last entry does."""
    mark = b""
    for match in MARK.finditer(body):
        mark = match[0]
    return bool(mark) and not mark.startswith(b"</") and not mark.endswith(b"/>")


def _entry(found: dict[str, Any], base: str) -> Entry:
    links, tags = _all(found, "links"), _all(found, "tags")
    contents = _all(found, "content")
    content = text(dict.get(contents[0], "value")) if contents else None
    enclosures = json_text([_enclosure(one, base) for one in links if _is_enclosure(one)])
    more = json_text(_more(found, links, tags, contents))
    title, published, updated, author, summary = (text(dict.get(found, one)) for one in COLUMNS)
    told = (title, published, content or summary)
    of = told if any(told) else (enclosures, more)
    return Entry(
        **identity(text(dict.get(found, "id")), text(dict.get(found, "link")), *of),
        title=title,
        link=whole(base, dict.get(found, "link")),
        published=published,
        published_at=_moment(dict.get(found, "published_parsed")),
        updated=updated,
        updated_at=_moment(dict.get(found, "updated_parsed")),
        author=author,
        summary=summary,
        content=content,
        categories=json_text([term for one in tags if (term := dict.get(one, "term"))]),
        enclosures=enclosures,
        more=more,
    )


def _all(found: dict[str, Any], word: str) -> list[dict[str, Any]]:
    """Return what feedparser has a list for; its dictionaries guess at words that are not there."""
    return dict.get(found, word) or []


def _is_enclosure(link: dict[str, Any]) -> bool:
    return dict.get(link, "rel") == "enclosure"


def _enclosure(link: dict[str, Any], base: str) -> dict[str, Any]:
    rest = {word: value for word, value in link.items() if word not in ("rel", "href")}
    return {"url": whole(base, dict.get(link, "href")), **rest}


def _more(
    found: dict[str, Any],
    links: list[dict[str, Any]],
    tags: list[dict[str, Any]],
    contents: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return what no column says."""
    rest = {
        word: _without_value(value) if word.endswith("_detail") else value
        for word, value in found.items()
        if word not in (*COLUMNS, *TAKEN) and not word.endswith("_parsed")
    }
    of_link = dict.get(found, "link")
    others = [one for one in links if not _is_enclosure(one) and dict.get(one, "href") != of_link]
    labelled = any(dict.get(one, "scheme") or dict.get(one, "label") for one in tags)
    typed = contents if len(contents) > 1 else [_without_value(one) for one in contents]
    lists = {"links": others, "tags": tags if labelled else [], "content": typed}
    return rest | {word: value for word, value in lists.items() if value}


def _without_value(detail: Any) -> Any:  # noqa: ANN401 - as above
    """Return how a text is written, without the text, which has a column."""
    if not isinstance(detail, dict):
        return detail
    return {word: value for word, value in detail.items() if word != "value"}


def _moment(parts: struct_time | None) -> str | None:
    """Return what feedparser makes of a date: parts in UTC, perhaps of no day that there is."""
    if parts is None:
        return None
    try:
        return iso(dt.datetime(*parts[:6], tzinfo=dt.UTC))
    except ValueError:
        return None
