"""Mistakes in declarations, as a person needs them: file, line, word, what to change.

What belongs here: finding, in whatever Dagster, Pydantic or YAML raised while declarations were
loaded, what their author has to change. What does not: finding the mistakes, and Pydantic's way of
telling of them (`wrong_values`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from dataflow_assets.components.wrong_values import nearest, wrong_values
from dataflow_assets.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pydantic import BaseModel

TYPE_LINE = re.compile(r"^type:\s*[\"']?(dataflow_assets\.\w*)", re.MULTILINE)


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
            yield from wrong_values(cause.errors(), model)
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
                    mend=f"{nearest(match[1], known)}Types are {', '.join(known)}.",
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


def _no_yaml(error: yaml.MarkedYAMLError) -> DeclarationError:
    mark = error.problem_mark or error.context_mark
    mistake = DeclarationError(
        f"this is no YAML: {error.problem}.",
        mend="Look at indentation, brackets and quotes on this line and the one before.",
    )
    return mistake.locate(f"{mark.name}:{mark.line + 1}") if mark else mistake
