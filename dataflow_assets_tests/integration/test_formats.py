"""One source of each format through Dagster: the same rows come out, whatever they came in."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
from typing import TYPE_CHECKING, Any

import dagster as dg
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataflow_assets.errors import DeclarationError
from dataflow_assets_tests.scenario import DAY, changed

if TYPE_CHECKING:
    from dataflow_assets_tests.scenario import World

AT = dt.datetime(2024, 4, 1, 12, 30)  # noqa: DTZ001 - as workbooks and files without zones say it
ROWS: list[tuple[int | float, str, Any, float | str]] = [
    (1, "Anna", AT, 4.5),
    (2, "Berta", AT, 99.5),  # deeper than the harbour
    (2.5, "Cilly", AT, 3.0),  # no whole number
    (4, "Dora", AT, 3.0),
]
NAMES = ("id", "ship", "at", "draught")
SOURCE: dict[str, Any] = {
    "name": "ships",
    "partitions": {"every": "day", "start": "2024-03-29", "end": "2024-05-01"},
    "extract": {"files": {"path": "harbour/{date:%Y-%m-%d}*"}},
    "contract": {
        "key": ["id"],
        "columns": {
            "id": "int64",
            "ship": "string",
            "at": "timestamp",
            "draught": {"type": "float64", "max": 25},
        },
    },
    "automation": {"sensor": {"settle": "30s"}},
}
ENTITY: dict[str, Any] = {
    "name": "visits",
    "key": ["id"],
    "columns": {"id": "int64", "ship": "string", "at": "timestamp", "draught": "float64"},
    "from": {"ships": {name: name for name in NAMES}},
}


def records() -> list[dict[str, Any]]:
    plain = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
    return [{**one, "at": one["at"].isoformat()} for one in plain]


def as_tsv() -> bytes:
    lines = ["\t".join(NAMES), *("\t".join(map(str, one.values())) for one in records())]
    return "\n".join(lines).encode()


def as_lines() -> bytes:
    return gzip.compress("\n".join(map(json.dumps, records())).encode())


def as_document() -> bytes:
    return json.dumps({"meta": {"pages": 1}, "data": {"ships": records()}}, indent=2).encode()


def as_parquet() -> bytes:
    columns = zip(*ROWS, strict=True)
    content = io.BytesIO()
    pq.write_table(pa.table(dict(zip(NAMES, map(pa.array, columns), strict=True))), content)
    return content.getvalue()


def as_workbook() -> bytes:
    book = openpyxl.Workbook()
    for row in (NAMES, *ROWS):
        book.active.append(row)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


WAYS: list[tuple[str, bytes, dict[str, Any]]] = [
    ("tsv", as_tsv(), {"format": "tsv"}),
    ("jsonl.gz", as_lines(), {"format": "jsonl"}),
    ("json", as_document(), {"format": "json", "json": {"records": "data.ships"}}),
    ("parquet", as_parquet(), {"format": "parquet"}),
    ("xlsx", as_workbook(), {"format": "excel"}),
]


def declared(**words: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever files may say
    return changed(SOURCE, **{f"extract__files__{word}": value for word, value in words.items()})


@pytest.mark.parametrize(("suffix", "content", "words"), WAYS, ids=[way[0] for way in WAYS])
def test_every_format_gives_the_same_rows(
    world: World, suffix: str, content: bytes, words: dict[str, Any]
) -> None:
    world.declare(declared(**words), ENTITY)
    world.drop(f"{DAY}.{suffix}", content)
    result = world.materialize(DAY)
    assert result.success
    moment = AT.replace(tzinfo=dt.UTC)
    assert world.rows("cleaned", DAY, "ships").select(NAMES).rows() == [
        (1, "Anna", moment, 4.5),
        (4, "Dora", moment, 3.0),
    ]
    quarantined = world.rows("quarantine", DAY, "ships")
    assert quarantined["rules"].to_list() == [["draught__range"], ["id__type"]]
    values = [reasons[0]["value"] for reasons in quarantined["reasons"].to_list()]
    assert values == ["99.5", "2.5"]
    assert json.loads(quarantined["row"][0])["ship"] == "Berta"
    assert world.query("select count(*) from normalized.visits").item() == 2
    before = world.materialize(DAY)
    assert before.success
    sensor = world.definitions.resolve_sensor_def("ships_files")
    with dg.build_sensor_context(
        instance=world.instance,
        definitions=world.definitions,
        resources={"stores": world.resource},
    ) as context:
        assert sensor.evaluate_tick(context).run_requests == []


def test_rows_that_cannot_be_read_are_named_after_their_format(world: World) -> None:
    world.declare(declared(format="jsonl"))
    world.drop(f"{DAY}.jsonl", b'{"id": 1, "at": "2024-04-01T00:00:00Z"}\n{"id": 2, "at\n{"id": 3}')
    assert world.materialize(DAY).success
    quarantined = world.rows("quarantine", DAY, "ships")
    assert quarantined.select("_line", "rules", "row").rows() == [
        (2, ["json__invalid"], '{"id": 2, "at')
    ]
    assert world.check_history("cleaned/ships", "json__invalid") == [False]
    assert world.check_history("cleaned/ships", "json__truncated") == [True]


def test_fields_that_come_and_go_are_drift(world: World) -> None:
    world.declare(declared(format="jsonl"))
    lines = [
        {"id": 1, "draught": 3, "flag": True},
        {"id": "2", "draught": "deep"},
        {"id": 3, "draught": {"metres": 3}},
    ]
    world.drop(f"{DAY}.jsonl", "\n".join(map(json.dumps, lines)))
    assert world.materialize(DAY).success
    cleaned = world.rows("cleaned", DAY, "ships")
    assert cleaned.select("id", "draught", "flag").rows() == [(1, 3.0, "true")]
    reasons = world.rows("quarantine", DAY, "ships")["reasons"].to_list()
    assert [one["value"] for row in reasons for one in row] == ["deep", '{"metres": 3}']


def test_files_whose_types_differ_are_read_together(world: World) -> None:
    world.declare(declared(format="parquet"))
    files: list[list[Any]] = [[2**60 + 1], [3.0, 4.5], ["5"]]
    for number, ids in enumerate(files):
        content = io.BytesIO()
        pq.write_table(pa.table({"id": ids, "ship": ["x"] * len(ids)}), content)
        world.drop(f"{DAY}-{number}.parquet", content.getvalue())
    assert world.materialize(DAY).success
    assert world.rows("cleaned", DAY, "ships")["id"].to_list() == [2**60 + 1, 3, 5]
    assert world.rows("quarantine", DAY, "ships")["rules"].to_list() == [["id__type"]]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("{date:%Y-%m-%d}.csv", "csv"),
        ("{date:%Y-%m-%d}*", "csv"),
        ("{date:%Y.%m.%d}", "csv"),
        ("{date:%Y-%m-%d}.JSONL.gz", "jsonl"),
        ("{date:%Y-%m-%d}*.ndjson.zst", "jsonl"),
        ("{date:%Y-%m-%d}/*.geojson", "json"),
        ("{date:%Y-%m-%d}.tsv.zip", "tsv"),
        ("{date:%Y-%m-%d}.parquet", "parquet"),
        ("{date:%Y-%m-%d}.xls*", "excel"),
        ("{date:%Y-%m-%d}.ods", "excel"),
    ],
)
def test_the_paths_suffix_says_the_format(world: World, path: str, expected: str) -> None:
    world.declare(changed(SOURCE, extract__files__path=path))
    spec = world.definitions.resolve_asset_graph().get(dg.AssetKey(["files", "ships"]))
    assert spec.kinds == {expected}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"format": "csv", "json": {"records": "a"}}, "json does not apply to files of format csv"),
        ({"format": "jsonl", "json": {"records": "a"}}, "records does not apply to jsonl"),
        ({"format": "parquet", "compression": "gzip"}, "compressed within"),
        ({"format": "excel", "csv": {}}, "csv does not apply to files of format excel"),
        ({"format": "xml"}, "'csv', 'tsv', 'json'"),
    ],
)
def test_words_of_another_format_are_refused(
    world: World, words: dict[str, Any], message: str
) -> None:
    world.declare(declared(**words))
    with pytest.raises(DeclarationError, match=message):
        _ = world.definitions
