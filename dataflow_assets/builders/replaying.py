"""Replay: which partitions a mended declaration gives rows back to.

What belongs here: finding the partitions with open entries that pass now. What does not: running
them; that is an ordinary run over `cleaned/<source>` and what hangs on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataflow_assets.builders.cleaning import cleaned_declaration, cleaned_version
from dataflow_assets.builders.dry import beside, clean_dry
from dataflow_assets.builders.references import references_of
from dataflow_assets.errors import DataflowError, PartitionMissingError
from dataflow_assets.io.entries import Entries

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping, Sequence

    from dataflow_assets.builders.stores import Stores
    from dataflow_assets.declaration.source import SourceDeclaration


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
        failure: Why the partition would not be published, if it would not.
    """

    partition: str
    open: int
    passing: int
    failure: DataflowError | None = None


def replayable(
    source: SourceDeclaration, stores: Stores, partitions: Sequence[str], rule: str | None = None
) -> Iterator[Replayable]:
    """Yield each partition that has open entries and was cleaned otherwise than it would be now.

    Each is cleaned beside the lake, from raw; nothing is published.

    Args:
        source: The declaration as it stands.
        stores: Where runs read and write.
        partitions: Those to look at.
        rule: Only entries that break this rule count; none: all.
    """
    declaration, lake = cleaned_declaration(source), stores.lake
    refers = bool(references_of(source))  # the tables may be others now
    standing = lake.manifests("quarantine", source.name, partitions)
    raw = lake.manifests("raw", source.name, [key for key, one in standing.items() if one.rows])
    for number, (partition, before) in enumerate(raw.items()):
        known = standing[partition]
        same = cleaned_version(declaration, before, decisions=known.decisions)
        if known.data_version == same and not refers:
            continue
        with beside(stores) as (aside, folder):
            entries = Entries(aside.lake, source.name, folder, stores.memory_limit_mb)
            try:
                dry = clean_dry(source, aside, partition, folder / str(number))
            except DataflowError as error:
                failure = error.at(source=source.name, partition=partition)
                yield Replayable(partition, known.rows, 0, failure)
                continue
            open_now, passing = entries.would_close(partition, dry.quarantine, rule)
        if open_now:
            yield Replayable(partition, open_now, passing, dry.cleaned.failure)


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
