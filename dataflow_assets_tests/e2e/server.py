"""A whole installation for end-to-end tests: samples, a materialized week, `dagster dev`.

What belongs here: starting and ending it. What does not: what is looked at.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dataflow_assets.components.loading import PACKAGE
from dataflow_assets_tests.ports import free_port
from dataflow_assets_tests.scenario import make_template

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = PACKAGE.parent
BIN = Path(sys.executable).parent
START_S = 90
END_S = 30
FIRST, LAST = "2026-01-05", "2026-01-11"
OF_FILES = ("alpine_network", "coastal_network", "seismic_events")
"""The groups that need no server of samples."""


@dataclass(frozen=True)
class Installation:
    """Where an installation is, and where it can be looked at.

    Attributes:
        root: Its folder.
        url: The Dagster UI, once it runs.
    """

    root: Path
    url: str

    @property
    def data(self) -> Path:
        """The folder of inbox, lake and warehouse."""
        return self.root / "data"

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which every command finds it."""
        return {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONWARNINGS": "ignore",
            "DATA_DIR": str(self.data),
            "DECLARATIONS_DIR": str(self.root / "defs"),
            "DAGSTER_HOME": str(self.root / "home"),
        }

    def run(self, *command: str) -> None:
        """Run a command to its good end."""
        done = subprocess.run(
            command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    @contextmanager
    def serving(self, command: Sequence[str]) -> Iterator[None]:
        """Run a server in the background until the end, and stop it with all its children."""
        with (self.root / "server.log").open("w") as log:
            server = subprocess.Popen(
                # A server that is started in the background would inherit that SIGINT is ignored.
                ["env", "--default-signal=INT", *command],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            try:
                self._wait(server)
                yield
            finally:
                _stop(server)

    def _wait(self, server: subprocess.Popen[bytes]) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until and server.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/server_info", timeout=5):  # noqa: S310
                    return
            except OSError:
                time.sleep(0.3)
        raise AssertionError((self.root / "server.log").read_text())


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Ask the server to end; whatever is left of its session after a while is ended by force."""
    server.send_signal(signal.SIGINT)
    try:
        server.wait(timeout=END_S)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@contextmanager
def installation(root: Path) -> Iterator[Installation]:
    """Install in an empty folder, materialize the samples' week, and serve the UI with daemon."""
    port = free_port()
    made = Installation(make_template(root), f"http://127.0.0.1:{port}")
    shutil.copytree(PACKAGE / "defs", root / "defs", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (root / "defs").rglob("*.yaml"):  # the same sensors, but less patient ones
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("{settle: 5s}", "{settle: 1s, every: 5s}"), encoding="utf-8")
    made.run(sys.executable, "demo/make_samples.py", str(made.data / "inbox"))
    made.run(
        *("dagster", "asset", "materialize", "-m", "dataflow_assets.definitions"),
        *("--select", " or ".join(f"group:{name}" for name in OF_FILES)),
        *("--partition-range", f"{FIRST}...{LAST}"),
    )
    with made.serving(["dagster", "dev", "-h", "127.0.0.1", "-p", str(port)]):
        yield made
