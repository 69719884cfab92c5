"""What all tests share: an isolated world, so that no test reads or writes the project's data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dataflow_assets_tests.scenario import make_home, open_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dataflow_assets_tests.scenario import World


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storages of a Dagster instance in which nothing has happened yet."""
    return make_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def world(tmp_path: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An empty inbox, lake, warehouse and Dagster instance, with the harbour declared."""
    for name in ("DATA_DIR", "FILES_DIR", "DUCKDB_PATH", "DECLARATIONS_DIR", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    yield from open_world(tmp_path, empty_home)
