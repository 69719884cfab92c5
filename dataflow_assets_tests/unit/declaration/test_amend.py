"""Declarations are changed where a change belongs, and stay as they were written elsewhere."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.declaration import amend
from dataflow_assets.declaration.amend import UnamendableError

if TYPE_CHECKING:
    from pathlib import Path

BLOCK = """\
# what it is
type: dataflow_assets.Source
attributes:
  name: orders   # its name
  contract:
    key: [id]
    columns:
      id: string   # short
      at: {type: timestamp, required: true}   # in braces
      amount:
        type: int64
        min: 0    # minimum
        # within
        required: true
      text:
        description: |
          two
          lines

      # behind the last

    rules: {}
---
type: dataflow_assets.Entity
attributes: {name: orders, columns: {id: string}}
"""
FLOW = """\
type: dataflow_assets.Source
attributes: {name: orders, contract: {key: [id], columns: {
  id: string,
  at: {type: timestamp, required: true},  # when
  amount: {min: 0, type: int64},
  text: {},
}, rules: {}}}
"""
STYLES = pytest.mark.parametrize("text", [BLOCK, FLOW], ids=["block", "flow"])


def columns_of(text: str) -> dict[str, Any]:
    for document in yaml.safe_load_all(text):
        if document["type"] == amend.SOURCE_TYPE:
            columns: dict[str, Any] = document["attributes"]["contract"]["columns"]
            return columns
    raise AssertionError


def comments(text: str) -> list[str]:
    return [line[line.index("#") :] for line in text.splitlines() if "#" in line]


@STYLES
def test_columns_are_added_behind_the_last(text: str) -> None:
    new = {"size": {"type": "int64"}, "b": {"type": "decimal(10, 2)", "source_name": "B: é"}}
    changed = amend.add_columns(text, "orders", new)
    assert columns_of(changed) == {**columns_of(text), "size": "int64", "b": new["b"]}
    assert comments(changed) == comments(text)


@STYLES
@pytest.mark.parametrize("column", ["id", "at", "amount", "text"])
def test_an_alias_is_added_whatever_the_column_has(text: str, column: str) -> None:
    before = columns_of(text)
    words = before[column] if isinstance(before[column], dict) else {"type": before[column]}
    once = amend.add_alias(text, "orders", column, "old, name")
    assert columns_of(once) == {**before, column: {**words, "aliases": ["old, name"]}}
    twice = amend.add_alias(once, "orders", column, "2024")
    assert columns_of(twice)[column]["aliases"] == ["old, name", "2024"]
    assert comments(twice) == comments(text)


def test_an_alias_is_added_to_a_list_in_lines() -> None:
    text = BLOCK.replace(
        "        min: 0", "        aliases:\n          - a   # old\n        min: 0"
    )
    changed = amend.add_alias(text, "orders", "amount", "b")
    assert columns_of(changed)["amount"]["aliases"] == ["a", "b"]
    assert "          - a   # old\n          - b\n" in changed


@STYLES
def test_words_are_set_and_dropped(text: str) -> None:
    changed = amend.set_word(text, "orders", ("columns", "amount", "type"), "decimal(9, 3)")
    changed = amend.drop_words(changed, "orders", "amount", ["min", "max"])
    changed = amend.set_word(changed, "orders", ("columns", "at", "required"), value=False)
    changed = amend.set_word(changed, "orders", ("columns", "id", "type"), "int64")
    columns = columns_of(changed)
    assert columns["amount"] == {
        **{word: one for word, one in columns_of(text)["amount"].items() if word != "min"},
        "type": "decimal(9, 3)",
    }
    assert columns["at"] == {"type": "timestamp", "required": False}
    assert columns["id"] == "int64"


def test_a_word_of_the_contract_is_set() -> None:
    changed = amend.set_word(BLOCK, "orders", ("missing_columns",), "evolve")
    (source, _) = yaml.safe_load_all(changed)
    assert source["attributes"]["contract"]["missing_columns"] == "evolve"


SHARED = BLOCK.replace("id: string   #", "id: &a {type: string}   #").replace(
    "{type: timestamp, required: true}", "*a"
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BLOCK.replace("name: orders   #", "name: other   #"), "does not declare"),
        ("a: [", "no YAML"),
        (SHARED, "anchor"),
        (BLOCK.replace("at: {", "when: {"), "no 'at'"),
    ],
)
def test_what_has_no_place_of_its_own_is_refused(text: str, why: str) -> None:
    with pytest.raises(UnamendableError, match=why):
        amend.add_alias(text, "orders", "at", "b")


NAMES = st.text(
    st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\u2028\u2029\ufeff"),
    min_size=1,
    max_size=12,
).filter(lambda name: not name.startswith("_"))
ENDS = st.sampled_from(["\n", "\r\n"])


@settings(max_examples=150, deadline=None)
@given(
    names=st.lists(NAMES, min_size=1, max_size=3, unique=True),
    text=st.sampled_from([BLOCK, FLOW]),
    end=ENDS,
)
def test_any_name_comes_back_and_all_else_stays(names: list[str], text: str, end: str) -> None:
    text = text.replace("\n", end)
    before = columns_of(text)
    new = {name: {"type": "string"} for name in names if name not in before}
    if not new:
        return
    changed = amend.add_columns(text, "orders", new)
    changed = amend.add_alias(changed, "orders", "at", names[0])
    columns = columns_of(changed)
    assert columns.pop("at") == {**before.pop("at"), "aliases": [names[0]]}
    assert columns == {**before, **dict.fromkeys(new, "string")}
    assert all(comment in changed for comment in comments(text))
    assert changed.count("\r\n") in (0, changed.count("\n"))


@pytest.mark.parametrize("command", [["git", "apply"], ["patch", "-p0", "--binary"]])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "\n"])
def test_patches_apply(tmp_path: Path, command: list[str], end: str, last: str) -> None:
    before = (BLOCK.replace("---", "...\n---").rstrip("\n") + last).replace("\n", end)
    after = before.replace("required", "needed") + ("# é" if last else "")
    file = tmp_path / "defs.yaml"
    file.write_bytes(before.encode())
    patch = amend.unified_diff(before, after, "defs.yaml")
    subprocess.run(command, cwd=tmp_path, input=patch.encode(), check=True)
    assert file.read_bytes().decode() == after


def test_nothing_to_change_is_no_patch() -> None:
    assert amend.unified_diff(BLOCK, BLOCK, "defs.yaml") == ""
