"""The trial of a declaration: it is loaded, and its sample goes through it.

What belongs here: what a run would do to the sample, without a lake, a warehouse or Dagster's
instance. What does not: what becomes of guesses that fail (`contract`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml

from dataflow_assets.builders.scaffolding.sample import TECHNICAL_NAMES, read_rows
from dataflow_assets.builders.source import build_source
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.io.duplicates import find_losers
from dataflow_assets.transform.clean import CleaningPlan
from dataflow_assets.transform.findings import count_findings
from dataflow_assets.transform.rules import check_contract, contract_rules

if TYPE_CHECKING:
    from pathlib import Path

    from dataflow_assets.builders.scaffolding.sample import Sample
    from dataflow_assets.transform.findings import Tally
    from dataflow_assets.transform.rules import RuleId

MEMORY_MB = 512
UNMENDABLE = ("reject", "nul_byte")
"""Sorts of rules that are about rows which cannot be read, or which no warehouse can hold."""


@dataclass(frozen=True)
class Trial:
    """What became of the sample.

    Attributes:
        declaration: The declaration, as it was read.
        received: Rows received.
        loaded: Rows that are good.
        tally: What is said of the others.
        more: Whether the sample has rows that were not tried.
    """

    declaration: SourceDeclaration
    received: int
    loaded: int
    tally: Tally
    more: bool

    @property
    def broken(self) -> dict[RuleId, int]:
        """The guesses that rows break, with how many; not what no contract could mend."""
        rules = contract_rules(self.declaration.contract, self.declaration.extract.rejects)
        guessed = (rule for rule in rules if rule.kind not in UNMENDABLE)
        found = self.tally.rules
        return {rule: found[rule.id].rows for rule in guessed if rule.id in found}

    @property
    def said(self) -> str:
        """What became of the sample, in one line."""
        parts = [
            f"{self.received:,} rows received",
            f"{self.loaded:,} loaded",
            f"{self.tally.quarantined:,} quarantined",
        ]
        others = {"duplicate": self.tally.duplicate, "filtered": self.tally.filtered}
        parts += [f"{number:,} {word}" for word, number in others.items() if number]
        why = f" ({self.tally.most_frequent()})" if self.tally.quarantined else ""
        return ", ".join(parts) + why


def read_declaration(text: str) -> SourceDeclaration:
    """Read a declaration as the code location does, and build its assets.

    Raises:
        DeclarationError: It is wrong: a bug of ours.
        ValidationError: As above.
    """
    attributes: Any = yaml.safe_load(text)["attributes"]
    declared = SourceDeclaration.model_validate(attributes)
    check_contract(declared.contract)
    build_source(declared)
    return declared


def try_out(declared: SourceDeclaration, sample: Sample, work: Path) -> Trial:
    """Let the sample go through a declaration.

    Args:
        declared: The declaration.
        sample: The sample.
        work: A folder for what is too big for memory.
    """
    raw = read_rows(sample, declared.contract)
    columns = raw.rows.drop(TECHNICAL_NAMES)
    plan = CleaningPlan(declared.contract, columns.schema, declared.extract.rejects)
    rows = raw.rows.with_row_index("_row")
    losers = find_losers(rows.lazy(), plan, rows.height, work, MEMORY_MB)
    split = plan.clean_in_memory(rows, losers)
    loaded = split.good.select(pl.len()).collect().item()
    return Trial(declared, rows.height, loaded, count_findings(split.findings), raw.more)
