"""The Dagster components that YAML names: thin, they resolve and then call the builders."""

from dataflow_assets.components.entity import Entity
from dataflow_assets.components.source import Source

__all__ = ["Entity", "Source"]
