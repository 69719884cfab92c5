"""What the documentation says comes of a text: each line of its tables is tried as it stands."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dataflow_assets.declaration.contract import Column, Contract
from dataflow_assets.transform.clean import CleaningPlan
from dataflow_assets_tests.unit.transform.raw_rows import raw_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOCUMENT = Path(__file__).parents[3] / "documentation" / "declarations.md"
HEADER = "| column | text | value |"
ROW = re.compile(r"^\| (?:`(?P<column>.+?)`)? ?\| `(?P<text>.+?)` \| (?P<value>.+) \|$")
FEWEST = 60


def documented() -> Iterator[tuple[str, str, str]]:
    """Yield column, text and value of each line; the column may be that of the line above."""
    lines = iter(DOCUMENT.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line == HEADER:
            next(lines)
            column = ""
            for row in iter(lambda: next(lines), ""):
                match = ROW.match(row)
                assert match is not None, row
                column = match["column"] or column
                yield column, match["text"], match["value"]


EXAMPLES = list(documented())


def test_the_tables_are_found() -> None:
    assert len(EXAMPLES) > FEWEST


@pytest.mark.parametrize(("column", "text", "value"), EXAMPLES)
def test_what_is_documented_comes_of_a_text(column: str, text: str, value: str) -> None:
    contract = Contract.model_validate({"columns": {"c": yaml.safe_load(column)}})
    given = yaml.safe_load(text) if text.startswith('"') else text
    raw = raw_rows({"c": [given]})
    cleaned = CleaningPlan(contract, ["c"]).clean_in_memory(raw.collect())
    good = cleaned.good.collect()["c"].to_list()
    if value == "quarantined":
        (found,) = cleaned.findings.collect().iter_rows(named=True)
        assert (good, found["outcome"]) == ([], "quarantined")
        assert [(one["rule"], one["value"]) for one in found["reasons"]] == [("c__type", given)]
    else:
        assert good == [as_value(value, contract.columns["c"])]


def as_value(value: str, column: Column) -> Any:  # noqa: ANN401 - of any type
    """Return the value that a line of a table says, in the column's type."""
    if value == "no value":
        return None
    written = value.strip("`")
    if column.type == "timestamp":
        return dt.datetime.fromisoformat(written)
    if column.type.startswith("decimal"):
        return Decimal(written)
    plain: dict[str, Callable[[str], Any]] = {
        "boolean": lambda word: word == "true",
        "int64": int,
        "float64": float,
        "string": str,
    }
    return plain[column.type](written)
