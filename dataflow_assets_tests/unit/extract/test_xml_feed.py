from __future__ import annotations

import json
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.errors import UnreadableFileError
from dataflow_assets.extract.feed_entries import Entry, Feed, Rejected
from dataflow_assets.extract.messages import Message
from dataflow_assets.extract.xml_feed import read_xml_feed
from dataflow_assets_tests.unit.extract.feeds import FEEDS, ITEM, rss


def read(feed: str | bytes, **headers: str) -> Feed:
    body = feed.encode() if isinstance(feed, str) else feed
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_xml_feed(Message(body, given), "example.org/feed")


def entry(feed: str | bytes, **headers: str) -> Entry:
    (only,) = read(feed, **headers).entries
    assert isinstance(only, Entry)
    return only


@pytest.mark.parametrize("name", list(FEEDS))
def test_every_version_gives_its_entry(name: str) -> None:
    feed = read(FEEDS[name])
    assert (feed.format, feed.title, feed.problem) == (name, "Harbour news", None)
    (only,) = feed.entries
    assert isinstance(only, Entry)
    assert (only.title, only.link) == ("One & two", "https://example.org/1")
    assert only.summary in ("Short", "<p>Short</p>")
    assert (only.id_from == "id") == (name in ("rss20", "atom03", "atom10"))


def test_all_that_rss_says_is_kept_as_it_was_written() -> None:
    feed = read(FEEDS["rss20"], content_location="https://example.org/feeds/news.xml")
    assert (feed.link, feed.language) == ("https://example.org/", "en")
    assert feed.entries == [
        Entry(
            id="tag-1",
            id_from="id",
            title="One & two",
            link="https://example.org/1",
            published="Mon, 02 Feb 2026 10:00:00 +0100",
            published_at="2026-02-02T09:00:00Z",
            author="ann@example.org",
            summary="<p>Short</p>",
            categories='["sea", "wind"]',
            enclosures='[{"url": "https://example.org/1.mp3", "type": "audio/mpeg", '
            '"length": "99"}]',
            more=feed.entries[0].more if isinstance(feed.entries[0], Entry) else None,
        )
    ]
    more = json.loads(entry(FEEDS["rss20"]).more or "")
    assert more["comments"] == "https://example.org/1/c"
    assert "published_parsed" not in more
    assert "title" not in more


def test_all_that_atom_says_is_kept() -> None:
    one = entry(FEEDS["atom10"])
    assert (one.id, one.author, one.content) == ("tag-1", "Ann", "<b>All</b>")
    assert (one.published, one.published_at) == (
        "2026-02-02T10:00:00+01:00",
        "2026-02-02T09:00:00Z",
    )
    assert (one.updated, one.updated_at) == ("2026-02-03T10:00:00Z", "2026-02-03T10:00:00Z")
    assert one.categories == '["sea"]'
    more = json.loads(one.more or "")
    assert more["tags"] == [{"term": "sea", "scheme": None, "label": "The sea"}]
    assert more["content"] == [{"type": "text/html", "language": None, "base": ""}]


def test_a_date_that_nobody_can_read_stays_as_text() -> None:
    one = entry(rss("<item><title>x</title><pubDate>the other day</pubDate></item>"))
    assert (one.published, one.published_at, one.updated) == ("the other day", None, None)


def test_what_was_published_was_not_therefore_updated() -> None:
    one = entry(rss("<item><pubDate>Mon, 02 Feb 2026 10:00:00 GMT</pubDate></item>"))
    assert (one.updated, one.updated_at) == (None, None)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("<guid>g</guid><link>https://example.org/1</link>", ("g", "id")),
        ("<link>https://example.org/1</link><title>t</title>", ("https://example.org/1", "link")),
        ("<link>/1</link>", ("/1", "link")),  # as received: where the feed is may change
    ],
)
def test_an_entry_is_known_by_its_id_or_else_its_link(item: str, expected: tuple[str, str]) -> None:
    one = entry(rss(f"<item>{item}</item>"), content_location="https://example.org/feed")
    assert (one.id, one.id_from) == expected


def test_an_entry_without_both_is_known_by_what_it_says() -> None:
    items = ["<title>a</title>", "<title>b</title>", "<title>a</title><description>c</description>"]
    first, second, third = (entry(rss(f"<item>{one}</item>")) for one in items)
    assert first.id_from == second.id_from == third.id_from == "content"
    assert len({first.id, second.id, third.id}) == 3
    again = read(rss(*(f"<item>{one}</item>" for one in reversed(items)))).entries
    assert [one.id for one in again if isinstance(one, Entry)] == [third.id, second.id, first.id]


def test_entries_with_nothing_but_an_enclosure_are_told_apart() -> None:
    of = '<item><enclosure url="https://example.org/{}.mp3" type="audio/mpeg"/></item>'
    one, other = read(rss(of.format(1), of.format(2))).entries
    assert isinstance(one, Entry)
    assert isinstance(other, Entry)
    assert one.id != other.id


def test_html_is_neither_sanitized_nor_rewritten() -> None:
    html = '<script>alert(1)</script><a href="/x" onclick="y()">z</a>'
    escaped = html.replace("<", "&lt;")
    one = entry(
        rss(f"<item><description>{escaped}</description></item>"),
        content_location="https://example.org/feed",
    )
    assert one.summary == html


