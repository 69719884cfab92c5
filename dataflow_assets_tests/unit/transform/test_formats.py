"""What one format reads: years with all their digits, offsets, time since 1970, the word `iso`."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.declaration.contract import Column
from dataflow_assets.declaration.database import EPOCHS
from dataflow_assets.errors import DeclarationError
from dataflow_assets.transform.parse import check_formats, value_of
from dataflow_assets.transform.typed import typed_value_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from decimal import Decimal

UNHURRIED = settings(deadline=None)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
FIRST, LAST = -62_135_596_800, 253_402_300_799
"""The first second of year 1, and the last one of year 9999."""


def read(texts: Sequence[str | None], kind: str, *formats: str, **words: object) -> list[Any]:
    column = Column.model_validate({"type": kind, "formats": formats, **words})
    check_formats(column)
    frame = pl.DataFrame({"raw": texts}, schema={"raw": pl.String})
    return frame.select(value=value_of(pl.col("raw"), column, ("",)))["value"].to_list()


def read_typed(values: pl.Series, *formats: str) -> list[Any]:
    column = Column.model_validate({"type": "timestamp", "formats": formats})
    value = typed_value_of(pl.col("raw"), values.dtype, column, ("",))
    return values.alias("raw").to_frame().select(value=value)["value"].to_list()


def by_python(text: str, pattern: str) -> dt.datetime | None:
    try:
        found = dt.datetime.strptime(text, pattern)  # noqa: DTZ007 - local times stay so
    except ValueError:
        return None
    return found.astimezone(dt.UTC) if found.tzinfo else found.replace(tzinfo=dt.UTC)


def as_day(moment: dt.datetime | None) -> dt.date | None:
    return None if moment is None else moment.date()


NUMBER = st.integers(0, 32).flatmap(lambda n: st.sampled_from([str(n), f"{n:02}", f"{n:03}"]))
YEAR = st.one_of(
    st.integers(0, 99).map("{:02}".format),
    st.integers(0, 9999).flatmap(
        lambda n: st.sampled_from([str(n), f"{n:02}", f"{n:03}", f"{n:04}", f"{n:05}"])
    ),
    st.sampled_from(["69", "68", "70", "-6", "-026", ""]),
)
DAYS = ("%d.%m.%Y", "%Y-%m-%d", "%m/%d/%Y", "%d.%m.%y", "%y-%m-%d", "%m/%d/%y", "%d %m %Y")
CLOCKS = ("", " %H:%M", "T%H:%M:%S", " %H:%M:%S%z")
COMPACT = ("%d%m%Y", "%Y%m%d", "%d%m%y", "%y%m%d", "%m%Y%d")
OFFSETS = st.sampled_from(["Z", "+02:00", "-0330", "+00:00", "", "z", "UTC", "+2"])


@UNHURRIED
@given(NUMBER, NUMBER, YEAR, NUMBER, OFFSETS, st.sampled_from(DAYS), st.sampled_from(CLOCKS))
def test_days_and_moments_are_read_as_by_python(  # noqa: PLR0913, PLR0917 - the parts of a moment
    day: str, month: str, year: str, clock: str, offset: str, days: str, clocks: str
) -> None:
    pattern = days + clocks
    parts = {"%d": day, "%m": month, "%Y": year, "%y": year, "%H": clock, "%M": "07", "%S": "5"}
    text = pattern
    for code, part in {**parts, "%z": offset}.items():
        text = text.replace(code, part)
    expected = by_python(text, pattern)
    kinds = ("timestamp",) if clocks else ("timestamp", "date")
    for kind in kinds:
        assert read([text], kind, pattern) == [as_day(expected) if kind == "date" else expected]


@UNHURRIED
@given(st.text("0123456789", min_size=4, max_size=9), st.sampled_from(COMPACT))
def test_digits_alone_are_read_only_where_all_are_there(text: str, pattern: str) -> None:
    (value,) = read([text], "date", pattern)
    digits, expected = 8 if "%Y" in pattern else 6, as_day(by_python(text, pattern))
    if len(text) == digits:
        assert value == expected
    elif len(text) == digits - 1 and pattern.endswith("%d"):  # the day may have one
        assert value in {None, expected}
    else:
        assert value is None


@pytest.mark.parametrize(
    ("pattern", "good", "short"),
    [
        ("%F", "0026-03-21", "26-03-21"),
        ("%v", "21-Mar-0026", "21-Mar-26"),
        ("%G-W%V-%u", "0026-W12-6", "26-W12-6"),
        ("%Y-%j", "0026-080", "126-080"),
        ("%d. %B %Y", "21. March 0026", "21. March 126"),
        ("%-d.%-m.%Y", "21.3.0026", "21.3.26"),
        ("%a, %d %b %Y", "Sat, 21 Mar 0026", "Sat, 21 Mar 26"),
        ("%%%Y|%m(%d", "%0026|03(21", "%26|03(21"),
        ("%C%y-%m-%d", "0026-03-21", "006-03-21"),
    ],
)
def test_every_code_of_a_year_wants_four_digits(pattern: str, good: str, short: str) -> None:
    assert read([good, short], "date", pattern) == [dt.date(26, 3, 21), None]


@pytest.mark.parametrize("pattern", ["%D", "%x", "%m/%d/%y"])
def test_a_short_year_has_two_digits(pattern: str) -> None:
    texts = ["03/21/26", "03/21/6", "03/21/-6", "03/21/026", "03/21/68", "03/21/69", "03/21/99"]
    years = [2026, None, None, None, 2068, 1969, 1999]
    assert read(texts, "date", pattern) == [year and dt.date(year, 3, 21) for year in years]


def test_years_are_asked_by_the_local_time_that_is_written() -> None:
    texts = ["69-01-01 00:30+02:00", "68-12-31 23:30-02:00", "69-12-31 23:30-02:00"]
    assert read(texts, "timestamp", "%y-%m-%d %H:%M%z") == [
        dt.datetime(1968, 12, 31, 22, 30, tzinfo=dt.UTC),
        dt.datetime(2069, 1, 1, 1, 30, tzinfo=dt.UTC),
        dt.datetime(1970, 1, 1, 1, 30, tzinfo=dt.UTC),
    ]
    texts = ["1000-01-01 00:30+02:00", "999-12-31 23:30-02:00"]
    assert read(texts, "timestamp", "%Y-%m-%d %H:%M%z") == [
        dt.datetime(999, 12, 31, 22, 30, tzinfo=dt.UTC),
        None,
    ]


def test_the_format_whose_years_are_written_is_taken() -> None:
    texts = ["21.03.26", "21.03.0026", "21.03.69", "21.03.2026", "01.03.126"]
    days = [dt.date(2026, 3, 21), dt.date(26, 3, 21), dt.date(1969, 3, 21), dt.date(2026, 3, 21)]
    for formats in (("%d.%m.%Y", "%d.%m.%y"), ("%d.%m.%y", "%d.%m.%Y")):
        assert read(texts, "date", *formats) == [*days, None]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_default_formats_want_whole_years_too(zone: str) -> None:
    short = ["26-03-21T10:00:00", "26-03-21 10:00:00.5", "126-03-21T10:00Z", "26-03-21T10:00:00Z"]
    assert read(short, "timestamp", timezone=zone) == [None] * 4
    early = read(["0026-03-21T10:00:00Z", "0026-03-21T10:00:00+00:00"], "timestamp", timezone=zone)
    assert early == [dt.datetime(26, 3, 21, 10, tzinfo=dt.UTC)] * 2
    assert read(["26-03-21", "0026-03-21"], "date") == [None, dt.date(26, 3, 21)]


@pytest.mark.parametrize(
    "pattern",
    ["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%dT%H:%M:%S%:z", "%FT%T%z"],
)
def test_an_offset_may_be_a_z(pattern: str) -> None:
    texts = ["2026-03-01T10:00:00Z", "2026-03-01T12:00:00+02:00", "2026-03-01T08:00:00-0200"]
    moment = dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)
    for zone in ("UTC", "Asia/Tokyo"):
        assert read(texts, "timestamp", pattern, timezone=zone) == [moment] * 3
        assert read(texts[::-1], "timestamp", "%d.%m.%Y", pattern, timezone=zone) == [moment] * 3
    assert read(["2026-03-01T10:00:00", "2026-03-01T10:00:00z"], "timestamp", pattern) == [None] * 2


def test_an_offset_may_be_a_z_within_a_text() -> None:
    texts = ["Sun Mar 01 10:00:00 Z 2026", "Sun Mar 01 10:00:00 +0000 2026"]
    moment = dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)
    pattern = "%a %b %d %H:%M:%S %z %Y"
    assert read(texts, "timestamp", pattern, timezone="Asia/Tokyo") == [moment] * 2


def test_iso_stands_for_what_is_read_by_default() -> None:
    texts = ["2026-03-01T10:00:00.5Z", "01.03.2026 11:00", "2026-03-01 11:00", "2026-03-01"]
    at = dt.datetime(2026, 3, 1, 10, tzinfo=dt.UTC)
    expected = [at.replace(microsecond=500_000), at, at, None]
    for formats in (("iso", "%d.%m.%Y %H:%M"), ("%d.%m.%Y %H:%M", "iso")):
        assert read(texts, "timestamp", *formats, timezone="Europe/Berlin") == expected
    days = read(["2026-03-01", "01.03.2026"], "date", "%d.%m.%Y", "iso")
    assert days == [dt.date(2026, 3, 1)] * 2
    times = read(["10:00", "10:00:00.5", "10.30"], "time", "iso", "%H.%M")
    assert times == [dt.time(10), dt.time(10, 0, 0, 500_000), dt.time(10, 30)]


@UNHURRIED
@given(st.sampled_from(sorted(EPOCHS)), st.data())
def test_time_since_1970_is_read_exactly(word: str, data: st.DataObject) -> None:
    per_second = EPOCHS[word]
    first, end = FIRST * per_second, (LAST + 1) * per_second
    near = [first - 1, first, end - 1, end, 2**63 - 1, 2**63, -(2**63), 10**25]
    numbers = data.draw(st.lists(st.integers(first, end - 1) | st.sampled_from(near), min_size=1))
    micros = [n * (10**6 // per_second) if first <= n < end else None for n in numbers]
    expected = [None if us is None else EPOCH + dt.timedelta(microseconds=us) for us in micros]
    texts = [str(n) for n in numbers]
    assert read(texts, "timestamp", word, timezone="Asia/Tokyo") == expected
    assert read([f"{text}.0" for text in texts], "timestamp", word) == expected
    small = [n for n in numbers if -(2**63) <= n < 2**63]
    known = [value for n, value in zip(numbers, expected, strict=True) if n in small]
    assert read_typed(pl.Series(small, dtype=pl.Int64), word) == known


@UNHURRIED
@given(st.decimals(-(10**9), 10**9, places=8), st.sampled_from(["epoch_s", "epoch_ms"]))
def test_parts_of_a_unit_count_down_to_the_microsecond(number: Decimal, word: str) -> None:
    micros = int(number * (10**6 // EPOCHS[word]))  # towards zero: further digits are cut off
    expected = EPOCH + dt.timedelta(microseconds=micros)
    assert read([format(number, "f")], "timestamp", word) == [expected]


def test_what_is_no_plain_number_is_no_time_since_1970() -> None:
    bad = ["1e9", "1.", ".5", "1_0", "0x1", "--1", "1 0", "2026-03-01", "nan", "9" * 30]
    assert read(bad, "timestamp", "epoch_s") == [None] * len(bad)


def test_time_since_1970_of_typed_numbers() -> None:
    at = EPOCH + dt.timedelta(milliseconds=1_700_000_000_123)
    assert read_typed(pl.Series([1_700_000_000_123.0, None]), "epoch_ms") == [at, None]
    assert read_typed(pl.Series([1_700_000_000_123], dtype=pl.UInt64), "epoch_ms") == [at]


def test_units_and_formats_may_stand_beside_each_other() -> None:
    at = dt.datetime(2023, 11, 14, 22, 13, 20, tzinfo=dt.UTC)
    texts = ["1700000000000", "2023-11-14T22:13:20Z", "x"]
    for formats in (("epoch_ms", "iso"), ("iso", "epoch_ms")):
        assert read(texts, "timestamp", *formats) == [at, at, None]


@pytest.mark.parametrize(("kind", "word"), [("date", "epoch_ms"), ("time", "epoch_s")])
def test_time_since_1970_is_a_timestamp(kind: str, word: str) -> None:
    with pytest.raises(DeclarationError, match="gives a timestamp"):
        check_formats(Column(type=kind, formats=(word,)))
