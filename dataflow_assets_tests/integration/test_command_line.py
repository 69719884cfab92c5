"""The commands that people and CI type, as processes of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dataflow_assets_tests.scenario import ARRIVALS, DAY, HARBOUR, NEXT_DAY, changed, ships

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dataflow_assets_tests.scenario import World

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
MATERIALIZE = ("dagster", "asset", "materialize", "-m", "dataflow_assets.definitions")
VALIDATE = ("dagster", "definitions", "validate", "-w", "workspace.yaml")


def run(
    *command: str, environment: Mapping[str, str], timeout_s: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run one of the installed commands in the project's folder."""
    return subprocess.run(
        [str(BIN / command[0]), *command[1:]],
        cwd=ROOT,
        env={**environment, "PYTHONWARNINGS": "ignore", "COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def test_a_range_of_days_is_materialized(world: World) -> None:
    for day in (DAY, NEXT_DAY):
        world.drop(f"{day}.csv", ships(day, "Anna", "Berta"))

    done = run(
        *MATERIALIZE,
        "--select",
        "group:harbour or group:arrivals",
        "--partition-range",
        f"{DAY}...{NEXT_DAY}",
        environment=world.environment,
    )

    assert done.returncode == 0, done.stderr
    rows = world.query("select _partition, count(*) from normalized.arrivals group by 1 order by 1")
    assert rows.rows() == [(DAY, 2), (NEXT_DAY, 2)]


def test_a_failure_is_told_by_the_exit_code_and_the_reason(filled: World) -> None:
    filled.declare(changed(HARBOUR, checks__rows__min=3), ARRIVALS)

    done = run(*MATERIALIZE, "--select", "*", "--partition", DAY, environment=filled.environment)

    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert f"[DA304] source 'harbour', partition '{DAY}': 2 cleaned rows" in said
    assert "RetryRequested" not in said
    assert filled.query("select count(*) from normalized.arrivals").item() == 2


def test_a_wrong_variable_is_named(world: World) -> None:
    done = run(*VALIDATE, environment={**world.environment, "MEMORY_LIMIT_MB": "much"})

    assert done.returncode != 0
    assert "[DA110]" in done.stdout + done.stderr
    assert "MEMORY_LIMIT_MB is 'much'" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "command",
    [("dg", "check", "defs"), ("dg", "list", "defs"), VALIDATE],
    ids=" ".join,
)
def test_the_projects_own_declarations_pass(world: World, command: tuple[str, ...]) -> None:
    environment = {
        name: value for name, value in world.environment.items() if name != "DECLARATIONS_DIR"
    }

    done = run(*command, environment=environment)

    assert done.returncode == 0, done.stdout + done.stderr
    if command[1] == "list":
        for asset in ("raw/coastal_network", "cleaned/ocean_network", "normalized/seismic_events"):
            assert asset in done.stdout


def test_a_mistake_stands_out_in_what_the_command_says(world: World) -> None:
    world.declare(changed(HARBOUR, contract__colums={}), ARRIVALS)

    done = run(*VALIDATE, environment=world.environment)

    said = (done.stdout + done.stderr).splitlines()
    (line,) = (number for number, text in enumerate(said) if "DeclarationError" in text)
    assert done.returncode != 0
    assert "there is no word 'colums' here" in said[line]
    assert "defs/declared/defs.yaml:" in said[line]
    assert "Did you mean 'columns'?" in said[line]
    assert line < 10  # a person does not have to search for it
    assert len(said) - line < 20
