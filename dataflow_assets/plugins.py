"""Plug-ins: what installed packages add, by entry points, or by the name of a class.

What belongs here: which plug-ins there are, loading one by its name, and what is said of one that
cannot be loaded. What does not: what a plug-in does; `extract.plugin`, `transform.plugin` and
`transform.models` say that.

A plug-in is imported when a declaration names it, never before. So one that cannot be imported
hurts nobody who does not use it.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from dataflow_assets.errors import DeclarationError, PluginError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from importlib.metadata import EntryPoint

EXTRACTORS = "dataflow_assets.extractors"
TRANSFORMS = "dataflow_assets.transforms"
PluginT = TypeVar("PluginT")
ModelT = TypeVar("ModelT", bound=BaseModel)


@cache
def _found(group: str) -> dict[str, tuple[EntryPoint, ...]]:
    points = entry_points(group=group)
    return {name: tuple(points.select(name=name)) for name in sorted(points.names)}


def plugin_names(group: str) -> tuple[str, ...]:
    """Return the names of the installed plug-ins of a group, without importing them."""
    return tuple(_found(group))


def plugin_stamp(group: str, name: str) -> tuple[str, ...]:
    """Return a plug-in's name, and its package with the version, without importing it.

    Of one that is not installed the name alone is known.
    """
    points = _found(group).get(name, ())
    known = (_package(point) + (f" {point.dist.version}" if point.dist else "") for point in points)
    return (name, *sorted(known))


def load_plugin(group: str, name: str, kind: type[PluginT]) -> PluginT:
    """Import a plug-in.

    Args:
        group: Where it is registered.
        name: What it is called.
        kind: What it must be.

    Raises:
        DeclarationError: There is none of this name.
        PluginError: It cannot be imported, or is something else.
    """
    point = _point(group, name)
    package = _package(point)
    try:
        plugin = point.load()
    except (Exception, SystemExit) as error:  # whatever a stranger's package raises
        raise PluginError(
            f"the plug-in {name!r} of the package {package} cannot be imported: "
            f"{type(error).__name__}: {error}.",
            mend=f"Mend or reinstall {package}; other sources are not concerned.",
            culprit=package,
        ) from error
    if not isinstance(plugin, kind):
        raise PluginError(
            f"the plug-in {name!r} of the package {package} is no {kind.__name__}, "
            f"but {type(plugin).__name__}.",
            mend=f"Let the entry point {point.value} of {package} name a {kind.__name__}.",
            culprit=package,
        )
    return plugin


def load_class(path: str, kind: type[PluginT]) -> type[PluginT]:
    """Import a class.

    Args:
        path: Its module and its name, such as ``shop.models:Order``.
        kind: What it must be derived from.

    Raises:
        PluginError: It cannot be imported, or is something else.
    """
    module, _, name = path.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (Exception, SystemExit) as error:  # whatever a stranger's module raises
        raise PluginError(
            f"{name} cannot be imported from the module {module}: {type(error).__name__}: {error}.",
            mend=f"Mend or install the package of {module}, in the environment in which Dagster "
            "runs, or correct the name; other sources are not concerned.",
            culprit=module,
        ) from error
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise PluginError(
            f"{name} of the module {module} is no {kind.__name__}, but {type(found).__name__}"
            f"{f' {found.__name__}' if isinstance(found, type) else ''}.",
            mend=f"Name a class that is derived from {kind.__name__}.",
            culprit=module,
        )
    return found


def read_parameters(model: type[ModelT], given: Mapping[str, Any]) -> ModelT:
    """Return the parameters of a plug-in, checked by its own model.

    Args:
        model: What the plug-in says of them.
        given: What the declaration says.

    Raises:
        DeclarationError: They do not fit; its place begins below the plug-in's own.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first, *others = error.errors()
        words = [str(word) for word in first["loc"]]
        more = f" (and {len(others)} mistakes more)" if others else ""
        fields = ", ".join(field.alias or name for name, field in model.model_fields.items())
        raise DeclarationError(
            f"{first['msg'].removeprefix('Value error, ').rstrip('.')}{more}.",
            mend=f"Words here are {fields}." if fields else "There are no words here.",
            culprit=".".join(words) or None,
        ).within(*words) from None


def _point(group: str, name: str) -> EntryPoint:
    points = _found(group).get(name, ())
    if len(points) == 1:
        return points[0]
    if not points:
        raise DeclarationError(
            f"there is no plug-in {name!r}.",
            mend=f"Install the package that gives it; there are "
            f"{', '.join(plugin_names(group)) or 'none'}.",
            culprit=name,
        )
    packages = " and ".join(sorted(map(_package, points)))
    raise PluginError(
        f"several packages give a plug-in {name!r}: {packages}.",
        mend="Uninstall all but one of them.",
        culprit=packages,
    )


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.value
