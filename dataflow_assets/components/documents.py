"""The documents of a folder as they are written, before any is taken for a declaration.

What belongs here: mistakes that Dagster passes over or cannot place, as it takes YAML for plain
values: a word twice in a map, a file without a document, a declaration that says nothing. What does
not: what words mean; that is for the models.
"""

from __future__ import annotations

import glob
from typing import TYPE_CHECKING, NamedTuple

import yaml

from dataflow_assets.errors import DeclarationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

FILES = ("defs.yaml", "component.yaml")
"""The names of the files that Dagster takes for declarations."""
MERGE = "tag:yaml.org,2002:merge"
EXAMPLE = "Begin with type: dataflow_assets.Source and attributes: with name, partitions, extract "
EXAMPLE += "and contract below it; see documentation/declarations.md."


class _Document(NamedTuple):
    """A document: its file, its outermost map, and what kind of declaration it says it is."""

    path: Path
    root: yaml.MappingNode
    kind: str | None


def wrong_documents(folder: Path, kinds: Mapping[str, str]) -> Iterator[DeclarationError]:
    """Yield a mistake for each word that is there twice, and each document that says nothing.

    Args:
        folder: The folder of declarations.
        kinds: Under each type that there is, what it declares: a source or an entity.
    """
    for name in FILES:
        for found in sorted(glob.glob(f"**/{name}", root_dir=folder, recursive=True)):  # noqa: PTH207 - it follows links, as Dagster does
            yield from _mistakes_in_file(folder / found, kinds)


def _mistakes_in_file(path: Path, kinds: Mapping[str, str]) -> Iterator[DeclarationError]:
    try:
        # The C loader takes a twentieth of the time; where text is no YAML, Dagster's own tells.
        roots = list(yaml.compose_all(path.read_text(encoding="utf-8"), yaml.CSafeLoader))
    except yaml.MarkedYAMLError:
        return
    if not roots:
        mend = f"{EXAMPLE} Or remove the file."
        yield DeclarationError("the file declares nothing.", mend=mend).locate(f"{path}:1")
    for root in roots:
        if isinstance(root, yaml.MappingNode):
            written = _below(root, "type")
            kind = kinds.get(written.value) if isinstance(written, yaml.ScalarNode) else None
            yield from _mistakes_in_document(_Document(path, root, kind))


def _mistakes_in_document(document: _Document) -> Iterator[DeclarationError]:
    attributes = _below(document.root, "attributes")
    written = _below(document.root, "type")
    if document.kind and written and (attributes is None or attributes.value in ("", "null", "~")):
        yield DeclarationError(
            f"the {document.kind} says nothing: there is nothing under attributes.",
            mend="Write attributes: with name and the other words below it; see "
            "documentation/declarations.md.",
            culprit="attributes",
        ).locate(f"{document.path}:{_line(attributes or written)}")
    for place, first, again in _repeated(document.root, ()):
        mistake = DeclarationError(
            f"the word {again.value!r} is here twice: on line {_line(first)} and on line "
            f"{_line(again)}.",
            mend="Remove one of them, or give it another name.",
            culprit=".".join(place[1:] if place[0] == "attributes" else place),
        ).locate(f"{document.path}:{_line(again)}")
        yield mistake.at(**{document.kind or "source": _name(attributes)})


def _repeated(
    node: yaml.Node, place: Sequence[str]
) -> Iterator[tuple[Sequence[str], yaml.Node, yaml.Node]]:
    """Yield each word that its map has already: where it is, the first one, and this one."""
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _repeated(item, (*place, str(number)))
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[tuple[str, str], yaml.Node] = {}
    for word, value in node.value:
        within = (*place, str(word.value))
        if isinstance(word, yaml.ScalarNode) and word.tag != MERGE:
            first = seen.setdefault((word.tag, word.value), word)
            if first is not word:
                yield within, first, word
        yield from _repeated(value, within)


def _below(node: yaml.Node | None, word: str) -> yaml.Node | None:
    """Return what stands under a word of a map, if it is there."""
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if key.value == word), None)


def _name(attributes: yaml.Node | None) -> str | None:
    name = _below(attributes, "name")
    return name.value if isinstance(name, yaml.ScalarNode) else None


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
