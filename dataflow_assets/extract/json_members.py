"""Where the members of JSON objects lie in a block of text, found for all objects at once.

What belongs here: the names and values that lie between the marks of a text, as Arrow arrays of
exactly the bytes received. What does not: the marks themselves (`json_marks`), telling whether a
text is JSON at all, which must be known before, and where records begin (`json_frames`).

Most records of a source have the same names in the same order. Where that is so, which is checked
to the letter, all that depends on names is done for the first record only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataflow_assets.extract.json_marks import COLON, LAST_BLANK, Marks
from dataflow_assets.extract.names import column_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from numpy.typing import NDArray

    from dataflow_assets.extract.json_marks import Flags, Indexes

NOWHERE = np.empty(0, np.int64)
KEY, VALUE, A_MEMBER = 1, 3, 4
"""Where names and values stand among the pieces into which members cut a text."""
TEXTS = msgspec.json.Decoder(list[str])


def decode_text(text: bytes) -> str:
    """Return what a string of JSON means."""
    return msgspec.json.decode(text, type=str)


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
        self._marks = Marks(content)
        self._closes = self._marks.closes(0)
        self.count = len(self._closes)
        self._levels = list(self._find_levels(flattened))
        self._dropped = set(flattened) - set(kept)

    def columns(self) -> dict[str, Column]:
        """Return each name's values, in order of appearance."""
        return {name: self._column(name, parts) for name, parts in self._parts.items()}

    def names(self) -> list[str]:
        """Return every name, in order of appearance."""
        return list(self._parts)

    def text(self, record: int) -> bytes:
        """Return a record as it stands there."""
        begin, end = self._marks.opens(1)[record], self._closes[record] + 1
        return self._marks.content[begin:end]

    @cached_property
    def _parts(self) -> dict[str, list[tuple[_Level, Indexes]]]:
        """Each name's members, level by level."""
        parts: dict[str, list[tuple[_Level, Indexes]]] = {}
        for level in self._levels:
            for name, members in level.by_name.items():
                if name in self._dropped:
                    members = members[~level.is_object[members]]  # noqa: PLW2901
                if len(members):
                    parts.setdefault(name, []).append((level, members))
        return parts

    def _find_levels(self, flattened: Collection[str]) -> Iterator[_Level]:
        spots = _Spots.of(self._marks)
        own = spots.at_depth(1)
        counts = np.diff(np.searchsorted(own.opens, self._closes), prepend=0)
        records = np.repeat(np.arange(self.count), counts)
        lasts = _lasts(records)
        level = _Level(self._marks, own, records, (lasts, self._closes[records[lasts]]))
        depth = 1
        while len(level.records):
            yield level
            names = [name for name in level.by_name if name in flattened]
            if not names:
                return
            parents = np.sort(np.concatenate([level.by_name[name] for name in names]))
            depth += 1
            level = level.below(parents[level.is_object[parents]], spots.at_depth(depth))

    def _column(self, name: str, parts: list[tuple[_Level, Indexes]]) -> Column:
        level, members = parts[0]
        if len(parts) == 1 and level.has_each_once(name, members, self.count):
            return Column(level.texts(members), NOWHERE)
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


@dataclass(frozen=True)
class _Spots:
    """Where the names of members stand.

    Attributes:
        opens: The quote before each name.
        closes: The quote behind it.
        colons: The colon.
        depths: How much is open there.
    """

    opens: Indexes
    closes: Indexes
    colons: Indexes
    depths: Indexes

    @classmethod
    def of(cls, marks: Marks) -> _Spots:
        """Find all names: they are the strings before a colon."""
        opens, closes = marks.quotes[0::2], marks.quotes[1::2]
        after = closes + 1
        blank = np.flatnonzero(marks.bytes[after] <= LAST_BLANK)
        if len(blank):
            after[blank] = marks.solid[np.searchsorted(marks.solid, after[blank])]
        named = np.flatnonzero(marks.bytes[after] == COLON)
        opens, flat = opens[named], marks.depths.max(initial=0) <= 1
        depths = np.ones(len(opens), np.int64) if flat else marks.depths_at(opens)
        return cls(opens, closes[named], after[named], depths)

    def at_depth(self, depth: int) -> _Spots:
        """Return those amid so much that is open."""
        chosen = self.depths == depth
        return self if chosen.all() else self.only(np.flatnonzero(chosen))

    def only(self, chosen: Indexes) -> _Spots:
        """Return some of them."""
        arrays = (self.opens, self.closes, self.colons, self.depths)
        return _Spots(*(array[chosen] for array in arrays))


