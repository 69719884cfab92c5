"""Local times as moments, against Python's zones."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.declaration.contract import Contract
from dataflow_assets.transform.clean import CleaningPlan
from dataflow_assets_tests.unit.transform.raw_rows import raw_rows
from dataflow_assets_tests.unit.transform.test_parse import read, utc

ZONES = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour
    "Pacific/Apia",  # skipped 30 December 2011
    "America/St_Johns",
    "Asia/Kathmandu",
    "UTC",
]
ODD = [
    dt.datetime(2024, 3, 31, 2, 30),  # noqa: DTZ001 - local times
    dt.datetime(2024, 10, 27, 2, 30),  # noqa: DTZ001
    dt.datetime(2024, 3, 10, 2, 0),  # noqa: DTZ001
    dt.datetime(2024, 11, 3, 1, 59, 59),  # noqa: DTZ001
    dt.datetime(2024, 10, 6, 2, 15),  # noqa: DTZ001
    dt.datetime(2024, 4, 7, 1, 45),  # noqa: DTZ001
    dt.datetime(2011, 12, 30, 12, 0),  # noqa: DTZ001
]
LOCAL = st.sampled_from(ODD) | st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2036, 1, 1))  # noqa: DTZ001
SIDE = st.sampled_from([None, "earlier", "later"])


def expected(local: dt.datetime, zone: str, ambiguous: str | None, skipped: str | None) -> Any:  # noqa: ANN401 - a moment or none
    """Return what a local time means, by the two offsets that Python knows for it."""
    first, second = (local.replace(tzinfo=ZoneInfo(zone), fold=fold) for fold in (0, 1))
    before, after = first.utcoffset(), second.utcoffset()
    assert before is not None
    assert after is not None
    if before == after:
        return first.astimezone(dt.UTC)
    if before > after:  # shown twice
        sides = {"earlier": first, "later": second}
        return sides[ambiguous].astimezone(dt.UTC) if ambiguous else None
    sides = {"later": first, "earlier": second}
    return sides[skipped].astimezone(dt.UTC) if skipped else None


@settings(max_examples=120, deadline=None)
@given(st.lists(LOCAL, min_size=1), st.sampled_from(ZONES), SIDE, SIDE)
def test_local_times_mean_what_they_mean_in_python(
    locals_: list[dt.datetime], zone: str, ambiguous: str | None, skipped: str | None
) -> None:
    words: dict[str, Any] = {"ambiguous": ambiguous, "skipped": skipped} if zone != "UTC" else {}
    texts = [one.isoformat() for one in locals_]
    found = read(texts, type="timestamp", timezone=zone, **words)
    assert found == [expected(one, zone, ambiguous, skipped) for one in locals_]


def test_the_first_format_that_fits_decides_also_where_the_clock_shows_no_such_time() -> None:
    for ending, seconds in (("", ""), (":%S%.f", ":00")):
        formats = [f"%d/%m/%Y %H:%M{ending}", f"%m/%d/%Y %H:%M{ending}"]
        texts = [f"{day} 02:30{seconds}" for day in ("10/03/2024", "13/03/2024", "03/13/2024")]
        new_york: dict[str, Any] = {"timezone": "America/New_York", "formats": formats}
        moment = utc(2024, 3, 13, 6, 30)
        assert read(texts, type="timestamp", **new_york) == [None, moment, moment]
        assert read([*texts, ""], type="timestamp", skipped="later", **new_york) == [
            utc(2024, 3, 10, 7, 30), moment, moment, None,
        ]  # fmt: skip


FLIGHTS = Contract.model_validate(
    {
        "columns": {
            "zone": {"clean": [{"map": {"CET": "Europe/Berlin"}, "others": "keep"}]},
            "at": {"type": "timestamp", "timezone_from": "zone", "ambiguous": "earlier"},
        },
        "key": ["at"],
    }
)  # fmt: skip


TWICE, SKIPPED = "2024-10-27 02:30", "2024-03-31 02:30"
"""Local times of Berlin."""


def outcome(plan: CleaningPlan, raw: pl.LazyFrame) -> tuple[list[Any], list[Any]]:
    """Return the good moments, and the texts of the others, the same in memory and streamed."""
    found = []
    for cleaned in (plan.clean(raw), plan.clean_in_memory(raw.collect())):
        good = cleaned.good.collect()["at"].to_list()
        bad = cleaned.findings.sort("_row").collect()["reasons"].to_list()
        found.append((good, [(one["rule"], one["value"]) for row in bad for one in row]))
    assert found[0] == found[1]
    return found[0]


def test_a_zone_may_stand_in_another_column() -> None:
    rows = [
        ("Europe/Berlin", "2024-07-01 12:00", utc(2024, 7, 1, 10)),
        (" CET ", "2024-10-27 02:30:00", utc(2024, 10, 27, 0, 30)),
        ("America/New_York", "2024-07-01 12:00", utc(2024, 7, 1, 16)),
        ("Mars/Base", "2024-07-01 12:01Z", utc(2024, 7, 1, 12, 1)),
        ("Mars/Base", "2024-07-01 12:00", None),
        ("europe/berlin", "2024-07-01 12:02", None),
        ("", "2024-07-01 12:00+01:00", utc(2024, 7, 1, 11)),
        (None, "2024-07-01 12:03", None),
        ("America/New_York", "2024-03-10 02:30", None),
    ]
    zones, texts, moments = (list(part) for part in zip(*rows, strict=True))
    plan = CleaningPlan(FLIGHTS, ["zone", "at"])
    good, bad = outcome(plan, raw_rows({"zone": zones, "at": texts}))
    assert good == [moment for moment in moments if moment]
    assert bad == [("at__type", text) for _, text, moment in rows if not moment]
    hashes = plan.key_hashes(raw_rows({"zone": zones, "at": texts})).collect()
    assert hashes.height == len(good)


def test_without_the_column_of_zones_only_offsets_say_a_moment() -> None:
    plan = CleaningPlan(FLIGHTS, ["at"])
    good, bad = outcome(plan, raw_rows({"at": ["2024-07-01 12:00Z", "2024-07-01 12:00"]}))
    assert good == [utc(2024, 7, 1, 12)]
    assert bad == [("at__type", "2024-07-01 12:00")]


def whys(plan: CleaningPlan, raw: pl.LazyFrame) -> dict[str, str | None]:
    """Return the messages of reasons by value, the same in memory and streamed."""
    found = []
    for cleaned in (plan.clean(raw), plan.clean_in_memory(raw.collect())):
        rows = cleaned.findings.sort("_row").collect()["reasons"].to_list()
        found.append({one["value"]: one["message"] for row in rows for one in row})
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({}, {TWICE: "shows it twice", SKIPPED: "skips it"}),
        ({"ambiguous": "later"}, {SKIPPED: "skips it"}),
        ({"skipped": "later"}, {TWICE: "shows it twice"}),
        ({"formats": ["iso", "%d.%m.%Y"]}, {TWICE: "shows it twice", SKIPPED: "skips it"}),
    ],
)
def test_a_reason_says_what_the_clock_has_against_a_time(
    words: dict[str, Any], expected: dict[str, str]
) -> None:
    column = {"type": "timestamp", "timezone": "Europe/Berlin", **words}
    plan = CleaningPlan(Contract.model_validate({"columns": {"at": column}}), ["at"])
    texts = [" " + TWICE, SKIPPED, "2024-07-01 12:00", "nonsense", "2024-02-30 12:00", None]
    told = whys(plan, raw_rows({"at": texts}))
    says = {text: f"the clock of Europe/Berlin {what} that day" for text, what in expected.items()}
    assert {text.strip(): message for text, message in told.items()} == {
        **says, "nonsense": None, "2024-02-30 12:00": None,
    }  # fmt: skip


def test_a_reason_says_that_no_zone_is_known() -> None:
    zones = ["Mars/Phobos", None, "Mars/Phobos", "Europe/Berlin", "America/New_York"]
    texts = ["2024-07-01 12:00", "2024-07-01 12:01", "nonsense", SKIPPED, "2024-03-10 02:30"]
    columns = {"zone": "string", "at": {"type": "timestamp", "timezone_from": "zone"}}
    contract = Contract.model_validate({"columns": columns})
    raw = raw_rows({"zone": zones, "at": texts})
    assert whys(CleaningPlan(contract, ["zone", "at"]), raw) == {
        texts[0]: "Mars/Phobos is no time zone",
        texts[1]: "zone names no time zone",
        texts[2]: None,
        texts[3]: "the clock of Europe/Berlin skips it that day",
        texts[4]: "the clock of America/New_York skips it that day",
    }
    without = whys(CleaningPlan(contract, ["at"]), raw_rows({"at": texts[:1]}))
    assert without == {texts[0]: "zone names no time zone"}


def test_moments_that_have_a_type_are_read_in_their_zone_too() -> None:
    schema = pl.Schema({"zone": pl.String(), "at": pl.Datetime("us")})
    local = [dt.datetime(2024, 10, 27, 2, 30), dt.datetime(2024, 7, 1, 12), None]  # noqa: DTZ001
    raw = raw_rows({"zone": ["Europe/Berlin", "Asia/Tokyo", "Asia/Tokyo"], "at": [None] * 3})
    raw = raw.with_columns(at=pl.Series(local, dtype=pl.Datetime("us")))
    good, bad = outcome(CleaningPlan(FLIGHTS, schema, "parquet"), raw)
    assert good == [utc(2024, 10, 27, 0, 30), utc(2024, 7, 1, 3)]
    assert bad == [("at__required", None)]


@pytest.mark.parametrize("skipped", ["earlier", "later"])
def test_typed_local_times_that_the_clock_skips(skipped: str) -> None:
    contract = Contract.model_validate(
        {"columns": {"at": {"type": "timestamp", "timezone": "Europe/Berlin", "skipped": skipped}}}
    )
    raw = raw_rows({"at": [None]}).with_columns(at=pl.lit(ODD[0]))
    plan = CleaningPlan(contract, pl.Schema({"at": pl.Datetime("us")}), "parquet")
    hour = {"earlier": 0, "later": 1}[skipped]
    assert outcome(plan, raw) == ([utc(2024, 3, 31, hour, 30)], [])
