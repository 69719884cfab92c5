"""One feed on a real server, polled by the extractor alone, at moments that a test says."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from email.utils import format_datetime
from hashlib import sha256
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from dataflow_assets.declaration.extract import FEED_COLUMNS, Feed
from dataflow_assets.errors import (
    NothingReceivedError,
    SourceRefusedError,
    SourceUnavailableError,
    UnreadableFileError,
)
from dataflow_assets.extract.extractor import Request, raw_schema
from dataflow_assets.extract.feed import FeedExtractor
from dataflow_assets.extract.http import HttpClient, Limits
from dataflow_assets_tests.http_server import Answer, serving
from dataflow_assets_tests.unit.extract.feeds import rss

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dataflow_assets.extract.files import Snapshot
    from dataflow_assets_tests.http_server import Asked, Server

BEGIN = dt.datetime(2026, 2, 2, tzinfo=dt.UTC)
END = BEGIN + dt.timedelta(days=1)
MODIFIED = format_datetime(BEGIN, usegmt=True)


def items(*titles: str) -> str:
    return rss(*(f"<item><guid>{one[0]}</guid><title>{one}</title></item>" for one in titles))


@dataclass
class Site:
    """A feed as it stands on a server.

    Attributes:
        feed: Its text.
        headers: What is told besides.
        conditional: Whether the server answers 304 where nothing has changed.
        status: What it answers.
        url: Its address, once there is a server.
        authorized: What the last one who asked said of himself.
    """

    feed: str = items("a", "b")
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/rss+xml"})
    conditional: bool = True
    status: int = 200
    url: str = ""
    authorized: str | None = None

    def answer(self, asked: Asked) -> Answer:
        self.authorized = asked.headers["Authorization"]
        body = self.feed.encode()
        etag = f'"{sha256(body).hexdigest()}"'
        if self.status != 200:
            return Answer(status=self.status)
        if not self.conditional:
            return Answer(body, headers=self.headers)
        if asked.headers["If-None-Match"] == etag:
            return Answer(status=304, headers={"ETag": etag})
        return Answer(body, headers={"ETag": etag, "Last-Modified": MODIFIED, **self.headers})


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def server(site: Site) -> Iterator[Server]:
    with serving(site.answer) as server:
        yield server


def request_for(archive: Path, before: Sequence[Snapshot] = ()) -> Request:
    return Request("2026-02-02", BEGIN, END, archive, stays=True, before=lambda: before)


@dataclass
class Poller:
    """Polls a feed for one window, an hour later each time."""

    url: str
    archive: Path
    hour: int = 0
    polls: Sequence[Snapshot] = ()

    def poll(self, url: str = "") -> Sequence[Snapshot]:
        """Poll once, and return all polls of the window."""
        self.hour += 1
        now = BEGIN + dt.timedelta(hours=self.hour)
        client = HttpClient(limits=Limits(tries=1))
        extractor = FeedExtractor(Feed(url=url or self.url), client, lambda: now)
        before = self.polls
        self.polls = extractor.fetch(request_for(self.archive, before))
        self.reader = extractor.reader
        return self.polls

    def rows(self) -> list[dict[str, object]]:
        """Return the raw rows of all polls."""
        schema = self.reader.schema(self.polls[0])
        tables = [table for one in self.polls for table in self.reader.rows(one, schema)]
        assert all(table.schema == raw_schema(FEED_COLUMNS) for table in tables)
        rows: list[dict[str, object]] = pa.concat_tables(tables).to_pylist()
        return rows


@pytest.fixture
def poller(server: Server, tmp_path: Path) -> Poller:
    return Poller(f"{server.url}/news/feed.xml", tmp_path)


def test_a_feed_becomes_rows_that_lead_back_to_its_bytes(poller: Poller, server: Server) -> None:
    (poll,) = poller.poll()
    first, second = poller.rows()
    assert (first["id"], first["title"], second["id"]) == ("a", "a", "b")
    assert (first["feed_title"], first["feed_format"]) == ("Harbour news", "rss20")
    assert first["polled_at"] == "2026-02-02T01:00:00Z"
    assert (first["_line"], second["_line"], first["_reject"]) == (1, 2, None)
    assert (
        first["_file"] == f"127.0.0.1:{server.port}/news/feed.xml/2026-02-02T01:00:00.000000Z.http"
    )
    assert first["_version"] == poll.version
    assert poll.path.read_bytes().endswith(items("a", "b").encode())


def test_a_host_is_asked_whether_the_last_answer_still_stands(
    poller: Poller, server: Server
) -> None:
    first = poller.poll()
    assert poller.poll() == first
    assert "If-None-Match" not in server.asked[0].headers
    assert server.asked[1].headers["If-None-Match"].startswith('"')
    assert server.asked[1].headers["If-Modified-Since"] == MODIFIED


def test_the_same_bytes_add_nothing_though_the_host_sends_them_again(
    poller: Poller, server: Server, site: Site
) -> None:
    site.conditional = False
    first = poller.poll()
    assert poller.poll() == first
    assert len(server.asked) == 2


def test_the_same_bytes_to_be_read_in_another_way_are_another_poll(
    poller: Poller, site: Site
) -> None:
    site.conditional = False
    site.feed = items("aé")
    site.headers = {"Content-Type": "application/xml; charset=iso-8859-1"}
    poller.poll()
    site.headers = {"Content-Type": "application/xml; charset=utf-8"}
    poller.poll()
    assert [row["title"] for row in poller.rows()][-1] == "aé"
    assert len(poller.polls) == 2


def test_the_union_of_all_polls_is_kept_in_their_order(poller: Poller, site: Site) -> None:
    feeds = [items("a", "b"), items("b, edited", "c"), items("c", "d"), items("a", "b")]
    for feed in feeds:
        site.feed = feed
        poller.poll()
    titles = [row["title"] for row in poller.rows()]
    assert titles == ["a", "b", "b, edited", "c", "c", "d", "a", "b"]
    assert poller.polls[0].version == poller.polls[3].version  # archived once
    assert len({poll.file.name for poll in poller.polls}) == 4


def test_a_window_that_is_over_is_not_polled(poller: Poller, server: Server, site: Site) -> None:
    polls = poller.poll()
    site.feed = items("later")
    poller.hour = 23
    assert poller.poll() == polls
    assert len(server.asked) == 1


def test_a_window_that_nobody_polled_says_so(poller: Poller, server: Server) -> None:
    poller.hour = 23
    with pytest.raises(NothingReceivedError, match="was not polled while it ran"):
        poller.poll()
    assert server.asked == []


def test_a_feed_that_is_gone_is_not_asked_for_again(poller: Poller, site: Site) -> None:
    site.status = 410
    with pytest.raises(SourceRefusedError, match="answered 410") as refused:
        poller.poll()
    assert not refused.value.transient
    assert "moved" in refused.value.mend


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_host_that_cannot_answer_now_may_be_asked_later(
    poller: Poller, site: Site, status: int
) -> None:
    before = poller.poll()
    site.status = status
    with pytest.raises(SourceUnavailableError):
        poller.poll()
    site.status = 200
    assert poller.poll() == before


def test_a_page_in_the_place_of_a_feed_is_no_poll(poller: Poller, site: Site) -> None:
    before = poller.poll()
    site.feed = "<!doctype html><title>Sign in</title>"
    with pytest.raises(UnreadableFileError, match="gave no feed"):
        poller.poll()
    assert len(list(poller.archive.rglob("*.http"))) == 1
    site.feed = items("a", "b")
    assert poller.poll() == before


def test_another_address_is_not_asked_for_what_the_one_before_said(
    poller: Poller, server: Server, site: Site
) -> None:
    poller.poll()
    polls = poller.poll(f"{server.url}/moved.xml")
    assert "If-None-Match" not in server.asked[1].headers
    assert len(polls) == 2
    site.feed = items("c")
    poller.poll(f"{server.url}/moved.xml")
    assert len(poller.rows()) == 5


def test_links_are_whole_after_a_redirect(poller: Poller, server: Server, site: Site) -> None:
    feed = rss("<item><link>1.html</link></item>")

    def answer(asked: Asked) -> Answer:
        if asked.path == "/news/feed.xml":
            return Answer(status=301, headers={"Location": "/new/feed.xml?a=1"})
        return Answer(feed.encode(), headers=site.headers)

    server.answer = answer
    poller.poll()
    (row,) = poller.rows()
    assert (row["link"], row["id"]) == (f"{server.url}/new/1.html", "1.html")


def test_a_feed_without_entries_has_no_rows(poller: Poller, site: Site) -> None:
    site.feed = rss("<ttl>5</ttl>")
    (poll,) = poller.poll()
    assert list(poller.reader.rows(poll, poller.reader.schema(poll))) == []


def test_what_is_no_entry_is_a_rejected_row(poller: Poller, site: Site) -> None:
    site.feed = '{"version": "https://jsonfeed.org/version/1", "items": [7, {"id": "a"}]}'
    poller.poll()
    rejected, good = poller.rows()
    assert (rejected["_reject"], rejected["_text"], rejected["id"]) == ("not_an_object", "7", None)
    assert (good["_reject"], good["id"], good["_line"]) == (None, "a", 2)


def test_a_longer_feed_than_allowed_is_refused(server: Server, tmp_path: Path, site: Site) -> None:
    site.feed = items("a") + " " * 2000
    feed = Feed(url=f"{server.url}/feed", most_bytes=1000)
    client = HttpClient(limits=Limits(tries=1, most_bytes=feed.most_bytes))
    request = request_for(tmp_path)
    with pytest.raises(SourceRefusedError, match="more than 1,000 bytes"):
        FeedExtractor(feed, client, lambda: BEGIN).fetch(request)
