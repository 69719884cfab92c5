"""A changed `extract`: what plan and replay make of the bytes that the archive has."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from dataflow_assets.builders.rereading import why_unknown
from dataflow_assets.declaration.extract import Extract
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets_tests.commands import command
from dataflow_assets_tests.integration.test_plan import print_of
from dataflow_assets_tests.scenario import ARRIVALS, DAY, HARBOUR, NEXT_DAY, changed, ships

if TYPE_CHECKING:
    from dataflow_assets_tests.scenario import World

LOOSE = changed(HARBOUR, checks__quarantined__max_share=1)
SQUOTE = changed(LOOSE, extract__files__csv={"delimiter": ";", "quote": "'"})
NONE = changed(LOOSE, extract__files__csv={"delimiter": ";", "quote": None})
ODD = "'Cora;{2}.{1}.{0} 20:00;3.5;cargo;7\nDora;{2}.{1}.{0} 20:01;3.5;cargo;7\n"
COUNTS = "select received, loaded, quarantined from dataflow.ledger where asset = '{}/harbour'"


def odd_ships(day: str) -> str:
    """Return three ships, of which one has a name with a mark that is no quote."""
    return ships(day, "Anna") + ODD.format(*day.split("-"))


def zipped(**members: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in members.items():
            archive.writestr(f"{name}.csv", text)
    return content.getvalue()


@pytest.fixture
def misread(world: World) -> World:
    """Two days that were read with a wrong quote."""
    world.declare(SQUOTE, ARRIVALS)
    world.drop(f"{DAY}.csv", odd_ships(DAY))
    world.drop(f"{DAY}-b.zip", zipped(one=ships(DAY, "Emmy"), two=ships(DAY, "Frida")))
    world.drop(f"{NEXT_DAY}.csv", ships(NEXT_DAY, "Anna"))
    assert world.materialize(DAY, NEXT_DAY).success
    return world


def test_a_changed_way_of_reading_is_planned_from_the_archive(misread: World) -> None:
    assert command(misread, "plan").code == 0
    misread.declare(NONE, ARRIVALS)
    for path in (misread.root / "data" / "inbox").rglob("*.csv"):
        path.unlink()  # as in CI, where there is a lake and no inbox
    before = print_of(misread)
    done = command(misread, "plan", "--format", "json")
    assert (done.code, done.err) == (2, "")
    assert print_of(misread) == before
    (source,) = json.loads(done.out)["sources"]
    assert (source["partition"], source["unknown"], source["failure"]) == (DAY, "", "")
    assert (source["before"]["loaded"], source["after"]["loaded"]) == (4, 5)


def test_what_could_not_be_read_any_more_is_told(misread: World) -> None:
    csv = {"delimiter": ";", "quote": "'", "encoding": "latin-1", "skip_lines": 3}
    misread.declare(changed(LOOSE, extract__files__csv=csv), ARRIVALS)
    done = command(misread, "plan")
    assert done.code == 2
    assert "2 would change" in done.out
    assert "would not be published: [DA2" in done.out


def test_a_replay_makes_raw_of_the_archive_first(misread: World) -> None:
    misread.declare(NONE, ARRIVALS)
    for path in (misread.root / "data" / "inbox").rglob("*.csv"):
        path.unlink()
    dry = command(misread, "replay", "harbour", "--dry-run")
    assert dry.code == 0, dry.err
    assert f"{DAY}: 1 of 1 open entries pass now, and its archived bytes give other" in dry.out
    assert "1 of 2 partitions of harbour are affected, nothing was run" in dry.out

    done = command(misread, "replay", "harbour")
    assert done.code == 0, done.out + done.err
    assert f"over {DAY}: done" in done.out
    day = f" and partition = '{DAY}'"
    assert misread.query(COUNTS.format("raw") + day).row(0) == (5, 5, None)
    assert misread.query(COUNTS.format("cleaned") + day).row(0) == (5, 5, 0)
    assert misread.query("select count(*) from normalized.arrivals").item() == 6
    again = command(misread, "replay", "harbour")
    assert again.out == "0 of 2 partitions of harbour are affected\n"
    assert command(misread, "plan", "--partition", DAY).code == 0


def test_raw_of_the_archive_is_what_receiving_would_give(misread: World) -> None:
    """Otherwise the next run over raw would make it anew, or not notice that it must."""
    misread.declare(NONE, ARRIVALS)
    assert command(misread, "replay", "harbour").code == 0
    before = misread.stores.lake.manifest("raw", "harbour", DAY)
    assert misread.materialize(DAY, select="key:raw/harbour").success
    assert misread.stores.lake.manifest("raw", "harbour", DAY) == before


def test_where_something_else_is_asked_for_nothing_is_said(misread: World) -> None:
    files = {"path": "harbour/new/{date:%Y-%m-%d}*", "csv": {"delimiter": ";", "quote": None}}
    misread.declare(changed(LOOSE, extract__files=files), ARRIVALS)
    done = command(misread, "plan", "--partition", DAY)
    assert done.code == 2
    assert "of 1 it cannot be said" in done.out
    assert "extract was changed, and now asks for something else: what it would" in done.out
    replay = command(misread, "replay", "harbour")
    assert replay.code == 0, replay.err
    assert "of 2 partitions raw is to be materialized anew: extract was changed" in replay.out
    assert f'--select "key:raw/harbour+" --partition-range {DAY}...{NEXT_DAY}' in replay.out
    assert "0 of 2 partitions of harbour are affected" in replay.out


def test_a_lake_of_an_older_release_did_not_note_what_was_asked(misread: World) -> None:
    raw = misread.stores.lake.manifest("raw", "harbour", DAY)
    assert raw is not None
    source = SourceDeclaration.model_validate(NONE)
    assert why_unknown(source, raw) == ""
    older = raw.model_copy(update={"asked": ""})
    assert "an older release" in why_unknown(source, older)
    lost = raw.model_copy(update={"files": raw.files[2:]})
    assert "does not lead to all bytes" in why_unknown(source, lost)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"files": {"path": "a.csv"}}, {"files": {"path": "b.csv"}}, False),
        ({"files": {"path": "a.csv"}}, {"files": {"path": "a.csv", "compression": "gzip"}}, True),
        (
            {"rest": {"url": "https://h/a", "records": "b"}},
            {"rest": {"url": "https://h/a", "records": "c", "most_bytes": 9}},
            True,
        ),
        (
            {"rest": {"url": "https://h/a", "pages": {"link": {}}, "records": "b"}},
            {"rest": {"url": "https://h/a", "pages": {"link": {}}, "records": "c"}},
            False,
        ),
        ({"feed": {"url": "https://h/a"}}, {"feed": {"url": "https://h/b"}}, False),
        (
            {"database": {"system": "sqlite", "url_env": "U", "table": "a"}},
            {"database": {"system": "sqlite", "url_env": "U", "query": "select 1 as a"}},
            False,
        ),
    ],
)
def test_what_decides_which_bytes_are_received(
    one: dict[str, Any], other: dict[str, Any], *, same: bool
) -> None:
    asked = [Extract.model_validate(extract).asked for extract in (one, other)]
    assert (asked[0] == asked[1]) is same
