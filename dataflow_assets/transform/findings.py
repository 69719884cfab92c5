"""Findings: what is said about a row that is not good, and how findings are counted.

What belongs here: the shape of a finding's reasons, and their tally. What does not: deciding which
rows are good (`clean`) and what a run does about them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from dataflow_assets.transform.rules import Check, RuleId

REASON = pl.Struct(
    {
        "column": pl.String(),
        "rule": pl.String(),
        "severity": pl.String(),
        "value": pl.String(),
        "message": pl.String(),
    }
)
LONGEST_VALUE = 200
"""Characters of a value that a reason shows."""

SAMPLES = 5
"""Rows of which a tally shows where a rule was broken."""

QUARANTINED = "quarantined"
WARNED = "warned"
DISCARDED = "discarded"
RELEASED = "released"
"""Outcomes: the last two are what people decided about quarantined rows."""

BATCH = 50_000
"""Findings that are counted at once: the bound of the memory that counting needs."""


@dataclass(frozen=True)
class Finding:
    """Where a row breaks a rule.

    Attributes:
        file: The file, relative to the folder of files.
        line: The line on which the row begins, from 1.
        column: The column; none for a rule about the whole row.
        rule: The rule's id.
        value: The raw text of the column, or for the whole row the values that the rule names.
        message: What a Pydantic model says of it, or why a local time is no moment.
    """

    file: str
    line: int
    column: str | None
    rule: str
    value: str | None
    message: str | None = None


@dataclass(frozen=True)
class Broken:
    """How often a rule is broken.

    Attributes:
        rows: The rows that break it.
        samples: The first few of them, in the order received.
    """

    rows: int
    samples: tuple[Finding, ...]

    def sample_text(self) -> str:
        """Return the samples as one sentence's end: file, line and value of each."""
        return "; ".join(f"{one.file} line {one.line}: {one.value!r}" for one in self.samples)


@dataclass(frozen=True)
class Tally:
    """How many findings there are, by outcome and by rule.

    Attributes:
        quarantined: Rows that broke the contract, without those that a person discarded.
        discarded: Rows that broke it, and that a person discarded.
        released: Good rows that break it, and that a person released.
        filtered: Rows that the contract does not want.
        duplicate: Rows that lost against another of their key.
        warned: Good rows about which a rule warns.
        rules: The rules that are broken, by id; what a person decided about does not count.
        warning: The ids of those among them that keep no row out.
    """

    quarantined: int = 0
    discarded: int = 0
    released: int = 0
    filtered: int = 0
    duplicate: int = 0
    warned: int = 0
    rules: dict[str, Broken] = field(default_factory=dict)
    warning: frozenset[str] = frozenset()

    @property
    def ranked(self) -> list[tuple[str, Broken]]:
        """The rules that keep rows out, those that are broken most often first."""
        barring = (item for item in self.rules.items() if item[0] not in self.warning)
        return sorted(barring, key=lambda item: -item[1].rows)

    def most_frequent(self) -> str:
        """Return the ids of the three rules that most often keep a row out, with their rows."""
        ranked = self.ranked
        return ", ".join(f"{rule} ({broken.rows:,})" for rule, broken in ranked[:3])


def count_findings(findings: pl.LazyFrame) -> Tally:
    """Count findings batch by batch, so that any number of them takes the same memory.

    Args:
        findings: `outcome`, `reasons`, `_file`, `_line`, as `CleaningPlan.clean` gives them.
    """
    outcomes: Counter[str] = Counter()
    rules: Counter[str] = Counter()
    samples: defaultdict[str, list[Finding]] = defaultdict(list)
    warning: set[str] = set()
    wanted = findings.select("_file", "_line", "outcome", "reasons")
    for batch in wanted.collect_batches(chunk_size=BATCH, maintain_order=True, engine="streaming"):
        outcomes.update(dict(batch["outcome"].value_counts().iter_rows()))
        broken = _broken_rules(batch)
        rules.update(dict(broken["rule"].value_counts().iter_rows()))
        warning.update(broken.filter(pl.col("severity") == "warn")["rule"].unique())
        broken = broken.drop("severity")
        for row in broken.group_by("rule", maintain_order=True).head(SAMPLES).iter_rows(named=True):
            samples[row["rule"]].append(Finding(**row))
    broken_rules = {
        rule: Broken(rows, tuple(samples[rule][:SAMPLES])) for rule, rows in rules.items()
    }
    return Tally(**outcomes, rules=broken_rules, warning=frozenset(warning))


