"""One layer of one partition in a process of its own, as the benchmarks measure it.

Usage: ``python -m dataflow_assets_tests.benchmarks.layers LAYER FILE DATA``, where LAYER is floor,
raw, cleaned or normalized. Prints seconds and the process's peak memory in MB.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import yaml

from dataflow_assets.builders.cleaning import Cleaner
from dataflow_assets.builders.normalizing import Normalizer, build_mappings
from dataflow_assets.builders.receiving import Receiver
from dataflow_assets.builders.resources import build_resources
from dataflow_assets.declaration.entity import EntityDeclaration
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.settings import Settings
from dataflow_assets_tests.benchmarks.declarations import SOURCE
from dataflow_assets_tests.benchmarks.memory import peak_mb

if TYPE_CHECKING:
    from dataflow_assets.builders.stores import Stores

PARTITION = "2024-01-01"


def run_layer(layer: str, file: Path, data: Path) -> dict[str, float]:
    """Run one layer and return what it took and what came of it."""
    settings = Settings(data_dir=data, files_dir=file.parent)
    stores = build_resources(settings)["stores"].open("benchmark")
    source, entity = read_declarations(SOURCE)
    began = time.perf_counter()
    counts: dict[str, float] = {}
    if layer == "floor":
        pl.scan_csv(file, infer_schema=False).sink_parquet(data / "floor.parquet", mkdir=True)
    else:
        counts = make_layer(layer, source, entity, stores, PARTITION)
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    return {"seconds": seconds, "cpu": cpu, "peak_mb": peak_mb(), **counts}


def read_declarations(documents: str) -> tuple[SourceDeclaration, EntityDeclaration]:
    """Return the source and the entity of two YAML documents."""
    source, entity = (one["attributes"] for one in yaml.safe_load_all(documents))
    return SourceDeclaration.model_validate(source), EntityDeclaration.model_validate(entity)


def make_layer(
    layer: str, source: SourceDeclaration, entity: EntityDeclaration, stores: Stores, partition: str
) -> dict[str, float]:
    """Make one layer of one partition as a run does, and return its counts."""
    if layer == "raw":
        with Receiver(source, stores, [partition]) as receiver:
            return {"received": receiver.receive(partition).manifest.rows}
    if layer == "cleaned":
        with Cleaner(source, stores) as cleaner:
            cleaned = cleaner.clean(partition)
        if cleaned.failure is not None:
            raise cleaned.failure
        return cleaned.counts.model_dump(exclude_none=True)
    mappings = build_mappings(entity, {source.name: source})
    with Normalizer(entity, mappings, source.partitions, stores) as normalizer:
        staged = normalizer.stage(partition)
        normalizer.publish([staged])
    return staged.counts.model_dump(exclude_none=True)


if __name__ == "__main__":
    layer_name, file_name, data_name = sys.argv[1:]
    sys.stdout.write(json.dumps(run_layer(layer_name, Path(file_name), Path(data_name))) + "\n")
