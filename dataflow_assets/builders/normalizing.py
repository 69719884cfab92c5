"""The normalized layer: map the cleaned rows of all sources of an entity, and publish them.

What belongs here: the order write, audit, publish for one partition of an entity. What does not:
how a mapping becomes expressions (``transform``), how the warehouse publishes (``io``), and Dagster.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.builders.stores import digest, digest_of
from dataflow_assets.errors import ConservationError, EntityKeyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dataflow_assets.builders.stores import Stores
    from dataflow_assets.declaration.entity import EntityDeclaration
    from dataflow_assets.declaration.source import SourceDeclaration
