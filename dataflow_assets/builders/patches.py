"""A proposed patch of a declaration that takes the columns of a drifted partition.

What belongs here: which words would have to change, and trying whether the changed declaration is
one. What does not: where a word goes in the text (``declaration.amend``), and applying a patch;
only a person does that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count
from typing import TYPE_CHECKING

import yaml
from pydantic import ValidationError

from dataflow_assets.declaration import amend
from dataflow_assets.declaration.contract import Column
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.errors import DeclarationError
from dataflow_assets.transform.drift import belongs
from dataflow_assets.transform.rules import check_contract
from dataflow_assets.transform.types import TYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from dataflow_assets.builders.drift import Found
    from dataflow_assets.declaration.amend import Edit
    from dataflow_assets.transform.drift import Drift

BOM = "\ufeff"
OF_ANY_TYPE = {"type", "source_name", "aliases", "description", "required", "severity"}
"""Words of a column that stay, whatever its type becomes."""


@dataclass(frozen=True)
class Change:
    """One change of a declaration.

    Attributes:
        what: The change, in words.
        edit: Makes it in the text.
    """

    what: str
    edit: Edit


@dataclass(frozen=True)
class Patch:
    """A proposed patch.

    Attributes:
        text: The patch; empty if nothing can be proposed.
        folder: Where it is to be applied: the file's own.
        left_out: What would have to be changed besides, and why that is left to a person.
    """

    text: str
    folder: Path
    left_out: tuple[str, ...] = field(default=())


def propose_patch(source: SourceDeclaration, found: Found, file: Path) -> Patch | None:
    """Return how a declaration's file could take the columns of a partition.

    Args:
        source: The declaration.
        found: How the partition's columns differ.
        file: The file in which it stands.

    Returns:
        None if nothing differs, or the file is not there.
    """
    changes = list(_changes(source, found))
    if not changes or not file.is_file():
        return None
    before = file.read_bytes().decode("utf-8", "surrogateescape")
    mark = BOM if before.startswith(BOM) else ""  # YAML's parsers disagree on whether it counts
    after, left_out = _amended(source, before.removeprefix(mark), changes)
    patch = amend.unified_diff(before, mark + after, file.name)
    return Patch(patch, file.parent, tuple(left_out))


def _amended(
    source: SourceDeclaration, text: str, changes: Sequence[Change]
) -> tuple[str, list[str]]:
    """Make changes in a text, all at once or, if that gives no declaration, those that do."""
    left_out: list[str] = []
    try:
        whole = text
        for change in changes:
            whole = change.edit(whole, source.name)
        _try(whole, source.name)
    except (amend.UnamendableError, DeclarationError, ValidationError):
        whole = text
        for change in changes:
            try:
                tried = change.edit(whole, source.name)
                _try(tried, source.name)
            except (amend.UnamendableError, DeclarationError, ValidationError) as error:
                left_out.append(f"{change.what}: {_reason(error)}")
            else:
                whole = tried
    return whole, left_out


def _try(text: str, name: str) -> None:
    """Refuse a text that does not declare the source, or not rightly."""
    try:
        documents = list(yaml.load_all(text, Loader=amend.LOADER))
    except yaml.YAMLError as error:
        raise amend.UnamendableError(f"it would be no YAML: {error}") from error
    for document in documents:
        attributes = document.get("attributes") if isinstance(document, dict) else None
        if (
            isinstance(attributes, dict)
            and attributes.get("name") == name
            and (document.get("type") == amend.SOURCE_TYPE)
        ):
            check_contract(SourceDeclaration.model_validate(attributes).contract)
            return
    raise amend.UnamendableError(f"the file does not declare the source {name!r} any more")


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(one["msg"] for one in error.errors(include_url=False))
    return error.problem if isinstance(error, DeclarationError) else str(error)


def _changes(source: SourceDeclaration, found: Found) -> Iterator[Change]:
    """Yield what would have to change for a partition's columns to be as declared."""
    supposed = {one.column: one for one in found.drift if one.kind == "perhaps renamed"}
    aliases = {name: found.shape.gone[name].perhaps or "" for name in supposed}
    for name, alias in aliases.items():
        yield Change(f"{alias} as an alias of {name}", partial(_alias, column=name, alias=alias))
    new = [one for one in found.drift if one.kind == "new" and one.undeclared]
    new = [one for one in new if one.column not in aliases.values()]
    yield from _additions(source, new)
    gone = [one for one in found.drift if one.kind == "gone" and one.undeclared]
    yield from _allowances(source, [one for one in gone if one.column not in aliases])
    for one in found.drift:
        if one.kind == "retyped" and one.column in source.contract.columns:
            yield from _widening(source, one)


