"""A contract made of guesses about columns, with what is told of each.

What belongs here: names of columns, which guesses are declared and which are only told of, and
taking guesses back that the sample does not stand. What does not: the guesses
(`transform.guessing`), and YAML (`writing`).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any

from dataflow_assets.declaration.base import RESERVED
from dataflow_assets.declaration.extract import FEED_COLUMNS
from dataflow_assets.errors import DeclarationError
from dataflow_assets.transform.expressions import read_condition
from dataflow_assets.transform.guessing.columns import common_tokens, guess_columns
from dataflow_assets.transform.guessing.keys import guess_key
from dataflow_assets.transform.guessing.rules import guess_rules
from dataflow_assets.transform.types import polars_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import polars as pl

    from dataflow_assets.transform.guessing.columns import ColumnGuess
    from dataflow_assets.transform.guessing.rules import RuleGuess
    from dataflow_assets.transform.rules import RuleId

FEED_KEPT = ("id", "title", "link", "published_at", "updated_at", "feed_problem", "polled_at")
"""Columns of a feed that are declared even where the sample has no value in them."""
PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")
LONGEST = 60
TEXT_WORDS = ("source_name", "null_tokens")
"""Words of a column that stay when it becomes text."""
MOST_RULES = 12
TEMPLATE = "{{"
WORDS_OF_SQL = frozenset(
    (
        *("all", "and", "any", "as", "asc", "between", "by", "case", "cast", "check", "column"),
        *("date", "day", "desc", "distinct", "else", "end", "exists", "false", "filter", "from"),
        *("group", "having", "hour", "in", "interval", "is", "join", "left", "like", "limit"),
        *("minute", "month", "not", "null", "on", "or", "order", "over", "partition", "right"),
        *("row", "rows", "second", "select", "set", "some", "table", "then", "time", "timestamp"),
        *("to", "true", "type", "union", "unique", "user", "using", "values", "when", "where"),
        *("with", "year", "zone"),
    )
)
"""Names that are quoted in SQL, whether or not each dialect needs it."""


@dataclass(frozen=True)
class ColumnDraft:
    """A column of the contract.

    Attributes:
        received: Its name as received.
        words: What the contract says of it.
        remarks: What is told of it.
    """

    received: str
    words: dict[str, Any]
    remarks: tuple[str, ...] = ()

    def without(self, *words: str, remark: str) -> ColumnDraft:
        """Return the column with fewer words."""
        kept = {word: said for word, said in self.words.items() if word not in words}
        return replace(self, words=kept, remarks=(*self.remarks, remark))


@dataclass(frozen=True)
class ContractDraft:
    """A contract.

    Attributes:
        columns: The columns, by name.
        key: What identifies a row.
        key_remark: What is told of that.
        null_tokens: Texts that mean no value everywhere, beside the empty one.
        rules: Rules, by name.
        unknown_columns: What becomes of columns that it does not name, if that is said.
        unknown_remark: What is told of that.
    """

    columns: dict[str, ColumnDraft]
    key: tuple[str, ...] = ()
    key_remark: str = ""
    null_tokens: tuple[str, ...] = ()
    rules: dict[str, dict[str, Any]] = field(default_factory=dict)
    unknown_columns: str | None = None
    unknown_remark: str = ""

    @property
    def words(self) -> dict[str, Any]:
        """What the declaration says."""
        said: dict[str, Any] = {"key": list(self.key)} if self.key else {}
        if self.null_tokens:
            said["null_tokens"] = ["", *self.null_tokens]
        if self.unknown_columns:
            said["unknown_columns"] = self.unknown_columns
        said["columns"] = {name: dict(one.words) for name, one in self.columns.items()}
        return {**said, "rules": self.rules} if self.rules else said

    @property
    def typed(self) -> int:
        """How many columns are of another type than text."""
        return sum(one.words.get("type", "string") != "string" for one in self.columns.values())


def draft_contract(sample: pl.DataFrame, *, by_position: bool) -> ContractDraft:
    """Make a contract of sampled rows.

    Args:
        sample: The user columns as received.
        by_position: Whether columns are taken in their order, so that none has another name than
            the one received.
    """
    kept = [name for name in sample.columns if TEMPLATE not in name]
    guesses = guess_columns(sample.select(kept))
    names = dict(zip(kept, kept if by_position else column_names(kept), strict=True))
    tokens = common_tokens(guesses, sample)
    key = guess_key(guesses, sample)
    columns: dict[str, ColumnDraft] = {}
    rules: dict[str, dict[str, Any]] = {}
    for one in guesses:
        name, rule = names[one.received], guess_rules(one)
        columns[name] = _column(one, name, rule, tokens)
        if len(rules) < MOST_RULES:
            rules |= _rules(name, rule, one.type, rules)
    return ContractDraft(
        columns=columns,
        key=tuple(names[received] for received in key.received),
        key_remark=key.remark,
        null_tokens=tuple(token for token in tokens if TEMPLATE not in token),
        rules=rules,
    )


def draft_feed(sample: pl.DataFrame) -> ContractDraft:
    """Make a contract for a feed, whose columns are known whatever the sample.

    Args:
        sample: The entries as received.
    """
    guesses = {one.received: one for one in guess_columns(sample)}
    filled = [name for name in FEED_COLUMNS if name in FEED_KEPT or guesses[name].filled]
    columns = {}
    for name in filled:
        words = {"type": "timestamp" if name.endswith("_at") else "string"}
        columns[name] = ColumnDraft(name, words, guesses[name].remarks[:1])
    empty = ", ".join(name for name in FEED_COLUMNS if name not in filled)
    rules = {"well_formed": {"sql": "feed_problem is null", "severity": "warn"}}
    return ContractDraft(
        columns=columns,
        key=("id",),
        key_remark="of several polls of an entry the last is kept",
        rules=rules,
        unknown_columns="discard",
        unknown_remark=f"empty in the sample: {empty}" if empty else "",
    )


def _column(one: ColumnGuess, name: str, rule: RuleGuess, tokens: Sequence[str]) -> ColumnDraft:
    words = dict(one.words)
    if name != one.received:
        words["source_name"] = one.received
    if own := sorted(one.tokens.difference(tokens)):
        words["null_tokens"] = ["", *sorted({*own, *one.tokens})]
    words |= rule.words
    return ColumnDraft(one.received, words, (*one.remarks, *rule.remarks))


def _rules(
    name: str, guess: RuleGuess, kind: str, known: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return the rule that warns about values unlike the sample's."""
    column = name if PLAIN.fullmatch(name) and name.lower() not in WORDS_OF_SQL else _quoted(name)
    if guess.values:
        listed = ", ".join("'{}'".format(value.replace("'", "''")) for value in guess.values)
        word, sql = "known", f"{column} in ({listed})"
    elif guess.pattern:
        word, sql = (
            "shape",
            f"regexp_like({column}, '^{guess.pattern.replace(chr(39), chr(39) * 2)}$')",
        )
    else:
        return {}
    if TEMPLATE in sql:
        return {}
    try:
        read_condition(sql, {name: polars_type(kind)}, what="rule")  # type: ignore[arg-type]
    except DeclarationError:
        return {}
    slug = _slug(name)[: LONGEST - len(word)] or "column"
    slug = slug if slug[0].isalpha() else f"c_{slug}"
    rule = next(one for one in _numbered(f"{slug}_{word}") if one not in known)
    return {rule: {"sql": sql, "severity": "warn"}}


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""'))


