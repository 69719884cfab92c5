"""Cleaning without publishing: what the declaration as it stands would make of a raw partition.

What belongs here: doing the work of the cleaned layer beside the lake, in a folder of its own. What
does not: what is compared with it (`replaying`, `planning`).
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dataflow_assets.builders.cleaning import CLEANED, QUARANTINE, Cleaner
from dataflow_assets.errors import FileChangedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflow_assets.builders.cleaning import Cleaned
    from dataflow_assets.builders.drift import Found
    from dataflow_assets.builders.stores import Stores
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.io.lake import Manifest


@dataclass(frozen=True)
class DryRun:
    """What cleaning a partition would give.

    Attributes:
        raw: The raw partition.
        cleaned: Counts, tally, and why it would not be published.
        good: Parquet file of the cleaned rows.
        quarantine: Parquet file of the rows that break the contract.
    """

    raw: Manifest
    cleaned: Cleaned
    good: Path
    quarantine: Path


@contextmanager
def beside(stores: Stores, parent: Path | None = None) -> Iterator[tuple[Stores, Path]]:
    """Give the same stores with another folder for what is on its way, and that folder.

    Args:
        stores: Where runs read and write.
        parent: Where to make the folder, which is removed in the end; none: where the system has
            temporary files.
    """
    with tempfile.TemporaryDirectory(prefix="dataflow-", dir=parent) as folder:
        root = Path(folder)
        yield replace(stores, lake=stores.lake.elsewhere(root)), root


def drift_of(source: SourceDeclaration, stores: Stores, partition: str) -> Found:
    """Return how the columns of a partition differ, whether or not that would be published.

    Args:
        source: The declaration.
        stores: As `beside` gives them.
        partition: The partition.

    Raises:
        PartitionMissingError: The raw partition has not been published.
    """
    with Cleaner(source, stores) as cleaner:
        return cleaner.stage(partition, cleaner.raw(partition)).found


def clean_dry(source: SourceDeclaration, stores: Stores, partition: str, folder: Path) -> DryRun:
    """Clean a partition into a folder, and publish nothing.

    Args:
        source: The declaration.
        stores: As `beside` gives them.
        partition: The partition.
        folder: Where the two files are to be.

    Raises:
        DataflowError: As in a run, but for what an audit finds: that is returned.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with Cleaner(source, stores) as cleaner:
        raw = cleaner.raw(partition)
        cleaned = cleaner.stage(partition, raw)
        if cleaned.failure is not None and not cleaned.judged:
            raise cleaned.failure
        if cleaner.raw(partition).data_version != raw.data_version:
            raise FileChangedError(
                "the raw partition was published anew meanwhile.",
                mend="Try again.",
                source=source.name,
                partition=partition,
            )
        for layer, name in (("cleaned", CLEANED), ("quarantine", QUARANTINE)):
            shutil.move(cleaner.staged(layer), folder / name)  # type: ignore[arg-type]
    return DryRun(raw, cleaned, folder / CLEANED, folder / QUARANTINE)
