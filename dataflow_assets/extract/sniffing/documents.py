"""Where the records of a JSON document are, and which of their members are objects themselves.

What belongs here: finding lists of objects in a document, whole or cut off. What does not: reading
the records.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],]', re.DOTALL)
CLOSING = {"{": "}", "[": "]"}
DEEPEST = 6
MOST_MEMBERS = 60
USUAL = 0.5


@dataclass(frozen=True)
class RecordsGuess:
    """Where the records are.

    Attributes:
        path: The names that lead there; none if the document is the list, or one record.
        count: How many there are, as far as the document was seen.
        others: Other lists of objects, with their counts.
        single: Whether the document is one record.
    """

    path: tuple[str, ...]
    count: int
    others: tuple[tuple[tuple[str, ...], int], ...] = ()
    single: bool = False


def parse(text: str) -> Any | None:  # noqa: ANN401 - nested JSON
    """Return a document; of one that is cut off, what came before. None if it is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(_closed(text))
    except (ValueError, RecursionError):
        return None


def _closed(text: str) -> str:
    """Return a document up to the last whole element of a list, with all brackets closed."""
    stack: list[str] = []
    kept, open_then = 0, ""
    for match in TOKEN.finditer(text):
        mark = match[0]
        if mark in CLOSING:
            stack.append(mark)
        elif mark in ("}", "]"):
            if not stack:
                break
            stack.pop()
            kept, open_then = match.end(), "".join(stack)
        elif mark == "," and stack and stack[-1] == "[":
            kept, open_then = match.start(), "".join(stack)
    return text[:kept] + "".join(CLOSING[one] for one in reversed(open_then))


def guess_records(document: Any) -> RecordsGuess | None:  # noqa: ANN401 - nested JSON
    """Return where the records of a document are; none if it has no objects."""
    if isinstance(document, list):
        objects = sum(isinstance(one, dict) for one in document)
        return RecordsGuess((), objects) if objects > USUAL * len(document) else None
    if not isinstance(document, dict):
        return None
    found = sorted(_lists(document, ()), key=lambda one: (-one[1], len(one[0])))
    if not found:
        return RecordsGuess((), 1, single=True)
    (path, count), *others = found
    return RecordsGuess(path, count, tuple(others[:5]))


def _lists(value: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield the way to each list of objects, with its length."""
    for name, member in value.items():
        if isinstance(member, list):
            objects = sum(isinstance(one, dict) for one in member)
            if objects and objects > USUAL * len(member):
                yield (*path, name), objects
        elif isinstance(member, dict) and len(path) < DEEPEST:
            yield from _lists(member, (*path, name))


def member_names(texts: Iterable[str]) -> list[str]:
    """Return the names of the members of objects; none if one is no object, or they are too many.

    Args:
        texts: JSON, as a column holds it.
    """
    names: dict[str, None] = {}
    for text in texts:
        try:
            value = json.loads(text)
        except ValueError:
            return []
        if not isinstance(value, dict):
            return []
        names.update(dict.fromkeys(value))
    return list(names) if 0 < len(names) <= MOST_MEMBERS else []
