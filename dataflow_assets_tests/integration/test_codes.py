"""The same bytes give the same rows, or the code that stands for how they are read is raised.

A partition whose files have not changed is not received again. So when the splitter or a parser
changes what it makes of the same bytes, RAW_CODE or CLEANED_CODE must change with it; these tests
fail then, and the new digest goes beside the new code.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.builders.cleaning import CLEANED_CODE
from dataflow_assets.builders.receiving import RAW_CODE
from dataflow_assets.declaration.contract import Contract
from dataflow_assets.declaration.extract import Files
from dataflow_assets.extract.csv import CsvReader
from dataflow_assets.extract.files import FoundFile, take_snapshot
from dataflow_assets.transform.clean import CleaningPlan

if TYPE_CHECKING:
    from pathlib import Path

BODY = (
    b"\xef\xbb\xbfid,when,amount,id\r\n"
    b'1,2026-01-05T10:00:00Z,"1,5",a\n'
    b'2,2026-01-05 11:00,"two\nlines",b\r'
    b"3,yesterday,3\n"
    b'4,2026-01-06T00:00:00+01:00,4.50,"open\n'
    b'5,,0x10,5" pipe\n'
    b"id,when,amount,id\n"
    b"6,2026-02-30,\xff,c\n"
    b"\n"
    b"6,2026-01-07T00:00:00.123456789Z, 7 ,N\0L\n"
)
CONTRACT = Contract.model_validate(
    {
        "key": ["id"],
        "columns": {
            "id": "int64",
            "when": "timestamp",
            "amount": {"type": "decimal(8, 2)", "min": 0},
            "id_2": {"type": "string", "max_length": 6},
        },
    }
)


def raw_rows(folder: Path) -> pl.DataFrame:
    path = folder / "file.csv"
    path.write_bytes(BODY)
    found = FoundFile(path, "file.csv", len(BODY), path.stat().st_mtime_ns)
    snapshot = take_snapshot(found, folder / "archive")
    files = Files(path="file.csv")
    reader = CsvReader(files, CONTRACT)
    tables = reader.rows(snapshot, reader.schema(snapshot))
    return pl.concat([pl.DataFrame(table) for table in tables])


def digest(rows: pl.DataFrame) -> str:
    text = json.dumps(rows.rows(), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def test_raw_rows_of_the_same_bytes(tmp_path: Path) -> None:
    assert (RAW_CODE, digest(raw_rows(tmp_path))) == ("1", "72e18d1836cc")


def test_cleaned_rows_of_the_same_raw_rows(tmp_path: Path) -> None:
    raw = raw_rows(tmp_path).with_row_index("_row")
    names = [name for name in raw.columns if not name.startswith("_")]
    cleaned = CleaningPlan(CONTRACT, names).clean_in_memory(raw)
    made = digest(cleaned.good.collect()), digest(cleaned.findings.collect())
    assert (CLEANED_CODE, *made) == ("4", "4f53cda18c2b", "bdd5aebe88d7")
