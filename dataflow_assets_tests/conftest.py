"""What all tests share: an isolated world, so that no test reads or writes the project's data."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from dagster._core.storage.defs_state.base import DefsStateStorage
from typing_extensions import override
from xdist.scheduler import LoadGroupScheduling  # type: ignore[import-untyped]

from dataflow_assets_tests.postgres_server import any_server
from dataflow_assets_tests.scenario import DAY, make_template, open_world, ships

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from xdist.remote import Producer  # type: ignore[import-untyped]

    from dataflow_assets_tests.postgres_server import Server
    from dataflow_assets_tests.scenario import World

TOGETHER = ("dataflow_assets_tests/e2e/", "dataflow_assets_tests/integration/s3/")
"""Tests of one of these folders share a server."""
VARIABLES = (
    "DATA_DIR",
    "FILES_DIR",
    "DUCKDB_PATH",
    "DECLARATIONS_DIR",
    "DAGSTER_HOME",
    "STRICT",
    "DATABASE_URL",
)
FOREIGN = ("AWS_", "S3_")
"""How variables begin that lead to S3."""


class OneWorkerForEachServer(LoadGroupScheduling):  # type: ignore[misc]
    """Spreads tests over workers, but gives those that share a server to one.

    pytest-xdist 3.8 does not see its own mark for this with pytest 9.2 (pytest-xdist issue 1386).
    """

    @override
    def _split_scope(self, nodeid: str) -> str:
        return next((folder for folder in TOGETHER if nodeid.startswith(folder)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadGroupScheduling:
    return OneWorkerForEachServer(config, log)


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *(name for name in os.environ if name.startswith(FOREIGN))):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _no_state_of_definitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load declarations without the state that Dagster keeps of some definitions; ours have none.

    Where instances are closed in another order than they were opened, or by the garbage collector,
    Dagster goes on looking for that state in one that is gone.
    """
    monkeypatch.setattr(DefsStateStorage, "get", classmethod(lambda _: None))


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


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A real Postgres, started once and only if a test asks for it."""
    with any_server() as server:
        yield server


@pytest.fixture
def database(postgres: Server) -> Iterator[str]:
    """The URL of an empty database."""
    with postgres.new_database() as url:
        yield url


@pytest.fixture
def world(tmp_path: Path, empty_template: Path) -> Iterator[World]:
    """An empty inbox, lake, warehouse and Dagster instance, with the harbour declared."""
    yield from open_world(tmp_path, empty_template)


@pytest.fixture
def filled(tmp_path: Path, filled_template: Path) -> Iterator[World]:
    """The harbour with the ships Anna and Berta on `DAY`, published in every layer."""
    yield from open_world(tmp_path, filled_template)
