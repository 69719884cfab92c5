from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.declaration.contract import Column
from dataflow_assets.transform.guessing.columns import ColumnGuess, common_tokens, guess_columns
from dataflow_assets.transform.parse import value_of


def guess(values: list[Any], name: str = "x") -> ColumnGuess:
    (one,) = guess_columns(pl.DataFrame({name: values}))
    return one


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["1", "-2", "+3"], {"type": "int64"}),
        (["1", "2.5", ".5"], {"type": "float64"}),
        (["1e5", "2"], {"type": "float64"}),
        (["19.90", "5.00", "-3.25"], {"type": "decimal(10, 2)"}),
        (["19.9", "5.0", "3.5"], {"type": "float64"}),
        (["true", "false"], {"type": "boolean"}),
        (["True", "FALSE", "true"], {"type": "boolean"}),
        (["Y", "N", "Y"], {"type": "boolean"}),
        (["ja", "nein"], {"type": "boolean", "formats": ["ja/nein"], "ignore_case": True}),
        (
            ["Ja", "nein", "Nein"],
            {"type": "boolean", "formats": ["ja/nein"], "ignore_case": True},
        ),
        (["2024-03-01", "2024-12-31"], {"type": "date"}),
        (["2024/03/01"], {"type": "date", "formats": ["%Y/%m/%d"]}),
        (["01.02.2024", "31.12.2024"], {"type": "date", "formats": ["%d.%m.%Y"]}),
        (["Jan 1 2000", "Feb 12 2001"], {"type": "date", "formats": ["%b %d %Y"]}),
        (["1-Mar-24", "31-Dec-23"], {"type": "date", "formats": ["%d-%b-%y"]}),
        (["2024-03-01T10:00:00Z", "2024-03-01T10:00:00.123Z"], {"type": "timestamp"}),
        (["2024-03-01 10:00", "2024-03-01 10:00:30"], {"type": "timestamp"}),
        (["2024-03-01T10:00:00+01:00"], {"type": "timestamp"}),
        (
            ["2024-03-01 10:00:00", "2024-03-02"],
            {"type": "timestamp", "formats": ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d"]},
        ),
        (
            ["2001/01/01 00:47", "2001/01/31 13:10"],
            {"type": "timestamp", "formats": ["%Y/%m/%d %H:%M"]},
        ),
        (
            ["3/14/2024 1:05 PM", "12/1/2024 11:00 AM"],
            {"type": "timestamp", "formats": ["%m/%d/%Y %I:%M %p"]},
        ),
        (
            ["Wed, 02 Oct 2002 13:00:00 GMT"],
            {"type": "timestamp", "formats": ["%a, %d %b %Y %H:%M:%S%.f GMT"]},
        ),
        (["10:30", "23:59:01"], {"type": "time"}),
        (["00123", "04711"], {"type": "string"}),
        (["+4366012345678", "+4366012345679"], {"type": "string"}),
        (["12345678901234567890"], {"type": "string"}),
        (["0001-01-01"], {"type": "string"}),
        (["No", "No"], {"type": "string"}),
        (["1,5", "2,5"], {"type": "float64", "decimal_mark": ","}),
        (
            ["1.234,50", "12,00"],
            {"type": "decimal(12, 2)", "decimal_mark": ",", "thousands_mark": "."},
        ),
        (["1,234.5", "2,000.75"], {"type": "float64", "thousands_mark": ","}),
        (["1,234,567", "22"], {"type": "int64", "thousands_mark": ","}),
        (["1 234", "5 678", "12"], {"type": "int64", "thousands_mark": " "}),
        (["1'234.50", "5.10"], {"type": "decimal(12, 2)", "thousands_mark": "'"}),
        (["0,123", "0,5"], {"type": "float64", "decimal_mark": ","}),
        (
            ["$1,234.50", "5.00 USD"],
            {"type": "decimal(12, 2)", "thousands_mark": ",", "currency": ["$", "USD"]},
        ),
        (
            ["5 €", "7,50 €"],
            {"type": "decimal(12, 2)", "decimal_mark": ",", "currency": ["€"]},
        ),
        (["12 %", "7.5%"], {"type": "float64", "units": {"%": 0.01}}),
        (["12 m", "14 m"], {"type": "int64", "units": {"m": 1}}),
        (["(5.25)", "3.10"], {"type": "decimal(12, 2)", "negatives": ["parentheses"]}),
        (["5-", "7"], {"type": "int64", "negatives": ["trailing_minus"]}),
        (["$5", "€7"], {"type": "string"}),
        (["5", "5 %"], {"type": "string"}),
        (["12A", "14A"], {"type": "string"}),
        (["5 kg", "7 lb"], {"type": "string"}),
        (["192.168.1.1", "10.0.0.1"], {"type": "string"}),
        (["555-1234"], {"type": "string"}),
        (["12:61"], {"type": "string"}),
        (["2024-13-01"], {"type": "string"}),
        (["Anna", "1"], {"type": "string"}),
        ([None, ""], {"type": "string"}),
        ([], {"type": "string"}),
    ],
)
def test_types(values: list[str], words: dict[str, Any]) -> None:
    if not values:
        (one,) = guess_columns(pl.DataFrame({"x": []}, schema={"x": pl.String}))
    else:
        one = guess(values)
    assert one.words == words


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("zip", ["10001", "20002"], {"type": "string"}),
        ("rooms", ["10001", "20002"], {"type": "int64"}),
        ("day", ["20240301"], {"type": "date", "formats": ["%Y%m%d"]}),
        ("n", ["20240301"], {"type": "int64"}),
        ("ts", ["1521911720.865716"], {"type": "timestamp", "formats": ["%s%.f"]}),
        ("created_at", ["1521911720"], {"type": "timestamp", "formats": ["%s"]}),
        ("population", ["1521911720"], {"type": "int64"}),
        ("ts", ["1521911720865"], {"type": "timestamp", "formats": ["epoch_ms"]}),
        ("posted_at", ["1521911720865123"], {"type": "timestamp", "formats": ["epoch_us"]}),
        ("ts", ["1521911720865", "-"], {"type": "timestamp", "formats": ["epoch_ms"]}),
        ("ts", ["1521911720865", "12"], {"type": "int64"}),
        ("population", ["1521911720865"], {"type": "int64"}),
        ("update_id", ["1521911720865"], {"type": "int64"}),
    ],
)
def test_names_decide_where_values_do_not(
    name: str, values: list[str], words: dict[str, Any]
) -> None:
    assert guess(values, name).words == words


