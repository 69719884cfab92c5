"""What reading a text costs, word by word, against Polars' own cast.

Usage: ``python -m dataflow_assets_tests.benchmarks.readings``. Prints processor nanoseconds per
value: a million texts of each kind, the best of three.
"""

from __future__ import annotations

import random
import sys
import time
from typing import TYPE_CHECKING, Any

import polars as pl

from dataflow_assets.declaration.contract import Column
from dataflow_assets.transform.parse import value_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROWS = 1_000_000
ROUNDS = 3
WORDS = ("harbour", "light", "of", "the", "north", "sea")
WEIGHTS = {"kg": 1, "g": 0.001, "lb": 0.45359237}
EUROPEAN = str.maketrans(",.", ".,")


def cases(draw: random.Random) -> Iterator[tuple[str, pl.Series, dict[str, Any]]]:
    """Yield what is measured: a name, texts and the column that reads them."""
    numbers = [draw.randint(0, 10**9) / 100 for _ in range(ROWS)]
    plain = [f"{number:.2f}" for number in numbers]
    grouped = [f"{number:,.2f}" for number in numbers]
    floats = {"type": "float64"}
    yield "1234.56", text(plain), floats
    yield "1234.56, decimal", text(plain), {"type": "decimal(18, 2)"}
    yield "1234.56, with thousands_mark", text(plain), {**floats, "thousands_mark": ","}
    yield "1,234.56", text(grouped), {**floats, "thousands_mark": ","}
    comma = {"decimal_mark": ",", "thousands_mark": "."}
    yield "1.234,56", text(one.translate(EUROPEAN) for one in grouped), {**floats, **comma}
    accounting = {**floats, "thousands_mark": ",", "negatives": "parentheses"}
    yield "(1,234.56)", text(f"({one})" for one in grouped), accounting
    dollars = {**floats, "thousands_mark": ",", "currency": "$"}
    yield "$1,234.56", text(f"${one}" for one in grouped), dollars
    yield "12.34 %", text(f"{one} %" for one in plain), {**floats, "units": {"%": 0.01}}
    weights = [f"{one} {draw.choice(list(WEIGHTS))}" for one in plain]
    yield "5 kg, 5 g, 5 lb", text(weights), {**floats, "units": WEIGHTS}
    exact = {"type": "decimal(22, 10)", "units": WEIGHTS}
    yield "5 kg, 5 g, 5 lb, decimal", text(weights), exact
    yield from _times(draw)
    yield from _texts(draw)


def _times(draw: random.Random) -> Iterator[tuple[str, pl.Series, dict[str, Any]]]:
    moments = text(
        f"2024-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}T{draw.randint(0, 23):02}:00:00"
        for _ in range(ROWS)
    )
    zone = {"type": "timestamp", "timezone": "Europe/Berlin"}
    yield "moment in UTC", moments, {"type": "timestamp"}
    yield "moment in a zone", moments, zone
    yield (
        "the same, ambiguous, skipped",
        moments,
        {**zone, "ambiguous": "later", "skipped": "later"},
    )
    words = text(draw.choice(("Ja", "nein")) for _ in range(ROWS))
    yield "Ja, nein", words, {"type": "boolean", "formats": ["ja/nein"], "ignore_case": True}


def _texts(draw: random.Random) -> Iterator[tuple[str, pl.Series, dict[str, Any]]]:
    phrases = [" ".join(draw.choice(WORDS) for _ in range(4)) for _ in range(1000)]
    texts = text(draw.choice(phrases) for _ in range(ROWS))
    yield "text", texts, {}
    yield "default", texts, {"default": "none"}
    steps: dict[str, Any] = {
        "lower": "lower",
        "title": "title",
        "collapse, nothing to do": "collapse",
        "replace": {"replace": {"sea": "ocean"}},
        "replace, three": {"replace": {"sea": "ocean", "of": "at", "the": "a"}},
        "replace_pattern": {"replace_pattern": {"s.a": "ocean"}},
        "map": {"map": {one: one for one in phrases}},
        "split": {"split": " ", "part": 2},
        "strip_html, nothing to do": "strip_html",
        "nfc, nothing to do": "nfc",
    }
    for name, step in steps.items():
        yield name, texts, {"clean": [step]}
    yield "collapse", text(one.replace(" ", "  ") for one in texts), {"clean": ["collapse"]}
    yield "nfc", text(one.replace("e", "\u00e9") for one in texts), {"clean": ["nfc"]}
    pages = text(f"<p>{one} &amp; <b>more</b></p>" for one in texts)
    yield "strip_html", pages, {"clean": ["strip_html"]}


def text(texts: Any) -> pl.Series:  # noqa: ANN401 - any iterable of strings
    """Return texts as a column."""
    return pl.Series("text", list(texts), dtype=pl.String)


def nanoseconds(work: Callable[[], object]) -> float:
    """Return the processor time of some work over all rows, per row."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best / ROWS * 1e9


def main() -> None:
    """Measure and print."""
    draw = random.Random(7)  # noqa: S311 - the same texts each time
    numbers = text(f"{draw.randint(0, 10**9) / 100:.2f}" for _ in range(ROWS)).to_frame()
    cast = nanoseconds(lambda: numbers.select(pl.col("text").cast(pl.Float64)))
    sys.stdout.write(f"{'Polars: cast to float':30} {cast:6.0f}\n")
    for name, texts, words in cases(draw):
        read = value_of(pl.col("text"), Column.model_validate(words), ("",))
        frame = texts.to_frame()
        took = nanoseconds(lambda frame=frame, read=read: frame.select(read))  # type: ignore[misc]
        sys.stdout.write(f"{name:30} {took:6.0f}\n")


if __name__ == "__main__":
    main()
