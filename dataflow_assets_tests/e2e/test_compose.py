"""The services of docker-compose.yml as processes of this machine, in the same wiring.

Commands, variables and health checks are read from the file; only hosts, ports and folders are put
in the place of the containers' own. What is not looked at: building the image, and its user.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
import pytest
import yaml

from dataflow_assets_tests.e2e.server import BIN, ROOT
from dataflow_assets_tests.ports import free_port
from dataflow_assets_tests.postgres_server import own_server
from dataflow_assets_tests.s3_server import running_s3

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dataflow_assets_tests.s3_server import S3Server

VARIABLE = re.compile(r"\$\{(\w+)(?:(:?[-?])([^}]*))?\}")
PATIENCE_S = 90
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
OURS = ("setup", "code", "webserver", "daemon")


def example() -> dict[str, str]:
    """Return the variables of .env.example."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def filled_in(value: str, variables: dict[str, str]) -> str:
    """Fill in variables as Compose does; one that must be set and is not is an error."""

    def fill(match: re.Match[str]) -> str:
        name, sign, other = match.groups()
        known = variables.get(name)
        if sign == ":?" and not known:
            raise KeyError(name)
        missing = known is None or (not known and str(sign).startswith(":"))
        return (other if missing else known) or ""

    return VARIABLE.sub(fill, value)


@dataclass(frozen=True)
class Composition:
    """The services on this machine.

    Attributes:
        root: A folder in the place of the volumes.
        database: The URL of the superuser's database.
        s3: The server of the lake.
        ports: The ports that stand for 3000 and 4000.
    """

    root: Path
    database: str
    s3: S3Server
    ports: dict[str, str]

    @property
    def variables(self) -> dict[str, str]:
        """What a person fills into .env."""
        return {**example(), **self.s3.environment, "POSTGRES_PASSWORD": "not-checked-here"}

    def environment(self, service: str) -> dict[str, str]:
        """Return the variables of a service, with this machine's places in them."""
        declared: dict[str, str] = COMPOSE["services"][service]["environment"]
        values = {name: filled_in(value, self.variables) for name, value in declared.items()}
        address = urlsplit(self.database)
        for name, value in values.items():
            moved = re.sub(r"^/data\b", str(self.root / "data"), value)
            values[name] = moved.replace("@postgres:5432", f"@127.0.0.1:{address.port}")
        here = {"DAGSTER_POSTGRES_HOST": "127.0.0.1", "DAGSTER_POSTGRES_PORT": str(address.port)}
        kept = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}
        return {
            **kept,
            **values,
            **here,
            "CODE_HOST": "127.0.0.1",
            "AWS_ENDPOINT_URL": self.s3.endpoint,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONWARNINGS": "ignore",
            "DAGSTER_HOME": str(self.root / "opt"),
            "DATA_DIR": str(self.root / "data"),
        }

    def command(self, service: str) -> list[str]:
        """Return the command of a service: its own, or the image's."""
        declared: list[str] | None = COMPOSE["services"][service].get("command")
        return [self.ports.get(word, word) for word in declared or image_command()]

    def run(self, service: str) -> None:
        """Run a service that comes to an end."""
        done = subprocess.run(
            self.command(service),
            env=self.environment(service),
            cwd=self.root / "opt",
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    @contextmanager
    def serving(self, service: str) -> Iterator[None]:
        """Run a service until the end, and wait until it is healthy."""
        with (self.root / f"{service}.log").open("w") as log:
            process = subprocess.Popen(
                self.command(service),
                env=self.environment(service),
                cwd=self.root / "opt",
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                self._wait(service, process)
                yield
            finally:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()

    def _wait(self, service: str, process: subprocess.Popen[bytes]) -> None:
        test: list[str] = COMPOSE["services"][service]["healthcheck"]["test"]
        check = [self._with_ports(word) for word in test[1:]]
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and process.poll() is None:
            done = subprocess.run(
                check,
                env=self.environment(service),
                cwd=self.root / "opt",
                capture_output=True,
                check=False,
            )
            if done.returncode == 0:
                return
            time.sleep(1)
        raise AssertionError((self.root / f"{service}.log").read_text())

    def _with_ports(self, word: str) -> str:
        return re.sub(r"\b[34]000\b", lambda match: self.ports[match[0]], word)


def image_command() -> list[str]:
    """Return the command that the image runs by itself."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    match = re.search(r"^CMD (\[.*\])$", text, re.MULTILINE)
    assert match is not None
    command: list[str] = yaml.safe_load(match[1])
    return command


@pytest.fixture
def composition(tmp_path: Path) -> Iterator[Composition]:
    (tmp_path / "s3").mkdir()
    with own_server() as server, running_s3(tmp_path / "s3") as s3:
        server.execute("create role dataflow superuser login")
        server.execute("create database dataflow owner dataflow")
        script = ROOT / "deploy/databases.sql"
        subprocess.run([server.binaries / "psql", server.url, "-qf", script], check=True)
        ports = {"3000": str(free_port()), "4000": str(free_port())}
        (tmp_path / "opt").mkdir()
        (tmp_path / "data" / "inbox").mkdir(parents=True)
        shutil.copy(ROOT / "deploy/dagster.yaml", tmp_path / "opt")
        workspace = (ROOT / "deploy/workspace.yaml").read_text(encoding="utf-8")
        workspace = workspace.replace("port: 4000", f"port: {ports['4000']}")
        (tmp_path / "opt" / "workspace.yaml").write_text(workspace, encoding="utf-8")
        yield Composition(tmp_path, server.database("dataflow", user="dataflow"), s3, ports)


def rows_in(database: str) -> int:
    """Return how many rows have arrived, none as long as there is no table."""
    with psycopg.connect(database, autocommit=True) as connection:
        try:
            row = connection.execute("select count(*) from normalized.seismic_events").fetchone()
        except psycopg.errors.UndefinedTable:
            return 0
    return int(row[0]) if row else 0


def test_a_file_that_arrives_goes_through_all_services_to_postgres_and_s3(
    composition: Composition,
) -> None:
    composition.run("setup")
    composition.run("setup")  # a second time it changes nothing
    with ExitStack() as services:
        for service in ("code", "webserver", "daemon"):
            services.enter_context(composition.serving(service))
        samples = ROOT / "demo" / "make_samples.py"
        inbox = composition.root / "data" / "inbox"
        subprocess.run([BIN / "python", samples, inbox], check=True, capture_output=True)
        until = time.monotonic() + PATIENCE_S
        while not rows_in(composition.database) and time.monotonic() < until:
            time.sleep(1)

        assert rows_in(composition.database) > 0, (composition.root / "daemon.log").read_text()
        found = composition.s3.client().list_objects_v2(Bucket="dataflow", Prefix="raw/")
        assert found["KeyCount"] > 0


def test_every_variable_of_the_composition_is_in_the_example() -> None:
    used = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text(encoding="utf-8")))

    assert used == set(example())


def test_the_composition_does_not_start_without_passwords() -> None:
    for service in OURS:
        url = COMPOSE["services"][service]["environment"]["DATABASE_URL"]
        with pytest.raises(KeyError, match="POSTGRES_PASSWORD"):
            filled_in(url, example())


def test_services_wait_for_what_they_need() -> None:
    services = COMPOSE["services"]
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            wanted = how["condition"]
            assert wanted != "service_healthy" or "healthcheck" in services[needed], (name, needed)
