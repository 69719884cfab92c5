"""Objects of JSON as Python reads them, with what Python would pass over.

What belongs here: names that stand in an object more than once. What does not: the columns of
records, which are found without making objects (`json_members`).
"""

from __future__ import annotations

from collections import Counter
from typing import Any


class TwiceNamed(dict[str, Any]):
    """An object with a name that stands there more than once; its last value is kept.

    Args:
        members: Names and values, as they were received.
    """

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        super().__init__(members)
        counts = Counter(name for name, _ in members)
        self.repeated = {name for name, count in counts.items() if count > 1}


def object_of(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object, and one that knows of it where a name is there more than once.

    It is what `json.loads` takes as `object_pairs_hook`.
    """
    made = dict(members)
    return made if len(made) == len(members) else TwiceNamed(members)


def is_repeated(document: Any, name: str) -> bool:  # noqa: ANN401 - nested JSON
    """Whether a name is in an object more than once."""
    return isinstance(document, TwiceNamed) and name in document.repeated
