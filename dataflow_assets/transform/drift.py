"""Drift: how the columns of a source differ from its contract, and from what they were before.

What belongs here: finding new, gone, renamed, re-typed and re-ordered columns in what is known of
two partitions. What does not: reading partitions, what a run does about drift, and guesses about
values; those are in `guessing`.

Of formats without a header, such as JSON, a member that is not in a partition may be in the next: a
member that has been seen is not new again, and one that was away once is expected to be away again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from dataflow_assets.transform.clean import received_names
from dataflow_assets.transform.shape import Gone, Seen, Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from dataflow_assets.declaration.contract import Contract
    from dataflow_assets.transform.shape import Header

DriftKind = Literal[
    "new", "gone", "back", "renamed", "perhaps renamed", "retyped", "reordered", "emptied"
]
LONGEST_LIST = 200
NOTHING = "null"
"""The type of a column in which no value says what type it has."""
FITTING: dict[str, tuple[str, ...]] = {
    "int": ("int", "uint"),
    "uint": ("int", "uint"),
    "float": ("float", "int", "uint"),
    "decimal": ("decimal", "int", "uint"),
}
"""How types in raw begin whose values a declared type is expected to hold."""


@dataclass(frozen=True)
class ReadFile:
    """A file of a partition.

    Attributes:
        name: Its name.
        rows: The rows that it holds.
        header: Its columns.
    """

    name: str
    rows: int
    header: Header


@dataclass(frozen=True)
class Drift:
    """One way in which a partition's columns differ.

    Attributes:
        kind: What happened; ``perhaps renamed`` is a supposition beside what is known.
        column: The column: the contract's name, or of others the one received.
        old: What it was, or what is declared.
        new: What it is.
        since: The first partition of those in a row in which it is so.
        changed: Whether it was otherwise in the partition before.
        undeclared: Whether it is otherwise than the contract says.
        file: The first file in which it is so, if it is not so in all.
        files: How many files it concerns.
        rows: How many rows: those of these files, or those with such values.
    """

    kind: DriftKind
    column: str
    old: str | None
    new: str | None
    since: str
    changed: bool
    undeclared: bool
    file: str | None = None
    files: int = 0
    rows: int = 0

    def within(self, files: Sequence[ReadFile]) -> Drift:
        """Return the same with the files that it concerns."""
        return replace(
            self,
            file=files[0].name if files else None,
            files=len(files),
            rows=sum(one.rows for one in files),
        )


@dataclass(frozen=True)
class Look:
    """What is looked at: one partition of a source.

    Attributes:
        contract: What the source promises.
        partition: The partition.
        raw: Data version of the raw partition.
        columns: Its columns with their types.
        files: Its files, those that have columns.
        before: What the source looked like in the partition before; none if there is none.
        has_headers: Whether each file names all columns that it could have, in an order.
        expected: Columns that are there or not without anybody being told: those that every source
            of the kind sends, and those that transforms fill.
    """

    contract: Contract
    partition: str
    raw: str
    columns: Header
    files: Sequence[ReadFile]
    before: Shape | None
    has_headers: bool = True
    expected: Collection[str] = field(default_factory=frozenset)

    @cached_property
    def _headers(self) -> dict[int, Header]:
        """The different headers of the files, which share them."""
        return {id(one.header): one.header for one in self.files}

    @cached_property
    def promised(self) -> frozenset[str]:
        """All names that the contract's columns may have."""
        return frozenset(self.contract.received_names)

    @cached_property
    def unknown(self) -> tuple[str, ...]:
        """Received columns that nobody has named."""
        named = self.promised | frozenset(self.expected)
        return tuple(name for name in self.columns.columns if name not in named)

    def lacking(self, column: str) -> tuple[ReadFile, ...]:
        """Return the files without a column of the contract; of JSON none unless all are."""
        names = self.contract.names_of(column)
        found = self._with_header(lambda one: not any(name in one.columns for name in names))
        return found if self.has_headers or len(found) == len(self.files) else ()

    def having(self, name: str) -> tuple[ReadFile, ...]:
        """Return the files with a received column."""
        return self._with_header(lambda one: name in one.columns)

    def has_both(self, column: str, name: str) -> bool:
        """Whether a file has a column of the contract, and another received one beside it."""
        lacking = {id(one.header) for one in self.lacking(column)}
        return any(id(one.header) not in lacking for one in self.having(name))

    def _with_header(self, wanted: Callable[[Header], bool]) -> tuple[ReadFile, ...]:
        headers = {key for key, header in self._headers.items() if wanted(header)}
        return tuple(one for one in self.files if id(one.header) in headers) if headers else ()

    def had(self, column: str) -> bool:
        """Whether the partition before had a column of the contract, in one of its files."""
        return self.before is not None and self.before.has_any(self.contract.names_of(column))

    @cached_property
    def returning(self) -> dict[str, str]:
        """Columns of the contract that are in all files now, and the names of them received."""
        if self.before is None or not self.files:
            return {}
        there = received_names(self.contract, self.columns.columns)
        return {
            name: there[name][0]
            for name, gone in self.before.gone.items()
            if there.get(name) and name not in self.gone and not gone.returned
        }

    @cached_property
    def gone(self) -> tuple[str, ...]:
        """Columns of the contract that are not in all files."""
        columns = (name for name in self.contract.columns if name not in self.expected)
        return tuple(name for name in columns if self.lacking(name))


