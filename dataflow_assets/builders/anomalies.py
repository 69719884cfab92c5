"""Anomaly checks: a partition's figures against those of the asset's own earlier partitions.

What belongs here: which figures are compared, and what their checks show. What does not: the
statistics (``transform.anomalies``, ``transform.distributions``), and which partitions are
comparable (``history``).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain, count
from typing import TYPE_CHECKING, Literal

import dagster as dg

from dataflow_assets.builders import metadata
from dataflow_assets.builders.checks import ERROR, FOREIGN, OWN_CHECKS, VOLUME, WARN, Outcome
from dataflow_assets.builders.history import History, profile_row, wanted_of
from dataflow_assets.errors import AnomalyError
from dataflow_assets.transform.anomalies import COUNTS, SHARES, Expected, TooLittle, expect
from dataflow_assets.transform.distributions import Distance, compare
from dataflow_assets.transform.profile import Profile, profile_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import polars as pl

    from dataflow_assets.builders.stores import Stores
    from dataflow_assets.declaration.checks import Alarm
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.io.lake import Manifest
    from dataflow_assets.io.ledger import ProfileRow
    from dataflow_assets.io.profiles import Known
    from dataflow_assets.transform.anomalies import Point
    from dataflow_assets.transform.profile import ColumnProfile

BARS = "▁▂▃▄▅▆▇█"
SHOWN = 15
"""Partitions of a history that are listed."""


@dataclass(frozen=True)
class Figure:
    """One figure that is compared with its history.

    Attributes:
        name: Of the check.
        measure: What it is.
        column: Of which column; empty for the number of rows.
        severity: What an unusual one does.
    """

    name: str
    measure: Literal["volume", "nulls", "distinct", "distribution"]
    column: str
    severity: Alarm

    def text(self, value: float) -> str:
        """Return a value as people read it."""
        if self.measure in ("volume", "distinct"):
            return f"{value:,.0f}"
        return f"{value:.2%}" if self.measure == "nulls" else f"{value:.3f}"

    @property
    def meaning(self) -> str:
        """What the check asks."""
        if self.measure == "volume":
            return "The number of rows is as in earlier partitions."
        if self.measure == "distribution":
            return f"The values of {self.column} are spread as in earlier partitions."
        share = self.measure == "nulls"
        what = "share of rows without a value" if share else "number of different values"
        return f"The {what} in {self.column} is as in earlier partitions."


@dataclass(frozen=True)
class Judged:
    """What was found of one figure of one partition.

    Attributes:
        figure: Which one.
        value: It; of a distribution, its distance from the history's.
        verdict: What it should be, or why that is not known.
    """

    figure: Figure
    value: float
    verdict: Expected | Distance | TooLittle

    @property
    def unusual(self) -> bool:
        """Whether it is far from its history."""
        if isinstance(self.verdict, Expected):
            return not self.verdict.holds(self.value)
        return isinstance(self.verdict, Distance) and not self.verdict.usual

    @property
    def text(self) -> str:
        """What was found, in a sentence without its full stop."""
        verdict, text = self.verdict, self.figure.text
        if isinstance(verdict, TooLittle):
            return f"not enough history: {verdict.needed}"
        since = f"{len(verdict.history)} earlier partitions since {verdict.history[0].partition}"
        if isinstance(verdict, Distance):
            found = f"distance {text(self.value)}, up to {text(verdict.limit)} expected by {since}"
            return f"{found}; {verdict.where}" if self.unusual else found
        kinds = [
            word for word, so in (("weekday", verdict.weekdays), ("trend", verdict.trend)) if so
        ]
        by = f", by {' and '.join(kinds)}" if kinds else ""
        bounds = f"{text(verdict.low)} to {text(verdict.high)}"
        return f"{text(self.value)}, where {bounds} are expected by {since}{by}"


@dataclass(frozen=True)
class Looked:
    """What was found of one partition.

    Attributes:
        profile: Its figures, if any were asked for.
        judged: Each figure with its verdict.
    """

    profile: Profile | None = None
    judged: tuple[Judged, ...] = ()

    @property
    def failure(self) -> AnomalyError | None:
        """Why the partition may not be published, if it may not."""
        for one in self.judged:
            if one.unusual and one.figure.severity == "block":
                return AnomalyError(
                    f"{one.text}.",
                    mend="Correct the data. If it is right, declare severity warn, or since when "
                    "history counts (checks: anomalies); the partition stays as it was.",
                    culprit=one.figure.name,
                )
        return None


def declared_figures(source: SourceDeclaration, taken: Iterable[str] = ()) -> tuple[Figure, ...]:
    """Return what a source's declaration wants compared, with the names of the checks.

    Args:
        source: The declaration.
        taken: Names of other checks.
    """
    checks, names = source.checks, {*taken, *OWN_CHECKS}
    figures = []
    if checks.volume_anomaly is not None:
        figures.append(Figure(VOLUME, "volume", "", checks.volume_anomaly))
    for column, measures in checks.anomalies.columns.items():
        for measure in measures:
            plain = FOREIGN.sub("_", f"{column}__{measure}_anomaly")
            numbered = chain([plain], (f"{plain}_{number}" for number in count(2)))
            name = next(one for one in numbered if one not in names)
            names.add(name)
            figures.append(Figure(name, measure, column, checks.anomalies.severity))
    return tuple(figures)


def anomaly_check_specs(
    source: SourceDeclaration, figures: Sequence[Figure]
) -> list[dg.AssetCheckSpec]:
    """Return the checks of ``cleaned/<source>`` that compare with its history."""
    return [
        dg.AssetCheckSpec(
            figure.name,
            asset=dg.AssetKey(["cleaned", source.name]),
            blocking=figure.severity == "block",
            description=figure.meaning,
        )
        for figure in figures
    ]


class Anomalies:
    """Looks at partitions of one source, and keeps what it has read of their history.

    Args:
        source: The declaration.
        stores: Where history is.
        figures: What is compared, as `declared_figures` returns it.
    """

    def __init__(
        self, source: SourceDeclaration, stores: Stores, figures: Sequence[Figure]
    ) -> None:
        self._partitions = source.partitions
        self._asset = f"cleaned/{source.name}"
        self._figures = figures
        self._wanted = wanted_of(source)
        self._history = History(source, stores)

    def look(self, partition: str, manifest: Manifest, staged: pl.LazyFrame, work: Path) -> Looked:
        """Take the figures of a partition, and compare them with its history.

        Args:
            partition: Which one.
            manifest: What it holds, with its counts.
            staged: Its cleaned rows; they are read only where figures of columns are asked for.
            work: The work folder.
        """
        rows = manifest.counts.loaded if manifest.counts else 0
        begin, now = self._partitions.begin_of(partition), manifest.published_at
        profile = Profile(rows=rows)
        if self._wanted:
            profile = profile_of(staged, rows, self._wanted, begin=begin, now=now)
        judged: tuple[Judged, ...] = ()
        if self._figures:
            before = self._history.before(partition, manifest.data_version)
            when = self._history.calendar.point(partition, len(before))
            judged = tuple(
                self._judge(figure, before, when, profile, work) for figure in self._figures
            )
        return Looked(profile if self._wanted else None, judged)

    def _judge(
        self, figure: Figure, before: Sequence[Known], when: Point, profile: Profile, work: Path
    ) -> Judged:
        points = [self._history.calendar.point(one.partition, n) for n, one in enumerate(before)]
        if figure.measure == "volume":
            history = [
                replace(point, value=float(one.counts.loaded))
                for point, one in zip(points, before, strict=True)
            ]
            tested = replace(when, value=float(profile.rows), rows=profile.rows)
            return Judged(figure, tested.value, expect(history, tested, COUNTS))
        past = [self._history.profile(one, work) for one in before]
        known = [
            (point, one.rows, one.columns[figure.column])
            for point, one in zip(points, past, strict=True)
            if one is not None
            and figure.column in one.columns
            and one.columns[figure.column].has(figure.measure)
        ]
        column = profile.columns[figure.column]
        if figure.measure == "distribution":
            return _judge_distribution(figure, known, column)
        return _judge_column(figure, known, (when, profile.rows, column))

    def keep(self, partition: str, manifest: Manifest, looked: Looked) -> None:
        """Let a partition that was published be history for those after it."""
        if self._figures:
            self._history.add(partition, manifest, looked.profile)

    def rows_to_record(self, done: Iterable[tuple[str, Manifest, Looked]]) -> list[ProfileRow]:
        """Return what is to stand beside the ledger: profiles, also those made on the way.

        Args:
            done: The partitions that were published, with what they hold and what was found.
        """
        taken = [
            profile_row(self._asset, partition, manifest, looked.profile)
            for partition, manifest, looked in done
            if looked.profile is not None
        ]
        return [*self._history.take_made(), *taken]


def _judge_distribution(
    figure: Figure, known: Sequence[tuple[Point, int, ColumnProfile]], column: ColumnProfile
) -> Judged:
    """Compare distributions; those of a column that had another type then are left out."""
    alike = [(point, one) for point, _, one in known if (one.top is None) == (column.top is None)]
    distance = compare(alike, column)
    return Judged(figure, distance.value if isinstance(distance, Distance) else 0.0, distance)


def _judge_column(
    figure: Figure,
    known: Sequence[tuple[Point, int, ColumnProfile]],
    tested: tuple[Point, int, ColumnProfile],
) -> Judged:
    """Compare shares of nulls, or numbers of different values."""
    shares = figure.measure == "nulls"
    if shares and not tested[1]:
        return Judged(figure, 0.0, TooLittle((), "the partition has no rows"))
    now, *history = (
        replace(
            point,
            value=(column.nulls or 0) / rows if shares else float(column.distinct or 0),
            rows=rows,
        )
        for point, rows, column in [tested, *known]
        if rows or not shares
    )
    return Judged(figure, now.value, expect(history, now, SHARES if shares else COUNTS))


def anomaly_outcomes(looked: Looked) -> Iterator[Outcome]:
    """Evaluate the checks that compare one partition with its history."""
    for one in looked.judged:
        yield Outcome(
            one.figure.name,
            passed=not one.unusual,
            severity=ERROR if one.figure.severity == "block" else WARN,
            description=one.text,
            metadata=_shown(one),
        )


def _shown(judged: Judged) -> metadata.Metadata:
    """Return what the UI shows of a figure: it, what is expected, and the history."""
    verdict = judged.verdict
    shown: metadata.Metadata = {"history": dg.MetadataValue.int(len(verdict.history))}
    if isinstance(verdict, TooLittle):
        return shown
    shown["value"] = dg.MetadataValue.float(judged.value)
    if isinstance(verdict, Distance):
        return shown | {"expected_up_to": dg.MetadataValue.float(verdict.limit)}
    values = [point.value for point in verdict.history]
    rows = [(point.partition, judged.figure.text(point.value)) for point in verdict.history]
    plot = f"`{sparkline([*values, judged.value])}` the last one is tested"
    table = metadata.markdown_table(("partition", "value"), rows[-SHOWN:])
    return shown | {
        "expected_from": dg.MetadataValue.float(round(verdict.low, 6)),
        "expected_to": dg.MetadataValue.float(round(verdict.high, 6)),
        "plot": dg.MetadataValue.md(f"{plot}\n\n{table}"),
    }


def sparkline(values: Sequence[float]) -> str:
    """Return values as bars of text, from 0 to the largest."""
    most = max([*values, 0.0]) or 1.0
    return "".join(BARS[round(max(value, 0.0) / most * (len(BARS) - 1))] for value in values)
