"""What both components do: take a declaration from YAML, and say where in the file a mistake is."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

from dataflow_assets.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import dagster as dg


Model = TypeVar("Model", bound=BaseModel)


def resolve(attributes: Model, context: dg.ComponentLoadContext) -> Model:
    """Fill in ``{{ env.NAME }}`` and the like, which Dagster allows in every component's YAML."""
    written = attributes.model_dump(mode="json", by_alias=True, exclude_unset=True)
    resolved = context.resolution_context.resolve_value(written)
    return type(attributes).model_validate(resolved) if resolved != written else attributes


@contextmanager
def mistakes_located(name: str, part: str, context: dg.ComponentLoadContext) -> Iterator[None]:
    """Name the declaration, the file and the line in every mistake that is found.

    Args:
        name: The source or entity.
        part: The word of the YAML below which mistakes are sought, where they do not say it.
        context: Knows the file.
    """
    try:
        yield
    except DeclarationError as error:
        error.at(source=name)
        tree = context.resolution_context.source_position_tree
        if tree is not None:
            position, _ = tree.lookup_closest_and_path(
                ["attributes", *(error.place or (part,))], trace=None
            )
            error.locate(f"{position.filename}:{position.start.line}")
        raise
