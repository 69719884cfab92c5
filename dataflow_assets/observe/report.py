"""The report: a page of HTML in one file, without scripts and without anything from elsewhere.

What belongs here: what the page tells, and how it is drawn. What does not: finding it out
(``builders.reporting``).

All that comes from data, files or declarations is text: the template escapes it, and characters
that no text has are replaced.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jinja2

from dataflow_assets.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

TEMPLATE = "report.html.jinja"
BARS = 120
"""The most bars of a plot; of more partitions, neighbours are put together."""
WIDTH, HEIGHT = 720, 120
"""Of a plot of rows; it is scaled to the page."""
SMALL_WIDTH, SMALL_HEIGHT = 320, 64
"""Of a plot of one figure."""
WIDEST = 100
"""Of one bar, where there are few."""
LABELS = 4
FATES = ("loaded", "quarantined", "duplicate", "filtered")


@dataclass(frozen=True)
class Bar:
    """What became of the rows of one partition, or of neighbours.

    Attributes:
        label: Its key, or the first and the last.
        loaded: Rows that were published.
        quarantined: Rows that broke the contract.
        duplicate: Rows that lost against another of their key.
        filtered: Rows that were not wanted.
        alarms: What checks said of it.
    """

    label: str
    loaded: int = 0
    quarantined: int = 0
    duplicate: int = 0
    filtered: int = 0
    alarms: tuple[str, ...] = ()

    @property
    def received(self) -> int:
        """All rows."""
        return self.loaded + self.quarantined + self.duplicate + self.filtered


@dataclass(frozen=True)
class Check:
    """What a check said.

    Attributes:
        name: Of the check.
        asset: Which it looks at.
        passed: Whether all was well.
        severity: ``warning`` or ``error``.
        text: What it found.
        at: When.
        partition: Of which partition, if of one.
        run_id: In which run of Dagster.
    """

    name: str
    asset: str
    passed: bool
    severity: str
    text: str
    at: dt.datetime
    partition: str = ""
    run_id: str = ""


@dataclass(frozen=True)
class Run:
    """A run of Dagster.

    Attributes:
        run_id: Its id.
        status: How it ended.
        at: When it began.
        partitions: Of which partitions it was.
        message: Why it failed, if it did.
    """

    run_id: str
    status: str
    at: dt.datetime
    partitions: str = ""
    message: str = ""


@dataclass(frozen=True)
class Series:
    """A figure of a column, partition by partition.

    Attributes:
        title: What it is.
        middle: By partition, the figure, or the median of values; none where it is not known.
        low: The value that 5 % are below, where there is one.
        high: The value that 5 % are above.
        share: Whether it is a share, from 0 to 1.
    """

    title: str
    middle: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    share: bool = False


@dataclass(frozen=True)
class SourceState:
    """The state of one source.

    Attributes:
        name: Its name.
        description: What it is.
        place: Where its data comes from.
        kind: How.
        fresh: Whether its newest data is young enough; none if nobody asks.
        age: How old that is, in a sentence.
        partitions: The keys that are shown, in their order.
        bars: What became of their rows.
        rules: How many rows broke each rule.
        rules_of: Of which partitions that was counted, in words.
        checks: What checks said last, failures first.
        alarms: What they said of the partitions shown, and is not outdated.
        drift: What the check of columns said.
        series: Figures of columns.
        runs: The last runs.
    """

    name: str
    description: str = ""
    place: str = ""
    kind: str = ""
    fresh: bool | None = None
    age: str = ""
    partitions: tuple[str, ...] = ()
    bars: tuple[Bar, ...] = ()
    rules: tuple[tuple[str, int], ...] = ()
    rules_of: str = ""
    checks: tuple[Check, ...] = ()
    alarms: tuple[Check, ...] = ()
    drift: tuple[Check, ...] = ()
    series: tuple[Series, ...] = ()
    runs: tuple[Run, ...] = ()

    @property
    def failing(self) -> list[Check]:
        """The checks that did not pass."""
        return [check for check in self.checks if not check.passed]

    @property
    def total(self) -> Bar:
        """What became of all rows that are shown."""
        return merged(self.bars, "all")

    @property
    def state(self) -> str:
        """``error``, ``warning``, ``good``, or ``nothing`` if there is no partition yet."""
        if any(check.severity == "error" for check in self.failing):
            return "error"
        failed = bool(self.runs) and self.runs[0].status == "FAILURE"
        if failed:
            return "error"
        if self.failing or self.fresh is False:
            return "warning"
        return "good" if self.bars else "nothing"


@dataclass(frozen=True)
class EntityState:
    """The state of one entity.

    Attributes:
        name: Its name.
        description: What it is.
        rows: Rows in its table; none if there is no table yet.
        partitions: Partitions that were published.
        newest: The newest of them.
        published_at: When one was published last.
        failing: Checks that did not pass.
    """

    name: str
    description: str = ""
    rows: int | None = None
    partitions: int = 0
    newest: str = ""
    published_at: dt.datetime | None = None
    failing: tuple[Check, ...] = ()


@dataclass(frozen=True)
class Report:
    """All that the page tells.

    Attributes:
        made_at: When it was found out.
        days: How many days of partitions are shown.
        sources: All sources, by name.
        entities: All entities, by name.
        notes: What could not be found out, and why.
    """

    made_at: dt.datetime
    days: int
    sources: tuple[SourceState, ...] = ()
    entities: tuple[EntityState, ...] = ()
    notes: tuple[str, ...] = field(default=())


class Rectangle(NamedTuple):
    """A part of a bar: what it is of, and where it is drawn."""

    fate: str
    x: float
    y: float
    width: float
    height: float


class Drawn(NamedTuple):
    """A bar as it is drawn: its parts, and the whole height for a pointer to rest on."""

    x: float
    width: float
    title: str
    parts: list[Rectangle]
    alarm: bool


class Plot(NamedTuple):
    """A plot of bars: they, the labels below them, and the number of rows at the top."""

    bars: list[Drawn]
    labels: list[tuple[float, str, str]]
    top: int


class Curve(NamedTuple):
    """A plot of a series: paths for line and band, single points, and the values at its edges."""

    line: str
    band: str
    dots: list[tuple[float, float]]
    top: str
    bottom: str


def render(report: Report) -> str:
    """Return the page."""
    return _template().render(
        report=report,
        width=WIDTH,
        height=HEIGHT,
        small_width=SMALL_WIDTH,
        small_height=SMALL_HEIGHT,
        fates=FATES,
    )


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True,
        finalize=_text,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
    )
    environment.filters |= {
        "number": lambda value: f"{value:,}",
        "moment": lambda value: f"{value.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC",
        "share": lambda part, of: f"{part / of:.2%}" if of else "-",
        "plot": plot,
        "curve": curve,
        "strip": strip,
    }
    return environment.get_template(TEMPLATE)


def _text(value: object) -> object:
    """Replace what no text has, before it is escaped."""
    plain = isinstance(value, str) and not hasattr(value, "__html__")
    return printable(str(value)) if plain else value


def merged(bars: Sequence[Bar], label: str) -> Bar:
    """Return the sum of bars, under one label."""
    sums = {fate: sum(getattr(bar, fate) for bar in bars) for fate in FATES}
    return Bar(label, **sums, alarms=tuple(text for bar in bars for text in bar.alarms))


def gathered(bars: Sequence[Bar], most: int = BARS) -> list[Bar]:
    """Return at most so many bars, neighbours put together."""
    size = -(-len(bars) // most) or 1
    parts = [bars[start : start + size] for start in range(0, len(bars), size)]
    return [
        part[0] if len(part) == 1 else merged(part, f"{part[0].label} to {part[-1].label}")
        for part in parts
    ]


def plot(bars: Sequence[Bar]) -> Plot:
    """Return where the bars of a plot are drawn."""
    shown = gathered(bars)
    top = max((bar.received for bar in shown), default=0)
    step = min(WIDTH / max(len(shown), 1), WIDEST)
    drawn = [_drawn(bar, number * step, step, top) for number, bar in enumerate(shown)]
    return Plot(drawn, _labels([bar.label for bar in shown], step), top)


def _drawn(bar: Bar, x: float, step: float, top: int) -> Drawn:
    gap = min(step * 0.15, 3)
    left, width = round(x + gap / 2, 2), round(step - gap, 2)
    parts, floor = [], float(HEIGHT)
    for fate in FATES:
        height = HEIGHT * getattr(bar, fate) / top if top else 0
        if height:
            floor -= height
            parts.append(Rectangle(fate, left, round(floor, 2), width, round(height, 2)))
    counts = ", ".join(f"{getattr(bar, fate):,} {fate}" for fate in FATES if getattr(bar, fate))
    title = "\n".join([f"{bar.label}: {counts or 'no rows'}", *bar.alarms])
    return Drawn(left, width, title, parts, bool(bar.alarms))


def _labels(labels: Sequence[str], step: float) -> list[tuple[float, str, str]]:
    """Return some labels with their place, and how they are aligned there."""
    if not labels:
        return []
    last = len(labels) - 1
    places = sorted({round(last * part / (LABELS - 1)) for part in range(LABELS)})
    aligned = {0: "start", last: "end" if last else "start"}
    x = {0: 0.0, last: round((last + 1) * step, 1) if last else 0.0}
    return [
        (x.get(n, round((n + 0.5) * step, 1)), aligned.get(n, "middle"), labels[n].split(" to ")[0])
        for n in places
    ]


def strip(bars: Sequence[Bar]) -> str:
    """Return rows over time as a line, for a table."""
    shown = [bar.loaded for bar in gathered(bars, 60)]
    top = max([*shown, 1])
    step = 100 / max(len(shown) - 1, 1)
    return " ".join(
        f"{number * step:.1f},{22 - 20 * value / top:.1f}" for number, value in enumerate(shown)
    )


def curve(series: Series) -> Curve:
    """Return where a series is drawn."""
    known = [v for v in (*series.middle, *series.low, *series.high) if v is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    if series.share or (low > 0 and not series.low):
        low = 0.0
    span = (high - low) or 1.0
    step = SMALL_WIDTH / max(len(series.middle) - 1, 1)

    def at(number: int, value: float) -> tuple[float, float]:
        return round(number * step, 1), round(SMALL_HEIGHT * (1 - (value - low) / span), 1)

    def path(values: Sequence[float | None]) -> list[tuple[float, float]]:
        return [at(number, value) for number, value in enumerate(values) if value is not None]

    middle = path(series.middle)
    band = [*path(series.low), *reversed(path(series.high))]
    return Curve(
        line=_joined(middle),
        band=_joined(band),
        dots=middle if len(middle) <= BARS else [],
        top=_edge(high, share=series.share),
        bottom=_edge(low, share=series.share),
    )


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)


def _edge(value: float, *, share: bool) -> str:
    return f"{value:.2%}" if share else f"{value:,.6g}"
