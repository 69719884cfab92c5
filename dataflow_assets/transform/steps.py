"""Clean-up steps: what a declaration changes in texts before they are read.

What belongs here: one function per step, over any number of texts at once. What does not: when
steps act, and null tokens (`parse`); HTML (`html`).

A step leaves null as it is. Where only few texts can need a step, those are sought first, as
seeking costs a fraction of changing.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.errors import DeclarationError, ExpressionError
from dataflow_assets.transform.html import affected, strip_html

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from dataflow_assets.declaration.contract import Column
    from dataflow_assets.declaration.reading import Step

REFUSED = "\0"
"""What stands in the place of a text that a step refuses: no type has such a value."""

KEEP_ENDS = ("trim", "collapse", "lower", "upper", "title", "nfc")
"""Steps that leave no white space around a text that had none."""

GROUP = re.compile(r"\$(?:\$|\{([^}]*)\}|(\w+))", re.ASCII)
"""How a replacement names what a group has matched; two dollars are one."""


def steps_of(column: Column) -> Callable[[pl.Series], pl.Series]:
    """Return what applies a column's clean-up steps to texts, in their order.

    White space that a step leaves around a text is dropped if the column is trimmed. Texts that a
    step refuses become `REFUSED`; later steps leave them so.
    """
    steps = [(_trimmed(step, column), step.refuses) for step in column.clean]

    def clean_up(texts: pl.Series) -> pl.Series:
        refusing = False
        for change, refuses in steps:
            changed = change(texts)
            texts = changed.zip_with(texts != REFUSED, texts) if refusing else changed
            refusing |= refuses
        return texts

    return clean_up


def check_steps(column: Column) -> None:
    """Refuse steps that could not be applied to any text.

    Raises:
        ExpressionError: A regular expression is wrong, or its replacement names no group of it.
    """
    for number, step in enumerate(column.clean):
        try:
            for pattern, new in (step.replace_pattern or {}).items():
                _check_replacement(pattern, new)
        except DeclarationError as error:
            error.within("clean", str(number))
            raise


def _check_replacement(pattern: str, new: str) -> None:
    try:
        groups = pl.select(pl.lit("").str.extract_groups(pattern)).to_series().struct.fields
        pl.select(pl.lit("").str.replace_all(pattern, new))
    except pl.exceptions.PolarsError as error:
        raise ExpressionError(
            f"The pattern {pattern!r} is no regular expression: {str(error).splitlines()[0]}.",
            mend="Write one in the syntax of Rust's regex: no look-around, no back references.",
        ) from error
    for braced, plain in GROUP.findall(new):
        name = braced or plain
        numbered = name.isdecimal() and int(name) <= len(groups)
        if name and not numbered and name not in groups:
            raise ExpressionError(
                f"The replacement {new!r} names the group {name!r}, which {pattern!r} lacks.",
                mend="Write ${1} where letters or digits follow, and $$ for a dollar.",
            )


def _trimmed(step: Step, column: Column) -> Callable[[pl.Series], pl.Series]:
    change = _change(step, column)
    if not column.trim or step.map is not None or step.step in KEEP_ENDS:
        return change
    return lambda texts: change(texts).str.strip_chars()


def _change(step: Step, column: Column) -> Callable[[pl.Series], pl.Series]:
    """Return what one step does."""
    if step.step is not None:
        return PLAIN[step.step]
    if step.replace is not None:
        return partial(_replace, step.replace)
    if step.replace_pattern is not None:
        ((pattern, new),) = step.replace_pattern.items()
        return lambda texts: texts.str.replace_all(pattern, new)
    if step.map is not None:
        return partial(_map, step, column.ignore_case)
    by, part = step.split or "", step.part or 1
    place = part - 1 if part > 0 else part
    return lambda texts: texts.str.split(by).list.get(place, null_on_oob=True)


def _collapse(texts: pl.Series) -> pl.Series:
    return affected(
        texts,
        texts.str.contains(r"\s\s|[^\S ]"),
        lambda few: few.str.replace_all(r"\s+", " "),
    )


def _normalized(form: str, texts: pl.Series) -> pl.Series:
    """Normalize; texts of ASCII alone are so in every form."""
    other = texts.str.len_bytes() != texts.str.len_chars()
    return affected(texts, other, lambda few: few.str.normalize(form))  # type: ignore[arg-type]


def _replace(pieces: Mapping[str, str], texts: pl.Series) -> pl.Series:
    """Replace pieces of text at once: what is put in is not looked at again, longer ones win."""
    if len(pieces) == 1:
        ((old, new),) = pieces.items()
        return texts.str.replace_all(old, new, literal=True)
    longest_first = sorted(pieces, key=len, reverse=True)
    return texts.str.replace_many(
        longest_first, [pieces[old] for old in longest_first], leftmost=True
    )


def _map(step: Step, ignore_case: bool, texts: pl.Series) -> pl.Series:  # noqa: FBT001 - as declared
    pairs = step.map or {}
    old = pl.Series(list(pairs), dtype=pl.String)
    new = pl.Series(list(pairs.values()), dtype=pl.String)
    keys = texts
    if ignore_case:
        keys, old = texts.str.to_lowercase(), old.str.to_lowercase()
    if step.others == "keep":
        return keys.replace_strict(old, new, default=texts, return_dtype=pl.String)
    rest = REFUSED if step.refuses else None
    mapped = keys.replace_strict(old, new, default=rest, return_dtype=pl.String)
    return mapped.zip_with(texts.is_not_null(), texts)


PLAIN: dict[str, Callable[[pl.Series], pl.Series]] = {
    "trim": lambda texts: texts.str.strip_chars(),
    "collapse": _collapse,
    "lower": lambda texts: texts.str.to_lowercase(),
    "upper": lambda texts: texts.str.to_uppercase(),
    "title": lambda texts: texts.str.to_titlecase(),
    "strip_html": strip_html,
    "nfc": partial(_normalized, "NFC"),
    "nfkc": partial(_normalized, "NFKC"),
}
"""What the steps do that need no words of their own."""
