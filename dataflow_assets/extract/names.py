"""Names of columns made of names that a source gives.

What belongs here: making names that tables can have. What does not: finding them in a file.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import count
from typing import TYPE_CHECKING

from dataflow_assets.declaration.base import RESERVED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BOM = "\ufeff"


def column_name(name: str) -> str:
    """Return the column's name for a name: not empty, and none that is reserved."""
    name = name or "_"
    return f"column{name}" if RESERVED.match(name) else name


def unique_names(header: Iterable[str]) -> list[str]:
    """Return names of columns made of a header's fields: none empty, reserved or twice."""
    names: dict[str, None] = {}
    numbers: defaultdict[str, Iterator[int]] = defaultdict(lambda: count(2))
    for position, field in enumerate(header, start=1):
        name = column_name(field.strip().strip(BOM).strip() or f"column_{position}")
        unique = name
        while unique in names:
            unique = f"{name}_{next(numbers[name])}"
        names[unique] = None
    return list(names)


def parents_of(names: Iterable[str]) -> set[str]:
    """Return what stands before each dot of some names: whose members they may be."""
    return {
        name[:place] for name in names for place, mark in enumerate(name) if mark == "." and place
    }
