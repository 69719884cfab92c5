"""Rules that refer to other tables, through real Dagster instances."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.builders import references
from dataflow_assets.declaration.contract import Contract
from dataflow_assets.errors import DeclarationError, PartitionBusyError
from dataflow_assets.io.absent import find_absent
from dataflow_assets.transform.references import KnownValues, as_own
from dataflow_assets_tests.scenario import changed

if TYPE_CHECKING:
    from dataflow_assets_tests.scenario import World

DAY, NEXT_DAY = "2024-04-01", "2024-04-02"
DAYS = {"every": "day", "start": "2024-04-01", "end": "2024-04-10"}
VISITS: dict[str, Any] = {
    "name": "visits",
    "partitions": DAYS,
    "extract": {"files": {"path": "harbour/visits-{date:%Y-%m-%d}.csv"}},
    "contract": {
        "key": ["visit"],
        "columns": {"visit": "int64", "ship": "string", "berth": "int16"},
        "rules": {
            "ship_known": {"references": {"columns": "ship", "source": "ships", "to": "name"}},
        },
    },
}
SHIPS: dict[str, Any] = {
    "name": "ships",
    "partitions": DAYS,
    "extract": {"files": {"path": "harbour/ships-{date:%Y-%m-%d}.csv"}},
    "contract": {"key": ["name"], "columns": {"name": "string", "berth": "int64"}},
}
BERTHS: dict[str, Any] = {
    "name": "berths",
    "key": ["berth"],
    "columns": {"berth": "int64"},
    "from": {"ships": {"berth": "berth"}},
}


def visits(world: World, *ships: str, day: str = DAY) -> None:
    rows = "".join(f"{n},{ship},{n}\n" for n, ship in enumerate(ships))
    world.drop(f"visits-{day}.csv", f"visit,ship,berth\n{rows}")


def ships(world: World, *names: str, day: str = DAY) -> None:
    rows = "".join(f"{name},{n}\n" for n, name in enumerate(names))
    world.drop(f"ships-{day}.csv", f"name,berth\n{rows}")


def ruled(rule: dict[str, Any], **words: Any) -> dict[str, Any]:  # noqa: ANN401 - YAML
    return changed(VISITS, contract__rules={"known": {"references": rule, **words}})


def layer(*sources: str) -> str:
    """Select the layers in the lake of some sources."""
    layers = ("raw", "cleaned", "quarantine")
    return " or ".join(f'key:"{one}/{source}"' for source in sources for one in layers)


def said(result: dg.ExecuteInProcessResult) -> str:
    (event,) = result.get_step_failure_events()
    failure = event.step_failure_data.user_failure_data
    return str(failure and failure.description)


def test_a_row_is_judged_by_what_stands_in_another_source(world: World) -> None:
    world.declare(SHIPS, VISITS)
    visits(world, "Anna", "Nobody", "", "Berta")
    ships(world, "Anna", "Berta")
    missing = world.materialize(DAY, select=layer("visits"))
    assert "[DA504] source 'visits', partition '2024-04-01', at 'cleaned/ships'" in said(missing)
    assert "Materialize cleaned/ships for this partition first." in said(missing)

    assert world.materialize(DAY).success
    assert world.rows("cleaned", DAY, "visits")["ship"].to_list() == ["Anna", None, "Berta"]
    (reasons,) = world.rows("quarantine", DAY, "visits")["reasons"].to_list()
    assert [(one["rule"], one["value"]) for one in reasons] == [("ship_known", '{"ship":"Nobody"}')]
    assert world.query("select sum(lost) as lost from dataflow.conservation")["lost"].item() == 0
    assert world.check_history("cleaned/visits", "ship_known") == [False]


def test_a_changed_table_makes_what_refers_to_it_stale(world: World) -> None:
    world.declare(SHIPS, VISITS)
    visits(world, "Anna", "Nobody")
    ships(world, "Anna")
    assert world.materialize(DAY).success
    before = world.stores.lake.manifest("cleaned", "visits", DAY)
    assert world.materialize(DAY, select=layer("visits")).success
    again = world.stores.lake.manifest("cleaned", "visits", DAY)
    ships(world, "Anna", "Nobody")
    assert world.materialize(DAY, select=layer("ships")).success
    graph = world.definitions.resolve_asset_graph()
    key = dg.AssetKey(["cleaned", "visits"])
    assert dg.AssetKey(["cleaned", "ships"]) in graph.get(key).parent_keys
    resolver = CachingStaleStatusResolver(
        world.instance, graph, LoadingContextForTest(world.instance)
    )
    assert resolver.get_status(key, DAY).value == "STALE"

    assert world.materialize(DAY, select=layer("visits")).success
    after = world.stores.lake.manifest("cleaned", "visits", DAY)
    assert before is not None
    assert again is not None
    assert after is not None
    assert before.data_version == again.data_version != after.data_version
    assert before.references["ship_known"] != after.references["ship_known"]
    assert world.rows("cleaned", DAY, "visits").height == 2


@pytest.mark.parametrize("big", [False, True])
def test_latest_and_all_partitions_of_a_source(
    world: World, monkeypatch: pytest.MonkeyPatch, *, big: bool
) -> None:
    monkeypatch.setattr(references, "MANY", 0 if big else references.MANY)
    ships(world, "Anna")
    ships(world, "Berta", day=NEXT_DAY)
    visits(world, "Anna", "Berta", "Nobody")
    rule = {"columns": "ship", "source": "ships", "to": "name"}
    for which, loaded in (("same", ["Anna"]), ("latest", ["Berta"]), ("all", ["Anna", "Berta"])):
        world.declare(SHIPS, ruled({**rule, "partition": which}))
        assert world.materialize(DAY, NEXT_DAY, select=layer("ships")).success
        assert world.materialize(DAY, select=layer("visits")).success
        assert world.rows("cleaned", DAY, "visits")["ship"].to_list() == loaded


@pytest.mark.parametrize("big", [False, True])
def test_an_entity_is_looked_into_as_a_whole(
    world: World, monkeypatch: pytest.MonkeyPatch, *, big: bool
) -> None:
    monkeypatch.setattr(references, "MANY", 0 if big else references.MANY)
    world.declare(SHIPS, BERTHS, ruled({"columns": "berth", "entity": "berths"}))
    ships(world, "Anna", "Berta")
    visits(world, "Anna", "Berta", "Clara")
    missing = world.materialize(DAY, select=layer("visits"))
    assert "a rule refers to normalized/berths, of which there is nothing yet" in said(missing)
    assert world.materialize(DAY).success
    assert world.rows("cleaned", DAY, "visits")["berth"].to_list() == [0, 1]
    job = world.definitions.resolve_job_def("ships_job").asset_layer
    keys = {"/".join(key.path) for key in job.executable_asset_keys}
    assert keys == {"raw/ships", "cleaned/ships", "quarantine/ships", "normalized/berths"}


def test_of_a_history_the_current_versions_count(world: World) -> None:
    history = changed(BERTHS, write="history")
    world.declare(SHIPS, history, ruled({"columns": "berth", "entity": "berths"}))
    ships(world, "Anna", "Berta")
    ships(world, "Anna", day=NEXT_DAY)
    visits(world, "Anna", "Berta", day=NEXT_DAY)
    assert world.materialize(DAY, select=f'{layer("ships")} or key:"normalized/berths"').success
    assert world.materialize(NEXT_DAY).success
    assert world.rows("cleaned", NEXT_DAY, "visits")["berth"].to_list() == [0]


@pytest.mark.parametrize(
    ("rule", "says", "mend"),
    [
        ({"columns": "ship", "source": "boats"}, "there is no source 'boats'", "ships, visits"),
        ({"columns": "ship", "entity": "boats"}, "there is no entity 'boats'", "berths"),
        ({"columns": "ship", "source": "ships"}, "cleaned/ships has no column 'ship'", "name"),
        (
            {"columns": "ship", "source": "ships", "to": "berth"},
            "ship is string, but berth of cleaned/ships is int64",
            "alike",
        ),
        (
            {"columns": "ship", "source": "visits"},
            "leads back to where it begins: cleaned/visits -> cleaned/visits",
            "another table",
        ),
    ],
)
def test_a_reference_that_leads_nowhere(
    world: World, rule: dict[str, Any], says: str, mend: str
) -> None:
    world.declare(SHIPS, BERTHS, ruled(rule))
    with pytest.raises(DeclarationError) as raised:
        _ = world.definitions
    assert says in str(raised.value)
    assert mend in str(raised.value)
    assert "defs.yaml:" in str(raised.value)
    assert "'rule known'" in str(raised.value)


def test_circles_are_refused(world: World) -> None:
    back = changed(
        SHIPS,
        contract__rules={
            "visited": {"references": {"columns": "name", "source": "visits", "to": "ship"}}
        },
    )
    world.declare(back, VISITS)
    with pytest.raises(DeclarationError, match="cleaned/ships -> cleaned/visits -> cleaned/ships"):
        _ = world.definitions
    world.declare(
        changed(
            SHIPS, contract__rules={"own": {"references": {"columns": "berth", "entity": "berths"}}}
        ),
        BERTHS,
    )
    with pytest.raises(
        DeclarationError, match="cleaned/ships -> normalized/berths -> cleaned/ships"
    ):
        _ = world.definitions


def test_partitions_must_be_said_where_they_differ(world: World) -> None:
    once = changed(
        SHIPS, partitions={"values": ["all"]}, extract={"files": {"path": "harbour/ships.csv"}}
    )
    rule = {"columns": "ship", "source": "ships", "to": "name"}
    for partition, says in (
        ({}, "ships has other partitions than visits"),
        ({"partition": "latest"}, "ships has a fixed list of partitions"),
    ):
        world.declare(once, ruled({**rule, **partition}))
        with pytest.raises(DeclarationError, match=says):
            _ = world.definitions
    world.declare(once, ruled({**rule, "partition": "all"}))
    world.drop("ships.csv", "name,berth\nAnna,1\n")
    visits(world, "Anna", "Berta")
    assert world.materialize("all", select=layer("ships")).success
    assert world.materialize(DAY, select=layer("visits")).success
    assert world.rows("cleaned", DAY, "visits")["ship"].to_list() == ["Anna"]


def test_limits_decide_what_is_published(world: World) -> None:
    rule = {"columns": "ship", "source": "ships", "to": "name"}
    ships(world, "Anna")
    visits(world, "Anna", "Berta", "Clara", "Anna")
    outcomes = {}
    for severity in ("warn", "quarantine", "block"):
        for limit in ({"rows": 2}, {"share": 0.25}, None):
            words = {"severity": severity} | ({} if limit is None else {"limit": limit})
            world.declare(SHIPS, ruled(rule, **words))
            result = world.materialize(DAY)
            (check,) = [
                one for one in result.get_asset_check_evaluations() if one.check_name == "known"
            ]
            loaded = world.rows("cleaned", DAY, "visits").height if result.success else None
            outcomes[severity, str(limit)] = (check.passed, check.severity.value, loaded)
            if not result.success:
                assert ("DA302" if severity == "block" else "DA301") in said(result)
    assert outcomes == {
        ("warn", "{'rows': 2}"): (True, "WARN", 4),
        ("warn", "{'share': 0.25}"): (False, "WARN", 4),
        ("warn", "None"): (False, "WARN", 4),
        ("quarantine", "{'rows': 2}"): (True, "ERROR", 2),
        ("quarantine", "{'share': 0.25}"): (False, "ERROR", None),
        ("quarantine", "None"): (False, "WARN", 2),
        ("block", "{'rows': 2}"): (True, "ERROR", 4),
        ("block", "{'share': 0.25}"): (False, "ERROR", None),
        ("block", "None"): (False, "ERROR", None),
    }


def test_a_table_that_does_not_stand_still(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.declare(SHIPS, VISITS)
    visits(world, "Anna")
    ships(world, "Anna")
    assert world.materialize(DAY).success
    versions = iter(range(100))
    monkeypatch.setattr(references, "digest", lambda _: str(next(versions)))
    result = world.materialize(DAY, select=layer("visits"))
    assert not result.success
    assert PartitionBusyError.code in str(result.get_step_failure_events() or result.all_events)


KINDS = {"int8": "int64", "decimal(6, 2)": "decimal(9, 3)", "string": "string"}


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(sorted(KINDS)),
    st.lists(st.tuples(st.integers(-300, 300), st.sampled_from("ab")), max_size=12),
    st.lists(st.tuples(st.integers(-120, 120), st.sampled_from(["a", "b", None])), max_size=12),
)
def test_lookups_agree_with_plain_python(
    kind: str, there: list[tuple[int, str]], sought: list[tuple[int, str | None]]
) -> None:
    declared = Contract.model_validate(
        {
            "columns": {"n": kind, "t": "string"},
            "rules": {"r": {"references": {"columns": ["n", "t"], "source": "x"}}},
        }
    )
    own, other = (pl.String(), pl.String()) if kind == "string" else _types(kind)
    table = pl.DataFrame(
        {"n": pl.Series([n for n, _ in there], dtype=pl.Int64), "t": [t for _, t in there]},
        schema_overrides={"t": pl.String},
    ).with_columns(_scaled(other))
    rows = pl.DataFrame(
        {"n": pl.Series([n for n, _ in sought], dtype=pl.Int64), "t": [t for _, t in sought]},
        schema_overrides={"t": pl.String},
    ).with_columns(_scaled(own))
    rule = declared.rules["r"].references
    assert rule is not None
    known = as_own(table.lazy(), rule, declared).collect()
    absent = KnownValues(known).absent([pl.col("n"), pl.col("t")])
    wanted = [t is not None and (n, t) not in there for n, t in sought]
    found = rows.lazy().select(absent.alias("a")).collect(engine="streaming")["a"].to_list()
    assert found == wanted
    with TemporaryDirectory() as name:
        numbered = rows.with_row_index("_row").lazy()
        flags = find_absent(numbered, known.lazy(), rows.height, Path(name), 128)
    assert (np.flatnonzero(flags).tolist() if flags is not None else []) == [
        number for number, one in enumerate(wanted) if one
    ]


def _types(kind: str) -> tuple[pl.DataType, pl.DataType]:
    if kind == "int8":
        return pl.Int8(), pl.Int64()
    return pl.Decimal(6, 2), pl.Decimal(9, 3)


def _scaled(dtype: pl.DataType) -> pl.Expr:
    return pl.col("n").cast(dtype, strict=False).alias("n")
