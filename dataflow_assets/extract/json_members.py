"""Where the members of JSON objects lie in a block of text, found for all objects at once.

What belongs here: quotes, brackets, colons and commas as arrays of positions, and the names and
values that lie between them, as Arrow arrays of exactly the bytes received. What does not: telling
whether a text is JSON at all, which must be known before, and where records begin (`json_frames`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataflow_assets.extract.names import column_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from numpy.typing import NDArray

    Indexes = NDArray[np.int64]
    Bytes = NDArray[np.uint8]

QUOTE, OPEN_OBJECT, OPEN_ARRAY, CLOSE, COLON, COMMA = range(1, 7)
CODES = dict(zip(b'"{[}]:,', (1, 2, 3, 4, 4, 5, 6), strict=True))
TABLE = bytes(CODES.get(byte, 0) for byte in range(256))
STEPS = np.array([0, 0, 1, 1, -1, 0, 0], np.int8)
"""By how much each code changes the depth."""
IS_SPACE = np.isin(np.arange(256), list(b" \t\r\n"))
KEY, VALUE, A_MEMBER = 1, 3, 4
"""Where names and values stand among the pieces into which members cut a text."""
TEXTS = msgspec.json.Decoder(list[str])


def decode_text(text: bytes) -> str:
    """Return what a string of JSON means."""
    return msgspec.json.decode(text, type=str)


class Tokens:
    """The marks of a text that stand outside its strings, and the quotes around these.

    Args:
        content: Text that begins outside of a string.

    Attributes:
        content: As given.
        places: Where each mark is.
        codes: Which mark it is.
        depths: How many objects and arrays are open behind it.
        within_string: Whether the text ends within a string.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        marks = np.frombuffer(content.translate(TABLE), np.uint8)
        if len(self.backslashes):
            marks = marks.copy()
            marks[self._escaped()] = 0
        places = np.flatnonzero(marks != 0)  # far faster than of numbers
        codes = marks[places]
        quotes = codes == QUOTE
        inside = np.cumsum(quotes, dtype=np.uint8) & 1  # a sum may run over: only its parity counts
        kept = quotes | (inside == 0)
        self.within_string = bool(len(inside) and inside[-1])
        self.places: Indexes = places[kept]
        self.codes: Bytes = codes[kept]
        self.depths = np.cumsum(STEPS[self.codes], dtype=np.int32)

    @cached_property
    def bytes(self) -> Bytes:
        """The text as numbers."""
        return np.frombuffer(self.content, np.uint8)

    @cached_property
    def backslashes(self) -> Indexes:
        """Where backslashes are."""
        found = b"\\" in self.content
        return np.flatnonzero(self.bytes == ord("\\")) if found else np.empty(0, np.int64)

    def at(self, code: int, depth: int) -> Indexes:
        """Return the indexes of the marks of a kind behind which so much is open."""
        return np.flatnonzero((self.codes == code) & (self.depths == depth))

    def ends(self, depth: int) -> Indexes:
        """Return the indexes of the marks with which members and elements of a depth end."""
        commas = (self.codes == COMMA) & (self.depths == depth)
        return np.flatnonzero(commas | ((self.codes == CLOSE) & (self.depths == depth - 1)))

    def _escaped(self) -> Indexes:
        """Return where escaped characters are: those behind an odd number of backslashes."""
        found = self.backslashes
        begins = np.concatenate(([True], np.diff(found) != 1))
        starts = found[begins][np.cumsum(begins) - 1]
        after = found[(found - starts) % 2 == 0] + 1
        inside: Indexes = after[after < len(self.content)]
        return inside


@dataclass(frozen=True)
class Column:
    """The values of one name.

    Attributes:
        values: The text of each record's value; null for a record without one, or with null.
        repeated: The records that have the name more than once.
    """

    values: pa.Array
    repeated: Indexes