def shape_of(look: Look) -> Shape:
    """Return what is to be kept of a partition's columns.

    A partition that says nothing of its columns, such as an empty one, looks as the one before.
    """
    before = look.before
    if not look.files:
        kept = {} if before is None else {"columns": before.columns, "gone": before.gone}
        return Shape(partition=look.partition, raw=look.raw, **kept)
    seen = {} if before is None else before.columns
    columns = {name: _seen(name, kind, look) for name, kind in look.columns.columns.items()}
    if not look.has_headers:
        columns |= {name: one for name, one in seen.items() if name not in columns}
    was_gone = {} if before is None else before.gone
    gone = {name: _gone_since(name, look) for name in look.gone}
    if not look.has_headers:
        gone |= {
            name: one.model_copy(update={"returned": True})
            for name, one in was_gone.items()
            if name in look.contract.columns and name not in gone
        }
    return Shape(partition=look.partition, raw=look.raw, columns=columns, gone=gone)


def _gone_since(name: str, look: Look) -> Gone:
    was = None if look.before is None else look.before.gone.get(name)
    had = look.had(name)
    if was is None:
        return Gone(since=look.partition, known=had)
    return was.model_copy(update={"known": was.known or had})


def _seen(name: str, kind: str, look: Look) -> Seen:
    was = None if look.before is None else look.before.columns.get(name)
    if was is None:
        return Seen(type=kind, since=look.partition)
    if kind in (was.type, NOTHING):
        return was
    return Seen(type=kind, since=look.partition)


def find_drift(look: Look, shape: Shape) -> tuple[Drift, ...]:
    """Return how a partition's columns differ, as far as names and types tell."""
    if not look.files:
        return ()
    return (
        *_gone(look, shape),
        *_back(look, shape),
        *_new(look, shape),
        *_renamed(look, shape),
        *_retyped(look),
        *_reordered(look),
    )


def _gone(look: Look, shape: Shape) -> Iterator[Drift]:
    """Yield what is not received: first columns of the contract, then others."""
    before = look.before
    for name in look.gone:
        was_gone = before is not None and name in before.gone
        had = look.had(name)
        if shape.gone[name].returned:
            continue  # it comes and goes
        declared = look.contract.columns[name].type
        one = Drift(
            "gone", name, declared, None, shape.gone[name].since,
            changed=had and not was_gone, undeclared=True,
        )  # fmt: skip
        yield one.within(look.lacking(name))
    if before is None or not look.has_headers:
        return
    for name, seen in before.columns.items():
        if name not in look.columns.columns and name not in look.promised | set(look.expected):
            old = seen.reads_as or seen.type
            one = Drift("gone", name, old, None, look.partition, changed=True, undeclared=False)
            yield one.within(look.files)


