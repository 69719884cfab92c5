"""What a feed says, whatever its format: some words on itself, and its entries.

What belongs here: which fields there are, an entry's identity where the feed gives it none, and how
values become text. What does not: the formats (`xml_feed`, `json_feed`), and fetching (`feed`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import urljoin

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HASH_DIGITS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One entry of a feed, all of it text as received; none where the feed says nothing.

    Attributes:
        id: What the feed calls it; without that its link, and without one a hash.
        id_from: What `id` was made of: ``id``, ``link`` or ``content``.
        title: Its title.
        link: Address of its page, made whole.
        published: When it was published, as written.
        published_at: The same in ISO 8601, in UTC; none where it cannot be read.
        updated: When it was changed last, as written.
        updated_at: The same in ISO 8601, in UTC.
        author: Who wrote it.
        summary: Its summary; may be HTML, which is not sanitized.
        content: Its whole text; may be HTML, which is not sanitized.
        categories: Its categories, a JSON list of text.
        enclosures: What hangs on it, a JSON list of objects with `url`, `type`, `length`.
        more: Everything else that the feed says of it, a JSON object.
    """

    id: str
    id_from: str
    title: str | None = None
    link: str | None = None
    published: str | None = None
    published_at: str | None = None
    updated: str | None = None
    updated_at: str | None = None
    author: str | None = None
    summary: str | None = None
    content: str | None = None
    categories: str | None = None
    enclosures: str | None = None
    more: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """What stands among the entries and is none.

    Attributes:
        reason: One word.
        text: What stands there.
    """

    reason: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Feed:
    """A feed as it was at one moment.

    Attributes:
        title: Its title.
        link: Address of the page that it belongs to, made whole.
        language: The language that it says it is written in.
        format: Its format and version, such as ``rss20``, ``atom10``, ``cdf`` or ``json11``.
        problem: What is wrong with it, though its entries could be read.
        entries: In its order.
    """

    title: str | None
    link: str | None
    language: str | None
    format: str
    problem: str | None
    entries: Sequence[Entry | Rejected]


ENTRY_FIELDS = tuple(one.name for one in fields(Entry))
FEED_FIELDS = ("title", "link", "language", "format", "problem")


class Identity(TypedDict):
    """What an entry is known by from one poll to the next."""

    id: str
    id_from: str


def identity(given: str | None, link: str | None, *content: str | None) -> Identity:
    """Return what an entry is known by from one poll to the next.

    Args:
        given: What the feed calls it.
        link: Its link, as received: an address of the feed that changes must not change it.
        content: What it consists of, if it has neither.
    """
    if given:
        return {"id": given, "id_from": "id"}
    if link:
        return {"id": link, "id_from": "link"}
    digest = hashlib.sha256("\0".join(part or "" for part in content).encode()).hexdigest()
    return {"id": digest[:HASH_DIGITS], "id_from": "content"}


def text(value: Any) -> str | None:  # noqa: ANN401 - whatever a feed holds
    r"""Return a value as text; nothing and empty text are none.

    Half a surrogate pair, which is no character, is shown as ``\udNNN``.
    """
    if value is None or value == "":
        return None
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return shown.encode("utf-8", "backslashreplace").decode() or None


def json_text(value: Mapping[str, Any] | Sequence[Any]) -> str | None:
    """Return a list or an object as JSON, or none if there is nothing in it."""
    return text(value) if value else None


def iso(moment: dt.datetime) -> str:
    """Return a moment in ISO 8601; one without a zone is in UTC."""
    zoned = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return zoned.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def whole(base: str, address: Any) -> str | None:  # noqa: ANN401 - as above
    """Return an address of a feed as one that can be opened from anywhere.

    Args:
        base: The feed's own address; empty where it is not known.
        address: As received.
    """
    found = text(address)
    if found is None or not base:
        return found
    try:
        return urljoin(base, found)
    except ValueError:  # such as half an IPv6 address
        return found
