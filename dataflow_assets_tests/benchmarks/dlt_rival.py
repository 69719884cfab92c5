"""The benchmarks' file through dlt, run by the Python of an environment that has dlt.

Usage: ``python dlt_rival.py {documented,best} URL FILE MADE``. Prints the seconds from opening the
pipeline to its last row; what it keeps goes to the folder MADE. Imports nothing of this project.

What belongs here: one pipeline as dlt's documentation starts one off, and the fastest one known.
What does not: what the others do.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dlt
import pyarrow as pa
import pyarrow.csv
from dlt.sources.filesystem import readers

if TYPE_CHECKING:
    from collections.abc import Iterator

MONEY = pa.decimal128(15, 2)
TYPES = {
    **dict.fromkeys(("l_orderkey", "l_partkey", "l_suppkey"), pa.int64()),
    "l_linenumber": pa.int32(),
    **dict.fromkeys(("l_quantity", "l_extendedprice", "l_discount", "l_tax"), MONEY),
    **dict.fromkeys(("l_shipdate", "l_commitdate", "l_receiptdate"), pa.date32()),
}
BLOCK = 16_000_000
ROWS_A_FILE = 200_000
"""So that several files are loaded side by side."""


def documented(file: Path) -> Any:  # noqa: ANN401 - dlt is not installed where types are checked
    """Return what dlt's documentation of its filesystem source reads CSV files by."""
    return readers(bucket_url=file.parent.as_uri(), file_glob=file.name).read_csv()


def best(file: Path) -> Any:  # noqa: ANN401 - as above
    """Return Arrow batches with all types given: no row is ever a Python object."""

    def batches() -> Iterator[pa.RecordBatch]:
        yield from pyarrow.csv.open_csv(
            file,
            read_options=pyarrow.csv.ReadOptions(block_size=BLOCK),
            convert_options=pyarrow.csv.ConvertOptions(column_types=TYPES),
        )

    return dlt.resource(batches, name="lineitem")


def load(way: str, url: str, file: Path, made: Path) -> float:
    """Run the pipeline and return the seconds that it took."""
    if way == "best":
        os.environ["DATA_WRITER__FILE_MAX_ITEMS"] = str(ROWS_A_FILE)
    began = time.perf_counter()
    pipeline = dlt.pipeline(
        pipeline_name=f"lineitem_{way}",
        pipelines_dir=str(made),
        destination=dlt.destinations.postgres(url),
        dataset_name=f"dlt_{way}",
    )
    if way == "best":
        pipeline.run(best(file), loader_file_format="parquet")
    else:
        pipeline.run(documented(file).with_name("lineitem"))
    return time.perf_counter() - began


if __name__ == "__main__":
    which, address, *places = sys.argv[1:]
    taken = load(which, address, *map(Path, places))
    sys.stdout.write(json.dumps({"seconds": taken}) + "\n")
