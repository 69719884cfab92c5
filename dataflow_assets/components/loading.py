"""Loading a folder of declarations as a Dagster code location."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import dagster as dg

from dataflow_assets.builders.normalizing import build_table
from dataflow_assets.builders.resources import build_resources
from dataflow_assets.components.documents import wrong_documents
from dataflow_assets.components.entity import Entity
from dataflow_assets.components.mistakes import mistakes_in, summed_up, unknown_types
from dataflow_assets.components.source import Source
from dataflow_assets.errors import DeclarationError
from dataflow_assets.settings import get_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflow_assets.declaration.entity import EntityDeclaration
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.io.warehouse import EntityTable
    from dataflow_assets.settings import Settings

PACKAGE = Path(__file__).parent.parent
COMPONENTS: dict[str, type[Entity | Source]] = {
    "dataflow_assets.Entity": Entity,
    "dataflow_assets.Source": Source,
}


@cache
def load_location(settings: Settings | None = None) -> dg.Definitions:
    """Load the declarations that the environment names, once per process.

    Args:
        settings: Where things stand; the environment's if none are given.

    Returns:
        All assets, checks, jobs, sensors and schedules, with the resources that they need.

    Raises:
        DeclarationError: A declaration is wrong.
        SettingsError: The environment is.
    """
    settings = settings or get_settings()
    declared = load_declarations(settings.declarations_dir or PACKAGE / "defs")
    run = dg.Definitions(resources=build_resources(settings), executor=dg.in_process_executor)
    return dg.Definitions.merge(declared, run)


def load_declarations(folder: Path) -> dg.Definitions:
    """Load every declaration in a folder and the folders below it.

    Dagster's own ``load_from_defs_folder`` imports every installed component package, which
    takes seconds in each run; a tree over the folder alone does not.

    Raises:
        DeclarationError: Declarations are wrong; it tells of the mistakes of all files.
    """
    folder = folder.resolve()
    tree = _tree_of(folder)
    kinds = {word: kind.__name__.lower() for word, kind in COMPONENTS.items()}
    mistakes = list(wrong_documents(folder, kinds))
    try:
        definitions = tree.build_defs_at_path(folder)
    except Exception as error:
        mistakes += _mistakes(tree, folder, error)
        if not mistakes:
            raise
    if mistakes:
        # Dagster's own errors would print a page before what there is to mend.
        raise summed_up(mistakes) from None
    _refuse_twins(tree)
    return definitions


@dataclass(frozen=True)
class Declared:
    """What a folder of declarations declares.

    Attributes:
        sources: The sources, by name.
        entities: The entities, by name.
        definitions: What Dagster is given of them.
        files: By source, the file in which it is declared.
    """

    sources: dict[str, SourceDeclaration]
    entities: dict[str, EntityDeclaration]
    definitions: dg.Definitions
    files: dict[str, Path | None]


def load_declared(folder: Path | None = None) -> Declared:
    """Return what a folder declares, once all of it is found to be right.

    Args:
        folder: The folder; none: the one that the environment names.

    Raises:
        DeclarationError: A declaration is wrong.
    """
    folder = (folder or declarations_dir()).resolve()
    definitions = load_declarations(folder)
    tree = _tree_of(folder)
    sources = list(tree.get_all_components(Source))
    entities = [one.declaration for one in tree.get_all_components(Entity)]
    return Declared(
        {one.declaration.name: one.declaration for one in sources},
        {one.name: one for one in entities},
        definitions,
        {one.declaration.name: one.file for one in sources},
    )


def declarations_dir() -> Path:
    """Return the folder of the declarations, as the environment says."""
    return get_settings().declarations_dir or PACKAGE / "defs"


def load_tables() -> list[EntityTable]:
    """Return the tables of all entities that the environment's declarations name.

    Raises:
        DeclarationError: A declaration is wrong.
    """
    declared = load_declared()
    return [
        build_table(entity, declared.sources[next(iter(entity.mappings))].partitions)
        for entity in declared.entities.values()
    ]


def _tree_of(folder: Path) -> dg.ComponentTree:
    module = ModuleType("dataflow_assets.defs")
    module.__file__ = str(folder / "__init__.py")
    module.__path__ = [str(folder)]
    return dg.ComponentTree.from_module(defs_module=module, project_root=folder.parent)


def _mistakes(tree: dg.ComponentTree, folder: Path, error: Exception) -> Iterator[DeclarationError]:
    """Yield the mistakes of all files; what Dagster raises tells of the first one only."""
    models = {kind.get_model_cls().__name__: kind.get_model_cls() for kind in COMPONENTS.values()}
    yield from mistakes_in(error, models)
    yield from unknown_types(folder, list(COMPONENTS))
    for entry in sorted(path for path in folder.iterdir() if path.is_dir()):
        try:
            tree.build_defs_at_path(entry)
        except Exception as of_entry:  # noqa: BLE001 - what it is not about is raised by the caller
            yield from mistakes_in(of_entry, models)


def _refuse_twins(tree: dg.ComponentTree) -> None:
    """Refuse two declarations of one name, of which Dagster would speak as of duplicate keys."""
    for kind in COMPONENTS.values():
        names = [component.declaration.name for component in tree.get_all_components(kind)]
        twins = sorted({name for name in names if names.count(name) > 1})
        if twins:
            raise DeclarationError(
                f"{names.count(twins[0])} declarations have this name.",
                mend=f"Give each {kind.__name__} a name of its own.",
                source=twins[0],
            )
