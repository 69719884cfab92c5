"""Changing a declaration's text: a word here and there, all else as its author wrote it.

What belongs here: where in the YAML a change goes, and changes as a patch. What does not: which
changes are wanted.

The text is changed between the places of the parsed document, so comments, order, quotes, blank
lines and line ends stay. What cannot be changed that way, such as a value that an anchor shares
with others, is refused and left to a person.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Edit = Callable[[str, str], str]
    """Changes the text in which a source is declared; takes the text and the source's name."""

SOURCE_TYPE = "dataflow_assets.Source"
LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The parser of libyaml, where it is there: some fifteen times as fast, with the same places."""
WIDEST = 1 << 20
BLOCK_SCALARS = ("|", ">")
NO_END = "\n\\ No newline at end of file\n"


class UnamendableError(Exception):
    """The text is written in a way in which the change has no place of its own."""


@dataclass(frozen=True)
class _Place:
    """A value in the text, with the key before it."""

    key: yaml.Node
    value: yaml.Node


def add_columns(text: str, source: str, columns: Mapping[str, Mapping[str, object]]) -> str:
    """Return a declaration with more columns, behind those that it has.

    Args:
        text: The YAML file.
        source: The source's name.
        columns: The words of each column; one that has a type only is written shortly.

    Raises:
        UnamendableError: There is no place for them.
    """
    place = _find(text, source, "contract", "columns")
    entries = [
        (name, words["type"] if list(words) == ["type"] else dict(words))
        for name, words in columns.items()
    ]
    return _added(text, place.value, entries)


def add_alias(text: str, source: str, column: str, alias: str) -> str:
    """Return a declaration in which a column has one more alias; see `add_columns`."""
    return _listed(text, source, column, ("aliases", alias))


def add_format(text: str, source: str, column: str, written: str) -> str:
    """Return a declaration in which a column has one more format; see `add_columns`."""
    return _listed(text, source, column, ("formats", written))


def set_word(text: str, source: str, path: Sequence[str], value: object) -> str:
    """Return a declaration in which a word below `contract` has another value.

    Args:
        text: The YAML file.
        source: The source's name.
        path: The words that lead to it, such as ``columns``, a column and ``type``.
        value: The value.

    Raises:
        UnamendableError: There is no place for it.
    """
    *above, word = path
    place = _find(text, source, "contract", *above)
    if isinstance(place.value, yaml.ScalarNode):
        if word == "type":
            return _replaced(text, place.value, _written(value))
        return _replaced(text, place.value, _written({"type": place.value.value, word: value}))
    found = _child(place.value, word)
    if found is None:
        return _added(text, place.value, [(word, value)])
    return _replaced(text, _own(found).value, _written(value))


def drop_words(text: str, source: str, column: str, words: Sequence[str]) -> str:
    """Return a declaration in which a column lacks some words; see `add_columns`."""
    for word in words:
        place = _find(text, source, "contract", "columns", column)
        found = _child(place.value, word)
        if found is not None:
            text = _without(text, place.value, _own(found))
    return text


def unified_diff(before: str, after: str, name: str) -> str:
    """Return a change of a file as a patch, to be applied in the file's own folder.

    Of a name without a folder, ``git apply`` drops no part, so ``patch -p0`` takes the same patch.

    Args:
        before: The file.
        after: What it is to become.
        name: Its name.
    """
    lines = difflib.unified_diff(_lines(before), _lines(after), name, name, lineterm="\n")
    return "".join(line if line.endswith("\n") else line + NO_END for line in lines)


def _lines(text: str) -> list[str]:
    """Return lines as patches know them: only a line feed ends one."""
    *whole, rest = text.split("\n")
    return [f"{line}\n" for line in whole] + ([rest] if rest else [])


def _find(text: str, source: str, *path: str) -> _Place:
    """Return what stands below the attributes of a source."""
    place = _document(text, source)
    for word in path:
        found = _child(place.value, word)
        if found is None:
            raise UnamendableError(f"there is no {word!r} where it should be")
        place = _own(found)
    return place


def _document(text: str, source: str) -> _Place:
    try:
        documents = [one for one in yaml.compose_all(text, Loader=LOADER) if one]
    except yaml.YAMLError as error:
        raise UnamendableError(f"the file is no YAML: {error}") from error
    for document in documents:
        kind, attributes = (_child(document, word) for word in ("type", "attributes"))
        if kind is None or attributes is None or kind.value.value != SOURCE_TYPE:
            continue
        name = _child(attributes.value, "name")
        if name is not None and name.value.value == source:
            return _own(attributes)
    raise UnamendableError(f"the file does not declare the source {source!r} any more")


def _child(node: yaml.Node, word: str) -> _Place | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((_Place(key, value) for key, value in node.value if key.value == word), None)


def _own(place: _Place) -> _Place:
    """Refuse a value that stands elsewhere, where an anchor shares it with others."""
    if place.value.start_mark.index < place.key.end_mark.index:
        raise UnamendableError(f"{place.key.value!r} has a value that is shared by an anchor")
    return place


def _end(text: str, node: yaml.Node) -> int:
    """Return where the last character of a value stands; a block ends with its last entry."""
    end = int(node.end_mark.index)
    if isinstance(node, yaml.ScalarNode):
        return len(text[:end].rstrip()) if node.style in BLOCK_SCALARS else end
    if not isinstance(node, yaml.CollectionNode) or node.flow_style:
        return end
    if not node.value:
        raise UnamendableError("there is an empty block")
    last = node.value[-1]
    if isinstance(last, tuple):
        key, value = last
        shared = value.start_mark.index < key.end_mark.index
        if shared:
            raise UnamendableError(f"{key.value!r} has a value that is shared by an anchor")
        return _end(text, value)
    return _end(text, last)


def _added(text: str, node: yaml.Node, entries: Sequence[tuple[str, object]]) -> str:
    """Put entries behind those of a map."""
    if not isinstance(node, yaml.MappingNode):
        raise UnamendableError("there is no map where the change goes")
    if node.flow_style:
        inner = ", ".join(_entry(*entry) for entry in entries)
        if not node.value:
            end = node.end_mark.index - 1
            return f"{text[:end]}{inner}{text[end:]}"
        end = _end(text, node.value[-1][1])
        return f"{text[:end]}, {inner}{text[end:]}"
    indent = _indent(text, node.value[0][0])
    return _lines_after(text, _end(text, node), [indent + _entry(*entry) for entry in entries])


def _lines_after(text: str, end: int, lines: Sequence[str]) -> str:
    """Put lines behind the line in which a place is."""
    line_end = "\r\n" if "\r\n" in text else "\n"
    after = text.find("\n", end)
    if after < 0:
        return text + "".join(f"{line_end}{line}" for line in lines)
    head, tail = text[: after + 1], text[after + 1 :]
    return head + "".join(f"{line}{line_end}" for line in lines) + tail


def _indent(text: str, key: yaml.Node) -> str:
    """Return what stands before a key in its line; only blanks may."""
    begin = text.rfind("\n", 0, key.start_mark.index) + 1
    indent = text[begin : key.start_mark.index]
    if indent.strip(" "):
        raise UnamendableError(f"{key.value!r} does not begin a line of its own")
    return indent


def _listed(text: str, source: str, column: str, entry: tuple[str, str]) -> str:
    """Add an item to a list of a column, which may not be there yet."""
    word, item = entry
    place = _find(text, source, "contract", "columns", column)
    found = _child(place.value, word)
    if found is None:
        return set_word(text, source, ("columns", column, word), [item])
    node = _own(found).value
    if not isinstance(node, yaml.SequenceNode):
        raise UnamendableError(f"{word!r} is no list")
    if not node.flow_style:
        begin = text.rfind("\n", 0, node.start_mark.index) + 1
        lead = text[begin : node.start_mark.index]
        if lead.strip(" "):
            raise UnamendableError(f"{word!r} does not begin a line of its own")
        return _lines_after(text, _end(text, node), [f"{lead}- {_written(item)}"])
    if not node.value:
        return _replaced(text, node, _written([item]))
    end = _end(text, node.value[-1])
    return f"{text[:end]}, {_written(item)}{text[end:]}"


def _without(text: str, node: yaml.Node, place: _Place) -> str:
    """Take an entry out of a map that has others."""
    if not isinstance(node, yaml.MappingNode):
        raise UnamendableError("there is no map where the change goes")
    keys = [key.value for key, _ in node.value]
    number = keys.index(place.key.value)
    if len(keys) == 1:
        raise UnamendableError(f"{place.key.value!r} is the only entry")
    if not node.flow_style:
        begin = place.key.start_mark.index - len(_indent(text, place.key))
        after = text.find("\n", _end(text, place.value))
        return text[:begin] + (text[after + 1 :] if after >= 0 else "")
    if number:
        begin, end = _end(text, node.value[number - 1][1]), _end(text, place.value)
    else:
        begin, end = place.key.start_mark.index, node.value[1][0].start_mark.index
    return text[:begin] + text[end:]


def _replaced(text: str, node: yaml.Node, written: str) -> str:
    return text[: node.start_mark.index] + written + text[_end(text, node) :]


def _entry(name: str, value: object) -> str:
    return f"{_written(name)}: {_written(value)}"


class _OneLine(yaml.SafeDumper):
    """Writes texts with line ends in one line, too."""


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_OneLine.add_representer(str, _text_node)


def _written(value: object) -> str:
    """Return a value in one line of YAML, as it may stand within braces too."""
    listed = yaml.dump(
        [value],
        Dumper=_OneLine,
        default_flow_style=True,
        width=WIDEST,
        allow_unicode=True,
        sort_keys=False,
    )
    return listed.strip()[1:-1]
