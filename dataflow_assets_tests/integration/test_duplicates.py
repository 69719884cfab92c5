"""Which rows lose against another of their key, in memory and on disk."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.declaration.contract import Contract
from dataflow_assets.errors import MappingError, StorageError
from dataflow_assets.io import duplicates
from dataflow_assets.io.duplicates import (
    compare_in_memory,
    compare_on_disk,
    find_losers,
    repeated_in_memory,
    repeated_on_disk,
)
from dataflow_assets.transform.clean import CleaningPlan
from dataflow_assets_tests.unit.transform.raw_rows import raw_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = ["a", "b", "order", "note"]


def plan_for(**words: Any) -> CleaningPlan:  # noqa: ANN401 - YAML
    contract: dict[str, Any] = {
        "key": ["a", "b"],
        "columns": {"a": "float64", "b": "string", "order": "float64", "note": "string"},
        "where": "note is null or note <> 'unwanted'",
        "rules": {"note_fits": {"sql": "note <> 'bad'"}},
    }
    return CleaningPlan(Contract.model_validate({**contract, **words}), COLUMNS)


def raw(rows: Sequence[tuple[str | None, ...]]) -> pl.LazyFrame:
    return raw_rows({name: [row[n] for row in rows] for n, name in enumerate(COLUMNS)})


def both_ways(plan: CleaningPlan, frame: pl.LazyFrame) -> list[int]:
    """Return the rows that lose, having found that memory and disk agree on them."""
    rows = frame.select(pl.len()).collect().item()
    with TemporaryDirectory() as name:
        folder = Path(name)
        hashes = plan.key_hashes(frame)
        repeated, spilled = repeated_in_memory(hashes), repeated_on_disk(hashes, folder, 128)
        assert repeated.rows == spilled.rows
        assert repeated.hashes is not None
        assert spilled.hashes is not None
        assert repeated.hashes.tolist() == spilled.hashes.tolist()
        if repeated.rows == 0:
            assert find_losers(frame, plan, rows, folder, 128) is None
            return []
        candidates = plan.candidates(frame, repeated.hashes)
        memory = compare_in_memory(candidates, plan, rows)
        disk = compare_on_disk(plan.candidates(frame), plan, rows, folder, 128)
        whole = find_losers(frame, plan, rows, folder, 128)
    found = [[] if flags is None else np.flatnonzero(flags).tolist() for flags in (memory, disk)]
    assert found[0] == found[1]
    assert whole is None or np.flatnonzero(whole).tolist() == found[0]
    assert (whole is None) == (found[0] == [])
    return found[0]


ROWS: list[tuple[str | None, ...]] = [
    ("1", "x", "5", ""),
    ("1.0", " x ", "7", ""),
    ("+1", "x", "", ""),
    ("2", "x", "1", ""),
    ("1", "x", "7", ""),
    ("1", "x", "9", "bad"),
    ("1", "x", "9", "unwanted"),
    ("1", "x", "9", "a\0b"),
    ("x", "x", "1", ""),
    ("x", "x", "1", ""),
    ("0", "x", "1", ""),
    ("-0.0", "x", "1", ""),
]


@pytest.mark.parametrize(
    ("keep", "losers"),
    [
        ("first", [1, 2, 4, 11]),
        ("last", [0, 1, 2, 10]),
        ({"latest_by": "order"}, [0, 1, 2, 10]),
    ],
)
def test_only_good_rows_win_or_lose(keep: Any, losers: list[int]) -> None:  # noqa: ANN401 - YAML
    assert both_ways(plan_for(keep=keep), raw(ROWS)) == losers


def test_a_row_without_the_order_loses_and_ties_go_to_the_last() -> None:
    rows = [("1", "x", "-5", ""), ("1", "x", "", ""), ("2", "x", "", ""), ("2", "x", "", "")]
    assert both_ways(plan_for(keep={"latest_by": "order"}), raw(rows)) == [1, 2]


def test_no_duplicates_no_rows_no_key() -> None:
    assert both_ways(plan_for(), raw(ROWS[2:4])) == []
    assert both_ways(plan_for(), raw(ROWS[8:10])) == []
    assert find_losers(raw([]), plan_for(), 0, Path("/nowhere"), 128) is None
    assert find_losers(raw(ROWS), plan_for(key=[]), len(ROWS), Path("/nowhere"), 128) is None


TEXTS = st.sampled_from(["", "1", "1.0", "01", "2", "-0", "0", "é", "x", " x", "NaN"])
NOTES = st.sampled_from(["", "", "", "bad", "unwanted"])


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.tuples(TEXTS, TEXTS, TEXTS, NOTES), min_size=1, max_size=25),
    st.sampled_from(["first", "last", {"latest_by": "order"}]),
)
def test_of_each_key_exactly_one_good_row_is_left(
    rows: list[tuple[str, str, str, str]],
    keep: Any,  # noqa: ANN401 - YAML
) -> None:
    plan = plan_for(keep=keep)
    losers = both_ways(plan, raw(rows))
    flags = np.isin(np.arange(len(rows)), losers)
    everything = plan.clean(raw(rows)).good.collect()
    kept = plan.clean(raw(rows), flags).good.collect()
    winners: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for a, b, order, line in everything.select("a", "b", "order", "_line").iter_rows():
        rank = {"first": (-line,), "last": (line,)}.get(
            str(keep), (order is not None, order or 0, line)
        )
        winners[a, b] = max(winners.get((a, b), (*rank, line)), (*rank, line))
    assert kept["_line"].to_list() == sorted(winner[-1] for winner in winners.values())


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("string", ["a", "a", "b", "\u00e4", "a\u0308"]),
        ("int64", ["9223372036854775807", "+9223372036854775807", "1", "01"]),
        ("uint64", ["18446744073709551615", "018446744073709551615"]),
        ("decimal(38,2)", ["1.5", "1.50", "2"]),
        ("boolean", ["yes", "no", "TRUE"]),
        ("date", ["2024-01-01", "2024-01-01"]),
        ("time", ["12:00", "12:00:00.0"]),
        ("timestamp", ["2024-01-01T00:00:00Z", "2024-01-01T01:00:00+01:00", "0001-01-01T00:00"]),
    ],
)  # fmt: skip
def test_keys_of_every_type_are_compared_by_value(kind: str, texts: list[str]) -> None:
    plan = CleaningPlan(
        Contract.model_validate({"key": ["k"], "keep": {"latest_by": "k"}, "columns": {"k": kind}}),
        ["k"],
    )
    frame = raw_rows({"k": texts})
    values = plan.clean(frame).good.collect()["k"]
    expected = [n for n, value in enumerate(values) if value in values.to_list()[n + 1 :]]
    assert both_ways(plan, frame) == expected
    assert expected or len(set(texts)) == len(texts)


def big_partition(folder: Path, rows: int, distinct: int) -> pl.LazyFrame:
    number = pl.int_range(rows, dtype=pl.Int64)
    path = folder / "raw.parquet"
    pl.select(
        (number % distinct).cast(pl.String).alias("a"),
        pl.lit("x").alias("b"),
        number.cast(pl.String).alias("order"),
        pl.lit(None, pl.String).alias("note"),
        pl.lit("a.csv").alias("_file"),
        pl.lit("00ff").alias("_version"),
        number.alias("_line"),
        pl.lit(None, pl.String).alias("_reject"),
        pl.lit(None, pl.String).alias("_text"),
    ).write_parquet(path, row_group_size=20_000)
    return pl.scan_parquet(path, row_index_name="_row")


def test_a_large_partition_gives_the_same_every_way_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, distinct = 300_000, 299_000
    frame = big_partition(tmp_path, rows, distinct)
    work = tmp_path / "work"
    work.mkdir()
    losers = find_losers(frame, plan_for(), rows, work, 128)
    assert losers is not None
    assert np.flatnonzero(losers).tolist() == list(range(rows - distinct))
    monkeypatch.setattr(duplicates, "SMALL", 0)
    monkeypatch.setattr(duplicates, "HASH_BYTES", 1_000_000)
    for many in (duplicates.MANY, 10):
        monkeypatch.setattr(duplicates, "MANY", many)
        again = find_losers(frame, plan_for(), rows, work, 128)
        assert again is not None
        assert again.tolist() == losers.tolist()
    assert list(work.iterdir()) == []


def test_failures_are_ours_and_leave_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "SMALL", 0)
    strict = plan_for(rules={"number": {"sql": "cast(note as int) > 0"}})
    rows = [("1", "x", "1", "NaN"), ("1", "x", "1", "NaN")]
    with pytest.raises(MappingError, match="Finding duplicates"):
        find_losers(raw(rows), strict, 2, tmp_path, 128)
    assert list(tmp_path.iterdir()) == []

    def fail(*_: object, **__: object) -> None:
        raise duckdb.OutOfMemoryException("no room")

    monkeypatch.setattr(duplicates, "_losers", fail)
    with pytest.raises(StorageError, match="no room"):
        find_losers(raw(rows), plan_for(), 2, tmp_path, 128)
    assert list(tmp_path.iterdir()) == []
