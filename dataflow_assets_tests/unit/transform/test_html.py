"""HTML as the text that it shows."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.transform.html import strip_html

if TYPE_CHECKING:
    from collections.abc import Sequence

THOROUGH = settings(max_examples=80, deadline=None)


def stripped(texts: Sequence[str | None]) -> list[str | None]:
    return strip_html(pl.Series(texts, dtype=pl.String)).to_list()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<p>Hello <b>world</b></p>", " Hello world "),
        ("a<br>b<br/>c", "a b c"),
        ("un<i>believ</i>able", "unbelievable"),
        ('<a href="x" title="1 > 2">link</a>', "link"),
        ("<a title='a\"b>c'>x</a>", "x"),
        ("a < b and c > d", "a < b and c > d"),
        ("2<3 <4", "2<3 <4"),
        ("x<!-- <b>not</b> -->y", "xy"),
        ("x<!-- open", "x"),
        ("<script>if (a < b) {}</script>y", "y"),
        ("<SCRIPT type='x'>no</SCRIPT >y", "y"),
        ("<style>p {}</style>y<style>", "y"),
        ("<scripted>y</scripted>", "y"),
        ("<!DOCTYPE html><?xml v?>y<![CDATA[z]]>", "yz"),
        ("&lt;b&gt; &amp;amp; &#8364; &#x20AC; &copy", "<b> &amp; \u20ac \u20ac \u00a9"),
        ("AT&T &nosuch; &", "AT&T &nosuch; &"),
        ("<td>1</td><td>2</td>", " 1  2 "),
        ("<ul>\n<li>a</ul>", " \n a "),
        ("<b", "<b"),
        ("</>", "</>"),
        ("", ""),
        (None, None),
    ],
)  # fmt: skip
def test_what_html_shows(text: str | None, shown: str | None) -> None:
    assert stripped([text]) == [shown]
    assert stripped(["plain", text, None, "<i>x</i>"]) == ["plain", shown, None, "x"]


REFERENCES = ["&", "&amp", "&amp;", "&lt;", "&#60;", "&#x3C", "&notit;", "&not", "&#0;", "&#128;",
              "&#1114112;", "&euro;", "&ThickSpace;", "&fjlig;", ";", "#", "x", "12"]  # fmt: skip


@THOROUGH
@given(st.lists(st.lists(st.sampled_from(REFERENCES), max_size=6).map("".join), min_size=1))
def test_references_are_decoded_as_python_does(texts: list[str]) -> None:
    assert stripped(texts) == [html.unescape(text) for text in texts]


WORDS = st.text("ab <>&\"'\u20ac", max_size=5)


@st.composite
def pages(draw: st.DrawFn, depth: int = 2) -> tuple[str, str]:
    """Return well-formed HTML, and the text that it shows."""
    written, shown = [], []
    for _ in range(draw(st.integers(0, 3))):
        kind = draw(st.sampled_from(["text", "inline", "block", "hidden"]))
        word = draw(WORDS)
        inner, text = draw(pages(depth=depth - 1)) if depth else (html.escape(word), word)
        title = html.escape(word)
        if kind == "text":
            written.append(html.escape(word))
            shown.append(word)
        elif kind == "inline":
            written.append(f'<em title="{title}" class=x>{inner}</em>')
            shown.append(text)
        elif kind == "block":
            written.append(f"<DIV data-x='{title}'>{inner}</DIV>")
            shown.append(f" {text} ")
        else:
            written.append(f"<script>{word}</script><!--{word}--><style>{word}</style>")
    return "".join(written), "".join(shown)


@THOROUGH
@given(st.lists(pages(), min_size=1))
def test_well_formed_pages_show_their_text(cases: list[tuple[str, str]]) -> None:
    written, shown = zip(*cases, strict=True)
    assert stripped(written) == list(shown)


@THOROUGH
@given(st.lists(st.text("<>/!-ab &;\"'=", max_size=20), min_size=1))
def test_any_text_comes_through_alone_as_together(texts: list[str]) -> None:
    assert stripped(texts) == [stripped([text])[0] for text in texts]
