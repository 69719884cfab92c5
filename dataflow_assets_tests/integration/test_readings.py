"""A source whose texts need every kind of reading, from its file to the warehouse."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from dataflow_assets_tests.scenario import changed

if TYPE_CHECKING:
    from dataflow_assets_tests.scenario import World

DAY = "2024-04-01"
SALES: dict[str, Any] = {
    "name": "sales",
    "partitions": {"every": "day", "start": "2024-03-29", "end": "2024-05-01"},
    "extract": {"files": {"path": "harbour/{date:%Y-%m-%d}*", "csv": {"delimiter": "|"}}},
    "contract": {
        "key": ["id"],
        "columns": {
            "id": {"type": "int64", "thousands_mark": "."},
            "price": {
                "type": "decimal(12, 2)",
                "decimal_mark": ",",
                "thousands_mark": ".",
                "currency": ["\u20ac", "EUR"],
                "negatives": "trailing_minus",
            },
            "discount": {
                "type": "float64",
                "decimal_mark": ",",
                "units": {"%": 0.01},
                "default": 0,
            },
            "weight": {
                "type": "decimal(12, 4)",
                "decimal_mark": ",",
                "units": {"kg": 1, "g": 0.001},
            },
            "paid": {"type": "boolean", "formats": ["ja/nein"], "ignore_case": True},
            "zone": "string",
            "sold_at": {"type": "timestamp", "timezone_from": "zone", "ambiguous": "earlier"},
            "note": {"clean": ["strip_html", "collapse"]},
            "kind": {
                "clean": ["lower", {"map": {"b": "book", "t": "toy"}}],
                "one_of": ["book", "toy"],
            },
            "channel": {"default": "shop"},
        },
    },
}
LINES = [
    "id|price|discount|weight|paid|zone|sold_at|note|kind",
    "1.001|1.234,50 \u20ac|12,5 %|250 g|JA|Europe/Berlin|2024-10-27 02:30|<p>A &amp;<br>B</p>|B",
    "1.002|5,00-||2 kg|nein|America/New_York|2024-07-01 12:00||T",
    "1.003|12.34,50||2 kg|nein|UTC|2024-07-01 12:00||T",
    "1.004|5 $|5|2 lb|yes|Mars|2024-07-01 12:00|x|Z",
    "1.001|1,00||1 kg|ja|UTC|2024-07-01 12:00||b",
]


def test_texts_become_values_or_are_quarantined_as_received(world: World) -> None:
    world.declare(SALES)
    world.drop(f"{DAY}.csv", "\n".join([*LINES, ""]))
    assert world.materialize(DAY).success

    rows = world.rows("cleaned", DAY, "sales").sort("id").rows(named=True)
    at = dt.datetime(2024, 7, 1, 12, tzinfo=dt.UTC)
    assert [row["id"] for row in rows] == [1001, 1002]
    assert rows[0] | {"_file": "", "_version": "", "_line": 0} == {
        "id": 1001, "price": Decimal("1.00"), "discount": 0.0, "weight": Decimal(1), "paid": True,
        "zone": "UTC", "sold_at": at, "note": None, "kind": "book", "channel": "shop",
        "_file": "", "_version": "", "_line": 0,
    }  # fmt: skip
    assert (rows[1]["price"], rows[1]["sold_at"]) == (Decimal(-5), at + dt.timedelta(hours=4))

    found = world.rows("quarantine", DAY, "sales").sort("_line")
    reasons = [[(one["rule"], one["value"]) for one in row] for row in found["reasons"]]
    assert reasons == [
        [("price__type", "12.34,50")],
        [
            ("price__type", "5 $"),
            ("discount__type", "5"),
            ("weight__type", "2 lb"),
            ("paid__type", "yes"),
            ("sold_at__type", "2024-07-01 12:00"),
            ("kind__type", "Z"),
        ],
    ]
    assert json.loads(found["row"][1])["price"] == "5 $"
    assert world.check_history("cleaned/sales", "kind__type") == [False]
    (counts,) = world.query(
        "select received, loaded, quarantined, duplicate from dataflow.ledger "
        "where asset = 'cleaned/sales'"
    ).rows()
    assert counts == (5, 2, 2, 1)


def test_another_way_of_reading_makes_the_rows_anew(world: World) -> None:
    world.declare(SALES)
    world.drop(f"{DAY}.csv", "\n".join([*LINES[:2], ""]))
    assert world.materialize(DAY).success
    before = world.rows("cleaned", DAY, "sales").row(0, named=True)
    assert before["sold_at"] == dt.datetime(2024, 10, 27, 0, 30, tzinfo=dt.UTC)
    assert before["note"] == "A & B"

    steps = ["strip_html", "collapse", {"replace_pattern": {"$": "!"}}]
    world.declare(
        changed(
            SALES,
            contract__columns__sold_at__ambiguous="later",
            contract__columns__note__clean=steps,
        )
    )
    world.forget_definitions()
    assert world.materialize(DAY).success
    after = world.rows("cleaned", DAY, "sales").row(0, named=True)
    assert after["sold_at"] == dt.datetime(2024, 10, 27, 1, 30, tzinfo=dt.UTC)
    assert after["note"] == "A & B!"
