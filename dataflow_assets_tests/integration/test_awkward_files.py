"""Files and folders that are not what a source expects: what is said, and what goes on."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from dataflow_assets_tests.scenario import GAP_DAY, ships

if TYPE_CHECKING:
    import dagster as dg

    from dataflow_assets_tests.scenario import World

DAY, NEXT_DAY = "2024-04-01", "2024-04-02"


def test_a_missing_folder_fails_the_run_with_the_source_and_the_mend(world: World) -> None:
    shutil.rmtree(world.root / "data" / "inbox" / "harbour")
    (said,) = failures(world.materialize(DAY, NEXT_DAY))
    assert said.startswith("[DA202] source 'harbour'")
    assert said.count("There is no folder") == 1
    assert "Create the folder" in said


def test_a_link_back_to_itself_is_no_file(world: World) -> None:
    path = world.drop(f"{DAY}.csv", ships(DAY, "Anna"))
    for name in (f"{DAY}-loop.csv", "other"):
        link = path.with_name(name)
        link.symlink_to(link)
    assert world.materialize(DAY).success
    assert world.rows("cleaned", DAY)["ship"].to_list() == ["Anna"]


@pytest.mark.parametrize("name", ["Länge", "漢字"])
def test_a_header_in_another_encoding_names_the_source_and_the_word_to_set(
    world: World, name: str
) -> None:
    world.drop(f"{DAY}.csv", f"Ship;{name}\nAnna;1\n".encode("gb18030"))
    world.drop(f"{GAP_DAY}.csv", ships(GAP_DAY, "Berta"))
    (said,) = failures(world.materialize(GAP_DAY, DAY, select='key:"raw/harbour"'))
    assert said.startswith(f"[DA203] source 'harbour', partition '{DAY}', at 'harbour/{DAY}.csv'")
    assert "encoding" in said.partition("Mend:")[2]
    assert world.rows("raw", GAP_DAY)["Ship"].to_list() == ["Berta"]  # the other partition stands


def failures(run: dg.ExecuteInProcessResult) -> list[str]:
    """Return what the failed steps of a run say to people."""
    events = [event for event in run.all_events if event.is_step_failure]
    errors = [event.step_failure_data.error for event in events]
    return [error.message.partition("Failure: ")[2].strip() for error in errors if error]
