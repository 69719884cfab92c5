"""Declared sources to one trustworthy warehouse, as Dagster assets.

``Source`` and ``Entity`` are the component types that a YAML document names; they are imported when
asked for, so that modules which Dagster's own processes load stay light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataflow_assets.components import Entity, Source

__all__ = ["Entity", "Source"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'dataflow_assets' has no attribute {name!r}")
    from dataflow_assets import components

    return getattr(components, name)


def __dir__() -> list[str]:
    return __all__
