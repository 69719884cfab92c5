"""From a source's declaration to its assets, job, sensor and schedule."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from dataflow_assets.builders import checks, metadata
from dataflow_assets.builders.anomalies import (
    anomaly_check_specs,
    anomaly_outcomes,
    declared_figures,
)
from dataflow_assets.builders.breakers import host_check_results, host_check_specs
from dataflow_assets.builders.cleaning import Cleaned, Cleaner, cleaned_declaration
from dataflow_assets.builders.freshness import (
    build_freshness_sensor,
    freshness_check_specs,
    freshness_policy,
    freshness_results,
)
from dataflow_assets.builders.partitions import build_partitions
from dataflow_assets.builders.patches import propose_patch
from dataflow_assets.builders.receiving import RawLayer, Receiver, raw_declaration
from dataflow_assets.builders.references import asset_deps
from dataflow_assets.builders.replay_sensor import build_replay_sensor
from dataflow_assets.builders.rereading import Rereader
from dataflow_assets.builders.resources import StoresResource
from dataflow_assets.builders.sensor import build_schedule, build_sensor
from dataflow_assets.builders.steps import (
    StepEvent,
    failing,
    finish,
    run_partitions,
)
from dataflow_assets.builders.stores import Stores
from dataflow_assets.declaration.contract import Contract
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.errors import PluginError
from dataflow_assets.io.lake import Layer

RAW_OF = "dataflow/raw_of"
ARCHIVE = "archive"
"""The tag of a run that makes raw anew of archived bytes, and asks nobody for anything."""
OWN_LAYERS = ("raw", "cleaned", "quarantine")
PREVIEWS = 31
"""The most partitions of a run for which the rows are previewed: each preview takes a read."""
CLEANED_LAYERS: tuple[Layer, ...] = ("cleaned", "quarantine")


def build_source(
    source: SourceDeclaration, broken: PluginError | None = None, file: Path | None = None
) -> dg.Definitions:
    """Return everything that a source's declaration asks for.

    Args:
        source: The declaration.
        broken: Why a plug-in that it names cannot be used; its runs fail of that.
        file: The file in which it stands, if that is known.

    Raises:
        DeclarationError: A rule has the name of another check.
    """
    unusable = broken if source.contract.model is not None else None
    if broken is not None:
        text = f"**Broken**: {broken}\n\n{source.description}".strip()
        source = source.model_copy(update={"description": text, "contract": _known(source)})
    partitions = build_partitions(source.partitions)
    job = dg.define_asset_job(
        f"{source.name}_job",
        selection=_own_assets(source),
        description=f"Materializes {source.name}, up to the tables that it feeds.",
    )
    replay = dg.define_asset_job(
        f"{source.name}_replay",
        selection=_own_assets(source) - dg.AssetSelection.assets(dg.AssetKey(["raw", source.name])),
        description=f"Makes {source.name} anew from raw, up to the tables that it feeds: nothing "
        "is received again.",
    )
    declared = source.automation
    return dg.Definitions(
        assets=[
            _files_spec(source, partitions),
            _raw_asset(source, partitions, unusable),
            _cleaned_asset(source, partitions, unusable, file),
        ],
        jobs=[job, replay],
        sensors=[
            *_sensors(source, job, partitions),
            build_replay_sensor(source, replay, partitions),
        ],
        schedules=[build_schedule(source, declared.cron, job, partitions)] if declared.cron else [],
    )


def _known(source: SourceDeclaration) -> Contract:
    """Return what is known of a contract whose model may not be there: its own columns."""
    contract = source.contract
    if contract.model is None:
        return contract
    return Contract.model_construct(columns=contract.columns)


def _own_assets(source: SourceDeclaration) -> dg.AssetSelection:
    """Select what a source's rows go through, and not what merely refers to it."""
    own = dg.AssetSelection.assets(*(dg.AssetKey([layer, source.name]) for layer in OWN_LAYERS))
    fed = dg.AssetSelection.assets(dg.AssetKey(["cleaned", source.name])).downstream(depth=1)
    return own | (fed & dg.AssetSelection.key_prefixes(["normalized"]))


def _sensors(
    source: SourceDeclaration,
    job: UnresolvedAssetJobDefinition,
    partitions: dg.PartitionsDefinition[str],
) -> list[dg.SensorDefinition]:
    files, freshness = source.automation.sensor, build_freshness_sensor(source)
    found = [build_sensor(source, files, job, partitions)] if files else []
    return [*found, freshness] if freshness else found


def _files_spec(
    source: SourceDeclaration, partitions: dg.PartitionsDefinition[str]
) -> dg.AssetSpec:
    """The outside world, where the lineage begins."""
    return dg.AssetSpec(
        ["files", source.name],
        description=f"{source.extract.place}, as the source delivers it.",
        group_name=source.name,
        kinds={source.extract.kind},
        owners=list(source.owners),
        tags=source.tags,
        partitions_def=partitions,
    )


def _spec(
    source: SourceDeclaration,
    layer: str,
    description: str,
    deps: list[str],
    *,
    referred: Sequence[dg.AssetDep] = (),
    **more: object,
) -> dg.AssetSpec:
    return dg.AssetSpec(
        [layer, source.name],
        description=f"{source.description}\n\n{description}".strip(),
        deps=[*(dg.AssetDep(dg.AssetKey([dep, source.name])) for dep in deps), *referred],
        group_name=source.name,
        owners=list(source.owners),
        tags=source.tags,
        kinds={layer, "parquet", "polars"},  # the graph shows the last part of a key only
        **more,  # type: ignore[arg-type]
    )