def _alias(text: str, source: str, *, column: str, alias: str) -> str:
    return amend.add_alias(text, source, column, alias)


def _additions(source: SourceDeclaration, new: Sequence[Drift]) -> Iterator[Change]:
    """Yield the change that declares new columns."""
    columns: dict[str, dict[str, object]] = {}
    taken = {name.casefold() for name in source.contract.columns}
    for one in new:
        names = chain([one.column], _numbered(one.column))
        name = next(name for name in names if name.casefold() not in taken)
        taken.add(name.casefold())
        columns[name] = {"type": _declarable(one.new)}
        if name != one.column:
            columns[name]["source_name"] = one.column
    if columns:
        listed = ", ".join(columns)
        yield Change(f"new columns {listed}", partial(_added, columns=columns))


def _numbered(name: str) -> Iterator[str]:
    return (f"{name}_{number}" for number in count(2))


def _added(text: str, source: str, *, columns: dict[str, dict[str, object]]) -> str:
    return amend.add_columns(text, source, columns)


def _allowances(source: SourceDeclaration, gone: Iterable[Drift]) -> Iterator[Change]:
    """Yield the changes by which columns may be missing."""
    frozen = False
    for one in gone:
        column = source.contract.columns[one.column]
        if one.column in source.contract.key:
            yield Change(f"the key column {one.column} is gone", _impossible)
        elif column.required:
            path = ("columns", one.column, "required")
            yield Change(f"{one.column} not required", partial(_set, path=path, value=False))
        frozen = frozen or source.contract.missing_columns == "freeze"
    if frozen:
        word = ("missing_columns",)
        yield Change("missing columns evolve", partial(_set, path=word, value="evolve"))


def _impossible(text: str, source: str) -> str:  # noqa: ARG001 - as every edit
    raise amend.UnamendableError("a row cannot be told from others without its key")


def _set(text: str, source: str, *, path: tuple[str, ...], value: object) -> str:
    return amend.set_word(text, source, path, value)


def _widening(source: SourceDeclaration, one: Drift) -> Iterator[Change]:
    """Yield the change that declares a type which holds what is received now."""
    column = source.contract.columns[one.column]
    kind = _wider(column.type, _declarable(one.new))
    if kind == column.type or (not one.undeclared and belongs(one.new or "", column.type)):
        return
    typed = [word for word in type(column).model_fields if word not in OF_ANY_TYPE]
    wrong = [word for word in typed if not _fits(column, word, kind)]
    edit = partial(_retype, column=one.column, kind=kind, wrong=wrong)
    yield Change(f"{one.column} of type {kind}", edit)


def _retype(text: str, source: str, *, column: str, kind: str, wrong: list[str]) -> str:
    text = amend.drop_words(text, source, column, wrong)
    return amend.set_word(text, source, ("columns", column, "type"), kind)


def _fits(column: Column, word: str, kind: str) -> bool:
    """Whether a word that a column has may stay when it gets another type."""
    if word not in column.model_fields_set:
        return True
    try:
        Column.model_validate({"type": kind, word: getattr(column, word)})
    except ValidationError:
        return False
    return word != "default"  # which is a value of the type


def _wider(one: str, other: str) -> str:
    """Return a type that holds the values of two."""
    if one == other:
        return one
    numbers = [
        kind for kind in (one, other) if kind.startswith(("int", "uint", "float", "decimal"))
    ]
    if len(numbers) < 2:  # noqa: PLR2004 - both
        return "string"
    whole = all(kind.startswith(("int", "uint")) for kind in numbers)
    return "int64" if whole and "uint64" not in numbers else "string" if whole else "float64"


def _declarable(kind: str | None) -> str:
    """Return a type as a contract can declare it."""
    kind = kind or "string"
    if kind.startswith(("timestamp", "datetime")):
        return "timestamp"
    return kind if kind in TYPES or kind.startswith("decimal(") else "string"
