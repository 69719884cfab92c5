"""From an entity's declaration to its asset and checks."""

from collections.abc import Iterator, Mapping

import dagster as dg

from dataflow_assets.builders import checks, metadata
from dataflow_assets.builders.normalizing import Normalizer, build_mappings, normalized_declaration
from dataflow_assets.builders.partitions import build_partitions
from dataflow_assets.builders.resources import StoresResource, warehouse_kind
from dataflow_assets.builders.steps import (
    StepEvent,
    failing,
    finish,
    run_partitions,
)
from dataflow_assets.declaration.entity import EntityDeclaration
from dataflow_assets.declaration.partitions import Partitions
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.errors import DeclarationError, PluginError


def build_entity(
    entity: EntityDeclaration,
    sources: Mapping[str, SourceDeclaration],
    broken: Mapping[str, PluginError] | None = None,
) -> dg.Definitions:
    """Return everything that an entity's declaration asks for.

    Args:
        entity: The declaration.
        sources: All declared sources, by name.
        broken: Sources whose columns are not known, and why; the entity's runs fail of that.

    Raises:
        DeclarationError: A source is not declared, is cut into other partitions, or has windows
            that overlap where that would double rows.
        ExpressionError: A mapping does not fit.
    """
    used = {name: _source_of(entity, name, sources) for name in entity.mappings}
    shared = _shared_partitions(entity, used)
    _check_history(entity, shared)
    _check_overlaps(entity, used)
    partitions = build_partitions(shared)
    unknown = next((error for name, error in (broken or {}).items() if name in used), None)
    mappings = build_mappings(entity, used) if unknown is None else {}
    key = dg.AssetKey(["normalized", entity.name])
    specs = checks.normalized_check_specs(entity.name)
    spec = dg.AssetSpec(
        key,
        description=entity.description or None,
        deps=[dg.AssetKey(["cleaned", name]) for name in used],
        group_name=entity.name,
        owners=list(entity.owners),
        tags=entity.tags,
        kinds={warehouse_kind(), "table"},
        code_version=normalized_declaration(entity),
        metadata={
            "dagster/table_name": f"normalized.{entity.name}",
            "dagster/column_schema": metadata.entity_columns(entity),
            "dagster/column_lineage": metadata.entity_lineage(mappings),
        },
    )

    @dg.multi_asset(
        name=f"normalized__{entity.name}",
        specs=[spec],
        check_specs=specs,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def normalized(
        context: dg.AssetExecutionContext, stores: StoresResource
    ) -> Iterator[StepEvent]:
        opened = stores.open(context.run.run_id)
        normalizer = Normalizer(entity, mappings, shared, opened)
        with failing(context, entity.name, unknown), normalizer:
            outcomes = run_partitions(
                context,
                entity.name,
                normalizer.stage,
                normalizer.publish,
                together=entity.write.mode == "history",
            )
        finished = {key: normalizer.finished(one) for key, one in outcomes.results.items()}
        found = {key: list(checks.normalized_outcomes(one)) for key, one in finished.items()}
        said = list(checks.check_results(context, specs, found))
        shown = {key: normalizer.show(finished[key]) for key in outcomes.published}
        yield from finish(context, outcomes.failures, [(key, shown)], said)

    return dg.Definitions(assets=[normalized])


def _source_of(
    entity: EntityDeclaration, name: str, sources: Mapping[str, SourceDeclaration]
) -> SourceDeclaration:
    if name in sources:
        return sources[name]
    raise DeclarationError(
        f"there is no source {name!r}.",
        mend=f"Declare it, or map one of {', '.join(sorted(sources)) or 'none'}.",
        entity=entity.name,
        culprit=name,
    ).within("from", name)


def _check_history(entity: EntityDeclaration, partitions: Partitions) -> None:
    """Refuse a history of which nobody knows when its rows were valid."""
    if entity.write.mode != "history" or partitions.values is None:
        return
    if entity.write.valid_from is None:
        problem = "a history of a list of partitions cannot tell when its rows became valid."
        mend = "Write {mode: history, valid_from: column} with the column of a change's time."
    elif entity.write.closes_absent:
        problem = "deletes: close needs windows of time, to tell when a row was gone."
        mend = "Leave deletes out, or cut the sources into windows of time (every, start)."
    else:
        return
    raise DeclarationError(problem, mend=mend, entity=entity.name, culprit="write").within("write")


def _check_overlaps(entity: EntityDeclaration, sources: Mapping[str, SourceDeclaration]) -> None:
    """Refuse to let rows stand twice that two windows of a source have read."""
    if entity.write.mode not in ("replace", "append"):
        return
    for name, source in sources.items():
        if source.extract.overlaps:
            raise DeclarationError(
                f"windows of {name} overlap, and mode: {entity.write.mode} keeps the rows of each.",
                mend="Write {mode: upsert}, or have automation: {last} read the last windows "
                "again instead of an overlap.",
                entity=entity.name,
                culprit="write",
            ).within("write")


def _shared_partitions(
    entity: EntityDeclaration, sources: Mapping[str, SourceDeclaration]
) -> Partitions:
    """Return the partitions of all sources of an entity, which must be the same."""
    first, *others = sources.items()
    for name, source in others:
        if source.partitions != first[1].partitions:
            raise DeclarationError(
                f"{name} has other partitions than {first[0]}.",
                mend="Sources of one entity must have the same partitions: every, start, end, "
                "timezone, current and values.",
                entity=entity.name,
                culprit=name,
            ).within("from", name)
    return first[1].partitions
