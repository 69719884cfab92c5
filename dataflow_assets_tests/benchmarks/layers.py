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

PARTITION = "2024-01-01"


def run_layer(layer: str, file: Path, data: Path) -> dict[str, float]:
    """Run one layer and return what it took and what came of it."""
    settings = Settings(data_dir=data, files_dir=file.parent)
    stores = build_resources(settings)["stores"].open("benchmark")
    documents = [one["attributes"] for one in yaml.safe_load_all(SOURCE)]
    source = SourceDeclaration.model_validate(documents[0])
    entity = EntityDeclaration.model_validate(documents[1])
    began = time.perf_counter()
    counts: dict[str, float] = {}
    if layer == "floor":
        pl.scan_csv(file, infer_schema=False).sink_parquet(data / "floor.parquet", mkdir=True)
    elif layer == "raw":
        with Receiver(source, stores, [PARTITION]) as receiver:
            received = receiver.receive(PARTITION)
        counts = {"received": received.manifest.rows}
    elif layer == "cleaned":
        with Cleaner(source, stores) as cleaner:
            cleaned = cleaner.clean(PARTITION)
        if cleaned.failure is not None:
            raise cleaned.failure
        counts = cleaned.counts.model_dump(exclude_none=True)
    else:
        mappings = build_mappings(entity, {source.name: source})
        with Normalizer(entity, mappings, source.partitions, stores) as normalizer:
            staged = normalizer.stage(PARTITION)
            normalizer.publish([staged])
        counts = staged.counts.model_dump(exclude_none=True)
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime
    return {"seconds": seconds, "cpu": cpu, "peak_mb": used.ru_maxrss / 1024, **counts}


if __name__ == "__main__":
    layer_name, file_name, data_name = sys.argv[1:]
    sys.stdout.write(json.dumps(run_layer(layer_name, Path(file_name), Path(data_name))) + "\n")
