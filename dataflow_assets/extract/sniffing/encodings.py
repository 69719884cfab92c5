"""The encoding of a sample that says nothing of it.

What belongs here: telling encodings apart by the bytes they use. What does not: byte order marks
and UTF-16, which readers follow by themselves (`extract.text`).
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from dataflow_assets.extract.text import detect

HIGH = re.compile(rb"[\x80-\xff]+")
UNDEFINED_IN_CP1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
PAIRED = 0.6
"""Share of high bytes with a high neighbour from which on a text is not of the Latin alphabet."""
IN_WORDS = 0.8
"""Share of high bytes that stand in words, from which on an encoding is taken to be right."""
MOSTLY = 0.9
FEWEST_PAIRS = 10
WIDE = (
    ("shift_jis", rb"[\x82\x83]"),  # the lead bytes of kana
    ("euc_kr", rb"[\xb0-\xc8]"),  # of hangul
    ("gb18030", rb"[\xb0-\xd7]"),  # of the common ideographs
    ("big5", rb"[\xa4-\xc6]"),  # of the common ideographs
)
"""Encodings with two bytes to a character, and the lead bytes of their common characters."""
CYRILLIC = (("cp1251", rb"[\xe0-\xff]"), ("koi8_r", rb"[\xc0-\xdf]"))
"""Encodings of Cyrillic, and the bytes of their small letters."""
CYRILLIC_WORD = re.compile(
    r"(?<![^\W\d_])(?:[\u0400-\u042f]?[\u0430-\u045f]+|[\u0400-\u042f]+)(?![^\W\d_])"
)
"""Letters of one alphabet between signs, small ones or capitals, as words are written."""
AMID_LETTERS = re.compile(rb"(?<=[A-Za-z])[\x80-\xff]+|[\x80-\xff]+(?=[A-Za-z])")
LETTERS_AROUND = re.compile(r"(?<=[A-Za-z])[^\x00-\x7f](?=[A-Za-z])")


@dataclass(frozen=True)
class EncodingGuess:
    """An encoding.

    Attributes:
        name: What a declaration says: a Python codec, or ``auto``.
        remark: Why, where it had to be guessed.
    """

    name: str
    remark: str | None = None


def guess_encoding(content: bytes, *, cut: bool) -> EncodingGuess:
    """Return the encoding of a text.

    Args:
        content: The text, or its beginning.
        cut: Whether it is cut at its end, perhaps within a character.
    """
    if detect(content) != "utf-8" or _is_utf8(content, cut=cut):
        return EncodingGuess("auto")
    if _mostly_utf8(content):
        return EncodingGuess("auto", "UTF-8, but some bytes are not: their rows are quarantined")
    high = HIGH.findall(content)
    total = sum(map(len, high))
    amid = sum(len(found[0]) for found in AMID_LETTERS.finditer(content))
    paired = sum(len(run) for run in high if len(run) > 1)
    is_foreign = paired > PAIRED * total and amid < PAIRED * total
    name = _wide(content) or (_cyrillic(content, high, total) if is_foreign else None)
    if name is None and is_foreign:  # a few bytes of whatever encoding in an English text
        name = _latin(content)
        told = f"they form no words: {_example(content, name)} shows what becomes of them"
        return EncodingGuess(name, f"not UTF-8: {total:,} bytes of {len(content):,}; {told}")
    name = name or _latin(content)
    return EncodingGuess(name, f"not UTF-8; {_example(content, name)} seems right so: look at it")


def _is_utf8(content: bytes, *, cut: bool) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(content, not cut)
    except UnicodeDecodeError:
        return False
    return True


def _mostly_utf8(content: bytes) -> bool:
    """Whether most lines with other bytes than ASCII's are UTF-8."""
    lines = [line for line in content.splitlines() if not line.isascii()]
    good = sum(_is_utf8(line, cut=False) for line in lines)
    return len(lines) > 1 and good > MOSTLY * len(lines)


def _wide(content: bytes) -> str | None:
    """Return the encoding of two bytes whose common characters the text has most of."""
    shares = {}
    leads = _lead_bytes(content)
    for name, common in WIDE if len(leads) >= FEWEST_PAIRS else ():
        decoded = content.decode(name, "replace")
        wrong = decoded.count("\ufffd")
        pairs = sum(not char.isascii() for char in decoded)
        if wrong * 100 <= pairs:
            shares[name] = len(re.findall(common, leads)) / len(leads)
    best = max(shares, key=lambda name: shares[name], default=None)
    return best if best and shares[best] > PAIRED else None


def _lead_bytes(content: bytes) -> bytes:
    """Return the first byte of each pair that begins with a high byte."""
    return b"".join(pair[:1] for pair in re.findall(rb"[\x81-\xfe][\x40-\xfe]", content))


def _cyrillic(content: bytes, high: list[bytes], total: int) -> str | None:
    """Return the encoding of Cyrillic with the most small letters, if they form words."""
    joined = b"".join(high)
    shares = {name: len(re.findall(small, joined)) / total for name, small in CYRILLIC}
    best = max(shares, key=lambda name: shares[name])
    words = CYRILLIC_WORD.findall(content.decode(best, "replace"))
    return best if sum(map(len, words)) >= IN_WORDS * total else None


def _latin(content: bytes) -> str:
    """Return Western Latin, unless letters of Eastern Europe stand where it has signs."""
    if UNDEFINED_IN_CP1252.search(content):
        east = content.decode("cp1250", "replace")
        return "cp1250" if "\ufffd" not in east and _within_words(east) else "latin-1"
    west, east = content.decode("cp1252"), content.decode("cp1250", "replace")
    return "cp1250" if _within_words(east) > _within_words(west) else "cp1252"


def _within_words(text: str) -> int:
    """Return how many characters between letters are letters too, less those that are not."""
    found = LETTERS_AROUND.findall(text)
    return sum(1 if one.isalpha() and one not in "ªº" else -1 for one in found)


def _example(content: bytes, name: str) -> str:
    """Return a word that the encoding makes of high bytes."""
    found = re.search(rb"[A-Za-z]{0,12}[\x80-\xff]+[A-Za-z\x80-\xff]{0,12}", content)
    return repr(found[0].decode(name, "replace")[:24]) if found else ""
