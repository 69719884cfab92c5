from __future__ import annotations

import datetime as dt
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflow_assets.declaration.extract import Files
from dataflow_assets.declaration.partitions import Partitions
from dataflow_assets.extract.files import FileFinder
from dataflow_assets.extract.sniffing.paths import guess_path


@pytest.mark.parametrize(
    ("path", "template", "every", "start"),
    [
        ("sales_2024-03-01.csv", "sales_{date:%Y-%m-%d}.csv", "day", "2024-03-01"),
        ("sales_20240301.csv.gz", "sales_{date:%Y%m%d}.csv.gz", "day", "2024-03-01"),
        ("a/2024/03/01/x.csv", "a/{date:%Y/%m/%d}/x.csv", "day", "2024-03-01"),
        (
            "year=2024/month=03/day=01/p.parquet",
            "year={date:%Y/month=%m/day=%d}/p.parquet",
            "day",
            "2024-03-01",
        ),
        ("2024-03/a_2024-03-05.csv", "{date:%Y-%m}/a_{date:%Y-%m-%d}.csv", "day", "2024-03-05"),
        ("2024/a_20240305T1010.csv", "{date:%Y}/a_{date:%Y%m%d}*.csv", "day", "2024-03-05"),
        ("a_2024-03-01_2024-03-31.csv", "a_{date:%Y-%m-%d}_*.csv", "day", "2024-03-01"),
        ("2023-01-01/b_2024-03-01.csv", "*/b_{date:%Y-%m-%d}.csv", "day", "2024-03-01"),
        ("x_2024-03-01T09.json", "x_{date:%Y-%m-%dT%H}.json", "hour", "2024-03-01"),
        ("2024030109.csv", "{date:%Y%m%d%H}.csv", "hour", "2024-03-01"),
        ("a_2024-03.csv", "a_{date:%Y-%m}.csv", "month", "2024-03-01"),
        ("31.12.2024.csv", "{date:%d.%m.%Y}.csv", "day", "2024-12-31"),
        ("12-31-2024.csv", "{date:%m-%d-%Y}.csv", "day", "2024-12-31"),
        ("x{1}_2024-01-01.csv", "x?1?_{date:%Y-%m-%d}.csv", "day", "2024-01-01"),
        ("100%_2024-01-01.csv", "100%_{date:%Y-%m-%d}.csv", "day", "2024-01-01"),
        ("report2011.csv", "report2011.csv", None, None),
        ("20241399.csv", "20241399.csv", None, None),
        ("1234567.csv", "1234567.csv", None, None),
        ("01.02.2024.csv", "01.02.2024.csv", None, None),
    ],
)
def test_dates_in_paths(path: str, template: str, every: str | None, start: str | None) -> None:
    guess = guess_path(path)
    assert (guess.path, guess.every) == (template, every)
    assert guess.start == (dt.date.fromisoformat(start) if start else None)


def test_an_ambiguous_date_is_told_of() -> None:
    assert "nothing tells day from month" in guess_path("01.02.2024.csv").remark


names = st.text(st.sampled_from("ab_-.{}[]%+0123456789é "), min_size=1, max_size=12)


@given(before=names, day=st.dates(dt.date(1990, 1, 1), dt.date(2090, 1, 1)), after=names)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_path_leads_back_to_the_sample(
    before: str, day: dt.date, after: str, tmp_path: Path
) -> None:
    name = f"x{before}_{day.isoformat()}_{after}.csv"
    root = Path(tempfile.mkdtemp(dir=tmp_path))
    (root / name).write_text("a\n1\n", encoding="utf-8")
    guess = guess_path(name)
    assert guess.moment is not None
    partitions = Partitions.model_validate({"every": guess.every, "start": guess.start})
    found = FileFinder(Files(path=guess.path), partitions, root).find()
    assert [file.name for file in found[partitions.key_of(guess.moment)]] == [name]
