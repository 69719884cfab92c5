"""HTML to the text that it shows.

What belongs here: taking out tags, comments, scripts and styles, and decoding character references,
for any number of texts at once. What does not: making HTML safe to show; whoever shows the text
must escape it.

Tags that begin a new line or cell leave a space behind, so that words stay apart; others leave
nothing. What only looks like a tag, such as `a < b`, stays.
"""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Callable

HIDDEN = (
    r"(?is)<!--.*?(?:-->|\z)"
    r"|<script\b[^>]*>.*?(?:</script\b[^>]*>|\z)"
    r"|<style\b[^>]*>.*?(?:</style\b[^>]*>|\z)"
    r"|<!\[CDATA\[|\]\]>|<[!?][^>]*>"
)
"""Comments, scripts and styles, to the end of the text where they are not closed; declarations."""

ATTRIBUTES = r"""(?:[^<>"']|"[^"]*"|'[^']*')*"""
BREAKING = (
    r"(?i)</?(?:address|article|aside|blockquote|br|caption|center|dd|details|dialog|dir|div|dl|dt"
    r"|fieldset|figcaption|figure|footer|form|h[1-6]|header|hgroup|hr|legend|li|main|menu|nav|ol"
    rf"|optgroup|option|p|pre|section|summary|table|tbody|td|tfoot|th|thead|tr|ul)\b{ATTRIBUTES}>"
)
"""Tags whose content stands by itself."""

TAG = rf"</?[A-Za-z]{ATTRIBUTES}>"
REFERENCE = r"&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)"
"""A character reference, by the same pattern as Python's `html.unescape` seeks."""


def strip_html(texts: pl.Series) -> pl.Series:
    """Return the text that HTML shows, with white space as it stands there.

    Args:
        texts: Strings of HTML; those without a tag or reference stay as they are.
    """
    marked = texts.str.contains("<", literal=True)
    texts = affected(texts, marked, _without_tags)
    return affected(texts, texts.str.contains("&", literal=True), _decoded)


def affected(
    texts: pl.Series, chosen: pl.Series, change: Callable[[pl.Series], pl.Series]
) -> pl.Series:
    """Change only some texts, which costs nothing where there are none.

    Args:
        texts: Strings.
        chosen: Which of them are to be changed; null counts as no.
        change: Gives new texts for those.
    """
    chosen = chosen.fill_null(value=False)
    if not chosen.any():
        return texts
    if chosen.all():
        return change(texts)
    places = chosen.cast(pl.UInt32).cum_sum() - chosen.cast(pl.UInt32)
    changed = change(texts.filter(chosen))
    return changed.gather(places.clip(upper_bound=len(changed) - 1)).zip_with(chosen, texts)


def _without_tags(texts: pl.Series) -> pl.Series:
    shown = texts.str.replace_all(HIDDEN, "")
    return shown.str.replace_all(BREAKING, " ").str.replace_all(TAG, "")


def _decoded(texts: pl.Series) -> pl.Series:
    """Decode character references as Python does, looking at each different one once."""
    found = texts.str.extract_all(REFERENCE).explode().drop_nulls().unique().to_list()
    longest_first = sorted(found, key=len, reverse=True)
    if not longest_first:
        return texts
    return texts.str.replace_many(
        longest_first, [html.unescape(one) for one in longest_first], leftmost=True
    )
