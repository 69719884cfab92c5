"""What the command line shows of a quarantine: reasons, counts, decisions; readers that end."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from dataflow_assets.builders.reporting import gather
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets_tests.commands import command
from dataflow_assets_tests.scenario import ARRIVALS, DAY, HARBOUR, NEXT_DAY, changed, ships

if TYPE_CHECKING:
    from dataflow_assets_tests.scenario import World

# Every row is warned about; ferries are quarantined, and deep ships.
WARNED = changed(
    HARBOUR,
    contract__rules={"seldom": {"sql": "kind = 'never'", "severity": "warn"}},
    contract__columns__kind__pattern="cargo",
    contract__columns__draught__max=10,
    checks__quarantined__max_share=1,
)
WHO = ("--by", "the harbour master")


@pytest.fixture
def warned(world: World) -> World:
    world.declare(WARNED, ARRIVALS)
    for day in (DAY, NEXT_DAY):
        world.drop(f"{day}.csv", ships(day, "Anna"))
        world.drop(f"{day}-b.csv", ships(day, "Berta", "Cora", kind="ferry"))
    world.drop(f"{NEXT_DAY}-c.csv", ships(NEXT_DAY, "Dora", draught="12.5"))
    assert world.materialize(DAY, NEXT_DAY).success
    return world


def test_a_rule_that_warns_is_no_reason_of_quarantine(warned: World) -> None:
    assert {rule for rules in warned.rows("quarantine", DAY)["rules"] for rule in rules} == {
        "kind__pattern"
    }
    table = command(warned, "quarantine", "show", "harbour", "--partition", DAY).out
    heads, *lines = table.splitlines()
    assert heads.split()[4:7] == ["column", "rule", "severity"]
    assert "message" not in heads  # there is no model that says one
    assert [("warn " in line, "seldom" in line) for line in lines] == [
        (False, False),
        (True, True),
        (False, False),
        (True, True),
    ]
    none = command(warned, "quarantine", "show", "harbour", "--rule", "seldom", "--format", "json")
    assert json.loads(none.out) == []
    source = SourceDeclaration.model_validate(WARNED)
    report = gather({"harbour": source}, {}, [], warned.stores, warned.instance, 30)
    assert report.sources[0].rules == (("kind__pattern", 4), ("draught__range", 1))


def test_entries_are_counted_by_rule(warned: World) -> None:
    done = command(warned, "quarantine", "show", "harbour", "--by", "rule")
    assert done.code == 0, done.err
    assert [line.split() for line in done.out.splitlines()] == [
        ["rule", "entries", "partitions", "newest"],
        ["kind__pattern", "4", "2", NEXT_DAY],
        ["draught__range", "1", "1", NEXT_DAY],
    ]
    one = command(
        warned, "quarantine", "show", "harbour", "--by", "rule", "--rule", "draught__range"
    )
    assert len(one.out.splitlines()) == 2


def test_decisions_are_listed_with_who_when_and_why(warned: World) -> None:
    assert command(warned, "quarantine", "decisions", "harbour").out.count("\n") == 1
    line = ("--partition", DAY, "--line", f"harbour/{DAY}-b.csv:{{}}")
    for action, number, why in (("release", 2, "seen"), ("discard", 3, "a test")):
        place = (*line[:3], line[3].format(number))
        done = command(warned, "quarantine", action, "harbour", *place, "--reason", why, *WHO)
        assert done.code == 0, done.out + done.err
    listed = command(warned, "quarantine", "decisions", "harbour", "--format", "json")
    found = json.loads(listed.out)
    assert [(one["line"], one["state"], one["reason"]) for one in found] == [
        (3, "discarded", "a test"),
        (2, "released", "seen"),
    ]
    assert all(one["person"] == "the harbour master" and one["decided_at"] for one in found)
    table = command(warned, "quarantine", "decisions", "harbour", "--state", "released").out
    assert len(table.splitlines()) == 2
    assert "seen" in table
    place = (*line[:3], line[3].format(2))
    command(warned, "quarantine", "reopen", "harbour", *place, "--reason", "no", *WHO)
    table = command(warned, "quarantine", "decisions", "harbour", "--state", "released").out
    assert len(table.splitlines()) == 1


@pytest.mark.parametrize("arguments", [("show", "harbour", "--format", "json"), ("decisions", "x")])
def test_a_reader_that_ends_early_ends_the_command_quietly(
    warned: World, arguments: tuple[str, ...]
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "dataflow_assets", "quarantine", *arguments],
        env=warned.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read().decode()
    assert "Traceback" not in said
    assert "BrokenPipe" not in said
    assert process.wait() == (141 if arguments[1] == "harbour" else 1)
