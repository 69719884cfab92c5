"""The component ``dataflow_assets.Source``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import dagster as dg

from dataflow_assets.builders.source import build_source
from dataflow_assets.components.declared import mistakes_located, positions_of, resolve
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.transform.rules import check_contract

if TYPE_CHECKING:
    from dagster_shared.yaml_utils.source_position import SourcePositionTree
    from pydantic import BaseModel


class Source(dg.Component):
    """One outside feed or system, from its files to a cleaned table.

    Gives the assets ``raw/<name>``, ``cleaned/<name>`` and ``quarantine/<name>``, their checks, a
    job, and the sensor and schedule that the declaration asks for.
    """

    def __init__(
        self, declaration: SourceDeclaration, positions: SourcePositionTree | None = None
    ) -> None:
        self.declaration = declaration
        self._positions = positions

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """Return the model that the YAML's attributes are checked against."""
        return SourceDeclaration

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> Self:  # noqa: ANN401 - Dagster's signature
        """Take the declaration from YAML; its expressions are checked at once.

        Raises:
            DeclarationError: An expression, pattern or bound is wrong.
        """
        declaration = resolve(attributes, context)
        positions = positions_of(context)
        with mistakes_located(declaration.name, "contract", positions):
            check_contract(declaration.contract)
        return cls(declaration, positions)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 - Dagster's signature
        """Return the source's assets, checks, job, sensor and schedule.

        Raises:
            DeclarationError: A rule has the name of another check.
        """
        with mistakes_located(self.declaration.name, "contract", self._positions):
            return build_source(self.declaration)