def test_numbers_that_lie_as_moments_do_are_milliseconds() -> None:
    minute = 60_000
    moments = [str(1_700_000_000_000 + number * 97 * minute) for number in range(30)]
    words = {"type": "timestamp", "formats": ["epoch_ms"], "required": True}
    assert guess(moments).words == words
    assert any("milliseconds since 1970, in UTC" in one for one in guess(moments).remarks)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("x", range(1_700_000_000_000, 1_700_000_000_030)),  # one after the other
        ("x", range(10**12, 2 * 10**12, 10**10)),  # all over
        ("x", range(1_700_000_000_000, 1_700_900_000_000, 10**8)),  # too few
        ("order_id", range(1_700_000_000_000, 1_707_000_000_000, 10**8)),
    ],
)
def test_milliseconds_without_evidence_are_only_told_of(name: str, values: range) -> None:
    one = guess([str(value) for value in values], name)
    assert one.type == "int64"
    assert any("may be milliseconds" in remark and "[epoch_ms]" in remark for remark in one.remarks)


def test_numbers_that_are_all_days_are_too_many_for_chance() -> None:
    days = [f"202403{day:02}" for day in range(1, 32)]
    assert guess(days).words == {"type": "date", "formats": ["%Y%m%d"], "required": True}


def test_a_number_above_12_tells_day_from_month() -> None:
    day_first = guess(["03/04/2024", "25/04/2024"])
    assert day_first.words == {"type": "date", "formats": ["%d/%m/%Y"]}
    assert any("'25/04/2024' has no month else" in one for one in day_first.remarks)
    month_first = guess(["03/04/2024", "04/25/2024"])
    assert month_first.words == {"type": "date", "formats": ["%m/%d/%Y"]}


