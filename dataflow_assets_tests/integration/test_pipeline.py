"""What happens when: one test for each case that CSV files can meet, from file to row."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from dataflow_assets.builders import steps
from dataflow_assets.errors import FileChangedError
from dataflow_assets.extract import files as files_module
from dataflow_assets_tests.scenario import (
    ARRIVALS,
    AWKWARD_COUNTS,
    AWKWARD_RULES,
    DAY,
    GAP_DAY,
    HARBOUR,
    HEADER,
    NEXT_DAY,
    changed,
    drop_awkward,
    ship_rows,
    ships,
)

if TYPE_CHECKING:
    from dataflow_assets.io.lake import Layer
    from dataflow_assets_tests.scenario import World

LAYERS: tuple[Layer, ...] = ("raw", "cleaned", "quarantine")
ROWS = "select arrival_id, _raw_ref from normalized.arrivals order by all"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "FIRST_WAIT_S", 0.01)


def state(world: World) -> dict[str, Any]:
    """Return all rows that readers see of `DAY`, in every layer."""
    lake = world.stores.lake
    return {
        layer: world.rows(layer, DAY).to_dicts()
        for layer in LAYERS
        if DAY in lake.partitions(layer, "harbour")
    } | {"normalized": world.query(ROWS).to_dicts()}


def failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Return why each failed step failed."""
    found = {}
    for event in result.all_events:
        if event.event_type_value == "STEP_FAILURE":
            failure = event.step_failure_data.user_failure_data
            assert failure is not None, event.step_failure_data.error_display_string
            found[str(event.step_key)] = str(failure.description)
    return found


def retries(result: dg.ExecuteInProcessResult) -> int:
    return sum(event.event_type_value == "STEP_UP_FOR_RETRY" for event in result.all_events)


def ledger(world: World, asset: str, partition: str = DAY) -> list[tuple[Any, ...]]:
    return world.query(
        "select received, loaded, quarantined, duplicate, filtered from dataflow.ledger "
        f"where asset = '{asset}' and \"partition\" = '{partition}'"
    ).rows()


def refused(world: World, step: str, code: str) -> str:
    """Run `DAY` again; expect that the step fails for good, with a code, and nothing changes."""
    before = state(world)
    result = world.materialize(DAY)
    reasons = failures(result)
    after = state(world)
    assert not result.success
    assert set(reasons) == {step}
    assert f"[{code}]" in reasons[step]
    assert f"partition '{DAY}'" in reasons[step]
    assert retries(result) == 0
    unharmed = LAYERS[1:] if step.startswith("cleaned") else LAYERS
    assert {layer: after.get(layer) for layer in (*unharmed, "normalized")} == {
        layer: before.get(layer) for layer in (*unharmed, "normalized")
    }
    return reasons[step]


def test_every_oddity_meets_its_fate(world: World) -> None:
    drop_awkward(world)

    assert world.materialize(GAP_DAY).success

    assert ledger(world, "cleaned/harbour", GAP_DAY) == [tuple(AWKWARD_COUNTS.values())]
    broken = world.rows("quarantine", GAP_DAY).explode("rules")["rules"].value_counts()
    assert dict(broken.iter_rows()) == AWKWARD_RULES
    cleaned = world.rows("cleaned", GAP_DAY).sort("arrived_at", "ship")
    shown = cleaned.select("ship", "draught", "order", "Remark", "_line").rows()
    assert shown == [
        ("Anna", 4.6, 2, "late", 8),
        ("Cap; Horn", 4.5, 1, 'calls it "the Cape"', 4),
        ("Dora\r\nof Husum", 4.5, 1, "", 5),
        ("Emmy \U0001f6a2", None, 1, "", 7),
        ("Hilde", 3.0, 1, "", 12),
        ("Karla", None, 3, None, 2),  # its file has no such column
    ]
    assert world.check_history("cleaned/harbour", "loaded_ships_are_deep") == [False]


