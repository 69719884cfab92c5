from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dataflow_assets_tests import mariadb_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflow_assets_tests.mariadb_server import MariaDb


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDb]:
    """A real MariaDB, started once and only if a test asks for it."""
    if not mariadb_server.is_installed():
        pytest.skip(mariadb_server.MISSING)
    with mariadb_server.own_server() as server:
        yield server
