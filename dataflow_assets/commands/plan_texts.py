"""A plan as text, and as Markdown for a pull request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dataflow_assets.builders.planning import EntityPlan, SourcePlan
    from dataflow_assets.io.comparing import Difference
    from dataflow_assets.io.entries import Moved

COUNTS = ("received", "loaded", "quarantined", "duplicate", "filtered")


@dataclass(frozen=True)
class Plan:
    """What would change.

    Attributes:
        against: The commit that was compared with; none: what was published.
        looked_at: By source, the partitions that were looked at.
        limits: What was not looked at.
        sources: The partitions of sources that would change.
        entities: The partitions of entities that would change.
    """

    against: str | None
    looked_at: Mapping[str, Sequence[str]]
    limits: Sequence[str]
    sources: Sequence[SourcePlan]
    entities: Sequence[EntityPlan]

    @property
    def changes(self) -> bool:
        """Whether anything would change."""
        return bool(self.sources or self.entities)

    @property
    def summary(self) -> str:
        """What was looked at, and whether it changes, in a sentence."""
        partitions = sum(map(len, self.looked_at.values()))
        to = f"the declarations of {self.against}" if self.against else "what was published"
        looked = f"{partitions:,} partitions of {len(self.looked_at):,} sources, compared with {to}"
        found = len(self.sources) + len(self.entities)
        unknown = sum(bool(one.unknown) for one in self.sources)
        unknown += sum(bool(one.unknown) for one in self.entities)
        told = [f"{found - unknown:,} would change"] if found > unknown else []
        told += [f"of {unknown:,} it cannot be said"] if unknown else []
        return f"{looked}: {', '.join(told) or 'nothing would change'}."


def as_text(plan: Plan) -> str:
    """Return a plan for a terminal."""
    lines = [plan.summary, *plan.limits]
    for one in plan.sources:
        lines += ["", f"{one.source} {one.partition}"]
        lines += [f"  {line}" for line in (*_counts(one), *_source_lines(one))]
    for entity in plan.entities:
        lines += ["", f"normalized.{entity.entity} {entity.partition} ({entity.mode})"]
        lines += [f"  {line}" for line in _entity_lines(entity)]
    return "\n".join(lines) + "\n"


def as_markdown(plan: Plan) -> str:
    """Return a plan for a comment on a pull request."""
    lines = ["### Plan", "", plan.summary, *(f"\n{limit}." for limit in plan.limits)]
    if plan.sources:
        heads = ("source", "partition", *COUNTS)
        lines += ["", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
        for one in plan.sources:
            cells = (one.source, one.partition, *(_from_to(one, word) for word in COUNTS))
            lines.append("| " + " | ".join(map(_escaped, cells)) + " |")
    for one in plan.sources:
        lines += _details(f"{one.source} {one.partition}", list(_source_lines(one)))
    for entity in plan.entities:
        title = f"normalized.{entity.entity} {entity.partition} ({entity.mode})"
        lines += _details(title, list(_entity_lines(entity)))
    return "\n".join(lines) + "\n"


def _details(title: str, lines: Sequence[str]) -> list[str]:
    if not lines:
        return []
    body = "\n".join(lines)
    fence = "`" * max(3, max((len(run) for run in _ticks(body)), default=0) + 1)
    head = f"<details><summary>{_plain(title)}</summary>"
    return ["", head, "", fence, body, fence, "", "</details>"]


def _ticks(text: str) -> Iterator[str]:
    run = ""
    for letter in text:
        run = run + letter if letter == "`" else ""
        if run:
            yield run


def _counts(one: SourcePlan) -> Iterator[str]:
    changed = [f"{word} {_from_to(one, word)}" for word in COUNTS if "→" in _from_to(one, word)]
    if changed:
        yield ", ".join(changed)


def _from_to(one: SourcePlan, word: str) -> str:
    before = "-" if one.before is None else f"{getattr(one.before, word) or 0:,}"
    after = "-" if one.after is None else f"{getattr(one.after, word) or 0:,}"
    return before if before == after else f"{before} → {after}"


def _source_lines(one: SourcePlan) -> Iterator[str]:
    if one.failure:
        yield f"would not be published: {one.failure}"
    if one.unknown:
        yield f"cannot be said: {one.unknown}"
    for what, moved in (("newly quarantined", one.quarantined), ("released", one.released)):
        yield from _moved(what, moved)
    yield from _columns(one.rows)
    yield from _values(one.rows)


def _entity_lines(one: EntityPlan) -> Iterator[str]:
    if one.failure:
        yield f"would not be published: {one.failure}"
    if one.unknown:
        yield f"cannot be said: {one.unknown}"
    rows = one.rows
    if rows:
        yield f"rows added {rows.added:,}, changed {rows.changed:,}, removed {rows.removed:,}"
    yield from _columns(rows)
    yield from _values(rows)


def _moved(what: str, moved: Mapping[str, Moved]) -> Iterator[str]:
    for rule, one in moved.items():
        yield f"{what} by {rule}: {one.rows:,} rows"
        for file, line, value in one.samples:
            yield f"  {file}:{line} {value!r}"


def _columns(rows: Difference) -> Iterator[str]:
    for name, kind in rows.columns_added.items():
        yield f"column added: {name} {kind}"
    for name in rows.columns_dropped:
        yield f"column dropped: {name}"
    for name, (old, new) in rows.columns_retyped.items():
        yield f"column re-typed: {name} {old} → {new}"


def _values(rows: Difference) -> Iterator[str]:
    for name, number in rows.values.items():
        yield f"values changed in {name}: {number:,} rows"
        for one in rows.samples[name]:
            yield f"  {one.where} {one.before!r} → {one.after!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")


def _plain(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
