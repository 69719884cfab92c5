"""Declarations as YAML with comments.

What belongs here: how a declaration is laid out, and that whatever stands in a sample can stand in
it. What does not: what it says.
"""

from __future__ import annotations

import datetime as dt
import re
import textwrap
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from dataflow_assets.builders.scaffolding.contract import ContractDraft
    from dataflow_assets.builders.scaffolding.sample import Sample

WIDTH = 96
TYPE = "dataflow_assets.Source"


def scalar(value: Any) -> str:  # noqa: ANN401 - what YAML can hold
    """Return a value as it stands in YAML, in one line."""
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, dict):
        return (
            "{" + ", ".join(f"{scalar(key)}: {scalar(item)}" for key, item in value.items()) + "}"
        )
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(scalar, value)) + "]"
    text = yaml.safe_dump(
        value, default_flow_style=True, allow_unicode=True, width=float("inf"), default_style=None
    )
    text = text.removesuffix("\n").removesuffix("...").removesuffix("\n")
    if not isinstance(value, str):
        return text
    bare = text == value and (set(value) & set(",[]{}") or not re.search(r"\w", value))
    if bare or "\n" in text or text[:1] == "'":
        text = yaml.safe_dump(
            value, default_style='"', allow_unicode=True, width=float("inf")
        ).rstrip("\n")
    return text


def comment(remarks: Iterable[str], indent: int) -> Iterator[str]:
    """Yield lines of comments; a remark is never more than printable text."""
    for remark in remarks:
        said = "".join(char if char.isprintable() else "·" for char in remark)
        yield from textwrap.wrap(
            said,
            WIDTH,
            initial_indent=f"{' ' * indent}# ",
            subsequent_indent=f"{' ' * indent}#   ",
            break_long_words=False,
            break_on_hyphens=False,
        )


def declaration(name: str, head: Sequence[str], sample: Sample, contract: ContractDraft) -> str:
    """Return a declaration as YAML.

    Args:
        name: Of the source.
        head: What is told of it as a whole.
        sample: What it is made of.
        contract: What it promises.
    """
    lines = [
        *comment(head, 0),
        f"type: {TYPE}",
        "attributes:",
        f"  name: {scalar(name)}",
        f"  description: {scalar(f'Made of a look at {sample.name}; say here what it is.')}",
        *comment(sample.remarks.get("partitions", ()), 2),
        f"  partitions: {scalar(dict(sample.partitions))}",
        *_extract(sample),
        *_contract(contract),
    ]
    if sample.automation:
        lines += [
            *comment(["Once it is right, this starts runs by itself:"], 2),
            f"  # automation: {sample.automation}",
        ]
    return "\n".join(lines) + "\n"


def _extract(sample: Sample) -> Iterator[str]:
    yield "  extract:"
    for kind, words in sample.extract.items():
        yield from comment(sample.remarks.get(kind, ()), 4)
        yield f"    {kind}:"
        for word, said in words.items():
            yield from comment(sample.remarks.get(word, ()), 6)
            yield f"      {word}: {scalar(said)}"
        for word, remarks in sample.remarks.items():
            if word not in words and word not in (kind, "partitions"):
                yield from comment([f"{word}: {remark}" for remark in remarks], 6)


def _contract(contract: ContractDraft) -> Iterator[str]:
    words = contract.words
    yield "  contract:"
    if contract.key_remark:
        yield from comment(
            [contract.key_remark if contract.key else f"key: {contract.key_remark}"], 4
        )
    if contract.key:
        yield f"    key: {scalar(list(contract.key))}"
    if "null_tokens" in words:
        yield from comment(["texts that mean no value, in every column in which they stand"], 4)
        yield f"    null_tokens: {scalar(words['null_tokens'])}"
    if contract.unknown_columns:
        yield from comment([contract.unknown_remark] if contract.unknown_remark else (), 4)
        yield f"    unknown_columns: {contract.unknown_columns}"
    yield "    columns:"
    for name, one in contract.columns.items():
        yield from comment(["; ".join(one.remarks)] if one.remarks else (), 6)
        short = one.words["type"] if set(one.words) == {"type"} else dict(one.words)
        yield f"      {scalar(name)}: {scalar(short)}"
    if contract.rules:
        yield from comment(["warn: the row is kept, and told of; quarantine would refuse it"], 4)
        yield "    rules:"
        for name, rule in contract.rules.items():
            yield f"      {name}: {scalar(rule)}"


def minimal(name: str) -> str:
    """Return a declaration without a sample, with every usual word in a comment."""
    return MINIMAL.replace("NAME", name)


MINIMAL = """\
# Written by `dg scaffold` without a sample. With one (--sample FILE, the address of an API or a
# feed, or --database-url-env VARIABLE --table TABLE) types, formats and keys are guessed.
# All words: documentation/declarations.md
type: dataflow_assets.Source
attributes:
  name: NAME
  description: Say here what it is.
  # One partition, of all files at the path. For a file a day:
  #   partitions: {every: day, start: 2026-01-01}
  #   path: "NAME/{date:%Y-%m-%d}*.csv"
  partitions: {values: [all]}
  # Or rest, feed or database.
  extract:
    files:
      path: "NAME/*.csv"     # below FILES_DIR
      # csv: {delimiter: ";", encoding: cp1252}
  contract:
    # key: [id]              # what identifies a row; of several rows with one key the last is kept
    # null_tokens: ["", "N/A"]
    # Every column of the file that is not named here is kept as text.
    columns:
      id: string
      # amount: {type: "decimal(12, 2)", min: 0}
      # ordered_at: {type: timestamp, formats: ["%d.%m.%Y %H:%M"], timezone: Europe/Vienna}
      # status: {type: string, one_of: [new, paid, sent]}
    # rules:
    #   paid_means_amount: {sql: "status <> 'paid' or amount > 0", severity: warn}
  # checks: {rows: {min: 1}, quarantined: {max_share: 0.05}, freshness: 26h}
  # automation: {sensor: {settle: 30s}}
"""
