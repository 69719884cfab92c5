from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
import yaml

from dataflow_assets.builders.scaffolding import files, scaffold
from dataflow_assets.builders.scaffolding.wanted import Wanted
from dataflow_assets.errors import SampleError
from dataflow_assets.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from dataflow_assets.builders.scaffolding import Scaffolded
    from dataflow_assets_tests.integration.s3.conftest import Shore

ROWS = "id,name\n" + "".join(f"{n},ship {n}\n" for n in range(30))


def scaffolded(shore: Shore, key: str, root: str) -> tuple[Scaffolded, dict[str, Any]]:
    settings = Settings(files_dir=root)
    done = scaffold("ships", Wanted(sample=f"s3://{shore.name}/{key}"), settings)
    return done, yaml.safe_load(done.text)["attributes"]


@pytest.mark.parametrize("below", [False, True])
def test_an_object(shore: Shore, tmp_path: Path, *, below: bool) -> None:
    shore.put("in/ships_2024-03-01.csv", ROWS)
    root = f"s3://{shore.name}/in" if below else str(tmp_path)
    done, said = scaffolded(shore, "in/ships_2024-03-01.csv", root)
    path = "ships_{date:%Y-%m-%d}.csv"
    assert said["extract"]["files"]["path"] == (path if below else f"s3://{shore.name}/in/{path}")
    assert said["partitions"]["every"] == "day"
    assert done.trial is not None
    assert (done.trial.received, done.trial.loaded) == (30, 30)


def test_the_beginning_of_a_big_object(
    shore: Shore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 200)
    shore.put("ships.csv", ROWS)
    done, _ = scaffolded(shore, "ships.csv", str(tmp_path))
    assert done.trial is not None
    assert 5 < done.trial.received < 30
    assert done.trial.tally.quarantined == 0


def test_an_object_of_parquet(shore: Shore, tmp_path: Path) -> None:
    out = io.BytesIO()
    pl.DataFrame({"id": [1, 2, 3], "name": ["a", "b", "c"]}).write_parquet(out)
    shore.put("ships.parquet", out.getvalue())
    done, said = scaffolded(shore, "ships.parquet", str(tmp_path))
    assert said["contract"]["columns"]["id"] == "int64"
    assert done.trial is not None
    assert done.trial.loaded == 3


def test_there_is_no_such_object(shore: Shore, tmp_path: Path) -> None:
    with pytest.raises(SampleError, match="there is no object"):
        scaffolded(shore, "nowhere.csv", str(tmp_path))
