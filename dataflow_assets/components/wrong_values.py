"""What Pydantic found wrong, in the words of a declaration: one mistake for each place in the YAML.

What belongs here: from Pydantic's errors, which tell of each type that a value might have had, to
what the author has to change. What does not: how these errors are come by (`mistakes`).
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping as AbstractMapping
from difflib import get_close_matches
from itertools import groupby, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel

from dataflow_assets.declaration.base import Declared
from dataflow_assets.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dagster_shared.yaml_utils.source_position import SourcePosition
    from pydantic_core import ErrorDetails

DOCUMENTED = "See documentation/declarations.md for all words of a declaration."
NAME_LINE = re.compile(r"^  name:\s*[\"']?([^\s\"'#]+)", re.MULTILINE)
"""The name of a source or entity: the one word of that name just below `attributes`."""
ENTITY_LINE = re.compile(r"^type:\s*[\"']?dataflow_assets\.Entity\b", re.MULTILINE)
SAID_BEFORE = re.compile(r"^(Value error|Assertion failed), ")
STEP_END = re.compile(r"\.(?![^\[]*\])")
"""A dot between two steps of a place: none of those in the name of a type, `tuple[str, ...]`."""
KINDS = {
    "string": "a text",
    "int": "a whole number",
    "float": "a number",
    "decimal": "a number",
    "bool": "true or false",
    "date": "a date",
    "datetime": "a date with a time",
    "time": "a time",
    "tuple": "a list",
    "list": "a list",
    "dict": "a map",
    "model": "a map",
}
"""What a value should be of which Pydantic says that it is not of a kind."""


class _Wrong(NamedTuple):
    """An error of Pydantic, and where it is.

    Attributes:
        error: The error.
        words: The words that lead there.
        member: Where the value may be of several types, the words below it as one of them; else
            none.
    """

    error: ErrorDetails
    words: tuple[str, ...]
    member: tuple[str, ...] | None


def wrong_values(
    errors: Sequence[ErrorDetails], model: type[BaseModel] | None
) -> Iterator[DeclarationError]:
    """Yield a mistake for each place of the YAML where something is wrong.

    Args:
        errors: What Pydantic found.
        model: The model of the declaration, if it is one.
    """
    found = [_placed(error, model) for error in errors]
    for (words, several), alike in groupby(found, lambda one: (one.words, one.member is not None)):
        if several:
            yield from _none_of_several(words, list(alike), model)
        else:
            yield from (_mistake(one.error, words, model) for one in alike)


def _placed(error: ErrorDetails, model: type[BaseModel] | None) -> _Wrong:
    position = error.get("ctx", {}).get("source_position")
    place = ".".join(map(str, error["loc"])).removesuffix(f" at {position}")
    steps = [step for step in STEP_END.split(place) if step]
    words = steps[1:] if steps[:1] == ["attributes"] else steps
    if words[-1:] == ["[key]"]:  # it is the word itself that is wrong
        return _Wrong(error, tuple(words[:-1]), None)
    known: Any = model
    for number, word in enumerate(words):
        if len(_members(known)) > 1:
            return _Wrong(error, tuple(words[:number]), tuple(words[number + 1 :]))
        known = _below(known, word)
    return _Wrong(error, tuple(words), None)


def _none_of_several(
    words: tuple[str, ...], wrong: Sequence[_Wrong], model: type[BaseModel] | None
) -> Iterator[DeclarationError]:
    """Yield what is wrong with a value that is of none of the types that it may have.

    What is said of the value itself tells more than that it is of another type.
    """
    said = [one for one in wrong if one.error["type"] in ("value_error", "assertion_error")]
    unknown = [one for one in wrong if one.error["type"] == "extra_forbidden"]
    for telling in (said, unknown, [one for one in wrong if one.member]):
        if telling:
            for one in telling:
                yield _mistake(one.error, (*words, *(one.member or ())), model)
            return
    kinds = list(dict.fromkeys(_kind(one.error) for one in wrong))
    listed = " or ".join([", ".join(kinds[:-1]), kinds[-1]] if len(kinds) > 1 else kinds)
    yield _located(
        DeclarationError(f"this should be {listed}.", mend=DOCUMENTED, culprit=".".join(words)),
        wrong[0].error,
    )


def _kind(error: ErrorDetails) -> str:
    if error["type"] == "literal_error":
        return str(error["ctx"]["expected"])
    return KINDS.get(error["type"].partition("_")[0], error["msg"])


def _mistake(
    error: ErrorDetails, words: Sequence[str], model: type[BaseModel] | None
) -> DeclarationError:
    allowed = _words_at(model, words[:-1]) if model and words else ()
    if error["type"] == "extra_forbidden" and allowed:
        problem = f"there is no word {words[-1]!r} here."
        mend = f"{nearest(words[-1], allowed)}Words here are {', '.join(allowed)}."
    elif error["type"].endswith("_type") and _kind(error) != error["msg"]:
        problem = f"this should be {_kind(error)}."
        mend = DOCUMENTED
    else:
        problem = f"{SAID_BEFORE.sub('', error['msg']).rstrip('.')}."
        mend = DOCUMENTED
    return _located(DeclarationError(problem, mend=mend, culprit=".".join(words) or None), error)


def _located(mistake: DeclarationError, error: ErrorDetails) -> DeclarationError:
    position = error.get("ctx", {}).get("source_position")
    if position is None:
        return mistake
    return mistake.at(**_declared_at(position)).locate(str(position))


def _declared_at(position: SourcePosition) -> dict[str, str]:
    """Return the name of the source or entity whose document holds a place, if it has one."""
    lines = Path(position.filename).read_text(encoding="utf-8").splitlines()
    before = lines[: position.start.line]
    begin = max((number for number, line in enumerate(before) if line.startswith("---")), default=0)
    begin += lines[begin].startswith("---")
    document = "\n".join(takewhile(_is_within, lines[begin:]))
    named = NAME_LINE.search(document)
    kind = "entity" if ENTITY_LINE.search(document) else "source"
    return {kind: named[1]} if named else {}


def _is_within(line: str) -> bool:
    return not line.startswith("---")


def nearest(word: str, allowed: Sequence[str]) -> str:
    """Return a question that names the word most like another one, if there is one like it."""
    near = get_close_matches(word, allowed, n=1)
    return f"Did you mean {near[0]!r}? " if near else ""


def _words_at(model: type[BaseModel], path: Sequence[str]) -> tuple[str, ...]:
    """Return the words that a model knows at a place below it."""
    known: Any = model
    for step in path:
        known = _below(known, step)
    return tuple(
        field.alias or name
        for one in _alternatives(known)
        if isinstance(one, type) and issubclass(one, Declared)
        for name, field in one.model_fields.items()
    )


def _below(annotation: Any, step: str) -> Any:  # noqa: ANN401 - annotations have no common type
    """Return the type of what stands under a word."""
    for one in _alternatives(annotation):
        if isinstance(one, type) and issubclass(one, BaseModel):
            for name, field in one.model_fields.items():
                if step in (name, field.alias):
                    return field.annotation
        if typing.get_origin(one) in (dict, AbstractMapping):
            return typing.get_args(one)[1]
        if typing.get_origin(one) is tuple and step.isdigit():
            return typing.get_args(one)[0]
    return annotation  # part of a name with a dot in it


def _alternatives(annotation: Any) -> Iterator[Any]:  # noqa: ANN401 - as above
    """Yield the types of which a value may be."""
    if typing.get_origin(annotation) is typing.Annotated:
        yield from _alternatives(typing.get_args(annotation)[0])
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for one in typing.get_args(annotation):
            yield from _alternatives(one)
    else:
        yield annotation


def _members(annotation: Any) -> list[Any]:  # noqa: ANN401 - as above
    """Return the types of which a value may be, beside none at all."""
    return [one for one in _alternatives(annotation) if one is not type(None)]
