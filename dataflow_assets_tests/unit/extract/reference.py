"""The rules of splitting once more, slowly and byte by byte, to compare the engine with."""

from __future__ import annotations

import re
from typing import NamedTuple


class Row(NamedTuple):
    line: int
    kind: str | None
    fields: list[bytes] | None
    text: bytes | None


class Record(NamedTuple):
    state: str  # whole, open (its quote never closes) or broken
    fields: list[bytes]
    end: int


class Rules(NamedTuple):
    width: int
    delimiter: bytes = b","
    quote: bytes = b'"'
    escape: bytes = b""
    comment: bytes = b""
    fill: bool = False
    most: int = 16 << 20
    header: tuple[bytes, ...] = ()


def split(data: bytes, rules: Rules, line: int = 1) -> list[Row]:
    if re.fullmatch(rb"(.*[\r\n])?\0+", data, re.DOTALL):
        data = data.rstrip(b"\0")
    rows: list[Row] = []
    position = 0
    while position < len(data):
        end, row = _next(data, position, line, rules)
        if row is not None:
            rows.append(row)
        line += max(1, len(_lines(data[position:end])))
        position = end
    return rows


def _next(data: bytes, begin: int, line: int, rules: Rules) -> tuple[int, Row | None]:
    first_end = begin + len(_lines(data[begin:])[0])
    first = data[begin:first_end]
    record = read(data, begin, rules)
    is_comment = rules.comment and first.startswith(rules.comment)
    if len(first) > rules.most or (record.end - begin > rules.most and not is_comment):
        return first_end, _reject(line, "too_long", first)
    if is_comment or not first.strip(b"\r\n"):
        return first_end, None
    if record.state != "whole":
        return first_end, _reject(line, "quote", first)
    text = data[begin : record.end]
    lines = [part.rstrip(b"\r\n") for part in _lines(text)]
    if len(lines) > 1:
        if len(record.fields) != rules.width and any(_is_row(part, rules) for part in lines[1:]):
            return first_end, _reject(line, "ragged" if _decodes(first) else "encoding", first)
        inner = lines[1:-1]
        if (
            len(record.fields) == rules.width >= 3
            and inner
            and all(_is_row(part, rules) for part in inner)
        ):
            return first_end, _reject(line, "quote", first)
    return record.end, _whole(line, text, record.fields, rules)


def _whole(line: int, text: bytes, fields: list[bytes], rules: Rules) -> Row:
    if not _decodes(text):
        return _reject(line, "encoding", text)
    surplus = fields[rules.width :]
    if len(fields) != rules.width and (not rules.fill or any(surplus)):
        return _reject(line, "ragged", text)
    if len(rules.header) > 1 and tuple(fields) == rules.header:
        return _reject(line, "repeated_header", text)
    return Row(line, None, fields[: rules.width], None)


def _reject(line: int, kind: str, text: bytes) -> Row:
    return Row(line, kind, None, re.sub(rb"(\r\n|\n|\r)\Z", b"", text))


def _lines(text: bytes) -> list[bytes]:
    return re.findall(rb"[^\r\n]*(?:\r\n|\n|\r)|[^\r\n]+\Z", text)


def _decodes(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_row(line: bytes, rules: Rules) -> bool:
    record = read(line, 0, rules)
    whole = record.state == "whole" and record.end == len(line)
    return whole and len(record.fields) == rules.width


def read(data: bytes, position: int, rules: Rules) -> Record:
    fields: list[bytes] = []
    while True:
        if rules.quote and data.startswith(rules.quote, position):
            value, position, closed = _quoted(data, position + 1, rules)
            fields.append(value)
            if not closed:
                return Record("open", fields, position)
            rest = data[position:]
            if rest and not rest.startswith((rules.delimiter, b"\r", b"\n")):
                return Record("broken", fields, position)
        else:
            begin = position
            while position < len(data) and not data.startswith(
                (rules.delimiter, b"\r", b"\n"), position
            ):
                position += 1
            fields.append(data[begin:position])
        if not data.startswith(rules.delimiter, position):
            break
        position += len(rules.delimiter)
    for mark in (b"\r\n", b"\r", b"\n"):
        if data.startswith(mark, position):
            return Record("whole", fields, position + len(mark))
    return Record("whole", fields, position)


def _quoted(data: bytes, position: int, rules: Rules) -> tuple[bytes, int, bool]:
    value = bytearray()
    while position < len(data):
        pair = data[position : position + 2]
        if rules.escape and pair in (rules.escape * 2, rules.escape + rules.quote):
            value += pair[1:]
            position += 2
        elif pair == rules.quote * 2:
            value += rules.quote
            position += 2
        elif pair.startswith(rules.quote):
            return bytes(value), position + 1, True
        else:
            value += pair[:1]
            position += 1
    return bytes(value), position, False