def test_every_row_leads_back_to_its_bytes(world: World) -> None:
    drop_awkward(world)
    world.materialize(GAP_DAY)

    reference = world.query(
        "select _raw_ref from normalized.arrivals where arrival_id like 'karla%'"
    ).item()
    version, line = reference.split(":")
    archived = world.query(f"select archived from dataflow.files where version = '{version}'")
    text = gzip.decompress((world.settings.lake / archived.item()).read_bytes()).decode()

    assert text.splitlines()[int(line) - 1] == "3;cargo;31.03.2024 04:00;Karla"


def test_the_same_files_give_the_same_rows_and_version_again(filled: World) -> None:
    before, versions = state(filled), data_versions(filled)

    assert filled.materialize(DAY).success

    assert state(filled) == before
    assert data_versions(filled) == versions


def data_versions(world: World) -> dict[str, str | None]:
    assets = ("raw/harbour", "cleaned/harbour", "quarantine/harbour", "normalized/arrivals")
    found: dict[str, str | None] = {}
    for asset in assets:
        event = world.instance.get_latest_materialization_event(dg.AssetKey(asset.split("/")))
        materialization = event.asset_materialization if event else None
        tags = materialization.tags if materialization else None
        found[asset] = (tags or {}).get("dagster/data_version")
    assert all(found.values())
    return found


def test_other_bytes_give_other_versions(filled: World) -> None:
    before = data_versions(filled)
    filled.drop(f"{DAY}.csv", ships(DAY, "Anna", "Clara"))
    filled.materialize(DAY)

    after = data_versions(filled)

    assert all(after[asset] != before[asset] for asset in before)
    assert [row["arrival_id"].partition("/")[0] for row in state(filled)["normalized"]] == [
        "anna",
        "clara",
    ]


def test_a_day_without_files_is_an_empty_day(world: World) -> None:
    assert world.materialize(DAY).success

    assert ledger(world, "cleaned/harbour") == [(0, 0, 0, 0, 0)]
    assert world.rows("cleaned", DAY).height == 0
    assert ledger(world, "normalized/arrivals") == [(0, 0, None, 0, None)]


@pytest.mark.parametrize("content", ["", HEADER, f"{HEADER}\r\n\r\n", "\ufeff", "\n\n\n"])
def test_an_empty_file_is_an_empty_day(world: World, content: str) -> None:
    world.drop(f"{DAY}.csv", content)

    assert world.materialize(DAY).success

    assert ledger(world, "raw/harbour") == [(0, 0, None, None, None)]
    assert ledger(world, "cleaned/harbour") == [(0, 0, 0, 0, 0)]


def test_nothing_received_where_there_was_something(filled: World) -> None:
    (filled.root / f"data/inbox/harbour/{DAY}.csv").unlink()

    reason = refused(filled, "raw__harbour", "DA201")

    assert "2 rows had been" in reason
    assert "allow_empty" in reason


def test_an_empty_file_where_there_was_something(filled: World) -> None:
    filled.drop(f"{DAY}.csv", HEADER)

    refused(filled, "raw__harbour", "DA201")


def test_nothing_received_may_be_declared_fine(filled: World) -> None:
    filled.declare(changed(HARBOUR, checks__rows__allow_empty=True), ARRIVALS)
    (filled.root / f"data/inbox/harbour/{DAY}.csv").unlink()

    assert filled.materialize(DAY).success

    assert state(filled)["normalized"] == []


def test_a_required_column_is_gone(filled: World) -> None:
    filled.drop(f"{DAY}.csv", ships(DAY, "Anna").replace("Kind", "Type"))

    result = filled.materialize(DAY)

    reasons = failures(result)
    assert "[DA203]" in next(iter(reasons.values()))
    assert "'Kind'" in next(iter(reasons.values()))
    assert len(state(filled)["normalized"]) == 2
    assert len(state(filled)["cleaned"]) == 2
    assert retries(result) == 0


