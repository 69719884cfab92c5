"""What the commands that look at declared sources share: the location, and names in it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from dataflow_assets.builders.partitions import build_partitions
from dataflow_assets.builders.resources import STORES, build_resources
from dataflow_assets.commands.parsing import BETWEEN
from dataflow_assets.components.loading import load_declared, load_location
from dataflow_assets.errors import UnknownNameError
from dataflow_assets.settings import get_settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Sequence

    import dagster as dg

    from dataflow_assets.builders.stores import Stores
    from dataflow_assets.components.loading import Declared
    from dataflow_assets.declaration.source import SourceDeclaration

NAMED = 10


@dataclass(frozen=True)
class Location:
    """The code location that the environment names."""

    @cached_property
    def declared(self) -> Declared:
        """What is declared."""
        return load_declared()

    @cached_property
    def definitions(self) -> dg.Definitions:
        """What Dagster makes of it."""
        return load_location()

    @cached_property
    def stores(self) -> Stores:
        """Where runs read and write."""
        return build_resources(get_settings())[STORES].open()

    def source(self, name: str) -> SourceDeclaration:
        """Return a declared source.

        Raises:
            UnknownNameError: There is no such source.
        """
        if name in self.declared.sources:
            return self.declared.sources[name]
        raise UnknownNameError(
            f"there is no source {name!r}.",
            mend=f"Name one of {', '.join(sorted(self.declared.sources)) or 'none'}.",
            culprit=name,
        )


def keys_of(source: SourceDeclaration) -> list[str]:
    """Return all partition keys of a source, in order."""
    return list(build_partitions(source.partitions).get_partition_keys())


def chosen_partitions(
    source: SourceDeclaration, options: argparse.Namespace, there: Collection[str]
) -> list[str]:
    """Return the partitions that the options choose, in order; without any, all that are there.

    Args:
        source: The source.
        options: What `add_partitions` added to the parser.
        there: Those that were published.

    Raises:
        UnknownNameError: There is no such partition.
    """
    keys = keys_of(source)
    if options.partition_range:
        first, _, last = options.partition_range.partition(BETWEEN)
        _refuse_unknown(source, [first, last], keys)
        chosen = keys[keys.index(first) : keys.index(last) + 1]
        return [key for key in chosen if key in there]
    if options.partition:
        _refuse_unknown(source, options.partition, keys)
        return sorted(set(options.partition), key=keys.index)
    return [key for key in keys if key in set(there)]


def _refuse_unknown(source: SourceDeclaration, named: Sequence[str], keys: Sequence[str]) -> None:
    known = set(keys)
    for key in named:
        if key not in known:
            shown = ", ".join(keys) if len(keys) <= NAMED else f"{keys[0]} to {keys[-1]}"
            raise UnknownNameError(
                f"there is no partition {key!r}.",
                mend=f"Partitions are {shown}; a range is written FIRST...LAST.",
                source=source.name,
                culprit=key,
            )
