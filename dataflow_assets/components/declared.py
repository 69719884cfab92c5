"""What both components do: take a declaration from YAML, and say where in the file a mistake is."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from dataflow_assets.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import dagster as dg
    from pydantic import BaseModel


def resolve[Model: BaseModel](attributes: Model, context: dg.ComponentLoadContext) -> Model:
    """Fill in ``{{ env.NAME }}`` and the like, which Dagster allows in every component's YAML."""
    written = attributes.model_dump(mode="json", by_alias=True, exclude_unset=True)
    resolved = context.resolution_context.resolve_value(written)
    return type(attributes).model_validate(resolved) if resolved != written else attributes


@contextmanager
def mistakes_located(context: dg.ComponentLoadContext) -> Iterator[None]:
    """Name the file and the line in every mistake that is found in a declaration."""
    try:
        yield
    except DeclarationError as error:
        tree = context.resolution_context.source_position_tree
        if tree is not None:
            position, _ = tree.lookup_closest_and_path(["attributes", *error.place], trace=None)
            error.locate(f"{position.filename}:{position.start.line}")
        raise
