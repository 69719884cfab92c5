"""Bytes in any encoding as UTF-8, where what cannot be decoded stays recognizable.

What belongs here: telling encodings apart, transcoding a stream, and showing undecodable bytes to
people. What does not: lines, fields and rows.

Undecodable bytes must not stop a file, nor vanish: they stay (in UTF-8) or become (in other
encodings) sequences that are no valid UTF-8, so that whoever splits the text can tell which records
hold them.
"""

from __future__ import annotations

import codecs
import re
from typing import BinaryIO

BOM = "\ufeff".encode()
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",  # before UTF-16, with which it begins
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
SAMPLE_BYTES = 4096
MANY_NULS, FEW_NULS = 0.7, 0.1
ESCAPED_BASE = 0xDC00
ESCAPED = re.compile("[\udc00-\udcff]")
ERRORS = "dataflow_assets.marked"


def _mark_bytes(error: UnicodeError) -> tuple[str, int]:
    """Let each undecodable byte become a lone surrogate, which is no valid UTF-8 later on."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    wrong = error.object[error.start : error.end]
    return "".join(chr(ESCAPED_BASE + byte) for byte in wrong), error.end


codecs.register_error(ERRORS, _mark_bytes)


class Utf8Reader:
    """A stream of bytes in any encoding, read as UTF-8 without a byte order mark.

    Args:
        stream: The bytes.
        encoding: A Python codec; ``auto`` follows the byte order mark, else takes UTF-16 where
            every other byte of the beginning is NUL, else UTF-8.
    """

    def __init__(self, stream: BinaryIO, encoding: str) -> None:
        self._stream = stream
        self._finished = False
        self._decoder: codecs.IncrementalDecoder | None = None
        sample = self._sample()
        name = detect(sample) if encoding == "auto" else codecs.lookup(encoding).name
        if name not in ("utf-8", "utf-8-sig"):
            self._decoder = codecs.getincrementaldecoder(name)(ERRORS)
        self._waiting = self._to_utf8(sample).removeprefix(BOM)

    @property
    def ended(self) -> bool:
        """Whether nothing is left to read."""
        return self._finished and not self._waiting

    def read(self, size: int) -> bytes:
        """Return about `size` bytes of UTF-8, fewer only at the end.

        Lines and characters may be cut anywhere.
        """
        if len(self._waiting) >= size:
            content, self._waiting = self._waiting[:size], self._waiting[size:]
            return content
        pieces = [self._waiting]
        self._waiting = b""
        total = len(pieces[0])
        while total < size and not self._finished:
            pieces.append(self._to_utf8(self._receive(size - total)))
            total += len(pieces[-1])
        return pieces[-1] if total == len(pieces[-1]) else b"".join(pieces)

    def push_back(self, content: bytes) -> None:
        """Let `content` be read again, before all else."""
        self._waiting = content + self._waiting

    def _sample(self) -> bytes:
        sample = b""
        while len(sample) < SAMPLE_BYTES and not self._finished:
            sample += self._receive(SAMPLE_BYTES - len(sample))
        return sample

    def _receive(self, size: int) -> bytes:
        chunk = self._stream.read(size)
        self._finished = not chunk
        return chunk

    def _to_utf8(self, chunk: bytes) -> bytes:
        if self._decoder is None:
            return chunk
        return self._decoder.decode(chunk, self._finished).encode("utf-8", "surrogatepass")

    def decode(self, content: bytes, *, cut: bool = False) -> str:
        r"""Return text for people, undecodable bytes as ``\xNN``.

        Args:
            content: What `read` returned, or a part of it.
            cut: Whether it was cut anywhere, so that half a last character is to be dropped.
        """
        errors = "backslashreplace" if self._decoder is None else "surrogatepass"
        text = codecs.getincrementaldecoder("utf-8")(errors).decode(content, not cut)
        if self._decoder is None:
            return text
        shown = ESCAPED.sub(lambda match: f"\\x{ord(match[0]) - ESCAPED_BASE:02x}", text)
        return shown.encode("utf-8", "backslashreplace").decode()


def detect(sample: bytes) -> str:
    """Return the encoding that the first bytes of a file show."""
    for mark, name in MARKS.items():
        if sample.startswith(mark):
            return name
    pairs = len(sample) // 2
    if pairs:
        first, second = (sample[begin : 2 * pairs : 2].count(0) / pairs for begin in (0, 1))
        if second >= MANY_NULS and first <= FEW_NULS:
            return "utf-16-le"
        if first >= MANY_NULS and second <= FEW_NULS:
            return "utf-16-be"
    return "utf-8"


def is_decodable(content: bytes) -> bool:
    """Whether `content` is valid UTF-8."""
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