@pytest.mark.parametrize(
    ("feed", "titles"),
    [
        (rss("<item><title>a & b</title></item>"), ["a & b"]),
        (rss("<item><title>a</title></item>") + "<item><title>b</title></item>", ["a", "b"]),
        (rss("<item><title>a</title></item>", "<item/>")[:-10], ["a", None]),
        (rss("<item><title>a</item>"), [None]),
        (rss("<item><title>a&nbsp;b</title></item>"), ["a\xa0b"]),
        (f"\n\n{rss('<item><title>a</title></item>')}", ["a"]),
    ],
)
def test_an_ill_formed_feed_gives_its_entries_all_the_same(
    feed: str, titles: list[str | None]
) -> None:
    found = read(feed)
    assert [one.title for one in found.entries if isinstance(one, Entry)] == titles
    assert found.format == "rss20"


@pytest.mark.parametrize("name", ["rss20", "atom10"])
def test_an_entry_that_is_cut_off_is_rejected(name: str) -> None:
    whole = FEEDS[name]
    end = max(whole.rfind("</item>"), whole.rfind("</entry>"))
    (one,) = read(whole[: end - 5]).entries
    assert isinstance(one, Rejected)
    assert one.reason == "truncated"
    assert json.loads(one.text)["title"] == "One & two"
    assert isinstance(read(whole[: end + 8]).entries[0], Entry)


def test_what_is_wrong_with_a_feed_is_told() -> None:
    assert "SAXParseException" in (read(rss("<item><title>a & b</title></item>")).problem or "")
    assert read(rss()).problem is None


def test_references_to_half_a_character_do_not_stop_a_feed() -> None:
    one, other = read(
        rss("<item><title>a&#xD800;b &#55357; &#9999999999;</title></item>", "<item/>")
    ).entries
    assert isinstance(one, Entry)
    assert (one.title or "").startswith("a\ufffdb")
    assert isinstance(other, Entry)


@pytest.mark.parametrize(
    ("encoding", "declared", "content_type"),
    [
        ("utf-8", "", "application/rss+xml"),
        ("utf-8", "", "text/html"),  # a wrong type
        ("utf-16", 'encoding="utf-16"', "application/xml"),
        ("iso-8859-1", 'encoding="iso-8859-1"', "application/octet-stream"),
        ("cp1252", 'encoding="utf-8"', "application/xml; charset=windows-1252"),
        ("utf-8", 'encoding="us-ascii"', "text/xml"),  # a wrong encoding
        ("cp1252", 'encoding="utf-8"', "application/xml"),  # as wrong
    ],
)
def test_encodings_right_or_wrong_are_read(encoding: str, declared: str, content_type: str) -> None:
    feed = f'<?xml version="1.0" {declared}?>{rss("<item><title>Häfen</title></item>")}'
    assert entry(feed.encode(encoding), content_type=content_type).title == "Häfen"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00\xff\x00",
        b"Service unavailable",
        b"<!doctype html><html><head><title>Sign in</title></head><body>x<br></body></html>",
        b"<html xmlns='http://www.w3.org/1999/xhtml'><body><p>x</p></body></html>",
    ],
)
def test_what_is_no_feed_is_refused(body: bytes) -> None:
    with pytest.raises(UnreadableFileError, match=r"example\.org/feed gave no feed, but text/html"):
        read(body, content_type="text/html")


def test_a_feed_without_entries_is_a_feed() -> None:
    for feed in (rss("<ttl>5</ttl>"), "<CHANNEL HREF='x'><title>Harbour news</title></CHANNEL>"):
        found = read(feed)
        assert list(found.entries) == []


def test_nothing_is_ever_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("it was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for body in (b"http://127.0.0.1:9/feed", b"file:///etc/hostname", b"/etc/hostname"):
        with pytest.raises(UnreadableFileError):
            read(body)
    outside = '<!DOCTYPE rss [<!ENTITY x SYSTEM "file:///etc/hostname">]>'
    one = entry(outside + rss("<item><title>a&x;</title></item>"))
    assert one.title in ("a", "a&x;")


def test_a_bomb_of_entities_does_not_go_off() -> None:
    lines = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE rss [<!ENTITY a0 "boom">{lines}]>{rss("<item><title>&a9;</title></item>")}'
    assert len(entry(bomb).title or "") < 1_000_000


PIECES = st.sampled_from(
    ["<item>", "</item>", "<title>", "</title>", "&#xD800;", "&amp", "<![CDATA[", "]]>", "<!--",
     "\0", "\ud800", "<a:b>", "&#0;", "<?x", "<guid>", "<link/>", "é", '<content type="xhtml">',
     "<dc:date>9999-99-99</dc:date>", "<pubDate>-1</pubDate>", "<enclosure/>", "<georss:point>1"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(PIECES, max_size=12), st.sampled_from(sorted(FEEDS)), st.integers(0, 400))
def test_no_feed_crashes_whatever_is_wrong_with_it(
    pieces: list[str], name: str, place: int
) -> None:
    feed = FEEDS[name]
    broken = feed[:place] + "".join(pieces) + feed[place:]
    try:
        found = read(broken.encode("utf-8", "surrogatepass"))
    except UnreadableFileError:
        return
    for one in found.entries:
        values = [one.text] if isinstance(one, Rejected) else [one.id, one.title, one.more]
        "".join(value or "" for value in values).encode()


def test_a_long_feed_is_read_in_order() -> None:
    items = (ITEM.format(more=f"<guid>{n}</guid>") for n in range(500))
    ids = [one.id for one in read(rss(*items)).entries if isinstance(one, Entry)]
    assert ids == [str(n) for n in range(500)]
