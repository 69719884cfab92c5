"""JSON Feed, version 1 and 1.1.

What belongs here: from its JSON to entries. What does not: feeds in XML, and fetching.
"""

from __future__ import annotations

import datetime as dt
import json
import math
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
from dataflow_assets.extract.json_objects import is_repeated, object_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflow_assets.extract.messages import Message

MARKS = b"\xef\xbb\xbf\xff\xfe\x00 \t\r\n"
"""What may stand before the first brace: a byte order mark, white space, half of UTF-16."""
VERSION = "https://jsonfeed.org/version/"
TAKEN = {
    *("id", "url", "title", "summary", "content_html", "tags"),
    *("date_published", "date_modified"),
}
LONGEST_NUMBER = 4000
"""Digits of a number up to which Python reads it; a longer one stays text."""
ATTACHMENT = {"url": "url", "mime_type": "type", "size_in_bytes": "length"}
"""What the words of an attachment are called in the column `enclosures`."""


def is_json(content: bytes) -> bool:
    """Whether bytes begin as a JSON object does, whatever type they are said to be of."""
    return content.lstrip(MARKS).startswith(b"{")


def read_json_feed(message: Message, name: str) -> Feed:
    """Return what a JSON Feed says.

    Args:
        message: The feed as a host sent it.
        name: What to call it in an error.

    Raises:
        UnreadableFileError: It is no JSON, or no feed.
    """
    found, problem = _loads(message.body, name)
    items = found.get("items") if isinstance(found, dict) else None
    if is_repeated(found, "items"):
        raise _unreadable(name, "it has two lists of items")
    if not isinstance(items, list):
        raise _unreadable(name, "it has no list of items")
    base = message.headers.get("content-location", "")
    version = str(found.get("version") or "")
    known = version.startswith(VERSION)
    return Feed(
        title=text(found.get("title")),
        link=whole(base, found.get("home_page_url")),
        language=text(found.get("language")),
        format=f"json{version.removeprefix(VERSION).replace('.', '')}" if known else "json",
        problem=problem if known else f"{version!r} is no version of JSON Feed",
        entries=[_entry(item, base) for item in items],
    )


def _loads(content: bytes, name: str) -> tuple[Any, str | None]:
    encoding = json.detect_encoding(content)
    problem = None
    try:
        decoded = content.decode(encoding)
    except UnicodeDecodeError as error:
        decoded, problem = content.decode(encoding, "replace"), f"UnicodeDecodeError: {error}"
    try:
        return json.loads(
            decoded,
            object_pairs_hook=object_of,
            parse_int=_whole_number,
            parse_float=_number,
        ), problem
    except (ValueError, RecursionError) as error:
        raise _unreadable(name, str(error)) from error


def _whole_number(digits: str) -> int | str:
    return int(digits) if len(digits) < LONGEST_NUMBER else digits


def _number(digits: str) -> float | str:
    return value if math.isfinite(value := float(digits)) else digits


def _unreadable(name: str, why: str) -> UnreadableFileError:
    return UnreadableFileError(
        f"{name} gave no JSON Feed: {why}.",
        mend="Open the address in a browser, and correct url if the feed has moved.",
        culprit=name,
    )


def _entry(item: Any, base: str) -> Entry | Rejected:  # noqa: ANN401 - whatever stands there
    if not isinstance(item, dict):
        return Rejected("not_an_object", text(item) or "")
    attachments = _attachments(item)
    enclosures = json_text([_enclosure(one, base) for one in attachments])
    content = text(item.get("content_html")) or text(item.get("content_text"))
    title, summary = text(item.get("title")), text(item.get("summary"))
    published, updated = text(item.get("date_published")), text(item.get("date_modified"))
    more = json_text(_more(item, attached=bool(attachments)))
    told = (title, published, content or summary)
    return Entry(
        **identity(
            text(item.get("id")),
            text(item.get("url")),
            *(told if any(told) else (enclosures, more)),
        ),
        title=title,
        link=whole(base, item.get("url")),
        published=published,
        published_at=_moment(published),
        updated=updated,
        updated_at=_moment(updated),
        author=_author(item),
        summary=summary,
        content=content,
        categories=text(item.get("tags") or None),
        enclosures=enclosures,
        more=more,
    )


def _attachments(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return an entry's attachments; none if what is said of them is no list of objects."""
    said = item.get("attachments")
    if isinstance(said, list) and all(isinstance(one, dict) for one in said):
        return said
    return []


def _enclosure(attachment: Mapping[str, Any], base: str) -> dict[str, Any]:
    named = {ATTACHMENT.get(word, word): value for word, value in attachment.items()}
    return named | {"url": whole(base, named.get("url"))}


def _more(item: Mapping[str, Any], *, attached: bool) -> dict[str, Any]:
    """Return what no column says."""
    taken = {
        *TAKEN,
        "attachments" if attached else "",
        "" if item.get("content_html") else "content_text",
    }
    return {word: value for word, value in item.items() if word not in taken}


def _author(item: Mapping[str, Any]) -> str | None:
    """Return the names of an entry's authors; version 1 had one, version 1.1 has a list."""
    several = item.get("authors")
    authors = several if isinstance(several, list) else [item.get("author")]
    names = [text(one.get("name")) for one in authors if isinstance(one, dict)]
    return ", ".join(name for name in names if name) or None


def _moment(written: str | None) -> str | None:
    try:
        return iso(dt.datetime.fromisoformat(written)) if written else None
    except (ValueError, OverflowError):
        return None