class _Level:
    """Members at one depth.

    Args:
        marks: The text's marks.
        spots: Where their names stand.
        records: To which record each belongs.
        bounds: The last members of the objects of which they are members, and what closes these.
        prefixes: What stands before each name, and the prefix of each member.
    """

    def __init__(
        self,
        marks: Marks,
        spots: _Spots,
        records: Indexes,
        bounds: tuple[Indexes, Indexes],
        prefixes: tuple[list[str], Indexes] | None = None,
    ) -> None:
        self.records = records
        self._marks = marks
        self._spots = spots
        self._prefixes = prefixes or ([""], np.zeros(len(records), np.int64))
        ends = np.empty(len(records), np.int64)
        ends[:-1] = spots.opens[1:] - 1
        ends[bounds[0]] = bounds[1]
        self._begins, self._ends = self._trimmed(spots.colons + 1, ends)
        first = marks.bytes[self._begins]
        self.is_object = first == ord("{")
        self._is_null = first == ord("n")
        self._is_text = first == ord('"')

    @cached_property
    def by_name(self) -> dict[str, Indexes]:
        """The members of each name, in order of first appearance."""
        found: dict[str, Indexes] = {}
        for name, members in self._groups():
            if name in found:  # written in several ways
                members = np.sort(np.concatenate([found[name], members]))  # noqa: PLW2901
            found[name] = members
        return found

    def has_each_once(self, name: str, members: Indexes, records: int) -> bool:
        """Whether it is known without looking that each record has one of a name's members."""
        even = self._period and len(self.records) == self._period * records
        return bool(even and len(members) == records == len(self.by_name[name]))

    def _groups(self) -> Iterator[tuple[str, Indexes]]:
        """Yield the members that are spelled alike, in order of first appearance."""
        prefixes, of = self._prefixes
        if self._period:
            for first, spelled in enumerate(self._names.slice(0, self._period).to_pylist()):
                name = column_name(prefixes[of[first]] + _meant(spelled))
                yield name, np.arange(first, len(self.records), self._period)
            return
        keys = self._names.dictionary_encode()
        names = [_meant(spelled) for spelled in keys.dictionary.to_pylist()]
        numbers = np.asarray(keys.indices).astype(np.int64) * len(prefixes) + of
        few = np.uint16 if numbers.max(initial=0) <= np.iinfo(np.uint16).max else np.int64
        order = np.argsort(numbers.astype(few), kind="stable")  # far faster of small numbers
        kinds, starts = np.unique(numbers[order], return_index=True)
        groups = np.split(order, starts[1:])
        for place in np.argsort([group[0] for group in groups]).tolist():
            key, prefix = divmod(int(kinds[place]), len(prefixes))
            yield column_name(prefixes[prefix] + names[key]), groups[place]

    @cached_property
    def _period(self) -> int:
        """How many members each record has that has any, if all have the same names; else 0."""
        period = int(np.searchsorted(self.records, self.records[0], side="right"))
        if len(self.records) % period:
            return 0
        owners = self.records.reshape(-1, period)
        whole = (owners[:, 0] == owners[:, -1]).all() and (np.diff(owners[:, 0]) != 0).all()
        if not whole or not _repeats(self._prefixes[1], period):
            return 0
        lengths = self._spots.closes - self._spots.opens - 1
        texts = np.frombuffer(self._names.buffers()[2] or b"", np.uint8)[: lengths.sum()]
        alike = _repeats(lengths, period) and _repeats(texts, int(lengths[:period].sum()))
        return period if alike else 0

    def below(self, parents: Indexes, spots: _Spots) -> _Level:
        """Return the members of some members, which are objects, among those of their depth."""
        parent = np.searchsorted(self._begins[parents], spots.opens) - 1
        within = parent >= 0
        within[within] = spots.opens[within] < self._ends[parents][parent[within]]
        parent = parents[parent[within]]
        lasts = _lasts(parent)
        of = np.empty(len(self.records), np.int64)
        for number, members in enumerate(self.by_name.values()):
            of[members] = number
        return _Level(
            self._marks,
            spots.only(np.flatnonzero(within)),
            self.records[parent],
            (lasts, self._ends[parent[lasts]] - 1),
            ([f"{name}." for name in self.by_name], of[parent]),
        )

    def texts(self, members: Indexes) -> pa.Array:
        """Return the text of members' values: of strings what they mean, of others as received."""
        nulls = self._is_null[members]
        chosen = pa.array(members * A_MEMBER + VALUE, mask=nulls if nulls.any() else None)
        texts = self._pieces.take(chosen).view(pa.string())
        if not len(self._marks.backslashes):
            return texts
        escaped = self._is_escaped[members]
        if not escaped.any():
            return texts
        written = b'","'.join(
            text.as_buffer().to_pybytes() for text in texts.filter(pa.array(escaped))
        )
        meant = pa.array(TEXTS.decode(b'["' + written + b'"]'), pa.string())
        return pc.replace_with_mask(texts, pa.array(escaped), meant)

    @cached_property
    def _is_escaped(self) -> Flags:
        """Which values are strings with a backslash."""
        backslashes = self._marks.backslashes
        before = np.searchsorted(backslashes, self._begins)
        escaped: Flags = self._is_text & (np.searchsorted(backslashes, self._ends) > before)
        return escaped

    @cached_property
    def _names(self) -> pa.Array:
        """Each member's name, as it is spelled."""
        return self._pieces.take(pa.array(np.arange(len(self.records)) * A_MEMBER + KEY))

    @cached_property
    def _pieces(self) -> pa.Array:
        """The text, cut before and behind each name and each value."""
        inner = self._is_text
        cuts = np.empty(len(self.records) * A_MEMBER + 1, np.int32)
        cuts[0] = 0
        cuts[1::A_MEMBER] = self._spots.opens + 1
        cuts[2::A_MEMBER] = self._spots.closes
        cuts[3::A_MEMBER] = self._begins + inner
        cuts[4::A_MEMBER] = self._ends - inner
        buffers = [None, pa.py_buffer(cuts), pa.py_buffer(self._marks.content)]
        return pa.BinaryArray.from_buffers(pa.binary(), len(cuts) - 1, buffers)

    def _trimmed(self, begins: Indexes, ends: Indexes) -> tuple[Indexes, Indexes]:
        """Return where values are without the blanks around them, and the mark behind them."""
        text = self._marks.bytes
        begins = begins + (text[begins] <= LAST_BLANK)  # mostly one blank, if any: here, and
        ends = ends - (text[ends] <= LAST_BLANK)  # behind the mark
        if any((text[places] <= LAST_BLANK).any() for places in (begins, ends, ends - 1)):
            solid = self._marks.solid
            begins = solid[np.searchsorted(solid, begins)]
            marks = solid[np.searchsorted(solid, ends, side="right") - 1]
            ends = solid[np.searchsorted(solid, marks) - 1] + 1
        return begins, ends


def _meant(spelled: bytes) -> str:
    return decode_text(b'"' + spelled + b'"')


def _lasts(owners: Indexes) -> Indexes:
    """Return the last member of each owner, whose members stand one after the other."""
    return np.flatnonzero(np.diff(owners, append=-1))


def _repeats(values: NDArray[Any], period: int) -> bool:
    """Whether values are the same again after each period."""
    return not period or bool((values.reshape(-1, period) == values[:period]).all())
