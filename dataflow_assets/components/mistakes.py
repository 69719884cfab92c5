"""Mistakes in declarations, as a person needs them: file, line, word, what to change.

What belongs here: finding, in whatever Dagster, Pydantic or YAML raised while declarations were
loaded, what their author has to change. What does not: finding the mistakes.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping as AbstractMapping
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ValidationError

from dataflow_assets.declaration.base import Declared
from dataflow_assets.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dagster_shared.yaml_utils.source_position import SourcePosition
    from pydantic_core import ErrorDetails

DOCUMENTED = "See documentation/declarations.md for all words of a declaration."
TYPE_LINE = re.compile(r"^type:\s*[\"']?(dataflow_assets\.\w*)", re.MULTILINE)
NAME_LINE = re.compile(r"^  name:\s*[\"']?([^\s\"'#]+)", re.MULTILINE)
"""The name of a source or entity: the one word of that name just below `attributes`."""
SAID_BEFORE = re.compile(r"^(Value error|Assertion failed), ")


def mistakes_in(
    error: BaseException, models: Mapping[str, type[BaseModel]]
) -> Iterator[DeclarationError]:
    """Yield the mistakes that an error tells of; none if it is about something else.

    Args:
        error: What was raised while declarations were loaded.
        models: The models of declarations, by their class name.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, DeclarationError):
            yield cause
            return
        if isinstance(cause, ValidationError):
            model = models.get(cause.title)
            yield from (_wrong_value(one, model) for one in cause.errors())
            return
        if isinstance(cause, yaml.MarkedYAMLError):
            yield _no_yaml(cause)
            return
        cause = cause.__cause__ or cause.__context__


def unknown_types(folder: Path, known: Sequence[str]) -> Iterator[DeclarationError]:
    """Yield a mistake for each document whose type is none of ours, though it claims to be."""
    for path in sorted(folder.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        for match in TYPE_LINE.finditer(text):
            if match[1] not in known:
                line = text.count("\n", 0, match.start()) + 1
                yield DeclarationError(
                    f"there is no type {match[1]!r}.",
                    mend=f"{_nearest(match[1], known)}Types are {', '.join(known)}.",
                    culprit="type",
                ).locate(f"{path}:{line}")


def summed_up(mistakes: Sequence[DeclarationError]) -> DeclarationError:
    """Return one error that tells of all mistakes, each on a line of its own."""
    told = {str(mistake): mistake for mistake in mistakes}
    if len(told) == 1:
        (only,) = told.values()
        return only
    return DeclarationError(
        "\n".join([f"there are {len(told)} mistakes in the declarations.", *told]),
        mend="mend them one by one; each says how.",
    )


def _wrong_value(error: ErrorDetails, model: type[BaseModel] | None) -> DeclarationError:
    """Say what Pydantic found wrong, in the words of a declaration."""
    place = str(error["loc"][0] if error["loc"] else "").partition(" at ")[0].split(".")
    words = [word for word in place if word and word != "attributes"]
    allowed = _words_at(model, words[:-1]) if model and words else ()
    if error["type"] == "extra_forbidden" and allowed:
        problem = f"there is no word {words[-1]!r} here."
        mend = f"{_nearest(words[-1], allowed)}Words here are {', '.join(allowed)}."
    else:
        problem = f"{SAID_BEFORE.sub('', error['msg']).rstrip('.')}."
        mend = DOCUMENTED
    mistake = DeclarationError(problem, mend=mend, culprit=".".join(words) or None)
    position = error.get("ctx", {}).get("source_position")
    if position is None:
        return mistake
    return mistake.at(source=_declared_at(position)).locate(str(position))


def _declared_at(position: SourcePosition) -> str | None:
    """Return the name of the source or entity whose document holds a place, if it has one."""
    lines = Path(position.filename).read_text(encoding="utf-8").splitlines()
    before = lines[: position.start.line]
    begin = max((number for number, line in enumerate(before) if line.startswith("---")), default=0)
    named = NAME_LINE.search("\n".join(takewhile(_is_within, lines[begin + 1 :])))
    return named[1] if named else None


def _is_within(line: str) -> bool:
    return not line.startswith("---")


def _no_yaml(error: yaml.MarkedYAMLError) -> DeclarationError:
    mark = error.problem_mark or error.context_mark
    mistake = DeclarationError(
        f"this is no YAML: {error.problem}.",
        mend="Look at indentation, brackets and quotes on this line and the one before.",
    )
    return mistake.locate(f"{mark.name}:{mark.line + 1}") if mark else mistake


def _nearest(word: str, allowed: Sequence[str]) -> str:
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
    return annotation  # a member of a union, which is no word of the YAML


def _alternatives(annotation: Any) -> Iterator[Any]:  # noqa: ANN401 - as above
    """Yield the types of which a value may be."""
    if typing.get_origin(annotation) is typing.Annotated:
        yield from _alternatives(typing.get_args(annotation)[0])
    elif typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for one in typing.get_args(annotation):
            yield from _alternatives(one)
    else:
        yield annotation
