"""What a package gives to add a kind of source.

What belongs here: the plug-in's side of the seam. What does not: finding plug-ins (`plugins`), and
what every kind of source does (`extractor`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dataflow_assets.errors import DeclarationError
from dataflow_assets.plugins import EXTRACTORS, load_plugin, read_parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from pydantic import BaseModel

    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.extract.extractor import Extractor, Surroundings


@dataclass(frozen=True)
class Opening:
    """What an extractor is opened for.

    Attributes:
        source: The declaration.
        around: What it finds around it, such as where relative paths of files lie.
        partitions: The partitions that will be asked for.
    """

    source: SourceDeclaration
    around: Surroundings
    partitions: Collection[str]


@dataclass(frozen=True)
class ExtractorPlugin:
    """A kind of source; an entry point of the group ``dataflow_assets.extractors`` names one.

    Attributes:
        parameters: The model of what a declaration says below the kind's name. Derive it from
            `dataflow_assets.declaration.base.Declared`, which refuses unknown words.
        open: Gives the extractor for checked parameters. Nothing is fetched yet.
    """

    parameters: type[BaseModel]
    open: Callable[[Any, Opening], Extractor]


def check_extractor(name: str, given: Mapping[str, Any]) -> None:
    """Refuse parameters that the plug-in does not take.

    Raises:
        DeclarationError: Naming the word.
        PluginError: The plug-in cannot be imported.
    """
    try:
        read_parameters(load_plugin(EXTRACTORS, name, ExtractorPlugin).parameters, given)
    except DeclarationError as error:
        error.within("extract", name)
        raise


def open_plugin(name: str, given: Mapping[str, Any], opening: Opening) -> Extractor:
    """Return the extractor that a plug-in gives.

    Raises:
        DeclarationError: The parameters do not fit.
        PluginError: The plug-in cannot be imported.
    """
    plugin = load_plugin(EXTRACTORS, name, ExtractorPlugin)
    return plugin.open(read_parameters(plugin.parameters, given), opening)