class Members:
    """The members of all records of a text.

    Args:
        content: Objects, one after the other, that are known to be JSON; between them there may be
            commas and blanks.
        flattened: The names of those members whose own members are wanted, as ``name.member``.
        kept: The names among these that are wanted themselves, too.
    """

    def __init__(
        self, content: bytes, flattened: Collection[str] = (), kept: Collection[str] = ()
    ) -> None:
        self._tokens = tokens = Tokens(content)
        self._ends = tokens.at(CLOSE, 0)
        self.count = len(self._ends)
        self._levels = list(self._find_levels(flattened))
        self._dropped = set(flattened) - set(kept)

    def columns(self) -> dict[str, Column]:
        """Return each name's values, in order of appearance."""
        parts: dict[str, list[tuple[_Level, Indexes]]] = {}
        for level in self._levels:
            for name, members in level.by_name.items():
                if name in self._dropped:
                    members = members[~level.is_object[members]]  # noqa: PLW2901
                if len(members):
                    parts.setdefault(name, []).append((level, members))
        return {name: self._column(found) for name, found in parts.items()}

    def names(self) -> list[str]:
        """Return every name, in order of appearance."""
        names: dict[str, None] = {}
        for level in self._levels:
            for name, members in level.by_name.items():
                if name not in self._dropped or not level.is_object[members].all():
                    names[name] = None
        return list(names)

    def spelled(self) -> list[str]:
        """Return the names of the records' own members, as they are spelled."""
        return self._levels[0].spelled if self._levels else []

    def text(self, record: int) -> bytes:
        """Return a record as it stands there."""
        end = int(self._tokens.places[self._ends[record]]) + 1
        begins = self._tokens.at(OPEN_OBJECT, 1)
        return self._tokens.content[int(self._tokens.places[begins[record]]) : end]

    def _find_levels(self, flattened: Collection[str]) -> Iterator[_Level]:
        tokens = self._tokens
        colons = tokens.at(COLON, 1)
        counts = np.diff(np.searchsorted(colons, self._ends), prepend=0)
        ends = tokens.ends(1)
        empty = (tokens.codes[ends] == CLOSE) & (tokens.codes[ends - 1] == OPEN_OBJECT)
        level = _Level(tokens, colons, ends[~empty], np.repeat(np.arange(self.count), counts))
        depth = 1
        while len(level.colons):
            yield level
            names = [name for name in level.by_name if name in flattened]
            if not names:
                return
            parents = np.sort(np.concatenate([level.by_name[name] for name in names]))
            depth += 1
            level = level.below(parents[level.is_object[parents]], depth)

    def _column(self, parts: list[tuple[_Level, Indexes]]) -> Column:
        records = np.concatenate([level.records[members] for level, members in parts])
        texts = pa.concat_arrays([level.texts(members) for level, members in parts])
        if len(parts) > 1:
            order = np.argsort(records, kind="stable")
            records, texts = records[order], texts.take(pa.array(order))
        repeated = records[1:][np.diff(records) == 0]
        if len(records) == self.count and not len(repeated):
            return Column(texts, repeated)
        chosen = np.full(self.count, -1)
        chosen[records] = np.arange(len(records))
        return Column(texts.take(pa.array(chosen, mask=chosen < 0)), np.unique(repeated))


