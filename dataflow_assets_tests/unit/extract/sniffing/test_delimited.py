from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.extract.sniffing.delimited import guess_dialect, guess_table

PEOPLE = [["id", "name", "born"], ["1", "Anna", "1990-01-02"], ["2", "Berta", "1985-11-30"]]


PROSE = """\
This is a text for people, and has some commas.
It goes on, line by line, for a while,
until it ends. Nobody would take it, or so we hope,
for a table of any kind at all.
"""


def written(rows: list[list[str]], delimiter: str = ",", quote: str = '"') -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter, quotechar=quote, lineterminator="\n").writerows(rows)
    return out.getvalue()


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "^", "~", "\x1f", "\x01", ":"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends(delimiter: str, end: str) -> None:
    guess = guess_dialect(written(PEOPLE, delimiter).replace("\n", end))
    assert guess is not None
    assert (guess.delimiter, guess.header, guess.width) == (delimiter, True, 3)
    assert (guess.skip_lines, guess.comment, guess.ragged) == (0, None, 0)


def test_a_delimiter_of_two_characters() -> None:
    guess = guess_dialect("\n".join("||".join(row) for row in PEOPLE))
    assert guess is not None
    assert guess.delimiter == "||"
    assert guess.width == 3


def test_commas_within_numbers_are_no_delimiters() -> None:
    guess = guess_dialect("a;b\n1,5;2,5\n3,5;4,5\n6,25;7,75\n")
    assert guess is not None
    assert guess.delimiter == ";"
    assert guess.header


def test_delimiters_within_quotes() -> None:
    text = written([["who", "said"], ["Anna", "yes; no, or"], ["Berta", 'a "word"\nand more, yes']])
    guess = guess_dialect(text)
    assert guess is not None
    assert (guess.delimiter, guess.quote, guess.width, guess.ragged) == (",", '"', 2, 0)


def test_single_quotes() -> None:
    guess = guess_dialect(written([["a", "b"], ["x, y", "1"], ["z, w", "2"], ["q", "3"]], ",", "'"))
    assert guess is not None
    assert guess.quote == "'"
    assert "2 of 2 fields that begin with ' end with it, too" in guess.remarks


@pytest.mark.parametrize(
    ("text", "quote"),
    [
        ("id,airport\n" + "1,O'HARE\n2,LA GUARDIA\n" * 20, '"'),
        ("id,airport\n" + "1,'T HOEKJE\n2,'T ZAND\n" * 20, '"'),
        ("a,b,c\n1,'Til Tuesday,rockin'\n2,x,O'Hare\n3,x,y\n", '"'),
        ("a,b\n'x',1\ny,2\nz,3\n", '"'),
        ("a,b\n'x',1\n'y',2\n'z',3\n", "'"),
        ("a;b\n'It''s; so';1\nx;2\ny;3\nz;4\n", "'"),
    ],
)
def test_apostrophes_are_no_quotes(text: str, quote: str) -> None:
    guess = guess_dialect(text)
    assert guess is not None
    assert guess.quote == quote


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("a,b\n'x, y',1\nz,2\n", "1 of 1 fields that begin with ' end with it"),
        ('a,b\n1,"x\n' + "2,y\n" * 9, "encloses no fields"),
        ('a,b\n"say \\"yes, x\\"",1\n"say \\"no, x\\"",2\n', "a backslash stands before quotes"),
        ("Report\n" + "a,b\n" + "1,2\n" * 9, "behind line 1"),
        ("# by Anna\na,b\n1,2\n", "lines that begin with '#' are no records: there are 1"),
        ("1,2\n3,4\n", "no header: the first record is like the others"),
        ("word\n" + "foo\nfoo, bar\na, b, c, d\n" * 5, "one column"),
    ],
)
def test_each_word_of_a_dialect_says_on_what_evidence(text: str, remark: str) -> None:
    guess = guess_dialect(text)
    assert guess is not None
    assert any(remark in one for one in guess.remarks), guess


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("1,2\n3,4\n", False),
        ("1,null,0\n2,0,0\n3,0,1\n", False),
        ("a,b\n1,2\n", True),
        ("Year,2000,2001\nTimber,17,18\nPaper,19,22\n", True),
        ("de_DE,Deutsch\nen_US,English\nfr_FR,Francais\n", False),
        ("code,name\nDE,Germany\nAT,Austria\nFR,France\n", True),
        ("name,age\nAlan,25\nAnn,31\n", True),
        ("2024-01-01,KIEL,3\n2024-01-02,KIEL,4\n", False),
        ("field1,field2\nhello,goodbye\nhello2,goodbye2\n", True),
        ("a,a,b\n1,2,3\n", True),
        ("Anna,Berlin\nAnna,Kiel\nBerta,Kiel\n", False),
    ],
)
def test_headers_are_unlike_what_follows(text: str, *, header: bool) -> None:
    guess = guess_dialect(text)
    assert guess is not None
    assert guess.header is header


