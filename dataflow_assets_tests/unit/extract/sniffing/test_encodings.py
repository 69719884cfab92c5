from __future__ import annotations

import codecs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow_assets.extract.sniffing.encodings import guess_encoding

RUSSIAN = "Название;Город\nИванов Иван;Москва\nПетров;Санкт-Петербург\n" * 3  # noqa: RUF001 - Russian
TEXTS = {
    "cp1252": "Straße;Größe\nMünchen;Äpfel\nBogotá;año\n",
    "cp1250": "Imię;Miasto\nŁukasz;Gdańsk\nŻaneta;Kraków ścięta źdźbło\n" * 2,
    "cp1251": RUSSIAN,
    "koi8_r": RUSSIAN,
    "shift_jis": "名前,都市\nたなか,とうきょう\nさとう,おおさか\n" * 3,
    "gb18030": "名称,城市,日期\n中国人民,北京,上海的天气很好\n" * 4,
    "big5": "名稱,城市,日期\n國家風景區,臺北,上海的天氣很好\n" * 4,
    "euc_kr": "이름,도시\n김철수,서울특별시\n이영희,부산광역시\n" * 4,
}


@pytest.mark.parametrize("name", TEXTS)
def test_encodings_are_told_apart(name: str) -> None:
    guess = guess_encoding(TEXTS[name].encode(name), cut=False)
    assert guess.name == name
    assert guess.remark is not None


@pytest.mark.parametrize("name", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_what_readers_find_by_themselves_is_not_declared(name: str) -> None:
    guess = guess_encoding(("id,name\n1,Länge\n" * 20).encode(name), cut=False)
    assert (guess.name, guess.remark) == ("auto", None)


def test_a_character_may_be_cut_at_the_end() -> None:
    cut = "a,Länge,ä".encode()[:-1]
    assert guess_encoding(cut, cut=True).remark is None
    assert guess_encoding(cut, cut=False).remark is not None


def test_a_few_broken_lines_amid_utf_8() -> None:
    content = "Länge\n".encode() * 30 + b"L\xe4nge\n"
    guess = guess_encoding(content, cut=False)
    assert guess.name == "auto"
    assert "quarantined" in (guess.remark or "")


def test_bytes_that_cp1252_does_not_know() -> None:
    assert guess_encoding(b"caf\xe9 \x81\n" * 3, cut=False).name == "latin-1"


@pytest.mark.parametrize(
    ("signs", "name"),
    [(b"\x89\xdb\xd2 \x89\xdb\xaa", "cp1252"), (b"\x89\xdb\x9d \x89\xdb\xa2", "latin-1")],
)
def test_a_few_high_bytes_in_english_are_no_cyrillic(signs: bytes, name: str) -> None:
    content = b"name,hours\n" + b"Prince George,8 am to 5 pm\n" * 50 + b"Mary," + signs + b" 9\n"
    guess = guess_encoding(content * 3, cut=False)
    assert guess.name == name
    assert "they form no words" in (guess.remark or "")


def test_one_russian_name_in_english_is_cyrillic() -> None:
    text = "name,city\n" + "Prince George,London\n" * 50 + "Иванов Иван,Москва\n"
    assert guess_encoding(text.encode("cp1251"), cut=False).name == "cp1251"


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_each_guess_is_a_codec_that_reads_the_text(content: bytes) -> None:
    name = guess_encoding(content, cut=False).name
    assert name == "auto" or content.decode(codecs.lookup(name).name, "replace") is not None