def reasons(
    promises: Iterable[tuple[Check, pl.Expr, pl.Expr | None]],
    shown: pl.Expr,
    rejects: str = "csv",
) -> pl.Expr:
    """Return the reasons of each row: one for each rule that it breaks.

    The reason of a row that could not be read is its format and what was wrong, such as
    ``csv__ragged``, with its text.

    Args:
        promises: The checks, each with the value that shows why it is broken, and with what a
            Pydantic model says, if there is one.
        shown: Boolean: the rows whose reasons are wanted; the others have none.
        rejects: What stands before what was wrong.
    """
    each = list(promises)
    rules = [(check.rule, message is not None) for check, _, message in each]
    accepted = shown & pl.col("_reject").is_null()
    given = [
        one
        for check, value, message in each
        for one in (accepted & check.broken, value, *([] if message is None else [message]))
    ]
    return pl.map_batches(
        [
            pl.when(shown).then("_reject"),
            pl.col("_text"),
            *given,
        ],
        partial(_reason_lists, rules, f"{rejects}__"),
        return_dtype=pl.List(REASON),
        is_elementwise=True,
    )


def barring(reasons: pl.Expr) -> pl.Expr:
    """Return the rules among a row's reasons that keep it out: those that do not merely warn."""
    keeps = pl.element().struct.field("severity") != "warn"
    return reasons.list.eval(pl.element().filter(keeps).struct.field("rule"))


def as_json(texts: Mapping[str, pl.Expr]) -> pl.Expr:
    """Return texts as one JSON object per row."""
    if not texts:
        return pl.lit("{}")
    return pl.struct(text.alias(name) for name, text in texts.items()).struct.json_encode()


def _reason_lists(
    rules: Sequence[tuple[RuleId, bool]], prefix: str, given: Sequence[pl.Series]
) -> pl.Series:
    """Gather reasons rule by rule, and lay them out row by row.

    Polars' own lists of structs take some 7 µs for each rule and row, broken or not.

    Args:
        rules: The rules, each with whether there are messages for it.
        prefix: What stands before the rules of rows that could not be read.
        given: What was wrong with such rows, their texts, and for each rule whether it is broken,
            its values, and its messages.
    """
    rejects, texts, *rest = given
    columns = iter(rest)
    torn = rejects.is_not_null()
    found = [_reasons_at(torn, None, prefix + rejects.filter(torn), "quarantine", texts)]
    for rule, has_messages in rules:
        broken, values = (_as_long_as(rejects, next(columns)) for _ in range(2))
        messages = next(columns) if has_messages else None
        if broken.any():
            at = (broken, rule.column, rule.id, rule.severity, values)
            found.append(_reasons_at(*at, messages))
    ordered = pl.concat(found).sort("row", maintain_order=True)
    ends = np.cumsum(np.bincount(ordered["row"].to_numpy(), minlength=len(rejects)))
    starts = pa.array(np.concatenate([[0], ends]), pa.int64())
    flat = ordered.select(pl.struct(list(REASON.to_schema()))).to_series().to_arrow()
    lists = pl.from_arrow(pa.LargeListArray.from_arrays(starts, flat))
    return pl.Series("reasons", lists, dtype=pl.List(REASON))


def _reasons_at(
    broken: pl.Series,
    column: str | None,
    rule: str | pl.Series,
    severity: str,
    values: pl.Series,
    messages: pl.Series | None = None,
) -> pl.DataFrame:
    """Return `row`, and the fields of a reason, of each row that breaks a rule."""
    rows = broken.arg_true()
    return pl.select(
        row=rows,
        column=pl.lit(column, pl.String),
        rule=pl.lit(rule),
        severity=pl.lit(severity),
        value=values.gather(rows).str.slice(0, LONGEST_VALUE),
        message=pl.lit(None, pl.String) if messages is None else messages.gather(rows),
    )


def _as_long_as(other: pl.Series, values: pl.Series) -> pl.Series:
    """Spread what an expression without columns gives: one value for all rows."""
    return values if len(values) == len(other) else values.new_from_index(0, len(other))


def _broken_rules(batch: pl.DataFrame) -> pl.DataFrame:
    """Return one row per reason: `file`, `line`, and its own fields."""
    undecided = ~pl.col("outcome").is_in([DISCARDED, RELEASED])
    each = batch.filter(undecided & (pl.col("reasons").list.len() > 0)).explode("reasons")
    reason = pl.col("reasons").struct
    return each.select(
        pl.col("_file").alias("file"),
        pl.col("_line").alias("line"),
        *(reason.field(name) for name in REASON.to_schema()),
    )
