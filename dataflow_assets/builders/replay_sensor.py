"""The sensor that replays partitions with rows in quarantine when their contract changes."""

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from dataflow_assets.builders.cleaning import cleaned_declaration
from dataflow_assets.builders.discovery import ranges
from dataflow_assets.builders.resources import StoresResource
from dataflow_assets.builders.sensor import PARTITIONS_A_RUN, REQUESTS_A_TICK, run_request
from dataflow_assets.builders.stores import digest
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.errors import DataflowError, PartitionMissingError

LOOK_EVERY_S = 300
OPEN_ELSEWHERE = """
select "partition" from dataflow.ledger
where asset = $1 and loaded > 0 and declaration <> $2 order by 1
"""


def build_replay_sensor(
    source: SourceDeclaration,
    job: UnresolvedAssetJobDefinition,
    partitions: dg.PartitionsDefinition[str],
) -> dg.SensorDefinition:
    """Return the sensor that replays partitions whose contract was mended; it is off at first.

    It asks for all partitions with rows in quarantine that were cleaned under another contract:
    which rows pass is seen when they are cleaned.
    """

    @dg.sensor(
        name=f"{source.name}_replay",
        job=job,
        minimum_interval_seconds=LOOK_EVERY_S,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Replays the partitions of {source.name} that have rows in quarantine, once "
        "for each change of the contract.",
    )
    def evaluate(context: dg.SensorEvaluationContext, stores: StoresResource) -> dg.SensorResult:
        declaration = cleaned_declaration(source)
        keys = list(partitions.get_partition_keys(dynamic_partitions_store=context.instance))
        asset = f"quarantine/{source.name}"
        try:
            found = stores.open().warehouse.read(OPEN_ELSEWHERE, [asset, declaration])
        except PartitionMissingError:
            return dg.SensorResult(skip_reason="nothing has been published yet")
        except DataflowError as error:
            raise dg.Failure(str(error.at(source=source.name)), allow_retries=False) from error
        known = set(keys)
        due = [key for key in found["partition"] if key in known]
        runs = ranges(due, keys, PARTITIONS_A_RUN)[:REQUESTS_A_TICK]
        requests = [run_request(f"{declaration}:{digest(run)}", run) for run in runs]
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else "every partition was cleaned under this contract",
        )

    return evaluate
