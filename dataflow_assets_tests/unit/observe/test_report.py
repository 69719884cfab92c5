"""The page: everything that comes from outside is text, whatever it holds."""

from __future__ import annotations

import datetime as dt
import re
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from dataflow_assets.observe.report import (
    BARS,
    Bar,
    Check,
    EntityState,
    Report,
    Run,
    Series,
    SourceState,
    gathered,
    render,
)

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(1)>\"' \x00\ud800\u202e&amp;"
ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "section"),
    *("h1", "h2", "h3", "h4", "p", "ul", "li", "b", "i", "a", "div", "span", "table", "thead"),
    *("tbody", "tr", "th", "td", "details", "summary", "code", "svg", "g", "rect", "line", "path"),
    *("polyline", "polygon", "circle", "text"),
}


class Tags(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str]] = set()

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {(name, value or "") for name, value in attrs}


def page_of(text: str, bars: int = 3) -> str:
    check = Check(text, text, passed=False, severity="warning", text=text, at=NOW, partition=text)
    passed = Check("fine", text, passed=True, severity="warning", text=text, at=NOW)
    source = SourceState(
        name="harbour",
        description=text,
        place=text,
        kind="csv",
        fresh=False,
        age=text,
        partitions=tuple([text] * bars),
        bars=tuple(Bar(text, 10, 2, 1, 1, (text,)) for _ in range(bars)),
        rules=((text, 3),),
        rules_of=text,
        checks=(check, passed),
        alarms=(check,),
        drift=(check,),
        series=(Series(text, tuple([1.0] * bars), share=True),),
        runs=(Run("1234567890", "FAILURE", NOW, text, text),),
    )
    entity = EntityState("arrivals", text, 3, 1, text, NOW, (check,))
    return render(Report(NOW, 30, (source,), (entity,), (text,)))


@settings(deadline=None, max_examples=40)
@given(st.one_of(st.text(), st.just(HOSTILE)))
def test_no_text_becomes_a_tag_or_an_address(text: str) -> None:
    page = page_of(text)

    tags = Tags()
    tags.feed(page)
    assert tags.tags <= ALLOWED
    assert not {name for name, _ in tags.attributes if name.startswith("on") or name == "src"}
    assert {value for name, value in tags.attributes if name == "href"} == {"#source-harbour"}
    assert "http" not in re.sub(r"http-equiv", "", page_of("plain"))
    page.encode()  # no half of a surrogate pair is left


def test_hostile_text_is_shown_as_it_is() -> None:
    page = page_of(HOSTILE)

    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&amp;amp;" in page
    assert not re.search(r"[\x00\u202e]", page)


def test_a_page_about_nothing() -> None:
    page = render(Report(NOW, 30))

    assert "No source is declared." in page
    assert "No entity is declared." in page


def test_a_source_without_a_partition() -> None:
    page = render(Report(NOW, 30, (SourceState("harbour"),)))

    assert "Nothing has been published yet." in page
    assert "no data yet" in page


@given(st.lists(st.integers(0, 1000), max_size=500), st.integers(1, BARS))
def test_putting_bars_together_loses_no_row(rows: list[int], most: int) -> None:
    bars = [Bar(str(n), loaded=count, filtered=1) for n, count in enumerate(rows)]

    fewer = gathered(bars, most)

    assert len(fewer) <= most
    assert sum(bar.received for bar in fewer) == sum(rows) + len(rows)


def test_many_partitions_make_a_small_page() -> None:
    assert len(page_of("2026-03-01", bars=4000)) < 1_500_000


def test_bars_of_nothing_have_no_height() -> None:
    page = render(Report(NOW, 1, (SourceState("a", partitions=("x",), bars=(Bar("x"),)),)))

    assert 'class="f-loaded" x' not in page
