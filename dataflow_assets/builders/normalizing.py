"""The normalized layer: map the cleaned rows of all sources of an entity, and publish them.

What belongs here: the order write, audit, publish for partitions of an entity. What does not: how a
mapping becomes expressions (``transform``), how the warehouse publishes (``io``), and Dagster.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.builders.stores import digest, digest_of
from dataflow_assets.errors import ConservationError, EntityKeyError, PartitionMissingError
from dataflow_assets.io.duckdb_warehouse import EntityTable, Publication
from dataflow_assets.io.duplicates import find_repeated
from dataflow_assets.io.lake import count_rows
from dataflow_assets.io.ledger import Counts, LedgerRow
from dataflow_assets.transform.rules import contract_schema
from dataflow_assets.transform.normalize import Mapping, entity_schema

if TYPE_CHECKING:
    import collections.abc as cabc
    from pathlib import Path

    from dataflow_assets.builders.stores import Stores
    from dataflow_assets.declaration.entity import EntityDeclaration
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.errors import DataflowError
    from dataflow_assets.io.lake import Manifest

NORMALIZED_CODE = "1"
"""Raised when the same cleaned rows would give other normalized rows than before."""
STAGED = "normalized.parquet"


@dataclass(frozen=True)
class Normalized:
    """What came of normalizing one partition of an entity.

    Attributes:
        counts: Rows received (from all sources), loaded and duplicate.
        by_source: Rows received from each source; a source without the partition is left out.
        data_version: Changes when, and only when, the rows or the mapping do.
        duration_s: Seconds that it took to stage the rows.
        failure: Why the partition was not published, if it was not.
    """

    counts: Counts
    by_source: dict[str, int]
    data_version: str
    duration_s: float
    failure: DataflowError | None = None


def build_mappings(
    entity: EntityDeclaration, sources: cabc.Mapping[str, SourceDeclaration]
) -> dict[str, Mapping]:
    """Check and compile an entity's mappings, those of preferred sources first.

    Raises:
        ExpressionError: An expression does not parse, or gives another type than declared.
    """
    return {
        name: Mapping(entity, name, contract_schema(sources[name].contract))
        for name in entity.precedence()
    }