class _Level:
    """Members at one depth.

    Args:
        tokens: The text's marks.
        colons: The index of each member's colon, ascending.
        ends: The index of the mark that ends each.
        records: To which record each belongs.
        prefixes: What stands before each name, and the prefix of each member.
    """

    def __init__(
        self,
        tokens: Tokens,
        colons: Indexes,
        ends: Indexes,
        records: Indexes,
        prefixes: tuple[list[str], Indexes] | None = None,
    ) -> None:
        self.colons = colons
        self.records = records
        self._tokens = tokens
        self._token_ends = ends
        self._prefixes = prefixes
        self._begins, self._ends = self._trimmed(tokens.places[colons] + 1, tokens.places[ends])
        first = tokens.bytes[self._begins]
        self.is_object = first == ord("{")
        self._is_null = first == ord("n")
        self._is_text = first == ord('"')

    @cached_property
    def _keys(self) -> pa.DictionaryArray:
        names = self._pieces.take(pa.array(np.arange(len(self.colons)) * A_MEMBER + KEY))
        return names.dictionary_encode()

    @cached_property
    def spelled(self) -> list[str]:
        """The different names, without what stands before them."""
        return [decode_text(b'"' + name + b'"') for name in self._keys.dictionary.to_pylist()]

    @cached_property
    def by_name(self) -> dict[str, Indexes]:
        """The members of each name, in order of first appearance."""
        prefixes, of = self._prefixes or ([""], np.zeros(len(self.colons), np.int64))
        numbers = np.asarray(self._keys.indices).astype(np.int64) * len(prefixes) + of
        few = np.uint16 if numbers.max(initial=0) <= np.iinfo(np.uint16).max else np.int64
        order = np.argsort(numbers.astype(few), kind="stable")  # far faster of small numbers
        kinds, starts = np.unique(numbers[order], return_index=True)
        found: dict[str, Indexes] = {}
        groups = np.split(order, starts[1:])
        for place in np.argsort([group[0] for group in groups]).tolist():
            kind = int(kinds[place])
            name = column_name(prefixes[kind % len(prefixes)] + self.spelled[kind // len(prefixes)])
            group = groups[place]
            if name in found:  # written in several ways
                group = np.sort(np.concatenate([found[name], group]))
            found[name] = group
        return found

    def below(self, parents: Indexes, depth: int) -> _Level:
        """Return the members of some members, which are objects."""
        tokens = self._tokens
        colons = tokens.at(COLON, depth)
        parent = np.searchsorted(self.colons[parents], colons) - 1
        within = parent >= 0
        within[within] = colons[within] < self._token_ends[parents][parent[within]]
        colons, parent = colons[within], parents[parent[within]]
        ends = tokens.ends(depth)
        ends = ends[np.searchsorted(ends, colons)]
        names = list(self.by_name)
        of = np.empty(len(self.colons), np.int64)
        for number, members in enumerate(self.by_name.values()):
            of[members] = number
        prefixes = [f"{name}." for name in names]
        return _Level(tokens, colons, ends, self.records[parent], (prefixes, of[parent]))

    def texts(self, members: Indexes) -> pa.Array:
        """Return the text of members' values: of strings what they mean, of others as received."""
        chosen = pa.array(members * A_MEMBER + VALUE, mask=self._is_null[members])
        texts = self._pieces.take(chosen).view(pa.string())
        if not len(self._tokens.backslashes):
            return texts
        found = np.searchsorted(
            self._tokens.backslashes, (self._begins[members], self._ends[members])
        )
        escaped = (found[1] > found[0]) & self._is_text[members]
        if not escaped.any():
            return texts
        written = b'","'.join(
            text.as_buffer().to_pybytes() for text in texts.filter(pa.array(escaped))
        )
        meant = pa.array(TEXTS.decode(b'["' + written + b'"]'), pa.string())
        return pc.replace_with_mask(texts, pa.array(escaped), meant)

    @cached_property
    def _pieces(self) -> pa.Array:
        """The text, cut before and behind each name and each value."""
        tokens, inner = self._tokens, self._is_text
        cuts = np.empty(len(self.colons) * A_MEMBER + 1, np.int32)
        cuts[0] = 0
        cuts[1::A_MEMBER] = tokens.places[self.colons - 2] + 1
        cuts[2::A_MEMBER] = tokens.places[self.colons - 1]
        cuts[3::A_MEMBER] = self._begins + inner
        cuts[4::A_MEMBER] = self._ends - inner
        buffers = [None, pa.py_buffer(cuts), pa.py_buffer(tokens.content)]
        return pa.BinaryArray.from_buffers(pa.binary(), len(cuts) - 1, buffers)

    def _trimmed(self, begins: Indexes, ends: Indexes) -> tuple[Indexes, Indexes]:
        """Return where values are without the blanks around them."""
        text = self._tokens.bytes
        if IS_SPACE[text[begins]].any() or IS_SPACE[text[ends - 1]].any():
            begins = begins + IS_SPACE[text[begins]]  # mostly one blank, and before the value
        if IS_SPACE[text[begins]].any() or IS_SPACE[text[ends - 1]].any():
            solid = np.flatnonzero(~IS_SPACE[text])
            begins = solid[np.searchsorted(solid, begins)]
            ends = solid[np.searchsorted(solid, ends) - 1] + 1
        return begins, ends
