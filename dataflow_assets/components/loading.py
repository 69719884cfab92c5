"""Loading a folder of declarations as a Dagster code location."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import dagster as dg

from dataflow_assets.builders.resources import build_resources
from dataflow_assets.settings import get_settings

if TYPE_CHECKING:
    from dataflow_assets.settings import Settings

PACKAGE = Path(__file__).parent.parent


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
    """
    folder = folder.resolve()
    module = ModuleType("dataflow_assets.defs")
    module.__file__ = str(folder / "__init__.py")
    module.__path__ = [str(folder)]
    tree = dg.ComponentTree.from_module(defs_module=module, project_root=folder.parent)
    return tree.build_defs_at_path(folder)
