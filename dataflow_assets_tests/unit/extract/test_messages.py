from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflow_assets.errors import UnreadableFileError
from dataflow_assets.extract.files import archive_bytes
from dataflow_assets.extract.messages import Message

if TYPE_CHECKING:
    from pathlib import Path

NOW = dt.datetime(2026, 2, 2, tzinfo=dt.UTC)


def archived(message: Message, folder: Path) -> Message:
    return Message.read(archive_bytes("feed/now.http", message.write(), NOW, folder))


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.text("abcxyz0189 \"'=;/-+", max_size=30))
def test_an_answer_comes_back_as_it_was(tmp_path: Path, body: bytes, etag: str) -> None:
    message = Message(body, {"content-type": "text/xml; charset=utf-8", "etag": etag.strip()})
    assert archived(message, tmp_path) == message


def test_only_what_matters_later_is_kept() -> None:
    given = {"Content-Type": "text/xml", "ETag": '"1"', "Set-Cookie": "secret", "Date": "now"}
    message = Message.of(given, b"")
    assert message.headers == {"content-type": "text/xml", "etag": '"1"'}


def test_a_header_cannot_end_the_head(tmp_path: Path) -> None:
    message = Message(b"body", {"etag": 'a"\r\n\r\nnot the body', "content-type": "text/ä"})
    back = archived(message, tmp_path)
    assert back.body == b"body"
    assert back.headers == {"etag": 'a"not the body', "content-type": "text/\\xe4"}


@pytest.mark.parametrize("content", [b"", b"HTTP/1.1 200 OK\r\n", b"<rss/>\r\n\r\n"])
def test_bytes_that_are_no_answer_are_refused(tmp_path: Path, content: bytes) -> None:
    snapshot = archive_bytes("feed/now.http", content, NOW, tmp_path)
    with pytest.raises(UnreadableFileError, match="no answer of a host"):
        Message.read(snapshot)


def test_bytes_are_archived_once_under_their_hash(tmp_path: Path) -> None:
    first = archive_bytes("feed/1.http", b"x", NOW, tmp_path)
    again = archive_bytes("feed/2.http", b"x", NOW, tmp_path)
    other = archive_bytes("feed/3.http", b"y", NOW, tmp_path)
    assert (first.path, first.version) == (again.path, again.version)
    assert other.path != first.path
    assert first.path.read_bytes() == b"x"
    assert first.path.suffix == ".http"
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 2