def _raw_asset(
    source: SourceDeclaration,
    partitions: dg.PartitionsDefinition[str],
    unusable: PluginError | None,
) -> dg.AssetsDefinition:
    key = dg.AssetKey(["raw", source.name])
    specs = checks.raw_check_specs(source)

    @dg.multi_asset(
        name=f"raw__{source.name}",
        specs=[
            _spec(
                source,
                "raw",
                "Rows exactly as received, with the bytes archived.",
                ["files"],
                code_version=raw_declaration(source),
                metadata={"dagster/column_schema": metadata.raw_schema(source)},
            )
        ],
        check_specs=[*specs, *host_check_specs(source)],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def raw(context: dg.AssetExecutionContext, stores: StoresResource) -> Iterator[StepEvent]:
        opened = stores.open(context.run.run_id)
        with (
            failing(context, source.name, unusable),
            _opened(source, opened, context) as receiver,
        ):
            outcomes = run_partitions(context, source.name, receiver.receive, receiver.record)
        found = {
            key: list(checks.raw_outcomes(source, one)) for key, one in outcomes.results.items()
        }
        said = [
            *checks.check_results(context, specs, found),
            *host_check_results(context, source, opened),
        ]
        preview = len(context.partition_keys) <= PREVIEWS
        shown = {
            partition: receiver.show(one, preview=preview)
            for partition, one in outcomes.published.items()
        }
        yield from finish(context, outcomes.failures, [(key, shown)], said)

    return raw


def _opened(
    source: SourceDeclaration, stores: Stores, context: dg.AssetExecutionContext
) -> RawLayer:
    """Return what publishes raw rows: of what the source gives, or of what the archive has."""
    if context.run.tags.get(RAW_OF) == ARCHIVE:
        return Rereader(source, stores)
    return Receiver(source, stores, context.partition_keys)


def _cleaned_asset(
    source: SourceDeclaration,
    partitions: dg.PartitionsDefinition[str],
    unusable: PluginError | None,
    file: Path | None,
) -> dg.AssetsDefinition:
    rules = checks.rule_checks(source)
    figures = declared_figures(source, rules)
    specs = [
        *checks.cleaned_check_specs(source, rules),
        *anomaly_check_specs(source, figures),
        *freshness_check_specs(source),
    ]
    version = cleaned_declaration(source)
    referred = asset_deps(source)

    @dg.multi_asset(
        name=f"cleaned__{source.name}",
        specs=[
            _spec(
                source,
                "cleaned",
                "Typed rows that honour the contract, one for each key.",
                ["raw"],
                referred=referred,
                code_version=version,
                metadata={
                    "dagster/column_schema": metadata.cleaned_schema(source.contract),
                    "dagster/column_lineage": metadata.cleaned_lineage(source),
                    **metadata.model_metadata(source.contract),
                },
                freshness_policy=freshness_policy(source),
            ),
            _spec(
                source,
                "quarantine",
                "Rows that break the contract, with their reasons, as they were received.",
                ["raw"],
                referred=referred,
                code_version=version,
                metadata={"dagster/column_schema": metadata.QUARANTINE_SCHEMA},
            ),
        ],
        check_specs=specs,
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        can_subset=True,
    )
    def cleaned(context: dg.AssetExecutionContext, stores: StoresResource) -> Iterator[StepEvent]:
        opened = stores.open(context.run.run_id)
        with failing(context, source.name, unusable), Cleaner(source, opened, figures) as cleaner:
            outcomes = run_partitions(context, source.name, cleaner.clean, cleaner.record)
            shown_of = drift_shown(source, cleaner, outcomes.results, file)
        found = {
            key: [
                *checks.cleaned_outcomes(source, rules, one, shown_of(key)),
                *anomaly_outcomes(one.looked),
            ]
            for key, one in outcomes.results.items()
        }
        said = [
            *checks.check_results(context, specs, found),
            *freshness_results(context, source, opened),
        ]
        preview = len(context.partition_keys) <= PREVIEWS
        tables = [
            (
                dg.AssetKey([layer, source.name]),
                {
                    partition: cleaner.show(layer, one, preview=preview)
                    for partition, one in outcomes.published.items()
                },
            )
            for layer in CLEANED_LAYERS
        ]
        yield from finish(context, outcomes.failures, tables, said)

    return cleaned


def drift_shown(
    source: SourceDeclaration, cleaner: Cleaner, results: Mapping[str, Cleaned], file: Path | None
) -> Callable[[str], checks.DriftShown]:
    """Return what is to be shown of each partition whose columns differ.

    The history is read once, and a patch proposed for the last of them: it is what stands to be
    decided.
    """
    changed = [one for one in results.values() if one.found.changed]
    history = cleaner.drift_history() if changed else None
    last = next((one for one in reversed(list(results.values())) if one.found.undeclared), None)
    patch = propose_patch(source, last.found, file) if last is not None and file else None

    def shown_of(partition: str) -> checks.DriftShown:
        is_last = last is not None and last.partition == partition
        return checks.DriftShown(patch if is_last else None, history)

    return shown_of
