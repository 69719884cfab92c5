"""The ledger: what each publish did, one row per asset partition.

What belongs here: the shape of the ledger and its tables. What does not: when a row is written;
that is part of the publish.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from dataflow_assets.io.lake import Manifest, ReceivedFile


class Counts(BaseModel):
    """What became of the rows of one partition; a count that does not apply is none.

    Attributes:
        received: Rows that came in.
        loaded: Rows that were published.
        quarantined: Rows that broke the contract.
        duplicate: Rows that lost against another of the same key.
        filtered: Rows that the declaration does not want.
    """

    model_config = ConfigDict(frozen=True)

    received: int = 0
    loaded: int = 0
    quarantined: int | None = None
    duplicate: int | None = None
    filtered: int | None = None

    @property
    def lost(self) -> int:
        """Rows that are unaccounted for; anything but 0 is a bug."""
        gone = (self.loaded, self.quarantined, self.duplicate, self.filtered)
        return self.received - sum(count or 0 for count in gone)


@dataclass(frozen=True)
class LedgerRow:
    """What one publish did.

    Attributes:
        asset: Such as ``cleaned/usgs_events``.
        source: The source or entity.
        partition: Which one.
        layer: raw, cleaned, quarantine or normalized.
        counts: What became of the rows.
        data_version: Made of the content.
        declaration: Digest of what was declared.
        run_id: The run that published it.
        published_at: When.
        duration_s: Seconds that the work took.
    """

    asset: str
    source: str
    partition: str
    layer: str
    counts: Counts
    data_version: str
    declaration: str
    run_id: str
    published_at: dt.datetime
    duration_s: float

    @classmethod
    def of(cls, layer: str, source: str, partition: str, manifest: Manifest) -> Self:
        """Return the row of a partition that was published to the lake."""
        return cls(
            asset=f"{layer}/{source}",
            source=source,
            partition=partition,
            layer=layer,
            counts=manifest.counts or Counts(),
            data_version=manifest.data_version,
            declaration=manifest.declaration,
            run_id=manifest.run_id,
            published_at=manifest.published_at,
            duration_s=manifest.duration_s,
        )

    def values(self) -> tuple[object, ...]:
        """Return the row as the ledger's columns."""
        counts = self.counts
        return (
            self.asset,
            self.source,
            self.partition,
            self.layer,
            counts.received,
            counts.loaded,
            counts.quarantined,
            counts.duplicate,
            counts.filtered,
            self.data_version,
            self.declaration,
            self.run_id,
            self.published_at,
            self.duration_s,
        )


@dataclass(frozen=True)
class LedgerFile:
    """A file of which a raw partition was made.

    Attributes:
        source: The source.
        partition: Which one.
        version: First 16 hex digits of the file's SHA-256; the first part of ``_raw_ref``.
        name: The file's path relative to the files folder.
        size: Bytes.
        mtime: When it was last written.
        rows: Rows that it holds.
        rejected: Rows among them that could not be split.
        archived: Where its bytes are, below the lake's folder.
    """

    source: str
    partition: str
    version: str
    name: str
    size: int
    mtime: dt.datetime
    rows: int
    rejected: int
    archived: str

    @classmethod
    def of(cls, source: str, partition: str, file: ReceivedFile) -> Self:
        """Return the row of a file that was received."""
        return cls(
            source=source,
            partition=partition,
            version=file.version,
            name=file.name,
            size=file.size,
            mtime=dt.datetime.fromtimestamp(file.mtime_ns / 1e9, dt.UTC),
            rows=file.rows,
            rejected=file.rejected,
            archived=file.archived,
        )


