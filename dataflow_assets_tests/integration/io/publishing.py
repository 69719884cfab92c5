"""What the tests of the warehouse publish."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.io.ledger import Counts, LedgerRow
from dataflow_assets.io.warehouse import EntityTable, Publication

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

COLUMNS: dict[str, pl.DataType] = {
    "id": pl.Int64(),
    "at": pl.Datetime("us", "UTC"),
    "amount": pl.Decimal(12, 2),
    "generation": pl.Int64(),
}
TABLE = EntityTable(
    "things", COLUMNS, comments={"id": "The thing's id"}, key=("id",), description="Some things"
)
NOON = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)


def ledger_row(
    partition: str, rows: int, *, run_id: str = "run", layer: str = "normalized"
) -> LedgerRow:
    return LedgerRow(
        asset=f"{layer}/things",
        source="things",
        partition=partition,
        layer=layer,
        counts=Counts(received=rows, loaded=rows),
        data_version="version",
        declaration="declaration",
        run_id=run_id,
        published_at=NOON,
        duration_s=0.5,
    )


def rows_of(generation: int, rows: int) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "id": range(rows),
            "at": [NOON] * rows,
            "amount": [Decimal(f"{index}.25") for index in range(rows)],
            "generation": [generation] * rows,
        },
        schema=COLUMNS,
    ).with_columns(_source=pl.lit("shop"), _raw_ref=pl.lit("v:1"))


def publication(
    folder: Path,
    partition: str,
    rows: int,
    *,
    generation: int = 0,
    added: Mapping[str, pl.Expr] | None = None,
) -> Publication:
    staged = folder / f"{partition}-{generation}.parquet"
    rows_of(generation, rows).with_columns(**(added or {})).write_parquet(staged)
    return Publication(partition, staged, ledger_row(partition, rows, run_id=f"run{generation}"))