@pytest.mark.parametrize(
    ("head", "skip"),
    [
        ("Report of March\n\n", 2),
        ("Report of March,,\nmade by Anna,,\n,,\n", 3),
        ("Sums\n", 1),
        ('"A title, with a comma"\n', 1),
    ],
)
def test_a_preamble_is_skipped(head: str, skip: int) -> None:
    guess = guess_dialect(head + written([*PEOPLE, *PEOPLE[1:], *PEOPLE[1:]]))
    assert guess is not None
    assert (guess.skip_lines, guess.header, guess.width) == (skip, True, 3)


def test_comments() -> None:
    guess = guess_dialect("# made by Anna\n# on Monday\n" + written(PEOPLE))
    assert guess is not None
    assert (guess.comment, guess.header, guess.width) == ("#", True, 3)


def test_a_log_that_names_its_columns_in_a_comment() -> None:
    head = "#separator \\x09\n#path\tdns\n#fields\tts\tid.orig_h\tAA\n#types\ttime\taddr\tbool\n"
    guess = guess_dialect(head + "1521911720.8\t10.0.0.1\tF\n1521911721.8\t10.0.0.2\tT\n")
    assert guess is not None
    assert (guess.delimiter, guess.comment, guess.header) == ("\t", "#", False)
    assert guess.names == ("ts", "id.orig_h", "AA")


def test_one_column() -> None:
    guess = guess_dialect("word\nfoo\nbar\nbaz\nfoo bar\n")
    assert guess is not None
    assert guess.width == 1


@pytest.mark.parametrize("values", [["10:30", "23:59"], ["2024-01-01 00:00", "2024-01-02 01:00"]])
def test_colons_and_blanks_of_times_part_nothing(values: list[str]) -> None:
    guess = guess_dialect("\n".join(["at", *values]))
    assert guess is not None
    assert (guess.width, guess.header, guess.skip_lines) == (1, True, 0)


@pytest.mark.parametrize(
    "text",
    [
        PROSE,
        "\n\n",
        "",
    ],
)
def test_prose_is_no_table(text: str) -> None:
    assert guess_dialect(text) is None


def test_ragged_rows_are_counted() -> None:
    guess = guess_dialect("a,b,c\n1,2,3\n4,5,6\n7,8\n9,10,11\n")
    assert guess is not None
    assert guess.width == 3
    assert guess.ragged == pytest.approx(0.2)


def test_a_table_in_a_sheet() -> None:
    rows = [["Report", "", ""], ["", "", ""], ["id", "name", "born"], ["1", "Anna", "1990-01-02"]]
    assert guess_table([*rows, ["2", "Berta", "1985-01-02"]]) == (2, True)
    assert guess_table([["", ""]]) == (0, True)


cells = st.text(
    st.characters(codec="utf-8", exclude_characters="\0\r\n\x1d", exclude_categories=["Cs"]),
    max_size=12,
)


@settings(deadline=None)
@given(st.lists(st.lists(cells, min_size=1, max_size=6), max_size=12), st.sampled_from(",;\t|"))
def test_no_text_is_too_odd(rows: list[list[str]], delimiter: str) -> None:
    guess = guess_dialect(written(rows, delimiter))
    if guess is not None:
        assert guess.width >= 1
        assert 0 <= guess.ragged <= 1
        assert len(guess.names) in (0, guess.width)


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 10**6), min_size=4, max_size=20),
    st.sampled_from([",", ";", "\t", "|"]),
    st.integers(2, 6),
)
def test_tables_of_numbers_under_a_header(numbers: list[int], delimiter: str, width: int) -> None:
    header = [f"col_{chr(97 + place)}" for place in range(width)]
    rows = [header, *([str(number + place) for place in range(width)] for number in numbers)]
    guess = guess_dialect(written(rows, delimiter))
    assert guess is not None
    assert (guess.delimiter, guess.width, guess.header) == (delimiter, width, True)
