"""When two rows of a quarantine are one entry."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.io.entries import CONTENT
from dataflow_assets.io.spilling import Spilling

VALUES = st.dictionaries(
    st.text(max_size=4), st.none() | st.text(alphabet='a"\\,{}= é\n', max_size=6), max_size=4
)


def hashes(rows: list[str | None], folder: Path) -> list[str]:
    with Spilling(folder, 256, CONTENT) as connection:
        query = "select content(row) from (select unnest($1::varchar[]) as row)"
        return [str(found[0]) for found in connection.execute(query, [rows]).fetchall()]


@settings(max_examples=60, deadline=None)
@given(VALUES, VALUES)
def test_content_is_the_same_when_the_values_are(
    one: dict[str, str | None], other: dict[str, str | None]
) -> None:
    told = {name: value for name, value in one.items() if value is not None}
    others = {name: value for name, value in other.items() if value is not None}
    turned = dict(reversed(list({"more": None, **one}.items())))
    rows = [json.dumps(row, ensure_ascii=False) for row in (one, turned, other)]
    with tempfile.TemporaryDirectory() as folder:
        first, same, second = hashes([*rows], Path(folder))
    assert first == same
    assert (first == second) == (told == others)


def test_what_is_no_object_is_its_own_text(tmp_path: Path) -> None:
    rows = ["a;b", "a;b", "a;c", '{"a":1,"a":2}', '{"a":1,"a":3}', "", None, "[1]"]
    found = hashes([*rows], tmp_path)
    assert found[0] == found[1]
    assert found[5] == found[6]  # a record without text and none at all look the same
    assert len(set(found)) == 6
