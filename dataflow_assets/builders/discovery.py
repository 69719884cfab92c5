"""Which partitions have new, changed or late files: what the file sensor thinks, without Dagster.

What belongs here: comparing what is in the folder with what was asked for before. What does not:
listing folders (``extract``), and starting runs (``sensor``).

A partition is known by the fingerprint of all its files, not by a moment or a last name: a file
that sorts earlier, has the same second, or belongs to an old window changes it as any other does.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from dataflow_assets.extract.files import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from dataflow_assets.extract.files import FileFinder, FoundFile

FILES_A_TICK = 100_000
"""The most files whose size and time one look asks for, unless one group alone has more."""
RECENT_BYTES = 60_000
"""How much of the cursor the newest partitions may take, which it holds one by one."""
ENTRY_BYTES = len('"":"0123456789ab",')
"""What a partition takes in the cursor, besides its key."""
GROUP_LENGTH = len("2026-01")
"""Older partitions are held by month: one digest for all keys that begin alike."""
LISTINGS_A_TICK = 200
"""The most groups that one look lists by themselves on S3."""
MOST_HELD = 500
"""The most older partitions that are held one by one while others of their group wait."""
MOST_AHEAD = 200
"""The most partitions with files from the future that are watched at a time."""


@dataclass(frozen=True)
class Cursor:
    """What the sensor remembers: at most some 100 kB, however many partitions there are.

    Attributes:
        generation: Number of looks that asked for runs; makes each request's key its own.
        recent: Fingerprint that was asked for last, by partition: of the newest partitions, and of
            older ones that were asked for while others of their group wait.
        older: Digest over the fingerprints of all older partitions, by group.
        ahead: Fingerprint and time of first sight, by partition, of files from the future.
        rotation: The group after which the next look goes on, where one look cannot see them all.
        failed_at: When the last failed range run ended that was looked at, in seconds since the
            epoch.
    """

    generation: int
    recent: Mapping[str, str] = field(default_factory=dict)
    older: Mapping[str, str] = field(default_factory=dict)
    ahead: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    rotation: str = ""
    failed_at: float = 0.0

    @classmethod
    def parse(cls, text: str | None, now: float) -> Cursor:
        """Read a cursor; a lost one begins with a generation that was never used before.

        A cursor that another version wrote, or somebody by hand, counts as lost.
        """
        try:
            return cls(**json.loads(text or ""))
        except (TypeError, ValueError):
            return cls(generation=int(now), failed_at=now)

    def dump(self) -> str:
        """Write the cursor as JSON."""
        return json.dumps(asdict(self), separators=(",", ":"))


@dataclass(frozen=True)
class Look:
    """What one look at the folder found.

    Attributes:
        runs: Neighbouring partitions that are to be materialized, one list a run.
        prints: Fingerprint of each of these partitions.
        unsettled: Number of partitions whose files are still being written.
        files: Number of files looked at.
        cursor: What to remember, once runs have been asked for.
    """

    runs: Sequence[Sequence[str]]
    prints: Mapping[str, str]
    unsettled: int
    files: int
    cursor: Cursor


@dataclass(frozen=True)
class Seen:
    """Which files one look saw.

    Attributes:
        present: Partitions that have files, as far as known, in order.
        window: Those of them that were looked at.
        found: The files of these.
        rotation: The group after which the next look goes on, where one look cannot see them all.
    """

    present: Sequence[str]
    window: Sequence[str]
    found: Mapping[str, Sequence[FoundFile]]
    rotation: str


@dataclass(frozen=True)
class Discovery:
    """Finds the partitions that are to be materialized.

    Attributes:
        finder: Lists the source's files.
        published: Gives the fingerprints of partitions' files as last published, of those that
            were.
        settle_s: Seconds for which files must have been left alone.
        most_runs: The most runs to ask for in one look; the rest waits for the next.
        longest: The most partitions in one run.
        singles: Up to so many changed partitions, each gets a run of its own, so that one that
            fails leaves the others alone; more are joined, for speed.
    """

    finder: FileFinder
    published: Callable[[Sequence[str]], Mapping[str, str]]
    settle_s: float
    most_runs: int
    longest: int
    singles: int = 0

    def look(self, cursor: Cursor, keys: Sequence[str], now: float) -> Look:
        """Look at the folder once.

        Args:
            cursor: What the look before remembered.
            keys: All partition keys there are by now, in order; files of others wait.
            now: Seconds since the epoch.
        """
        seen = self._look_at_bucket(cursor, keys) if self.finder.on_s3 else None
        seen = seen or self._look_at_folder(cursor, keys)
        found = seen.found
        prints = {key: fingerprint(found[key]) for key in seen.window if found.get(key)}
        newest = _newest(cursor, seen.present)
        changed = self._changed(prints, cursor, newest)
        settled, ahead = self._settled(changed, found, cursor, now)
        unseen = set(seen.present).difference(seen.window)
        ahead |= {key: cursor.ahead[key] for key in unseen.intersection(cursor.ahead)}
        longest = 1 if len(settled) <= self.singles else self.longest
        runs = ranges(settled, keys, longest)[: self.most_runs]
        asked = {key: settled[key] for run in runs for key in run}
        remembered = _remember(cursor, prints, asked, set(changed) - set(asked), newest)
        return Look(
            runs=runs,
            prints=asked,
            unsettled=len(changed) - len(settled),
            files=sum(len(found[key]) for key in prints),
            cursor=replace(
                remembered,
                ahead=ahead,
                rotation=seen.rotation,
                generation=cursor.generation + bool(asked),
            ),
        )

    def _look_at_folder(self, cursor: Cursor, keys: Sequence[str]) -> Seen:
        """List all names, which costs little, and look at as many files as one look may."""
        names = self.finder.partition_names()
        present = [key for key in keys if key in names]
        window, rotation = _choose({key: len(names[key]) for key in present}, cursor)
        return Seen(present, window, self.finder.find(set(window)), rotation)

    def _look_at_bucket(self, cursor: Cursor, keys: Sequence[str]) -> Seen:
        """List as many files as one look may: all, or the newest and other ones each time.

        A list tells all about its files, but takes a request for each thousand.
        """
        if not cursor.rotation or not self.finder.narrows:
            most = FILES_A_TICK + 1 if self.finder.narrows else None
            found = self.finder.find(most=most)
            if most is None or sum(map(len, found.values())) < most:
                window = [key for key in keys if key in found]
                return Seen(window, window, found, "")
        groups: dict[str, list[str]] = {}
        for key in keys:
            groups.setdefault(_group(key), []).append(key)
        found = self._list_groups(list(groups)[::-1], groups, FILES_A_TICK // 2)
        looked = {_group(key) for key in found}
        older = [group for group in groups if group not in looked]
        turn = [group for group in older if group > cursor.rotation] + [
            group for group in older if group <= cursor.rotation
        ]
        found |= self._list_groups(turn, groups, FILES_A_TICK // 2)
        looked = {_group(key) for key in found}
        window = [key for key in keys if found.get(key)]
        present = [key for key in keys if found.get(key) or _waits(key, cursor, looked)]
        last = [group for group in turn if group in looked]
        return Seen(present, window, found, last[-1] if last else "")

    def _list_groups(
        self, order: Sequence[str], groups: Mapping[str, Sequence[str]], room: int
    ) -> dict[str, list[FoundFile]]:
        """Return the files of groups, one after the other, until there is no room for more."""
        found: dict[str, list[FoundFile]] = {}
        for group in order[:LISTINGS_A_TICK]:
            found |= {key: [] for key in groups[group]} | self.finder.find(groups[group])
            room -= sum(len(found[key]) for key in groups[group])
            if room <= 0:
                break
        return found

    def _changed(
        self, prints: Mapping[str, str], cursor: Cursor, newest: AbstractSet[str]
    ) -> dict[str, str]:
        """Return the partitions whose files are not those asked for last."""
        single = newest | cursor.recent.keys()
        groups = _digests({key: value for key, value in prints.items() if key not in single})
        same = {group for group, value in groups.items() if cursor.older.get(group) == value}
        others = [key for key in prints if key not in cursor.recent]
        asked = [key for key in others if key in newest or _group(key) not in same]
        known = {**self.published(asked), **cursor.recent}
        settled = set(others).difference(asked)
        return {
            key: value
            for key, value in prints.items()
            if key not in settled and known.get(key) != value
        }

    def _settled(
        self,
        changed: Mapping[str, str],
        found: Mapping[str, Sequence[FoundFile]],
        cursor: Cursor,
        now: float,
    ) -> tuple[dict[str, str], dict[str, tuple[str, float]]]:
        """Return the changed partitions at rest, and those to watch for their clock is ahead.

        Files are at rest when their times are old enough or, for clocks that run ahead, when they
        have looked the same for long enough.
        """
        settled: dict[str, str] = {}
        ahead: dict[str, tuple[str, float]] = {}
        for key, value in changed.items():
            newest = max(file.mtime_ns for file in found[key]) / 1e9
            seen, since = cursor.ahead.get(key, (value, now))
            since = since if seen == value else now
            if now - newest >= self.settle_s or now - since >= self.settle_s:
                settled[key] = value
            elif newest > now and len(ahead) < MOST_AHEAD:
                ahead[key] = (value, since)
        return settled, ahead


def ranges(changed: Iterable[str], keys: Sequence[str], longest: int) -> list[list[str]]:
    """Join neighbouring partitions, so that one run materializes them all.

    Args:
        changed: Keys to join.
        keys: All keys, in order.
        longest: The most partitions in one run.
    """
    positions = {key: position for position, key in enumerate(keys)}
    joined: list[list[str]] = []
    for key in sorted(changed, key=positions.__getitem__):
        last = joined[-1] if joined else []
        if last and positions[last[-1]] + 1 == positions[key] and len(last) < longest:
            last.append(key)
        else:
            joined.append([key])
    return joined


def _choose(sizes: Mapping[str, int], cursor: Cursor) -> tuple[list[str], str]:
    """Choose the partitions to look at: the newest, and each time other ones of the older.

    Groups are looked at as a whole: a part of one cannot be compared with its digest.

    Args:
        sizes: Number of files of each partition, in order.
        cursor: Knows where the last look ended.
    """
    if sum(sizes.values()) <= FILES_A_TICK:
        return list(sizes), ""
    groups: dict[str, int] = {}
    for key, size in sizes.items():
        groups[_group(key)] = groups.get(_group(key), 0) + size
    newest = _fill(reversed(groups), groups, FILES_A_TICK // 2)
    older = [group for group in sorted(groups) if group not in newest]
    turn = [group for group in older if group > cursor.rotation] + [
        group for group in older if group <= cursor.rotation
    ]
    chosen = _fill(turn, groups, FILES_A_TICK - sum(groups[group] for group in newest))
    wanted = {*newest, *chosen}
    return [key for key in sizes if _group(key) in wanted], chosen[-1] if chosen else ""


def _fill(keys: Iterable[str], sizes: Mapping[str, int], room: int) -> list[str]:
    """Take keys while they fit, but at least one."""
    taken: list[str] = []
    for key in keys:
        if taken and sizes[key] > room:
            break
        taken.append(key)
        room -= sizes[key]
    return taken


def _newest(cursor: Cursor, present: Iterable[str]) -> AbstractSet[str]:
    """Return the newest partitions, as many as the cursor can hold one by one."""
    entries = {key: len(key) + ENTRY_BYTES for key in sorted(cursor.recent.keys() | set(present))}
    return set(_fill(reversed(entries), entries, RECENT_BYTES))


def _remember(
    cursor: Cursor,
    prints: Mapping[str, str],
    asked: Mapping[str, str],
    waiting: Collection[str],
    newest: AbstractSet[str],
) -> Cursor:
    """Return the cursor with what is now known; what waits keeps its old fingerprint.

    An older partition that was asked for is held by itself until its whole group has been asked
    for. Without that, it would be asked for again in every look until its run has succeeded.
    """
    known = {key: value for key, value in prints.items() if key not in waiting}
    recent = {**cursor.recent, **known}
    if recent.keys() <= newest and not cursor.older:
        return replace(cursor, recent=recent)
    behind = {_group(key) for key in waiting if key not in newest}
    groups = _digests({key: value for key, value in prints.items() if key not in newest})
    older = {**cursor.older, **groups}
    older = {group: value for group, value in older.items() if group not in behind}
    held = [k for k in (*cursor.recent, *asked) if k not in newest and _group(k) not in older]
    kept = newest | set(held[-MOST_HELD:])
    return replace(cursor, recent={key: recent[key] for key in recent if key in kept}, older=older)


def _waits(key: str, cursor: Cursor, looked: Collection[str]) -> bool:
    """Whether a partition is being watched, and was not looked at this time."""
    return key in cursor.ahead and _group(key) not in looked


def _group(key: str) -> str:
    return key[:GROUP_LENGTH]


def _digests(prints: Mapping[str, str]) -> dict[str, str]:
    """Return one digest per group of keys."""
    hashes: dict[str, hashlib._Hash] = {}
    for key in sorted(prints):
        hashes.setdefault(_group(key), hashlib.sha256()).update(f"{key}={prints[key]};".encode())
    return {group: value.hexdigest()[:12] for group, value in hashes.items()}
