"""Feeds: polled over and over, and the union of all polls kept.

What belongs here: asking for a feed that may not have changed, and rows of what was archived. What
does not: HTTP (`http`), and the formats of feeds (`xml_feed`, `json_feed`).

A feed says what is now, so a window of time is filled while it runs: each poll that brings other
bytes than the one before is archived, and a partition is made of all polls of its window. What
scrolls off the feed stays. Once its window is over, a partition is made of the archive alone.

Entries are read one by one in Python, here alone: feedparser knows no other way. A feed is short,
and `most_bytes` bounds it.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pyarrow as pa

from dataflow_assets.declaration.extract import FEED_COLUMNS
from dataflow_assets.errors import NothingReceivedError
from dataflow_assets.extract.extractor import raw_schema
from dataflow_assets.extract.feed_entries import ENTRY_FIELDS, FEED_FIELDS, Feed, Rejected, iso
from dataflow_assets.extract.files import archive_bytes
from dataflow_assets.extract.http import NOT_MODIFIED
from dataflow_assets.extract.json_feed import is_json, read_json_feed
from dataflow_assets.extract.messages import Message
from dataflow_assets.extract.xml_feed import read_xml_feed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from dataflow_assets.declaration.extract import Feed as Declared
    from dataflow_assets.extract.extractor import Request
    from dataflow_assets.extract.feed_entries import Entry
    from dataflow_assets.extract.files import Snapshot
    from dataflow_assets.extract.http import HttpClient, Response

ACCEPTED = (
    "application/atom+xml, application/rss+xml, application/rdf+xml, application/feed+json, "
    "application/json;q=0.9, application/xml;q=0.9, text/xml;q=0.8, */*;q=0.5"
)
CONDITIONS = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}
"""What a host said of its last answer, and how it is asked whether that still stands."""
MOST_TEXT = 64 << 10


def read_feed(message: Message, name: str) -> Feed:
    """Return what a feed says, whatever its format.

    Args:
        message: The feed as a host sent it.
        name: What to call it in an error.

    Raises:
        UnreadableFileError: It is no feed.
    """
    read = read_json_feed if is_json(message.body) else read_xml_feed
    return read(message, name)


class FeedReader:
    """Reads the entries of archived polls."""

    def schema(self, snapshot: Snapshot) -> pa.Schema:  # noqa: ARG002 - all feeds have the same
        """Return the columns of entries, all text, whatever the feed."""
        return pa.schema([pa.field(name, pa.string()) for name in FEED_COLUMNS])

    def rows(self, snapshot: Snapshot, schema: pa.Schema) -> Iterator[pa.Table]:
        """Yield one poll's entries in the order of the feed; `_line` is an entry's number.

        Raises:
            UnreadableFileError: The poll brought no feed.
        """
        feed = read_feed(Message.read(snapshot), snapshot.file.name)
        if not feed.entries:
            return
        of_feed = {f"feed_{name}": getattr(feed, name) for name in FEED_FIELDS}
        polled = dt.datetime.fromtimestamp(snapshot.file.mtime_ns / 1e9, dt.UTC)
        of_feed["polled_at"] = iso(polled.replace(microsecond=0))
        origin = {"_file": snapshot.file.name, "_version": snapshot.version}
        rows = [
            {**_fields(entry), **of_feed, **origin, "_line": number}
            for number, entry in enumerate(feed.entries, start=1)
        ]
        yield pa.Table.from_pylist(rows, schema=raw_schema(schema))


def _fields(entry: Entry | Rejected) -> dict[str, str | None]:
    if isinstance(entry, Rejected):
        return {"_reject": entry.reason, "_text": entry.text[:MOST_TEXT]}
    return {name: getattr(entry, name) for name in ENTRY_FIELDS}


class FeedExtractor:
    """Polls one feed.

    Args:
        feed: The declaration.
        client: Asks its host.
        now: Tells the time, in UTC.
    """

    def __init__(
        self,
        feed: Declared,
        client: HttpClient,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self.reader = FeedReader()
        self._feed = feed
        self._client = client
        self._now = now

    def fetch(self, request: Request) -> Sequence[Snapshot]:
        """Return all polls of a window, the newest of them made now if the window still runs.

        Raises:
            NothingReceivedError: The window is over, and nothing was polled while it ran.
            SourceUnavailableError: The host does not answer, for now.
            SourceRefusedError: The feed is gone, or the host refuses.
            UnreadableFileError: What the host sends is no feed; what was polled before stays.
        """
        earlier = request.before()
        now = self._now()
        if request.end is not None and now >= request.end:
            if not earlier:
                raise self._missed(request)
            return earlier
        place = self._feed.place_of(request.partition)
        last = Message.read(earlier[-1]) if earlier and _is_of(place, earlier[-1]) else None
        answer = self._ask(request.partition, last)
        if answer.status == NOT_MODIFIED:
            return earlier
        address = answer.url.partition("?")[0]  # a query may hold what is nobody's business
        message = Message.of({**answer.headers, "Content-Location": address}, answer.content)
        if last is not None and _same(last, message):
            return earlier
        name = f"{place}/{now:%Y-%m-%dT%H:%M:%S.%fZ}.http"
        read_feed(message, place)
        content = message.write()
        poll = archive_bytes(name, content, now, request.archive, stays=request.stays)
        return [*earlier, poll]

    def _ask(self, partition: str, last: Message | None) -> Response:
        known = last.headers if last is not None else {}
        conditions = {CONDITIONS[word]: known[word] for word in CONDITIONS if word in known}
        return self._client.get(
            self._feed.url_of(partition), headers={"Accept": ACCEPTED, **conditions}
        )

    def _missed(self, request: Request) -> NothingReceivedError:
        return NothingReceivedError(
            "the window is over, and the feed was not polled while it ran.",
            mend="Nothing can be done: a feed says what is now. Materialize the window that runs, "
            "and declare automation: {cron: ...}, which polls it.",
            partition=request.partition,
            culprit=self._feed.place_of(request.partition),
        )


def _is_of(place: str, snapshot: Snapshot) -> bool:
    """Whether a poll is of this feed: before a change of the declaration it may be of another."""
    return snapshot.file.name.rpartition("/")[0] == place


def _same(last: Message, message: Message) -> bool:
    """Whether a poll brought the same bytes, to be read in the same way."""
    types = (one.headers.get("content-type") for one in (last, message))
    return last.body == message.body and len(set(types)) == 1