@dataclass(frozen=True)
class LedgerDrift:
    """A change of a source's columns from one partition to the next.

    Attributes:
        source: The source.
        partition: Where it was found.
        before: The partition with which that was compared.
        kind: new, gone, back, renamed, perhaps renamed, retyped, reordered or emptied.
        column: The column; empty where it is about all of them.
        old: What it was; none if there was nothing.
        new: What it is; none if there is nothing.
        file: The first file in which it is so.
        files: How many files it concerns.
        rows: How many rows it concerns.
        published: Whether the partition was published even so.
        data_version: Data version of the raw partition.
        run_id: The run that found it.
        found_at: When.
    """

    source: str
    partition: str
    before: str
    kind: str
    column: str
    old: str | None
    new: str | None
    file: str | None
    files: int
    rows: int
    published: bool
    data_version: str
    run_id: str
    found_at: dt.datetime


@dataclass(frozen=True)
class ProfileRow:
    """The figures of one published partition.

    Attributes:
        asset: Such as ``cleaned/usgs_events``.
        partition: Which one.
        data_version: Of which content.
        newest: The newest event time that is not in the future, if one was asked for.
        figures: The whole profile, as JSON.
        profiled_at: When the figures were taken.
    """

    asset: str
    partition: str
    data_version: str
    newest: dt.datetime | None
    figures: str
    profiled_at: dt.datetime


PROFILE_COLUMNS = tuple(field.name for field in fields(ProfileRow))
PROFILES_KEPT = 60
"""Of one partition, the most versions of which the profile is kept."""


def prune_profiles(places: str) -> str:
    """Return the statement that drops profiles of versions long gone.

    Args:
        places: The partitions to look at, as SQL tuples of asset and partition.
    """
    return f"""
delete from dataflow.profiles where (asset, "partition", data_version) in (
    select asset, "partition", data_version from (
        select asset, "partition", data_version, row_number() over (
            partition by asset, "partition" order by profiled_at desc) as age
        from dataflow.profiles where (asset, "partition") in ({places})
    ) aged where age > {PROFILES_KEPT})"""


LEDGER_COLUMNS = """
    asset varchar not null, source varchar not null, "partition" varchar not null,
    layer varchar not null, received bigint, loaded bigint, quarantined bigint,
    duplicate bigint, filtered bigint, data_version varchar not null,
    declaration varchar not null, run_id varchar not null,
    published_at timestamptz not null, duration_s double precision not null
"""
LEDGER_TABLES = ("ledger", "ledger_history", "files", "drift", "profiles")
"""The tables of the ledger; one made by an earlier version has fewer."""
DDL = f"""
create schema if not exists dataflow;
create schema if not exists normalized;
create table if not exists dataflow.ledger ({LEDGER_COLUMNS}, primary key (asset, "partition"));
create table if not exists dataflow.ledger_history ({LEDGER_COLUMNS});
create table if not exists dataflow.files (
    source varchar not null, "partition" varchar not null, version varchar not null,
    name varchar not null, size bigint not null, mtime timestamptz not null,
    rows bigint not null, rejected bigint not null, archived varchar not null
);
create table if not exists dataflow.drift (
    source varchar not null, "partition" varchar not null, "before" varchar not null,
    kind varchar not null, "column" varchar not null, old varchar, new varchar,
    file varchar, files bigint not null, rows bigint not null, published boolean not null,
    data_version varchar not null, run_id varchar not null, found_at timestamptz not null
);
create table if not exists dataflow.profiles (
    asset varchar not null, "partition" varchar not null, data_version varchar not null,
    newest timestamptz, figures varchar not null, profiled_at timestamptz not null,
    primary key (asset, "partition", data_version)
);
create or replace view dataflow.conservation as
    select asset, "partition",
        received - loaded - coalesce(quarantined, 0) - coalesce(duplicate, 0)
            - coalesce(filtered, 0) as lost
    from dataflow.ledger where layer in ('cleaned', 'normalized');
comment on table dataflow.ledger is 'What the latest publish of each asset partition did';
comment on table dataflow.ledger_history is 'What every publish did';
comment on table dataflow.files is 'Files of raw partitions; _raw_ref is version:line';
comment on table dataflow.drift is 'How columns changed from one partition to the next';
comment on table dataflow.profiles is 'Figures of partitions, which later ones are compared with';
comment on view dataflow.conservation is 'Rows unaccounted for; anything but 0 is a bug';
"""
