"""Rows as a table for a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dataflow_assets.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

WIDTH = 60


def write_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows below the names of their columns; values are cut that are longer than `WIDTH`."""
    cells = [list(columns), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        sys.stdout.write("  ".join(padded).rstrip() + "\n")


def _cell(value: object) -> str:
    text = "" if value is None else printable(str(value))
    text = text.replace("\n", "⏎").replace("\r", "").replace("\t", "→")
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
