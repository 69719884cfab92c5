"""The component ``dataflow_assets.Source``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import dagster as dg

from dataflow_assets.builders.source import build_source
from dataflow_assets.components.declared import mistakes_located, resolve
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.transform.rules import check_contract

if TYPE_CHECKING:
    from pydantic import BaseModel


class Source(dg.Component):
    """One outside feed or system, from its files to a cleaned table.

    Gives the assets ``raw/<name>``, ``cleaned/<name>`` and ``quarantine/<name>``, their checks, a
    job, and the sensor and schedule that the declaration asks for.
    """

    def __init__(self, declaration: SourceDeclaration) -> None:
        self.declaration = declaration

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
        with mistakes_located(declaration.name, "contract", context):
            check_contract(declaration.contract)
        return cls(declaration)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 - Dagster's signature
        """Return the source's assets, checks, job, sensor and schedule."""
        return build_source(self.declaration)
