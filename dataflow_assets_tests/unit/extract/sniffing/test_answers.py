from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from dataflow_assets.declaration.rest import Pages
from dataflow_assets.extract.sniffing.answers import guess_address, guess_pages, guess_total


def test_secrets_become_variables() -> None:
    guess = guess_address("https://anna:pw@h.org/a?api_key=abc&limit=5#x", "orders")
    assert guess.url == "https://h.org/a"
    assert guess.params == {"api_key": {"env": "ORDERS_API_KEY"}, "limit": "5"}
    assert guess.secrets == {"ORDERS_API_KEY": "abc"}
    assert "abc" not in repr(guess)


@pytest.mark.parametrize(
    "param",
    ["token=1", "access_token=1", "sig=1", "X-Amz-Signature=1", "q=Zm9vYmFyMTIzNDU2Nzg5MGFiY2RlZg"],
)
def test_what_looks_like_a_secret(param: str) -> None:
    assert guess_address(f"https://h.org/a?{param}", "x").secrets


@pytest.mark.parametrize(
    ("query", "begin", "end"),
    [
        ("from=2024-03-01&to=2024-03-02", "{begin:%Y-%m-%d}", "{end:%Y-%m-%d}"),
        (
            "starttime=2024-03-01T00:00:00Z&endtime=2024-03-02T00:00:00Z",
            "{begin:%Y-%m-%dT%H:%M:%SZ}",
            "{end:%Y-%m-%dT%H:%M:%SZ}",
        ),
        ("since=1709251200&until=1709337600", "{begin:%s}", "{end:%s}"),
    ],
)
def test_a_day_in_the_address_is_a_window(query: str, begin: str, end: str) -> None:
    guess = guess_address(f"https://h.org/a?{query}", "x")
    assert list(guess.params.values()) == [begin, end]
    assert (guess.every, guess.start) == ("day", dt.date(2024, 3, 1))


@pytest.mark.parametrize("query", ["from=2024-03-01&to=2024-03-09", "from=a&to=b", "on=2024-03-01"])
def test_other_parameters_are_none(query: str) -> None:
    assert guess_address(f"https://h.org/a?{query}", "x").every is None


@pytest.mark.parametrize(
    ("params", "headers", "body", "words"),
    [
        ({}, {"Link": '<https://h/2>; rel="next"'}, [], {"link": {}}),
        ({}, {}, {"next": "/a?page=2", "items": []}, {"next": {"path": "next"}}),
        (
            {},
            {},
            {"_links": {"next": {"href": "https://h/2"}}},
            {"next": {"path": "_links.next.href"}},
        ),
        (
            {},
            {},
            {"meta": {"next_cursor": "x9"}},
            {"cursor": {"path": "meta.next_cursor", "param": "cursor"}},
        ),
        (
            {"offset": "0", "limit": "50"},
            {},
            {"total": 120, "items": []},
            {"offset": {"param": "offset", "limit_param": "limit", "limit": 50, "total": "total"}},
        ),
        (
            {"from": "20240301", "offset": "0"},
            {},
            {"from": 1, "count": 50, "size_total": 9, "total": 120, "items": []},
            {"offset": {"param": "offset", "limit_param": None, "limit": 50, "total": "total"}},
        ),
        (
            {"from": "0", "size": "50"},
            {},
            {"hits": {"total": 120}},
            {
                "offset": {
                    "param": "from",
                    "limit_param": "size",
                    "limit": 50,
                    "total": "hits.total",
                }
            },
        ),
        (
            {},
            {},
            {"page": 1, "per_page": 20, "total_pages": 3},
            {
                "number": {
                    "param": "page",
                    "first": 1,
                    "size_param": "per_page",
                    "size": 20,
                    "total_pages": "total_pages",
                }
            },
        ),
    ],
)
def test_hints_of_further_pages(
    params: dict[str, str],
    headers: dict[str, str],
    body: Any,  # noqa: ANN401 - nested JSON
    words: dict[str, Any],
) -> None:
    first = next(guess_pages(params, headers, body, 50))
    assert first.words == words
    Pages.model_validate(first.words)


@pytest.mark.parametrize("value", ["2024-03-01", "20240301", "1709251200", "1.5", "-1", "x", ""])
def test_what_is_no_whole_number_counts_no_rows(value: str) -> None:
    params = {"from": value, "start": value, "limit": "10"}
    assert list(guess_pages(params, {}, {"total": 38}, 10)) == []


@pytest.mark.parametrize(
    ("body", "total"),
    [
        ({"meta": {"total": 38}}, ("meta.total", 38)),
        ({"count": 10, "total": 38}, ("total", 38)),
        ({"total": 10}, ("total", 10)),
        ({"count": 38}, ("count", 38)),
        ({"count": 10}, None),
        ({"total": 3, "total_count": True}, None),
        ([], None),
    ],
)
def test_totals(body: Any, total: tuple[str, int] | None) -> None:  # noqa: ANN401 - nested JSON
    assert guess_total(body, 10) == total


def test_a_body_without_hints() -> None:
    assert list(guess_pages({}, {}, {"next": None, "items": [1], "title": "x"}, 1)) == []
    assert list(guess_pages({"q": "x"}, {}, [1, 2], 2)) == []
