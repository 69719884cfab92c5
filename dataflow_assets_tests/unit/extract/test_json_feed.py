from __future__ import annotations

import json
from typing import Any

import pytest

from dataflow_assets.declaration.extract import FEED_COLUMNS
from dataflow_assets.errors import UnreadableFileError
from dataflow_assets.extract.feed import read_feed
from dataflow_assets.extract.feed_entries import ENTRY_FIELDS, FEED_FIELDS, Entry, Feed, Rejected
from dataflow_assets.extract.json_feed import is_json
from dataflow_assets.extract.messages import Message

ITEM: dict[str, Any] = {
    "id": "tag-1",
    "url": "/1",
    "title": "One",
    "content_html": "<script>x()</script>All",
    "content_text": "All",
    "summary": "Short",
    "date_published": "2026-02-02T10:00:00+01:00",
    "date_modified": "2026-02-03T10:00:00Z",
    "authors": [{"name": "Ann", "url": "https://example.org/ann"}, {"name": "Ben"}],
    "tags": ["sea", "wind"],
    "language": "en",
    "attachments": [
        {
            "url": "/1.mp3",
            "mime_type": "audio/mpeg",
            "size_in_bytes": 99,
            "duration_in_seconds": 1.5,
        }
    ],
    "_vendor": {"x": [1, None]},
}


def feed_of(*items: Any, version: str = "1.1", **words: Any) -> bytes:  # noqa: ANN401 - any JSON
    return json.dumps(
        {
            "version": f"https://jsonfeed.org/version/{version}",
            "title": "Harbour news",
            "home_page_url": "https://example.org/",
            "items": items,
            **words,
        }
    ).encode()


def read(body: bytes, content_type: str = "application/feed+json") -> Feed:
    headers = {"content-type": content_type, "content-location": "https://example.org/feed.json"}
    return read_feed(Message(body, headers), "example.org/feed.json")


def entry(item: Any) -> Entry:  # noqa: ANN401 - as above
    (only,) = read(feed_of(item)).entries
    assert isinstance(only, Entry)
    return only


def test_all_that_an_entry_says_is_kept() -> None:
    feed = read(feed_of(ITEM, language="en"))
    assert (feed.title, feed.link, feed.language) == (
        "Harbour news",
        "https://example.org/",
        "en",
    )
    assert (feed.format, feed.problem) == ("json11", None)
    assert feed.entries == [
        Entry(
            id="tag-1",
            id_from="id",
            title="One",
            link="https://example.org/1",
            published="2026-02-02T10:00:00+01:00",
            published_at="2026-02-02T09:00:00Z",
            updated="2026-02-03T10:00:00Z",
            updated_at="2026-02-03T10:00:00Z",
            author="Ann, Ben",
            summary="Short",
            content="<script>x()</script>All",
            categories='["sea", "wind"]',
            enclosures='[{"url": "https://example.org/1.mp3", "type": "audio/mpeg", '
            '"length": 99, "duration_in_seconds": 1.5}]',
            more=json.dumps({key: ITEM[key] for key in ("content_text", "authors", "language")}
                            | {"_vendor": ITEM["_vendor"]}),
        )
    ]  # fmt: skip


def test_version_1_has_one_author() -> None:
    feed = read(feed_of({"id": 7, "author": {"name": "Ann"}, "content_text": "x"}, version="1"))
    (only,) = feed.entries
    assert isinstance(only, Entry)
    assert (feed.format, only.id, only.author, only.content) == ("json1", "7", "Ann", "x")


def test_another_version_is_read_and_told() -> None:
    feed = read(feed_of(ITEM).replace(b"https://jsonfeed.org/version/", b"v"))
    assert (feed.format, len(feed.entries)) == ("json", 1)
    assert feed.problem == "'v1.1' is no version of JSON Feed"


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"url": "/1", "title": "x"}, ("/1", "link")),
        ({"id": "", "url": None, "external_url": "/2", "title": "x"}, None),
        ({}, None),
    ],
)
def test_an_entry_without_an_id_is_known_all_the_same(
    item: Any,  # noqa: ANN401 - as above
    expected: tuple[str, str] | None,
) -> None:
    one = entry(item)
    assert (one.id, one.id_from) == (expected or (one.id, "content"))
    assert one.id == entry(dict(reversed(item.items()))).id


@pytest.mark.parametrize("item", [7, "text", None, ["x"]])
def test_what_is_no_entry_is_rejected_and_the_rest_is_read(item: object) -> None:
    first, second = read(feed_of(item, ITEM)).entries
    assert isinstance(first, Rejected)
    assert first.reason == "not_an_object"
    assert first.text == ("" if item is None else item if item == "text" else json.dumps(item))
    assert isinstance(second, Entry)


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("tags", "sea"),
        ("attachments", "x.mp3"),
        ("attachments", [7]),
        ("authors", "Ann"),
        ("authors", [None, {"name": 3}]),
        ("title", {"a": 1}),
        ("date_published", 17),
        ("url", ["x"]),
        ("url", "http://[half"),
    ],
)
def test_a_value_of_another_type_is_kept(word: str, value: object) -> None:
    one = entry({**ITEM, word: value})
    assert one.id == "tag-1"
    said = (one.categories, one.title, one.published, one.link, one.more)
    shown = value if isinstance(value, str) else json.dumps(value)
    assert any(shown in (each or "") for each in said)


def test_numbers_that_nothing_can_hold_stay_text() -> None:
    body = feed_of({"id": "x"}).replace(b'"x"', b'"x", "a": 1e999, "b": %s' % (b"9" * 5000))
    (only,) = read(body).entries
    assert isinstance(only, Entry)
    assert json.loads(only.more or "") == {"a": "1e999", "b": "9" * 5000}


def test_half_a_character_does_not_stop_a_feed() -> None:
    assert entry({"id": "\ud800x"}).id == "\\ud800x"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("content_type", ["application/json", "text/html; charset=latin-1"])
def test_json_is_known_by_its_bytes(encoding: str, content_type: str) -> None:
    body = feed_of({"id": "Häfen"}).decode().encode(encoding)
    assert is_json(body)
    (only,) = read(body, content_type).entries
    assert isinstance(only, Entry)
    assert only.id == "Häfen"


def test_bytes_that_are_no_text_are_replaced_and_told() -> None:
    feed = read(feed_of({"id": "Hafen"}).replace(b"Hafen", b"H\xe4fen"))
    (only,) = feed.entries
    assert isinstance(only, Entry)
    assert only.id == "H\ufffdfen"
    assert "0xe4" in (feed.problem or "")


@pytest.mark.parametrize(
    "body",
    [
        feed_of(ITEM)[:-30],
        b'{"version": "https://jsonfeed.org/version/1"}',
        b'{"items": {"0": {}}}',
        b'{"error": "try later"}',
        b'{"a":' * 100_000,
    ],
)
def test_what_is_no_feed_is_refused(body: bytes) -> None:
    with pytest.raises(UnreadableFileError, match=r"example\.org/feed\.json gave no JSON Feed"):
        read(body)


def test_the_columns_that_a_declaration_knows_are_those_that_are_read() -> None:
    assert (*ENTRY_FIELDS, *(f"feed_{name}" for name in FEED_FIELDS), "polled_at") == FEED_COLUMNS


def test_two_lists_of_items_are_an_error() -> None:
    body = b'{"version": "https://jsonfeed.org/version/1.1", "items": [{"id": "1"}], "items": []}'
    with pytest.raises(UnreadableFileError, match="two lists of items"):
        read_feed(Message(body), "feed")
