"""Packages with plug-ins, from their entry points to tables."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from dataflow_assets.components.loading import load_declarations
from dataflow_assets.errors import DeclarationError
from dataflow_assets.settings import get_settings
from dataflow_assets_tests.packages import install_example, installed, write_package
from dataflow_assets_tests.scenario import DAY, HARBOUR, NEXT_DAY, changed, ships

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dataflow_assets_tests.scenario import World

GAUGE: dict[str, Any] = {
    "name": "gauge",
    "partitions": HARBOUR["partitions"],
    "extract": {
        "fixed_width": {
            "path": "harbour/{date:%Y-%m-%d}*.txt",
            "columns": {"station": 6, "hour": 2, "level": 7},
        }
    },
    "contract": {
        "key": ["station", "hour"],
        "columns": {
            "station": "string",
            "hour": "int8",
            "level": {"type": "float64", "max": 20},
        },
        "transforms": [{"use": "scale", "columns": ["level"], "by": 0.01}],
    },
}
LINES = "Husum 08 412.50\nHusum 09 9999.0\nBüsum 08  -3.25\n\nshort\nHusum 08 412.60\n"


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install_example(tmp_path_factory.mktemp("example"))


@pytest.fixture
def gauge(world: World, example: Path) -> Iterator[World]:
    with installed(example):
        world.declare(GAUGE, HARBOUR)
        yield world


def levels(world: World) -> list[tuple[object, ...]]:
    rows = world.rows("cleaned", DAY, "gauge")
    return sorted(rows.select("station", "hour", "level").rows())


def test_the_example_package_reads_and_scales(gauge: World) -> None:
    gauge.drop(f"{DAY}.txt", LINES)
    assert materialize(gauge)
    assert levels(gauge) == [("Büsum", 8, -0.0325), ("Husum", 8, 4.126)]
    quarantine = gauge.rows("quarantine", DAY, "gauge").sort("_line")
    assert quarantine["_line"].to_list() == [2, 5]
    rules = [one["rule"] for row in quarantine["reasons"] for one in row]
    assert rules[0] == "level__range"
    assert rules[1].endswith("__length")


def materialize(world: World, day: str = DAY) -> bool:
    selection = "key:raw/gauge or key:cleaned/gauge or key:quarantine/gauge"
    return world.materialize(day, select=selection).success


def mistake(world: World, *declarations: dict[str, Any]) -> str:
    world.declare(*declarations)
    with pytest.raises(DeclarationError) as refused:
        load_declarations(world.root / "defs")
    return str(refused.value)


@pytest.mark.parametrize(
    ("changes", "word", "problem"),
    [
        ({"extract__fixed_width__colums": {}}, "colums:", "Extra inputs are not permitted"),
        ({"extract__fixed_width__columns": {}}, "columns:", "should have at least 1 item"),
        ({"contract__transforms": [{"use": "scale", "columns": ["level"], "by": -1}]}, "by:", "0"),
        ({"contract__transforms": [{"use": "scal"}]}, "use:", "there is no plug-in 'scal'"),
        ({"extract": {"fixed_widt": {}}}, "fixed_widt:", "Did you mean 'fixed_width'?"),
        ({"extract__files": {"path": "x"}}, "extract:", "give exactly one"),
    ],
)
def test_a_mistake_is_told_with_file_and_line(
    gauge: World, changes: dict[str, Any], word: str, problem: str
) -> None:
    text = mistake(gauge, changed(GAUGE, **changes))
    path = gauge.root / "defs" / "declared" / "defs.yaml"
    assert problem in text
    lines = path.read_text(encoding="utf-8").splitlines()
    number = int(text.split(f"{path}:")[1].split(":")[0])
    near = lines[number - 1 : number + 2] if word == "fixed_widt:" else [lines[number - 1]]
    assert any(word in line for line in near), (text, lines[number - 1])


def test_another_package_or_other_parameters_give_another_version(
    gauge: World, example: Path, tmp_path: Path
) -> None:
    gauge.drop(f"{DAY}.txt", LINES)
    assert materialize(gauge)
    versions = {data_version(gauge, "cleaned")}
    raw = data_version(gauge, "raw")
    twice = [{"use": "scale", "columns": ["level"], "by": 0.02}]
    gauge.declare(changed(GAUGE, contract__transforms=twice))
    assert materialize(gauge)
    versions.add(data_version(gauge, "cleaned"))
    assert data_version(gauge, "raw") == raw
    newer = tmp_path / "newer"
    newer.mkdir()
    for path in example.iterdir():
        (newer / path.name.replace("1.0.0", "1.0.1")).symlink_to(path)
    (newer / "dataflow_assets_fixed_width-1.0.1.dist-info").unlink()
    info = newer / "dataflow_assets_fixed_width-1.0.1.dist-info"
    info.mkdir()
    for path in (example / "dataflow_assets_fixed_width-1.0.0.dist-info").iterdir():
        (info / path.name).write_text(path.read_text().replace("1.0.0", "1.0.1"))
    with installed(newer):
        gauge.declare(changed(GAUGE, contract__transforms=twice))
        assert materialize(gauge)
    versions.add(data_version(gauge, "cleaned"))
    assert len(versions) == 3
    assert data_version(gauge, "raw") != raw


def data_version(world: World, layer: Any) -> str:  # noqa: ANN401 - a layer's name
    manifest = world.stores.lake.manifest(layer, "gauge", DAY)
    assert manifest is not None
    return manifest.data_version


@pytest.fixture
def broken(world: World, tmp_path: Path) -> Iterator[World]:
    points = {"extractors/fixed_width": "FIXED_WIDTH", "transforms/scale": "SCALE"}
    site = write_package(tmp_path / "site", "gone", points, "import nowhere")
    world.drop(f"{DAY}.csv", ships(DAY, "Anna"))
    world.drop(f"{DAY}.txt", LINES)
    with installed(site):
        yield world


@pytest.mark.parametrize(
    "changes",
    [
        {"contract__transforms": []},  # its extractor alone
        {"extract": {"files": {"path": "harbour/{date:%Y-%m-%d}*.csv"}}},  # its transform alone
    ],
)
def test_a_package_that_cannot_be_imported_hurts_its_sources_alone(
    broken: World, changes: dict[str, Any]
) -> None:
    broken.drop(f"{DAY}.csv", ships(DAY, "Anna"))
    broken.declare(changed(GAUGE, **changes), HARBOUR)
    spec = broken.definitions.resolve_asset_graph().get(key_of("raw"))
    assert "**Broken**: [DA103]" in (spec.description or "")
    assert "package gone cannot be imported: ModuleNotFoundError" in (spec.description or "")
    result = broken.materialize(DAY)
    assert not result.success
    said = " ".join(str(event.event_specific_data) for event in result.get_step_failure_events())
    assert "[DA103]" in said
    assert "package gone" in said
    assert broken.rows("cleaned", DAY)["ship"].to_list() == ["Anna"]


def test_a_broken_package_is_a_mistake_where_strict(
    broken: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRICT", "1")
    get_settings.cache_clear()
    try:
        text = mistake(broken, GAUGE, HARBOUR)
    finally:
        monkeypatch.undo()
        get_settings.cache_clear()
    assert "defs.yaml:" in text
    assert "[DA103] source 'gauge'" in text


def test_a_broken_package_that_nobody_uses_hurts_nobody(broken: World) -> None:
    broken.declare(HARBOUR)
    assert broken.materialize(DAY).success


def test_two_packages_with_one_name_are_told(world: World, example: Path, tmp_path: Path) -> None:
    twin = write_package(tmp_path / "site", "twin", {"extractors/fixed_width": "X"})
    with installed(example, twin):
        world.declare(GAUGE)
        spec = world.definitions.resolve_asset_graph().get(key_of("raw"))
    assert "several packages give a plug-in 'fixed_width'" in (spec.description or "")
    assert "dataflow-assets-fixed-width and twin" in (spec.description or "")


def key_of(layer: str) -> dg.AssetKey:
    return dg.AssetKey([layer, "gauge"])


def test_the_command_line_finds_installed_plug_ins(gauge: World, example: Path) -> None:
    gauge.drop(f"{NEXT_DAY}.txt", LINES)
    command = (
        f"{sys.executable} -m dagster asset materialize -m dataflow_assets.definitions --select"
    )
    done = subprocess.run(
        [*command.split(), "key:raw/gauge", "--partition", NEXT_DAY],
        env={
            **gauge.environment,
            "PYTHONPATH": os.pathsep.join([str(example), *sys.path[1:]]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert gauge.rows("raw", NEXT_DAY, "gauge").height == 5