def _numbered(name: str) -> Iterable[str]:
    yield name
    yield from (f"{name}_{number}" for number in count(2))


def column_names(received: Iterable[str]) -> list[str]:
    """Return names that SQL takes as they are, made of names received; none twice in any case."""
    names: dict[str, str] = {}
    for position, name in enumerate(received, start=1):
        plain = name if PLAIN.fullmatch(name) else _plain(name, position)
        unique = next(one for one in _numbered(plain) if one.lower() not in names)
        names[unique.lower()] = unique
    return list(names.values())


def _plain(name: str, position: int) -> str:
    slug = _slug(name)
    if not slug:
        letters = re.sub(r"\W+", "_", name).strip("_")[:LONGEST]
        usable = letters and letters.isidentifier() and not RESERVED.match(letters)
        return letters if usable else f"column_{position}"
    return slug if slug[0].isalpha() else f"column_{slug}"[:LONGEST]


def _slug(name: str) -> str:
    """Return a name in small ASCII letters, digits and underscores; empty if it has none."""
    plain = (
        unicodedata.normalize("NFKD", name.replace("ß", "ss")).encode("ascii", "ignore").decode()
    )
    letters = sum(char.isalpha() for char in name)
    kept = sum(char.isalpha() for char in plain)
    if kept < letters:  # of another alphabet
        return ""
    return re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")[:LONGEST]


def relaxed(draft: ContractDraft, broken: Mapping[RuleId, int]) -> ContractDraft:
    """Take back the guesses that rows of the sample break.

    Args:
        draft: The contract.
        broken: By rule, how many rows break it.
    """
    columns = dict(draft.columns)
    for rule, rows in broken.items():
        if rule.column is not None:
            columns[rule.column] = _relaxed_column(columns[rule.column], rule.kind, rows)
    known = {rule.id for rule in broken}
    keyless = any(rule.column in draft.key for rule in broken)
    return replace(
        draft,
        columns=columns,
        rules={name: rule for name, rule in draft.rules.items() if name not in known},
        key=() if keyless else draft.key,
        key_remark="taken back: rows of the sample lack it" if keyless else draft.key_remark,
    )


def _relaxed_column(one: ColumnDraft, kind: str, rows: int) -> ColumnDraft:
    """Return a column without the guess that rows break."""
    told = f"taken back: {rows:,} sampled rows would break it"
    if kind == "type":
        kept = {word: one.words[word] for word in TEXT_WORDS if word in one.words}
        words = {**kept, "type": "string"}
        return ColumnDraft(one.received, words, (*one.remarks, f"{one.words['type']} {told}"))
    words_of = {"required": ("required",), "range": ("min", "max")}
    return one.without(*words_of.get(kind, ()), remark=f"{kind} {told}")
