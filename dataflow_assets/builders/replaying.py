"""Replay: which partitions a mended declaration gives rows back to.

What belongs here: finding the partitions with open entries that pass now. What does not: running
them; that is an ordinary run over `cleaned/<source>` and what hangs on it.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from dataflow_assets.builders.cleaning import cleaned_declaration, cleaned_version
from dataflow_assets.builders.dry import beside, clean_dry
from dataflow_assets.builders.references import references_of
from dataflow_assets.builders.rereading import is_read_otherwise, read_again, why_unknown
from dataflow_assets.errors import DataflowError, PartitionMissingError
from dataflow_assets.io.comparing import compare
from dataflow_assets.io.entries import Entries

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from dataflow_assets.builders.stores import Stores
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.io.lake import Manifest

ROW_OF_FILE = ("_file", "_version", "_line")
"""What leads to a raw row."""
PUBLISHED = """
select asset, "partition", data_version, published_at from dataflow.ledger
where asset = $1 or layer = 'normalized'
"""


@dataclass(frozen=True)
class Replayable:
    """What a replay would do to one partition with open entries.

    Attributes:
        partition: The partition.
        open: Its open entries, of the rule that was asked for.
        passing: Those among them that would close.
        reread: Whether the archived bytes give other raw rows now, as `extract` was changed.
        unknown: Why it cannot be said what the source would give now, if it cannot.
        failure: Why the partition would not be published, if it would not.
    """

    partition: str
    open: int
    passing: int
    reread: bool = False
    unknown: str = ""
    failure: DataflowError | None = None

    @property
    def is_affected(self) -> bool:
        """Whether the partition is to be made anew."""
        return self.failure is None and bool(self.passing or self.reread)


def replayable(
    source: SourceDeclaration, stores: Stores, partitions: Sequence[str], rule: str | None = None
) -> Iterator[Replayable]:
    """Yield partitions that have open entries and were cleaned otherwise than they would be now.

    Each is cleaned beside the lake, from raw; where its bytes would be read otherwise, from what
    the archive gives now, and then it is yielded whether or not it has entries. Nothing is
    published.

    Args:
        source: The declaration as it stands.
        stores: Where runs read and write.
        partitions: Those to look at.
        rule: Only entries that break this rule count; none: all.
    """
    declaration, lake = cleaned_declaration(source), stores.lake
    refers = bool(references_of(source))  # the tables may be others now
    standing = lake.manifests("quarantine", source.name, partitions)
    raw = lake.manifests("raw", source.name, list(standing))
    for partition, before in raw.items():
        known, otherwise = standing[partition], is_read_otherwise(source, before)
        same = cleaned_version(declaration, before, decisions=known.decisions)
        cleaned_so = known.data_version == same and not refers
        if not otherwise and (cleaned_so or not known.rows):
            continue
        unknown = why_unknown(source, before) if otherwise else ""
        with beside(stores) as (aside, folder):
            again = before if otherwise and not unknown else None
            try:
                one = _looked_at(source, aside, partition, again, folder, rule)
            except DataflowError as error:
                failure = error.at(source=source.name, partition=partition)
                one = Replayable(partition, known.rows, 0, failure=failure)
        if one.open or one.reread or one.failure or unknown:
            yield replace(one, unknown=unknown)


def _looked_at(
    source: SourceDeclaration,
    stores: Stores,
    partition: str,
    again: Manifest | None,
    folder: Path,
    rule: str | None,
) -> Replayable:
    """Return what a replay would do to a partition.

    Args:
        source: The declaration.
        stores: As `beside` gives them.
        partition: The partition.
        again: Its raw manifest, if its bytes are to be read again.
        folder: For what is made.
        rule: Only entries that break this rule count; none: all.
    """
    limit, seen = stores.memory_limit_mb, stores
    entries = Entries(stores.lake, source.name, folder, limit)
    with ExitStack() as stack:
        differs = False
        if again is not None:
            under = read_again(source, stores, partition, again, folder / "raw")
            seen = stack.enter_context(under)
            differs = _differ(source.name, partition, stores, seen, folder)
        dry = clean_dry(source, seen, partition, folder / "made")
        rows, passing = entries.would_close(partition, dry.quarantine, rule, reread=differs)
    reread = differs and (rule is None or bool(passing))
    return Replayable(partition, rows, passing, reread, failure=dry.cleaned.failure)


def _differ(name: str, partition: str, stores: Stores, others: Stores, folder: Path) -> bool:
    """Whether a raw partition has other rows in one lake than in another."""
    (folder / "standing").mkdir()
    before = stores.lake.find("raw", name, partition, folder / "standing")
    after = others.lake.find("raw", name, partition, folder)
    if before is None or after is None:
        return before is not after
    found = compare(before, after, ROW_OF_FILE, folder, stores.memory_limit_mb)
    return bool(found)


def unfinished(
    source: SourceDeclaration, stores: Stores, partitions: Sequence[str], entities: Sequence[str]
) -> list[str]:
    """Return partitions of which entries closed in a run that was killed before its end.

    Their quarantine was published, and their cleaned rows were not, or did not reach the ledger or
    the entities.

    Args:
        source: The declaration.
        stores: Where runs read and write.
        partitions: Those to look at.
        entities: The entities that the source feeds.
    """
    lake, name = stores.lake, source.name
    closed = set(lake.partitions("closed", name)).intersection(partitions)
    looked_at = [key for key in partitions if key in closed]
    if not looked_at:
        return []
    quarantine = lake.manifests("quarantine", name, looked_at)
    cleaned = lake.manifests("cleaned", name, looked_at)
    known = _published(stores, name)
    found = []
    for key, standing in quarantine.items():
        done, recorded = cleaned.get(key), known.get((f"cleaned/{name}", key))
        if done is None or done.data_version != standing.data_version or recorded is None:
            found.append(key)
            continue
        rows = (known.get((f"normalized/{entity}", key)) for entity in entities)
        late = any(row is not None and row[1] < done.published_at for row in rows)
        if late or recorded[0] != done.data_version:
            found.append(key)
    return found


def _published(stores: Stores, name: str) -> Mapping[tuple[str, str], tuple[str, dt.datetime]]:
    """Return data version and time of what the ledger knows, by asset and partition."""
    try:
        rows = stores.warehouse.read(PUBLISHED, [f"cleaned/{name}"])
    except PartitionMissingError:
        return {}
    return {(asset, key): (version, moment) for asset, key, version, moment in rows.iter_rows()}
