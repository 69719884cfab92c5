"""The component ``dataflow_assets.Source``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Self

import dagster as dg
from pydantic import ValidationError

from dataflow_assets.builders.references import check_references, references_of
from dataflow_assets.builders.source import build_source
from dataflow_assets.components.declared import file_of, mistakes_located, positions_of, resolve
from dataflow_assets.components.scaffold import SourceScaffolder
from dataflow_assets.declaration.entity import EntityDeclaration
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.errors import DeclarationError, PluginError
from dataflow_assets.extract.plugin import check_extractor
from dataflow_assets.settings import get_settings
from dataflow_assets.transform.models import with_model
from dataflow_assets.transform.plugin import read_transforms
from dataflow_assets.transform.rules import check_contract

if TYPE_CHECKING:
    from pathlib import Path

    from dagster_shared.yaml_utils.source_position import SourcePositionTree
    from pydantic import BaseModel

LOG = logging.getLogger(__name__)


@dg.scaffold_with(SourceScaffolder)
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
        self.broken = broken
        self._positions = positions

    @property
    def is_unknown(self) -> bool:
        """Whether its columns are not known, as its model cannot be imported."""
        return self.broken is not None and self.declaration.contract.model is not None

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
        with mistakes_located(declaration, "contract", positions):
            declaration, broken = _with_model(declaration)
            if broken is None:
                check_contract(declaration.contract)
                broken = _broken_plugin(declaration)
        return cls(declaration, positions, broken)

    @property
    def file(self) -> Path | None:
        """The file in which the declaration stands, if that is known."""
        return file_of(self._positions)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the source's assets, checks, job, sensor and schedule.

        Raises:
            DeclarationError: A rule has the name of another check, or refers to a table that is not
                declared, does not fit, or leads back to the source.
        """
        with mistakes_located(self.declaration, "contract", self._positions):
            if self.broken is None and references_of(self.declaration):
                check_references(self.declaration, *_declared(context))
            return build_source(self.declaration, self.broken, self.file)


def _declared(
    context: dg.ComponentLoadContext,
) -> tuple[dict[str, SourceDeclaration], dict[str, EntityDeclaration], set[str]]:
    """Return all declared sources and entities, by name, and the sources of unknown columns."""
    components = context.component_tree.get_all_components(
        dg.Component  # type: ignore[type-abstract]  # it is asked for by, not made
    )
    declared = [getattr(component, "declaration", None) for component in components]
    return (
        {one.name: one for one in declared if isinstance(one, SourceDeclaration)},
        {one.name: one for one in declared if isinstance(one, EntityDeclaration)},
        {one.declaration.name for one in components if isinstance(one, Source) and one.is_unknown},
    )


def _with_model(
    declaration: SourceDeclaration,
) -> tuple[SourceDeclaration, PluginError | None]:
    """Return a declaration with the columns of its Pydantic model, or why that cannot be imported.

    What holds for a package that is broken (see `_broken_plugin`) holds for a model's module.

    Raises:
        DeclarationError: The model asks for what no column can be, or the YAML contradicts it.
        PluginError: The model cannot be imported, and ``STRICT`` is set.
    """
    try:
        contract = with_model(declaration.contract)
    except PluginError as error:
        return declaration, _told(declaration, error)
    if contract is declaration.contract:
        return declaration, None
    try:  # what other parts of a source ask of its columns can be asked only now
        filled = SourceDeclaration.model_validate({**dict(declaration), "contract": contract})
        filled.check_columns()
    except ValueError as error:
        told = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise DeclarationError(
            f"{told.removeprefix('Value error, ').rstrip('.')}.",
            mend=f"Correct it here or in {contract.model}.",
            culprit=contract.model,
        ).within("contract", "model") from None
    return filled, None


def _told(declaration: SourceDeclaration, error: PluginError) -> PluginError:
    """Return why a source is broken, having logged it; where ``STRICT`` is set, raise it."""
    if get_settings().strict:
        raise error
    LOG.error("%s", error.at(source=declaration.name))
    return error


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
        return _told(declaration, error)
    return None