def test_nothing_tells_day_from_month() -> None:
    one = guess(["03/04/2024", "05/04/2024", "01/02/2024"])
    assert one.words == {"type": "string"}
    assert any("nothing tells day from month" in remark for remark in one.remarks)


def test_another_column_tells_day_from_month() -> None:
    frame = pl.DataFrame({"a": ["03/04/2024", "05/04/2024"], "b": ["25/04/2024", "01/04/2024"]})
    one, _ = guess_columns(frame)
    assert one.words == {"type": "date", "formats": ["%d/%m/%Y"]}
    assert one.values["value"].to_list() == [dt.date(2024, 4, 3), dt.date(2024, 4, 5)]


def test_the_order_of_rows_tells_day_from_month() -> None:
    one = guess(["11/03/2024", "12/03/2024", "01/04/2024", "02/04/2024"])
    assert one.words == {"type": "date", "formats": ["%d/%m/%Y"]}
    assert any("the rows are in order" in remark for remark in one.remarks)


def test_nothing_tells_thousands_from_decimals() -> None:
    one = guess(["1,234", "2,345"])
    assert one.words == {"type": "string"}
    assert any("'1,234' is read as 1234? '1,234' is read as 1.234?" in s for s in one.remarks)
    many = guess([f"{n},{n}00" for n in range(1, 9)])
    assert many.words == {"type": "int64", "thousands_mark": ","}


def test_a_year_has_four_digits_where_the_format_says_so() -> None:
    assert guess(["25/04/24", "01/04/24"]).words["formats"] == ["%d/%m/%y"]


def test_a_moment_without_a_zone_is_told_of() -> None:
    assert any("without a zone" in one for one in guess(["2024-03-01 10:00:00"]).remarks)
    assert not any("without a zone" in one for one in guess(["2024-03-01T10:00:00Z"]).remarks)


@pytest.mark.parametrize("token", ["N/A", "NULL", "\\N", "-", "n.a.", "unknown", "#N/A", "?", "…"])
def test_null_tokens_among_numbers(token: str) -> None:
    one = guess(["1", "2", token, "3"])
    assert one.words == {"type": "int64"}
    assert one.tokens == {token}
    assert (one.filled, one.distinct) == (3, 3)


def test_tokens_among_texts_are_fewer() -> None:
    one = guess(["Anna", "Berta", "\\N", "NULL", "-", "unknown", "NAN", "Nan", "None", "Carla"])
    assert one.tokens == {"\\N", "NULL", "-"}


def test_marks_that_are_values_are_no_tokens() -> None:
    assert guess(["+", "-", "+", "-"]).tokens == frozenset()
    assert guess(["++", "--", "-", "?", "a", "b"]).tokens == frozenset()


def test_a_token_is_common_if_it_means_no_value_wherever_it_stands() -> None:
    frame = pl.DataFrame({"a": ["1", "NA"], "b": ["AT", "NA"], "c": ["x", "\\N"]})
    guesses = guess_columns(frame)
    assert common_tokens(guesses, frame) == ["\\N"]
    assert guesses[0].tokens == {"NA"}
    assert guesses[1].tokens == frozenset()


def test_what_nearly_fits_stays_text_and_is_told_of() -> None:
    one = guess([*map(str, range(30)), "thirty"])
    assert one.words == {"type": "string", "required": True}
    assert any("30 of 31 values are int64, but not 'thirty'" in remark for remark in one.remarks)


def test_a_few_fractions_among_whole_numbers_are_told_of() -> None:
    told = "27 of 28 values are int64, but not '27.5': declare that type to quarantine these"
    one = guess([*map(str, range(27)), "27.5", "N/A"])
    assert one.words == {"type": "float64"}
    assert told in one.remarks
    assert not any("int64" in remark for remark in guess(["1", "2.5", "3"]).remarks)


