"""The component ``dataflow_assets.Source``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Self

import dagster as dg

from dataflow_assets.builders.source import build_source
from dataflow_assets.components.declared import mistakes_located, positions_of, resolve
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.errors import PluginError
from dataflow_assets.extract.plugin import check_extractor
from dataflow_assets.settings import get_settings
from dataflow_assets.transform.plugin import read_transforms
from dataflow_assets.transform.rules import check_contract

if TYPE_CHECKING:
    from dagster_shared.yaml_utils.source_position import SourcePositionTree
    from pydantic import BaseModel

LOG = logging.getLogger(__name__)


class Source(dg.Component):
    """One outside feed or system, from its files to a cleaned table.

    Gives the assets ``raw/<name>``, ``cleaned/<name>`` and ``quarantine/<name>``, their checks, a
    job, and the sensor and schedule that the declaration asks for.
    """

    def __init__(
        self,
        declaration: SourceDeclaration,
        positions: SourcePositionTree | None = None,
        broken: PluginError | None = None,
    ) -> None:
        self.declaration = declaration
        self._positions = positions
        self._broken = broken

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        """Return the model that the YAML's attributes are checked against."""
        return SourceDeclaration

    @classmethod
    def load(cls, attributes: Any, context: dg.ComponentLoadContext) -> Self:  # noqa: ANN401 - Dagster's signature
        """Take the declaration from YAML; its expressions are checked at once.

        Raises:
            DeclarationError: An expression, pattern or bound is wrong, or what a plug-in is told.
        """
        declaration = resolve(attributes, context)
        positions = positions_of(context)
        with mistakes_located(declaration.name, "contract", positions):
            check_contract(declaration.contract)
            broken = _broken_plugin(declaration)
        return cls(declaration, positions, broken)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002 - Dagster's signature
        """Return the source's assets, checks, job, sensor and schedule.

        Raises:
            DeclarationError: A rule has the name of another check.
        """
        with mistakes_located(self.declaration.name, "contract", self._positions):
            return build_source(self.declaration, self._broken)


def _broken_plugin(declaration: SourceDeclaration) -> PluginError | None:
    """Check what a declaration says to plug-ins, and return why one of them cannot be used.

    A package that is broken is no mistake in the declaration: the source's runs fail of it, and
    other sources go on. Where ``STRICT`` is set, as in CI, it is raised like any mistake.

    Raises:
        DeclarationError: What is said to a plug-in does not fit.
        PluginError: A plug-in cannot be used, and ``STRICT`` is set.
    """
    try:
        if declaration.extract.plugin is not None:
            check_extractor(*declaration.extract.plugin)
        read_transforms(declaration.contract)
    except PluginError as error:
        if get_settings().strict:
            raise
        LOG.error("%s", error)  # noqa: TRY400 - it says all that there is to mend
        return error.at(source=declaration.name)
    return None
