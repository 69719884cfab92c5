"""What both components do: take a declaration from YAML, and say where in the file a mistake is."""

from __future__ import annotations

import os
import re
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from dataflow_assets.declaration.entity import EntityDeclaration
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import dagster as dg
    from dagster_shared.yaml_utils.source_position import SourcePositionTree


Model = TypeVar("Model", SourceDeclaration, EntityDeclaration)
TEMPLATE = "{{"
VARIABLE = re.compile(r"\benv\.([A-Za-z_]\w*)")


def resolve(attributes: Model, context: dg.ComponentLoadContext) -> Model:
    """Fill in ``{{ env.NAME }}`` and the like, which Dagster allows in every component's YAML.

    Only texts that hold a template are filled in: Dagster would read any other text as Python too,
    and turn the SQL ``'unknown'`` into ``unknown`` and the text ``-1`` into a number.

    Raises:
        DeclarationError: A variable of the environment is not set.
    """
    written = attributes.model_dump(by_alias=True, exclude_unset=True)
    with mistakes_located(attributes, "attributes", positions_of(context)):
        resolved = _filled_in(written, context.resolution_context)
    return type(attributes).model_validate(resolved) if resolved != written else attributes


def _filled_in(value: Any, context: dg.ResolutionContext) -> Any:  # noqa: ANN401 - nested YAML
    if isinstance(value, str):
        return _text_filled_in(value, context) if TEMPLATE in value else value
    if isinstance(value, dict):
        return {key: _within(str(key), item, context) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_filled_in(item, context) for item in value]
    return value


def _within(word: str, value: Any, context: dg.ResolutionContext) -> Any:  # noqa: ANN401 - as above
    try:
        return _filled_in(value, context)
    except DeclarationError as error:
        error.within(word)
        raise


def _text_filled_in(text: str, context: dg.ResolutionContext) -> Any:  # noqa: ANN401 - as above
    """Fill in one text; Dagster would write None for a variable that is not set."""
    for name in VARIABLE.findall(text):
        if name not in os.environ:
            raise DeclarationError(
                f"the environment variable {name} is not set.",
                mend=f"Set it, or write {{{{ env('{name}', 'a default') }}}}.",
                culprit=text,
            )
    return context.resolve_value(text)


def positions_of(context: dg.ComponentLoadContext) -> SourcePositionTree | None:
    """Return where each word of a document stands; Dagster knows it only while it loads it."""
    return context.resolution_context.source_position_tree


def file_of(positions: SourcePositionTree | None) -> Path | None:
    """Return the file in which a document stands; none if it stands in no file."""
    path = None if positions is None else Path(positions.position.filename)
    return path if path is not None and path.is_file() else None


@contextmanager
def mistakes_located(
    declared: SourceDeclaration | EntityDeclaration,
    part: str,
    positions: SourcePositionTree | None,
) -> Iterator[None]:
    """Name the declaration, the file and the line in every mistake that is found.

    Args:
        declared: The source or entity.
        part: The word of the YAML below which mistakes are sought, where they do not say it.
        positions: Where each word stands.
    """
    try:
        yield
    except DeclarationError as error:
        is_entity = isinstance(declared, EntityDeclaration)
        error.at(**{"entity" if is_entity else "source": declared.name})
        if positions is not None:
            position, _ = positions.lookup_closest_and_path(
                ["attributes", *map(_step, error.place or (part,))], trace=None
            )
            error.locate(f"{position.filename}:{position.start.line}")
        raise


def _step(word: str) -> str | int:
    """Return a word as it leads into YAML: in a list by number."""
    return int(word) if word.isdigit() else word
