"""Memory stays bounded whatever a partition's size: measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import polars as pl

from dataflow_assets.declaration.contract import Contract
from dataflow_assets.io.duplicates import find_losers
from dataflow_assets.transform.clean import CleaningPlan
from dataflow_assets_tests.benchmarks.memory import peak_mb

ROWS = 400_000
NOTE_BYTES = 2_000
GROUP_ROWS = 5_000
MOST_MB = 850
"""It takes some 640; all notes at once would be 800 more."""


def write_raw(path: Path) -> None:
    """Write raw rows of which every hundredth repeats the key of the one before."""
    number = pl.int_range(ROWS)
    texts = {
        "id": (number - (number % 100 == 99).cast(pl.Int64)).cast(pl.String),
        "note": pl.concat_str(number.cast(pl.String).str.zfill(10), pl.lit("x" * NOTE_BYTES)),
        "_file": pl.lit("a.csv"),
        "_version": pl.lit("1"),
        "_line": number + 2,
        "_reject": pl.lit(None, pl.String),
        "_text": pl.lit(None, pl.String),
    }
    rows = pl.LazyFrame({"row": range(ROWS)}).select(**texts)
    rows.sink_parquet(path, row_group_size=GROUP_ROWS, compression="lz4")


def clean(folder: Path) -> None:
    """Clean the partition as a run does, and print how many rows are good, and the peak in MB."""
    contract = {"key": ["id"], "columns": {"id": "int64", "note": {"type": "string"}}}
    plan = CleaningPlan(Contract.model_validate(contract), ["id", "note"])
    raw = pl.scan_parquet(folder / "raw.parquet", row_index_name="_row")
    losers = find_losers(raw, plan, ROWS, folder, 1_000)
    split = plan.clean(raw, losers)
    sinks = [
        split.good.sink_parquet(folder / "good.parquet", lazy=True, row_group_size=GROUP_ROWS),
        split.findings.sink_parquet(folder / "findings.parquet", lazy=True),
    ]
    pl.collect_all(sinks, engine="streaming")
    good = pl.scan_parquet(folder / "good.parquet").select(pl.len()).collect().item()
    sys.stdout.write(f"{good} {peak_mb():.0f}\n")


def test_cleaning_holds_neither_all_rows_nor_all_columns(tmp_path: Path) -> None:
    write_raw(tmp_path / "raw.parquet")
    command = [sys.executable, "-m", "dataflow_assets_tests.integration.test_memory", str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    good, peak = map(int, done.stdout.split())
    assert good == ROWS - ROWS // 100
    assert peak < MOST_MB


if __name__ == "__main__":
    clean(Path(sys.argv[1]))