def test_a_column_that_nobody_requires_may_be_gone(filled: World) -> None:
    filled.drop(f"{DAY}.csv", ships(DAY, "Anna").replace("Draught", "Depth"))

    assert filled.materialize(DAY).success

    cleaned = filled.rows("cleaned", DAY)
    assert cleaned.select("draught", "Depth").rows() == [(None, "4.5")]
    assert filled.check_history("cleaned/harbour", "columns_as_declared")[0] is False


def test_more_quarantined_than_allowed(filled: World) -> None:
    filled.declare(changed(HARBOUR, checks__quarantined__max_share=0.4), ARRIVALS)
    filled.drop(f"{DAY}.csv", ships(DAY, "Anna", "Berta", draught="deep") + ship_rows(DAY, "Clara"))

    reason = refused(filled, "cleaned__harbour", "DA301")

    assert "draught__type" in reason
    assert filled.check_history("cleaned/harbour", "quarantined_share") == [False, True]
    assert filled.check_history("cleaned/harbour", "draught__type")[0] is False


def test_a_blocking_rule_is_broken(filled: World) -> None:
    rule = {"sql": "draught < 20", "severity": "block"}
    filled.declare(changed(HARBOUR, contract__rules__fits_the_harbour=rule), ARRIVALS)
    filled.drop(f"{DAY}.csv", ships(DAY, "Anna", "Berta", draught="24"))

    reason = refused(filled, "cleaned__harbour", "DA302")

    assert "fits_the_harbour" in reason
    assert f"harbour/{DAY}.csv line 2" in reason
    assert filled.check_history("cleaned/harbour", "fits_the_harbour") == [False]


@pytest.mark.parametrize(("bound", "number"), [("min", 3), ("max", 1)])
def test_too_few_or_too_many_rows(filled: World, bound: str, number: int) -> None:
    filled.declare(changed(HARBOUR, **{f"checks__rows__{bound}": number}), ARRIVALS)

    refused(filled, "cleaned__harbour", "DA304")

    assert filled.check_history("cleaned/harbour", "row_count") == [False, True]


UNKNOWN = f"{HEADER};Flag\nAnna;01.04.2024 10:00;4;cargo;1;DK\nBerta;01.04.2024 10:01;4;cargo;1;\n"


@pytest.mark.parametrize(
    ("mode", "columns", "ships_left"),
    [
        ("evolve", {"Flag"}, ["Anna", "Berta"]),
        ("discard", set(), ["Anna", "Berta"]),
        ("quarantine", set(), ["Berta"]),
    ],
)
def test_an_unknown_column(
    filled: World, mode: str, columns: set[str], ships_left: list[str]
) -> None:
    filled.declare(changed(HARBOUR, contract__unknown_columns=mode), ARRIVALS)
    filled.drop(f"{DAY}.csv", UNKNOWN)

    assert filled.materialize(DAY).success

    cleaned = filled.rows("cleaned", DAY)
    known = {*HARBOUR["contract"]["columns"], "_file", "_version", "_line"}
    assert set(cleaned.columns) - known == columns
    assert cleaned["ship"].sort().to_list() == ships_left
    assert filled.check_history("cleaned/harbour", "columns_as_declared")[0] is False


def test_an_unknown_column_in_a_frozen_contract(filled: World) -> None:
    filled.declare(changed(HARBOUR, contract__unknown_columns="freeze"), ARRIVALS)
    filled.drop(f"{DAY}.csv", UNKNOWN)

    reason = refused(filled, "cleaned__harbour", "DA203")

    assert "Flag" in reason


def test_a_row_that_cannot_be_split(world: World) -> None:
    world.drop(f"{DAY}.csv", ships(DAY, "Anna") + "Berta;01.04.2024;\n")

    assert world.materialize(DAY).success

    (row,) = world.rows("quarantine", DAY).to_dicts()
    assert (row["rules"], row["row"]) == (["csv__ragged"], "Berta;01.04.2024;")
    assert (row["_file"], row["_line"]) == (f"harbour/{DAY}.csv", 3)
    assert world.check_history("raw/harbour", "rows_split") == [False]


