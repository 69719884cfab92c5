"""Pydantic models as contracts, through real Dagster instances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from dataflow_assets.builders.cleaning import cleaned_declaration
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.errors import DeclarationError, PluginError
from dataflow_assets.settings import get_settings
from dataflow_assets.transform import models
from dataflow_assets_tests.commands import command
from dataflow_assets_tests.scenario import ARRIVALS, DAY, HARBOUR, changed, ships

if TYPE_CHECKING:
    from dataflow_assets_tests.scenario import World

MODULE = "dataflow_assets_tests.unit.transform.models"
ORDERS: dict[str, Any] = {
    "name": "orders",
    "partitions": {"values": ["all"]},
    "extract": {"files": {"path": "harbour/orders.csv"}},
    "contract": {"model": f"{MODULE}:Careful", "key": ["name"]},
}
SALES: dict[str, Any] = {
    "name": "sales",
    "key": ["name"],
    "columns": {"name": "string", "price": "float64"},
    "from": {"orders": {"name": "name", "price": "price"}},
}
ROWS = "number,price,name\n1,$3.5,anna\n5,4,berta\n-1,4,clara\n2,€4,dora\n"


def test_a_model_is_a_contract_from_file_to_warehouse(world: World) -> None:
    world.declare(ORDERS, SALES)
    world.drop("orders.csv", ROWS)
    result = world.materialize("all")
    assert result.success
    assert world.query("select name, price from normalized.sales").rows() == [("Anna", 3.5)]
    reasons = world.rows("quarantine", "all", "orders")["reasons"].explode().to_list()
    assert [(one["rule"], one["message"]) for one in reasons] == [
        ("model", "Value error, price is below number"),
        ("number__range", "Input should be greater than or equal to 0"),
        ("price__model", "Input should be a valid number, unable to parse string as a number"),
    ]
    checks = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert not checks["model"].passed
    assert "price is below number" in str(checks["model"].metadata["sample"].value)
    table = command(world, "quarantine", "show", "orders").out
    assert "message" in table.splitlines()[0].split()
    assert all(one["message"][:50] in table for one in reasons)  # longer ones are cut
    spec = world.definitions.resolve_asset_graph().get(dg.AssetKey(["cleaned", "orders"]))
    assert spec.metadata["model"] == f"{MODULE}:Careful"
    assert "Pydantic validates each row" in str(spec.metadata["model_note"])


def test_a_module_that_cannot_be_imported_hurts_no_other_source(world: World) -> None:
    orders = changed(ORDERS, contract={"model": "nowhere.at_all:Order", "key": ["name"]})
    refers = changed(
        HARBOUR,
        contract__rules={
            "known": {
                "references": {
                    "columns": "ship", "source": "orders", "to": "name", "partition": "all"
                },
                "severity": "warn",
            }
        },
    )  # fmt: skip
    world.declare(orders, SALES, refers, ARRIVALS)
    world.drop("orders.csv", ROWS)
    world.drop(f"{DAY}.csv", ships(DAY, "Anna"))
    keys = {
        "/".join(key.path) for key in world.definitions.resolve_asset_graph().get_all_asset_keys()
    }
    assert {"cleaned/orders", "normalized/sales", "normalized/arrivals"} <= keys
    for select in ("key:raw/orders", "key:cleaned/orders or key:quarantine/orders"):
        (event,) = world.materialize("all", select=select).get_step_failure_events()
        failure = event.step_failure_data.user_failure_data
        assert failure is not None
        assert "[DA103] source 'orders', at 'nowhere.at_all'" in str(failure.description)
        assert "other sources are not concerned" in str(failure.description)
    (event,) = world.materialize("all", select="key:normalized/sales").get_step_failure_events()
    assert "DA103" in str(event.step_failure_data.user_failure_data)
    spec = world.definitions.resolve_asset_graph().get(dg.AssetKey(["cleaned", "orders"]))
    assert "**Broken**" in str(spec.description)

    world.declare(orders, SALES, HARBOUR, ARRIVALS)
    assert world.materialize(DAY, select="group:harbour or group:arrivals").success


def test_a_strict_location_does_not_load_without_the_model(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRICT", "1")
    get_settings.cache_clear()
    world.declare(changed(ORDERS, contract={"model": "nowhere.at_all:Order"}))
    try:
        with pytest.raises(PluginError, match=r"defs.yaml:.*DA103.*'orders'"):
            _ = world.definitions
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"contract__model": f"{MODULE}:Listed"}, "which is of a type that no column has (list)"),
        ({"contract__columns": {"number": {"min": 5}}}, "the model says min: 0 of number"),
        ({"contract__key": ["nope"]}, "key names 'nope'"),
        ({"contract__rules": {"r": {"sql": "nope > 1"}}}, "rule r: 'nope > 1' is no expression"),
        (
            {
                "contract__model": f"{MODULE}:Sparse",
                "contract__columns": {"total": {"type": "decimal(5, 2)"}},
                "contract__key": ["city"],
                "extract__files__csv": {"header": False},
            },
            "without a header, columns are taken in order",
        ),
    ],
)
def test_mistakes_beside_a_model_are_told_with_their_place(
    world: World, changes: dict[str, Any], says: str
) -> None:
    world.declare(changed(ORDERS, **changes))
    with pytest.raises(DeclarationError) as raised:
        _ = world.definitions
    assert says in str(raised.value)
    assert "defs.yaml:" in str(raised.value)
    assert "'orders'" in str(raised.value)


def test_the_code_of_a_model_is_part_of_what_is_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    source = SourceDeclaration.model_validate(ORDERS)
    source = source.model_copy(update={"contract": models.with_model(source.contract)})
    before = cleaned_declaration(source)
    assert before == cleaned_declaration(source)
    monkeypatch.setattr(models, "_source_of", lambda cls: f"other code of {cls}")
    assert cleaned_declaration(source) != before