def test_words_of_a_boolean_are_read_in_any_case() -> None:
    column = Column.model_validate(dict(guess(["ja", "nein", "ja"]).words))
    read = pl.DataFrame({"x": ["Ja", "NEIN"]}).select(value_of(pl.col("x"), column, ()))
    assert read.to_series().to_list() == [True, False]


@pytest.mark.parametrize(
    ("siblings", "kind", "told"),
    [
        (["TFTF", "FFTF"], "boolean", "one of two words in 'c0', 'c1': taken as boolean"),
        (["TFTF"], "string", "only 'F': boolean may be meant, as in 'c0'"),
        (["FFFF"], "string", None),
        (["tftf", "tftf"], "string", None),
    ],
)
def test_one_word_of_a_boolean(siblings: list[str], kind: str, told: str | None) -> None:
    columns = {f"c{place}": list(words) for place, words in enumerate(siblings)}
    *_, one = guess_columns(pl.DataFrame({**columns, "x": ["F", "F", None, "F"]}))
    assert one.type == kind
    assert one.values.height == 1
    assert any("boolean" in remark for remark in one.remarks) is (told is not None)
    assert told is None or any(told in remark for remark in one.remarks)


@pytest.mark.parametrize(("rows", "required"), [(19, False), (20, True)])
def test_required_needs_some_rows(rows: int, *, required: bool) -> None:
    assert guess(["a"] * rows).words.get("required", False) is required
    assert "required" not in guess([*["a"] * rows, None]).words


def test_a_number_far_from_all_others_is_told_of() -> None:
    one = guess(["1", "2", "5", "-9999", "3"])
    assert any("-9999 stands far from all others" in remark for remark in one.remarks)
    assert one.words == {"type": "int64"}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pl.Series([1, 2], dtype=pl.Int8), "int8"),
        (pl.Series([1.5]), "float64"),
        (pl.Series([Decimal("1.50")], dtype=pl.Decimal(8, 2)), "decimal(8, 2)"),
        (pl.Series([dt.date(2024, 1, 1)]), "date"),
        (pl.Series([dt.datetime(2024, 1, 1)]), "timestamp"),  # noqa: DTZ001 - as files have them
        (pl.Series([dt.datetime(2024, 1, 1, tzinfo=dt.UTC)]), "timestamp"),
        (pl.Series([dt.time(1)]), "time"),
        (pl.Series([True]), "boolean"),
        (pl.Series([[1]]), "string"),
        (pl.Series([{"a": 1}]), "string"),
        (pl.Series([b"x"]), "string"),
        (pl.Series([dt.timedelta(1)]), "string"),
        (pl.Series([None]), "string"),
        (pl.Series(["2024-01-01"]), "date"),
    ],
)
def test_values_with_types_keep_them(values: pl.Series, kind: str) -> None:
    (one,) = guess_columns(values.alias("x").to_frame())
    assert one.type == kind


texts = st.one_of(
    st.text(max_size=10),
    st.integers().map(str),
    st.floats().map(str),
    st.decimals(places=2).map(str),
    st.dates().map(str),
    st.datetimes().map(str),
    st.dates().map(lambda day: day.strftime("%d/%m/%Y")),
    st.times().map(str),
    st.sampled_from(["", " ", "N/A", "-", "true", "ja", "0", "\0", "00", "1,5", "%", "{{x}}"]),
)


@given(st.lists(st.one_of(st.none(), texts), min_size=1, max_size=12))
@settings(max_examples=80, deadline=None)
def test_every_text_is_read_or_means_no_value(values: list[str | None]) -> None:
    one = guess(values)
    column = Column.model_validate(dict(one.words))
    tokens = ["", *one.tokens]
    frame = pl.DataFrame({"x": values}, schema={"x": pl.String})
    read = frame.select("x", value=value_of(pl.col("x"), column, tokens))
    for text, value in read.iter_rows():
        means_none = text is None or text.strip() in tokens or not text.strip()
        assert (value is None) == means_none or column.type == "string"
    assert one.filled == read["value"].is_not_null().sum() or column.type == "string"
