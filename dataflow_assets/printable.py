"""Texts from data as people are shown them, on a page or in a terminal.

What belongs here: what no text has, and what could change the place where it is shown. What does
not: escaping for a language, such as HTML.
"""

from __future__ import annotations

import re

UNTEXTLIKE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]"
)
"""Control characters, halves of surrogate pairs, and what turns the direction of text around."""


def printable(text: str) -> str:
    """Return a text with what no text has replaced, line ends and tabs excepted."""
    return UNTEXTLIKE.sub("\ufffd", text)