def _back(look: Look, shape: Shape) -> Iterator[Drift]:
    """Yield columns of the contract that are received again, or for the first time."""
    for name, received in look.returning.items():
        known = look.had(name) or (look.before is not None and look.before.gone[name].known)
        now = shape.columns[received]
        one = Drift(
            "back" if known else "new", name, None, now.reads_as or now.type, look.partition,
            changed=True, undeclared=False,
        )  # fmt: skip
        yield one.within(look.having(received))


def _new(look: Look, shape: Shape) -> Iterator[Drift]:
    seen = look.before.columns if look.before is not None else {}
    for name in look.unknown:
        now = shape.columns[name]
        since = seen[name].since if name in seen else now.since
        one = Drift(
            "new", name, None, now.reads_as or now.type, since,
            changed=look.before is not None and name not in seen, undeclared=True,
        )  # fmt: skip
        yield one.within(look.having(name))


def _renamed(look: Look, shape: Shape) -> Iterator[Drift]:
    """Yield columns under another of their names, and those that perhaps have another one."""
    before = look.before
    for name, one in shape.gone.items():
        if one.perhaps in look.unknown and one.perhaps is not None and name in look.gone:
            changed = before is not None and name not in before.gone
            old = look.contract.names_of(name)[0]
            yield Drift(
                "perhaps renamed", name, old, f"{one.perhaps} ({one.why})", one.since,
                changed=changed, undeclared=False,
            ).within(look.having(one.perhaps))  # fmt: skip
    if before is None or not look.has_headers:
        return
    were = received_names(look.contract, before.columns)
    for name, now in received_names(look.contract, look.columns.columns).items():
        if now and were[name] and now != were[name]:
            old, new = " and ".join(were[name]), " and ".join(now)
            since = look.partition
            added = next((one for one in now if one not in were[name]), now[0])
            yield Drift("renamed", name, old, new, since, changed=True, undeclared=False).within(
                look.having(added)
            )


def _retyped(look: Look) -> Iterator[Drift]:
    """Yield columns that have another type in raw than before."""
    if look.before is None:
        return
    owners = {n: column for column in look.contract.columns for n in look.contract.names_of(column)}
    for name, kind in look.columns.columns.items():
        was = look.before.columns.get(name)
        if was is None or kind in (was.type, NOTHING) or was.type == NOTHING:
            continue
        concerned = [one for one in look.having(name) if one.header.columns[name] != was.type]
        yield Drift(
            "retyped", owners.get(name, name), was.type, kind, look.partition,
            changed=True, undeclared=False,
        ).within(concerned)  # fmt: skip


def _reordered(look: Look) -> Iterator[Drift]:
    if look.before is None or not look.has_headers:
        return
    was = list(look.before.columns)
    old, new = _common(was, look.columns.columns), _common(look.columns.columns, was)
    if old == new:
        return
    moved = [one for one in look.files if not _in_order(list(one.header.columns), was)]
    yield Drift(
        "reordered", "", _listed(old), _listed(new), look.partition, changed=True, undeclared=False
    ).within(moved)


def _in_order(names: list[str], was: list[str]) -> bool:
    return _common(names, was) == _common(was, names)


def _common(names: Iterable[str], others: Collection[str]) -> list[str]:
    there = set(others)
    return [name for name in names if name in there]


def _listed(names: Sequence[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= LONGEST_LIST else f"{text[: LONGEST_LIST - 1]}…"


def belongs(raw: str, declared: str) -> bool:
    """Whether a type in raw is of the kind of a declared type, so that its values are expected."""
    if declared.startswith("timestamp"):
        return raw.startswith(("timestamp", "datetime"))
    for kind, fitting in FITTING.items():
        if declared.startswith(kind):
            return raw.startswith(fitting)
    return raw == declared
