"""The history of a source's partitions: which earlier ones are comparable, and their figures.

What belongs here: finding them and reading what is known of them. What does not: what follows from
it (``anomalies``).

A history is made of the partitions before the tested one in time, as they were published last,
whenever that was: so a backfill of old days changes nothing for the days before them, and a
partition that is published again stands in it once. Of a fixed list, it is made of the versions of
the same partition that were published before.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from dataflow_assets.declaration.partitions import KEY_FORMATS, LATER
from dataflow_assets.errors import DataflowError
from dataflow_assets.io.ledger import Counts, ProfileRow
from dataflow_assets.io.profiles import Known, published_between, versions_of
from dataflow_assets.transform.anomalies import WINDOW, Point
from dataflow_assets.transform.profile import Profile, Wanted, profile_of

if TYPE_CHECKING:
    from pathlib import Path

    from dataflow_assets.builders.stores import Stores
    from dataflow_assets.declaration.partitions import Partitions
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.io.lake import Manifest

SPARSE = 2
"""How much further back is looked than a history is long: weekends may have no partitions."""
AHEAD = 400
"""For how many windows at once it is read what is known of them."""
HOURS = 24
MONTHS = 12


def wanted_of(source: SourceDeclaration) -> Wanted:
    """Return which figures of columns a source's declaration asks for."""
    freshness = source.checks.freshness
    return Wanted(
        columns=source.checks.anomalies.columns,
        event=freshness.of if freshness else None,
        timezone=source.partitions.timezone,
    )


class Calendar:
    """Where partitions stand in time.

    Args:
        partitions: How the source is cut into partitions.
    """

    def __init__(self, partitions: Partitions) -> None:
        self._partitions = partitions
        self._every = partitions.every

    def local(self, key: str) -> dt.datetime:
        """Return the moment at which a window begins, in the partitions' zone."""
        if self._every is None:
            raise AssertionError("an item of a list has no beginning")
        return dt.datetime.strptime(key, KEY_FORMATS[self._every])  # noqa: DTZ007 - zone is ours

    def shifted(self, key: str, windows: int) -> str:
        """Return the key of the window that is, at least, so many windows later, or earlier."""
        if self._every is None:
            raise AssertionError("a list has no windows")
        return self._partitions.key_of(self.local(key) + windows * LATER[self._every])

    def alike(self, key: str, other: str) -> bool:
        """Whether two windows can be compared: of hours, those of the same hour of the day."""
        return self._every != "hour" or self.local(key).hour == self.local(other).hour

    def point(self, key: str, place: int) -> Point:
        """Return where a partition stands, its figure left open.

        Args:
            key: Which one.
            place: Its place in its history, which says when it was where its key does not.
        """
        if self._every is None:
            return Point(key, place, 0.0)
        day = self.local(key).date()
        if self._every == "month":
            return Point(key, day.year * MONTHS + day.month, 0.0)
        if self._every == "week":
            return Point(key, day.toordinal() // 7, 0.0)
        return Point(key, day.toordinal(), 0.0, group=day.weekday())


class History:
    """What is known of a source's cleaned partitions, read as it is needed.

    Args:
        source: The declaration.
        stores: Where it is known.
    """

    def __init__(self, source: SourceDeclaration, stores: Stores) -> None:
        self.calendar = Calendar(source.partitions)
        self._source = source
        self._stores = stores
        self._asset = f"cleaned/{source.name}"
        self._wanted = wanted_of(source)
        self._known: dict[str, Known] = {}
        self._read: tuple[str, str] | None = None
        self._profiles: dict[tuple[str, str], Profile | None] = {}
        self._made: list[ProfileRow] = []

    def before(self, partition: str, data_version: str) -> list[Known]:
        """Return the comparable partitions before one, oldest first.

        Args:
            partition: Which one.
            data_version: Of its content; of a fixed list, other versions are its history.
        """
        if self._source.partitions.every is None:
            versions = versions_of(self._stores.warehouse, self._asset, partition, WINDOW + 1)
            return [one for one in reversed(versions) if one.data_version != data_version][-WINDOW:]
        self._read_around(partition)
        since = self._source.checks.anomalies.since
        found = [
            one
            for key, one in sorted(self._known.items())
            if key < partition
            and self.calendar.alike(key, partition)
            and (since is None or self.calendar.local(key).date() >= since)
        ]
        return found[-WINDOW:]

    def _read_around(self, partition: str) -> None:
        """Read what is known of the windows before one, and of some after it."""
        per_day = HOURS if self._source.partitions.every == "hour" else 1
        first = self.calendar.shifted(partition, -SPARSE * WINDOW * per_day)
        if self._read is not None and self._read[0] <= first and partition <= self._read[1]:
            return
        last = self.calendar.shifted(partition, AHEAD)
        known = published_between(self._stores.warehouse, self._asset, first, last)
        kept = {key: one for key, one in self._known.items() if first <= key <= last}
        self._known = {one.partition: one for one in known} | kept
        self._profiles = {key: one for key, one in self._profiles.items() if key[0] >= first}
        self._read = (first, last)

    def add(self, partition: str, manifest: Manifest, profile: Profile | None) -> None:
        """Let a partition that was published be history for those after it."""
        self._known[partition] = Known(
            partition=partition,
            counts=manifest.counts or Counts(),
            data_version=manifest.data_version,
            published_at=manifest.published_at,
            newest=profile.newest if profile else None,
            figures=None,
        )
        self._profiles[partition, manifest.data_version] = profile

    def profile(self, known: Known, work: Path) -> Profile | None:
        """Return the profile of an earlier partition; one that was never taken is taken now.

        Args:
            known: What is known of it.
            work: The work folder.

        Returns:
            None if its rows are not in the lake any more, or cannot be read.
        """
        place = (known.partition, known.data_version)
        if place not in self._profiles:
            taken = Profile.model_validate_json(known.figures) if known.figures else None
            if taken is None or not self._wanted.answered_by(taken):
                taken = self._take(known, work) or taken
            self._profiles[place] = taken
        return self._profiles[place]

    def _take(self, known: Known, work: Path) -> Profile | None:
        lake, name = self._stores.lake, self._source.name
        try:
            manifest = lake.manifest("cleaned", name, known.partition)
            if manifest is None or manifest.data_version != known.data_version:
                return None
            rows = lake.scan("cleaned", name, known.partition, work)
            there = set(rows.collect_schema().names())
        except DataflowError:  # it is no reason not to publish another partition
            return None
        wanted = Wanted(
            {column: some for column, some in self._wanted.columns.items() if column in there},
            self._wanted.event if self._wanted.event in there else None,
            self._wanted.timezone,
        )
        begin = self._source.partitions.begin_of(known.partition)
        profile = profile_of(rows, manifest.rows, wanted, begin=begin, now=manifest.published_at)
        self._made.append(profile_row(self._asset, known.partition, manifest, profile))
        return profile

    def take_made(self) -> list[ProfileRow]:
        """Return the profiles that were taken of earlier partitions, each once."""
        made, self._made = self._made, []
        return made


def profile_row(asset: str, partition: str, manifest: Manifest, profile: Profile) -> ProfileRow:
    """Return a profile as it is kept beside the ledger."""
    return ProfileRow(
        asset=asset,
        partition=partition,
        data_version=manifest.data_version,
        newest=profile.newest,
        figures=profile.model_dump_json(exclude_none=True),
        profiled_at=dt.datetime.now(dt.UTC),
    )
