"""What all tests share: an isolated world, so that no test reads or writes the project's data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dataflow_assets_tests.scenario import DAY, make_template, open_world, ships

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dataflow_assets_tests.scenario import World

VARIABLES = ("DATA_DIR", "FILES_DIR", "DUCKDB_PATH", "DECLARATIONS_DIR", "DAGSTER_HOME")


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def empty_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template(tmp_path_factory.mktemp("empty"))


@pytest.fixture(scope="session")
def filled_template(tmp_path_factory: pytest.TempPathFactory, empty_template: Path) -> Path:
    root = tmp_path_factory.mktemp("filled")
    for world in open_world(root, empty_template):
        world.drop(f"{DAY}.csv", ships(DAY, "Anna", "Berta"))
        assert world.materialize(DAY).success
    return root


@pytest.fixture
def world(tmp_path: Path, empty_template: Path) -> Iterator[World]:
    """An empty inbox, lake, warehouse and Dagster instance, with the harbour declared."""
    yield from open_world(tmp_path, empty_template)


@pytest.fixture
def filled(tmp_path: Path, filled_template: Path) -> Iterator[World]:
    """The harbour with the ships Anna and Berta on `DAY`, published in every layer."""
    yield from open_world(tmp_path, filled_template)