@pytest.mark.parametrize("cut", [12, -8, -1])
def test_a_truncated_gzip(filled: World, cut: int) -> None:
    whole = gzip.compress(ships(DAY, *(f"Ship {number}" for number in range(200))).encode())
    (filled.root / f"data/inbox/harbour/{DAY}.csv").unlink()
    filled.drop(f"{DAY}.csv.gz", whole[:cut])

    reason = refused(filled, "raw__harbour", "DA202")

    assert f"{DAY}.csv.gz" in reason


def test_of_many_days_a_bad_one_fails_alone(world: World) -> None:
    days = ["2024-04-01", "2024-04-02", "2024-04-03"]
    for day in days:
        world.drop(f"{day}.csv", ships(day, "Anna"))
    world.drop("2024-04-02.csv.gz", b"\x1f\x8b\x08 no")

    result = world.materialize(days[0], days[-1])

    assert "partition '2024-04-02'" in failures(result)["raw__harbour"]
    done = world.instance.get_materialized_partitions(dg.AssetKey(["raw", "harbour"]))
    assert done == {"2024-04-01", "2024-04-03"}
    assert world.stores.lake.partitions("raw", "harbour") == ["2024-04-01", "2024-04-03"]


def test_a_file_that_changes_while_it_is_read_is_tried_again(
    filled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled.drop(f"{DAY}.csv", ships(DAY, "Clara"))
    changes: list[int] = []
    take = files_module.take_snapshot

    def take_while_written(*arguments: Any) -> Any:  # noqa: ANN401 - as the original
        if not changes:
            changes.append(1)
            with path.open("a") as stream:
                stream.write(ships(DAY, "Dora").splitlines()[1] + "\n")
        return take(*arguments)

    monkeypatch.setattr("dataflow_assets.extract.files.take_snapshot", take_while_written)

    result = filled.materialize(DAY)

    assert result.success
    assert retries(result) == 1
    assert len(state(filled)["normalized"]) == 2  # both ships, of which the later had arrived


def test_a_file_that_never_rests_fails_after_some_tries(
    filled: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(filled)

    def never(*_: Any) -> Any:  # noqa: ANN401 - as the original
        raise FileChangedError("it changed.", mend="Wait.")

    monkeypatch.setattr("dataflow_assets.extract.files.take_snapshot", never)

    result = filled.materialize(DAY)

    assert not result.success
    assert retries(result) == steps.RETRIES
    assert state(filled) == before


def test_rows_without_a_key_are_not_published(filled: World) -> None:
    arrivals = changed(ARRIVALS)
    arrivals["from"]["harbour"]["arrival_id"] = "nullif(ship, 'Berta')"
    filled.declare(HARBOUR, arrivals)
    filled.drop(f"{DAY}.csv", ships(DAY, "Anna", "Berta", "Clara"))
    before = state(filled)["normalized"]

    result = filled.materialize(DAY)

    assert "[DA401]" in failures(result)["normalized__arrivals"]
    assert state(filled)["normalized"] == before
    assert filled.check_history("normalized/arrivals", "key_present")[0] is False


def test_a_mapping_that_fails_on_the_data_is_explained(filled: World) -> None:
    arrivals = changed(ARRIVALS)
    arrivals["from"]["harbour"]["rank"] = "cast(ship as bigint)"
    filled.declare(HARBOUR, arrivals)
    before = state(filled)["normalized"]

    result = filled.materialize(DAY)

    assert "[DA402]" in failures(result)["normalized__arrivals"]
    assert state(filled)["normalized"] == before


def test_a_table_that_cannot_take_the_columns_is_left_alone(filled: World) -> None:
    filled.declare(HARBOUR, changed(ARRIVALS, columns__rank="string", from__harbour__rank="kind"))

    reason = refused(filled, "normalized__arrivals", "DA503")

    assert "alter table" in reason


def test_a_new_column_joins_the_table(filled: World) -> None:
    filled.declare(HARBOUR, changed(ARRIVALS, columns__kind="string", from__harbour__kind="kind"))
    filled.drop(f"{NEXT_DAY}.csv", ships(NEXT_DAY, "Anna"))

    assert filled.materialize(NEXT_DAY).success

    rows = filled.query("select _partition, kind from normalized.arrivals order by all").rows()
    assert rows == [(DAY, None), (DAY, None), (NEXT_DAY, "cargo")]


def test_downstream_of_a_failure_nothing_runs(filled: World) -> None:
    filled.drop(f"{DAY}.csv.gz", b"\x1f\x8b\x08 no")

    result = filled.materialize(DAY)

    started = {event.step_key for event in result.all_events if event.is_step_start}
    assert started == {"raw__harbour"}


def test_the_latest_evaluation_of_a_check_is_that_of_the_whole_range(filled: World) -> None:
    """Nor is any check called skipped that was planned for partitions, and then evaluated."""
    filled.drop(f"{DAY}-more.csv", ships(DAY, "Clara", draught="deep"))
    filled.drop(f"{NEXT_DAY}.csv", ships(NEXT_DAY, "Anna"))
    assert failures(filled.materialize(DAY, NEXT_DAY)) == {}
    storage = filled.instance.event_log_storage
    latest = {}
    for key in filled.definitions.resolve_asset_graph().asset_check_keys:
        records = storage.get_asset_check_execution_history(key, limit=100)
        assert {record.status.value for record in records} <= {"SUCCEEDED", "FAILED"}
        (evaluation,) = (record.evaluation for record in records[:1])
        assert isinstance(evaluation, dg.AssetCheckEvaluation)
        assert "of 2 partitions pass" in str(evaluation.description)
        latest[key.name] = evaluation.passed
    assert not latest["draught__type"]
    assert latest["conservation"]


def test_what_a_check_says_is_of_the_run_and_partition_that_it_looked_at(filled: World) -> None:
    for _ in range(2):  # the second time there are materializations of another run
        result = filled.materialize(DAY)
        evaluations = result.get_asset_check_evaluations()
        assert {one.asset_key.path[0] for one in evaluations} == {"raw", "cleaned", "normalized"}
        for one in evaluations:
            assert one.target_materialization_data is not None
            assert one.target_materialization_data.run_id == result.run_id
            assert one.metadata["partition"].value == DAY


def test_a_check_cannot_be_executed_by_itself_and_says_so(filled: World) -> None:
    key = dg.AssetCheckKey(dg.AssetKey(["cleaned", "harbour"]), "row_count")
    job = dg.define_asset_job("check_only", selection=dg.AssetSelection.checks(key))
    definitions = dg.Definitions.merge(filled.definitions, dg.Definitions(jobs=[job]))

    result = definitions.resolve_job_def("check_only").execute_in_process(
        instance=filled.instance, raise_on_error=False
    )

    assert "[DA506]" in failures(result)["cleaned__harbour"]
    assert "Materialize the asset for a partition" in failures(result)["cleaned__harbour"]


def test_cleaned_alone_can_be_materialized(filled: World) -> None:
    filled.declare(changed(HARBOUR, contract__columns__draught__max=4), ARRIVALS)
    filled.drop(f"{DAY}.csv", ships(DAY, "Anna") + ship_rows(DAY, "Berta", draught="3"))
    assert filled.materialize(DAY, select="key:raw/harbour").success

    assert filled.materialize(DAY, select="key:cleaned/harbour").success

    assert [filled.rows(layer, DAY).height for layer in LAYERS] == [2, 1, 1]
    assert data_versions(filled)["cleaned/harbour"] == data_versions(filled)["quarantine/harbour"]
