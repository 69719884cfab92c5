"""The component ``dataflow_assets.Entity``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import dagster as dg

from dataflow_assets.builders.entity import build_entity
from dataflow_assets.components.declared import mistakes_located, positions_of, resolve
from dataflow_assets.components.source import Source
from dataflow_assets.declaration.entity import EntityDeclaration

if TYPE_CHECKING:
    from dagster_shared.yaml_utils.source_position import SourcePositionTree
    from pydantic import BaseModel


class Entity(dg.Component):
    """A normalized table that several sources feed: the asset ``normalized/<name>``."""

    def __init__(
        self, declaration: EntityDeclaration, positions: SourcePositionTree | None = None
    ) -> None:
        self.declaration = declaration
        self._positions = positions

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """Return the model that the YAML's attributes are checked against."""
        return EntityDeclaration

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> Self:  # noqa: ANN401 - Dagster's signature
        """Take the declaration from YAML."""
        return cls(resolve(attributes, context), positions_of(context))

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the entity's asset and checks; its mappings are checked against the sources.

        Raises:
            DeclarationError: A mapping names a source, column or type that does not fit.
        """
        components = context.component_tree.get_all_components(Source)
        sources = {one.declaration.name: one.declaration for one in components}
        broken = {
            one.declaration.name: one.broken
            for one in components
            if one.broken is not None and one.is_unknown
        }
        with mistakes_located(self.declaration, "from", self._positions):
            return build_entity(self.declaration, sources, broken)
