"""Showing the breakers of outside hosts, and keeping runs from hosts that are left alone.

What belongs here: a source's breaker in Dagster's words. What does not: how a breaker works
(``extract.hosts``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import dagster as dg

from dataflow_assets.extract.hosts import Breaker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflow_assets.builders.metadata import Metadata
    from dataflow_assets.builders.stores import Stores
    from dataflow_assets.declaration.source import SourceDeclaration

HOST = "host_answers"


def breaker_of(source: SourceDeclaration, stores: Stores) -> Breaker | None:
    """Return the breaker of the host that a source asks, if it asks one."""
    host = source.extract.host
    return None if host is None else Breaker(host, stores.surroundings.shared)


def why_blocked(source: SourceDeclaration, stores: Stores) -> str | None:
    """Return why a run of a source is not worth its start now; none if it is."""
    breaker = breaker_of(source, stores)
    return None if breaker is None else breaker.blocks()


def breaker_metadata(source: SourceDeclaration, stores: Stores) -> Metadata:
    """Return what a materialization shows of the host."""
    breaker = breaker_of(source, stores)
    return {} if breaker is None else {"host": source.extract.host, "breaker": breaker.told()}


def host_check_specs(source: SourceDeclaration) -> list[dg.AssetCheckSpec]:
    """Return the check of the host that a source asks, if it asks one."""
    host = source.extract.host
    if host is None:
        return []
    key = dg.AssetKey(["raw", source.name])
    return [dg.AssetCheckSpec(HOST, asset=key, description=f"The breaker of {host} is closed.")]


def host_check_results(
    context: dg.AssetExecutionContext, source: SourceDeclaration, stores: Stores
) -> Iterator[dg.AssetCheckResult]:
    """Give Dagster what is known of the host now, whatever came of the run."""
    breaker = breaker_of(source, stores)
    key = dg.AssetKey(["raw", source.name])
    if breaker is None or dg.AssetCheckKey(key, HOST) not in context.selected_asset_check_keys:
        return
    state = breaker.look()
    yield dg.AssetCheckResult(
        asset_key=key,
        check_name=HOST,
        passed=not state.pauses,
        severity=dg.AssetCheckSeverity.WARN,
        description=breaker.told(),
        metadata={"host": source.extract.host, "failures": state.failures},
    )
