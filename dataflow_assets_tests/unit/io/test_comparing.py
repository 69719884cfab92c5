"""Differences between files of rows, against a plain comparison of dictionaries."""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.io.comparing import Sample, compare

ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from([None, "", "x", "y"]), st.integers(0, 2)),
    max_size=12,
)
SCHEMA = {"id": pl.Int64(), "text": pl.String(), "number": pl.Int64()}


def by_key(rows: list[tuple[int, str | None, int]]) -> dict[tuple[int, int], tuple[object, ...]]:
    """Return rows by key and their number among those of the same key."""
    found: dict[tuple[int, int], tuple[object, ...]] = {}
    for key, *values in rows:
        number = sum(1 for other, _ in found if other == key)
        found[key, number] = tuple(values)
    return found


@settings(max_examples=60, deadline=None)
@given(ROWS, ROWS)
def test_rows_are_added_removed_and_changed_as_a_dictionary_would_say(
    before: list[tuple[int, str | None, int]], after: list[tuple[int, str | None, int]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        old, new = Path(folder) / "old.parquet", Path(folder) / "new.parquet"
        for path, rows in ((old, before), (new, after)):
            pl.DataFrame(rows, SCHEMA, orient="row").write_parquet(path)
        found = compare(old, new, ["id"], Path(folder), 256)
    was, now = by_key(before), by_key(after)
    both = was.keys() & now.keys()
    assert (found.added, found.removed) == (len(now.keys() - both), len(was.keys() - both))
    assert found.changed == sum(was[key] != now[key] for key in both)
    for place, name in enumerate(("text", "number")):
        assert found.values.get(name, 0) == sum(was[key][place] != now[key][place] for key in both)
    assert bool(found) == (was != now)


def test_columns_and_types(tmp_path: Path) -> None:
    old, new = tmp_path / "old.parquet", tmp_path / "new.parquet"
    pl.DataFrame({"id": [1, 2], "a": [1, 2], "gone": ["x", "x"]}).write_parquet(old)
    pl.DataFrame({"id": [1, 2], "a": ["1", "two"], "new": [1.0, 2.0]}).write_parquet(new)
    found = compare(old, new, ["id"], tmp_path, 256)
    assert found.columns_added == {"new": "DOUBLE"}
    assert found.columns_dropped == ("gone",)
    assert found.columns_retyped == {"a": ("BIGINT", "VARCHAR")}
    assert found.samples == {"a": [Sample("2", "2", "two")]}
    assert (found.added, found.removed, found.changed) == (0, 0, 1)
