"""The marks of a JSON text: its quotes, and the brackets, commas and colons outside of strings.

What belongs here: where marks are, and how much is open there, as arrays of positions. What does
not: telling whether a text is JSON, where records begin (`json_frames`) and what members mean
(`json_members`).

Quotes and brackets are found at once, as all else is told by them; commas and colons, of which
there are many, where they are asked for.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Indexes = NDArray[np.int64]
    Bytes = NDArray[np.uint8]
    Flags = NDArray[np.bool_]

QUOTE, BACKSLASH, COMMA, COLON = b'"\\,:'
LAST_BLANK = ord(" ")
"""Blanks of JSON are the only bytes up to here that stand outside of strings."""
ANY_BRACKET, BRACKET_BITS = 0x7F, 0x26
"""What a bracket becomes with these bits set; so do very few other characters."""
STEPS = np.zeros(256, np.int8)
STEPS[list(b"{[")], STEPS[list(b"}]")] = 1, -1


class Marks:
    """The marks of a text.

    Args:
        content: Text that begins outside of a string.

    Attributes:
        content: As given.
        bytes: The text as numbers.
        quotes: Where quotes are that begin and end strings, by turns.
        brackets: Where brackets are outside of strings.
        depths: How many objects and arrays are open behind each bracket.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.bytes: Bytes = np.frombuffer(content, np.uint8)
        found = self.bytes == QUOTE
        self.quotes = self._unescaped(np.flatnonzero(found))
        masked = np.bitwise_or(self.bytes, BRACKET_BITS, out=found.view(np.uint8))
        places = np.flatnonzero(np.equal(masked, ANY_BRACKET, out=found))  # new room is dear
        places = places[STEPS[self.bytes[places]] != 0]
        self.brackets = self._unescaped(self._outside(places))
        self.depths: Indexes = np.cumsum(STEPS[self.bytes[self.brackets]], dtype=np.int64)

    @property
    def within_string(self) -> bool:
        """Whether the text ends within a string."""
        return bool(len(self.quotes) % 2)

    @cached_property
    def backslashes(self) -> Indexes:
        """Where backslashes are."""
        found = b"\\" in self.content
        return np.flatnonzero(self.bytes == BACKSLASH) if found else np.empty(0, np.int64)

    @cached_property
    def solid(self) -> Indexes:
        """Where other than blanks are."""
        return np.flatnonzero(self.bytes > LAST_BLANK)

    def commas(self, depth: int) -> Indexes:
        """Return where commas are amid so much that is open."""
        return self._found(COMMA, depth)

    def colons(self, depth: int) -> Indexes:
        """Return where colons are amid so much that is open."""
        return self._found(COLON, depth)

    def opens(self, depth: int) -> Indexes:
        """Return the brackets behind which so much is open, as they open it."""
        opening = STEPS[self.bytes[self.brackets]] > 0
        found: Indexes = self.brackets[opening & (self.depths == depth)]
        return found

    def closes(self, depth: int) -> Indexes:
        """Return the brackets behind which so much is still open, as they close what was more."""
        closing = STEPS[self.bytes[self.brackets]] < 0
        found: Indexes = self.brackets[closing & (self.depths == depth)]
        return found

    def ends(self, depth: int) -> Indexes:
        """Return the marks with which members and elements of a depth end."""
        return np.sort(np.concatenate([self.commas(depth), self.closes(depth - 1)]))

    def depths_at(self, places: Indexes) -> Indexes:
        """Return how much is open at places, which are no brackets."""
        depths: Indexes = np.append(self.depths, 0)[np.searchsorted(self.brackets, places) - 1]
        return depths

    def _found(self, mark: int, depth: int) -> Indexes:
        places = np.flatnonzero(self.bytes == mark)
        places = places[self.depths_at(places) == depth]
        return self._unescaped(self._outside(places))

    def _outside(self, places: Indexes) -> Indexes:
        outside: Indexes = places[np.searchsorted(self.quotes, places) & 1 == 0]
        return outside

    def _unescaped(self, places: Indexes) -> Indexes:
        """Return those places that are not behind an odd number of backslashes."""
        if not len(self.backslashes):
            return places
        unescaped: Indexes = places[~self._is_escaped[places]]
        return unescaped

    @cached_property
    def _is_escaped(self) -> Flags:
        found = self.backslashes
        begins = np.concatenate(([True], np.diff(found) != 1))
        starts = found[begins][np.cumsum(begins) - 1]
        escaped = np.zeros(len(self.content) + 1, bool)
        escaped[found[(found - starts) % 2 == 0] + 1] = True
        return escaped


def shallow(content: bytes, most_depth: int) -> bytes:
    """Return a JSON text in which null stands for all that is nested deeper than that.

    Args:
        content: The text, in UTF-8.
        most_depth: How many objects and arrays may be open at once.
    """
    marks = Marks(content)
    begins, ends = marks.opens(most_depth + 1), marks.closes(most_depth)
    kept, position = [], 0
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=False):  # as many, if it is JSON
        kept += [content[position:begin], b"null"]
        position = end + 1
    return b"".join([*kept, content[position:]])
