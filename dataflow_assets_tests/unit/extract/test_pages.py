from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.declaration.rest import OffsetPages, Pages
from dataflow_assets.extract.pages import (
    MISSING,
    ByOffset,
    Page,
    PagesShiftedError,
    Position,
    find,
    open_pager,
)

START = Position(url="https://api.example.org/items?q=a%20b")
MOST_ROWS = 30


def page_of(records: list[Any], **headers: str) -> Page:
    return Page("https://api.example.org/items", "items", headers, {"items": records}, records)


@given(
    count=st.integers(0, MOST_ROWS),
    limit=st.integers(2, 8),
    cap=st.integers(1, 8),
    overlap=st.integers(1, 7),
    changes=st.lists(st.lists(st.integers(-MOST_ROWS, MOST_ROWS), max_size=3), max_size=12),
)
@settings(max_examples=200, deadline=None)
def test_with_an_overlap_rows_that_stay_are_never_lost(
    count: int, limit: int, cap: int, overlap: int, changes: list[list[int]]
) -> None:
    """Rows come and go anywhere between pages; those that stay are seen, or it is noticed."""
    declared = OffsetPages(limit=limit, overlap=min(overlap, limit - 1))
    pager = ByOffset(declared)
    rows, fresh = list(range(count)), count
    stayed, seen = set(rows), set()
    position: Position | None = pager.first(START)
    try:
        for _ in range(40 * MOST_ROWS):
            if position is None:
                break
            part = rows[position.begin : position.begin + min(limit, cap)]
            seen |= set(part)
            position = pager.after(position, page_of(part))
            for change in changes.pop(0) if changes else ():
                if change >= 0:
                    rows.insert(min(change, len(rows)), fresh)
                    fresh += 1
                elif rows:
                    stayed.discard(rows.pop(-change % len(rows)))
    except PagesShiftedError:
        return
    assert position is None
    assert stayed <= seen


def test_rows_that_stand_still_come_once_but_for_the_overlap() -> None:
    pager = ByOffset(OffsetPages(limit=4, overlap=1))
    position: Position | None = pager.first(START)
    asked = []
    while position is not None:
        asked.append(position.begin)
        position = pager.after(position, page_of(list(range(10))[position.begin :][:4]))
    assert asked == [0, 3, 6, 9]


def test_what_leads_on_stands_in_the_header_however_it_is_written() -> None:
    pager = open_pager(Pages.model_validate({"link": {}}))
    for header, url in [
        ('<https://x.example/a?b=c,d&e=f>; rel="next"', "https://x.example/a?b=c,d&e=f"),
        ("</b>; rel=next", "https://api.example.org/b"),
        ('<?p=1>; rel="prev", <?p=3>; title="x"; rel="NEXT last"',
         "https://api.example.org/items?p=3"),
        ('<?p=3> ; REL = "next"', "https://api.example.org/items?p=3"),
    ]:  # fmt: skip
        following = pager.after(START, page_of([], Link=header))
        assert following is not None
        assert (following.url, following.number) == (url, 2)
    for header in ("", '<?p=1>; rel="prev"', "nonsense", '<?p=3>; rel="nextish"'):
        assert pager.after(START, page_of([], Link=header)) is None


def test_other_parameters_stay_as_they_were_written() -> None:
    pager = open_pager(Pages.model_validate({"number": {"first": 0, "size_param": "n"}}))
    first = pager.first(START)
    assert first.url == "https://api.example.org/items?q=a%20b&page=0&n=100"
    second = pager.after(first, page_of([1]))
    assert second is not None
    assert second.url == "https://api.example.org/items?q=a%20b&page=1&n=100"


def test_paths() -> None:
    document = {"a": [{"b": 0}, {"b": None}], "c": ""}
    assert find(document, "a.0.b", "page") == 0
    assert find(document, "a.1.b", "page") is None
    for path in ("a.2.b", "a.x", "c.d", "e", "a.0.b.c"):
        assert find(document, path, "page") is MISSING
