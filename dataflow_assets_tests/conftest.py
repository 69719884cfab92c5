"""What all tests share: an isolated world, so that no test reads or writes the project's data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dataflow_assets_tests.scenario import open_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dataflow_assets_tests.scenario import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An empty inbox, lake, warehouse and Dagster instance, with the harbour declared."""
    for name in ("DATA_DIR", "FILES_DIR", "DUCKDB_PATH", "DECLARATIONS_DIR", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    yield from open_world(tmp_path)
