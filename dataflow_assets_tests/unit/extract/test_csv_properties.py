from __future__ import annotations

import csv
import io
import tempfile
from pathlib import Path
from typing import Literal
from unittest import mock

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dataflow_assets.extract import framing
from dataflow_assets_tests.unit.extract.reference import Rules, split
from dataflow_assets_tests.unit.extract.samples import good, snapshot, table

FOLDER = Path(tempfile.mkdtemp(prefix="extract-"))
PIECES = [b"a", b"b", b",", b",", b'"', b'"', b'""', b"\n", b"\n", b"\r\n", b"\r", b"\\", b"#"]
PIECES += [b'"a"::', b'"a"::::', '"a"éé'.encode()]
PIECES += [
    "é".encode(),
    b"\xff",
    b"\0",
    b" ",
    b"a,b",
    b"a,b,c\n",
    b'"a,b"',
    b'"a\nb"',
    b"c1",
    b"::",
]
ODD_TEXTS = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)
BLOCKS = st.sampled_from([1, 2, 3, 5, 8, 13, 64, 1 << 20])


def shown(content: bytes | None) -> str | None:
    return None if content is None else content.decode("utf-8", "backslashreplace")


@settings(max_examples=400, deadline=None)
@given(
    body=ODD_TEXTS,
    width=st.integers(1, 4),
    block=BLOCKS,
    delimiter=st.sampled_from([",", ",", ",", "::", "é"]),
    escape=st.sampled_from([None, None, "\\"]),
    quote=st.sampled_from(['"', '"', '"', None]),
    comment=st.sampled_from([None, None, "#", "##"]),
    ragged=st.sampled_from(["quarantine", "fill"]),
    stride=st.sampled_from([1, 2, 64]),
)
@example(b'"\n', 1, 1, ",", None, '"', None, "quarantine", 1)
def test_the_engine_follows_the_rules_on_any_text(  # noqa: PLR0913, PLR0917 - what is varied
    body: bytes,
    width: int,
    block: int,
    delimiter: str,
    escape: str | None,
    quote: str | None,
    comment: str | None,
    ragged: str,
    stride: int,
) -> None:
    header = tuple(f"c{index}".encode() for index in range(1, width + 1))
    rules = Rules(
        width,
        delimiter.encode(),
        (quote or "").encode(),
        (escape or "").encode(),
        (comment or "").encode(),
        fill=ragged == "fill",
        header=header,
    )
    taken = snapshot(FOLDER, rules.delimiter.join(header) + b"\n" + body)
    with (
        mock.patch.object(framing, "CAREFUL_RECORDS", stride),
        mock.patch.object(framing, "CAREFUL_LINES", stride),
    ):
        rows = table(
            taken,
            sizes={"block_bytes": block},
            delimiter=delimiter,
            quote=quote,
            escape=escape,
            comment=comment,
            ragged=ragged,
        ).to_pylist()
    for row, expected in zip(rows, split(body, rules, line=2), strict=True):
        fields = [shown(field) for field in expected.fields or []]
        fields += [None] * (width - len(fields))
        assert [row[name.decode()] for name in header] == fields
        assert (row["_line"], row["_reject"]) == (expected.line, expected.kind)
        assert row["_text"] == shown(expected.text)


@settings(max_examples=150, deadline=None)
@given(
    body=ODD_TEXTS,
    width=st.integers(2, 4),
    block=BLOCKS,
    most=st.integers(1, 30),
    comment=st.sampled_from([None, "#"]),
)
def test_records_too_long_are_the_same_whatever_the_blocks(
    body: bytes, width: int, block: int, most: int, comment: str | None
) -> None:
    header = tuple(f"c{index}".encode() for index in range(1, width + 1))
    rules = Rules(width, comment=(comment or "").encode(), most=most, header=header)
    taken = snapshot(FOLDER, b",".join(header) + b"\n" + body)
    sizes = {"block_bytes": block, "most_record_bytes": most}
    rows = table(taken, sizes=sizes, comment=comment).to_pylist()
    found = [(row["_line"], row["_reject"], row["_text"]) for row in rows]
    expected = [(row.line, row.kind, shown(row.text)) for row in split(body, rules, line=2)]
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    for (_, kind, text), (_, _, whole) in zip(found, expected, strict=True):
        assert text == whole or (kind == "too_long" and text.endswith("…"))


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(
        st.lists(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=3, max_size=3
        ),
        min_size=1,
        max_size=12,
    ),
    block=BLOCKS,
    delimiter=st.sampled_from([",", ";", "\t", "|", "¦"]),
    quote=st.sampled_from(['"', "'"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "gb18030"]),
)
def test_what_the_csv_module_writes_comes_back(  # noqa: PLR0913, PLR0917 - what is varied
    rows: list[list[str]],
    block: int,
    delimiter: str,
    quote: str,
    quoting: Literal[0, 1],
    line_end: str,
    encoding: str,
) -> None:
    if any("\r" in field for row in rows for field in row):
        quoting = csv.QUOTE_ALL  # left to itself, the csv module does not quote a lone CR
    text = io.StringIO(newline="")
    writer = csv.writer(
        text, delimiter=delimiter, quotechar=quote, quoting=quoting, lineterminator=line_end
    )
    writer.writerow(["x", "y", "z"])
    writer.writerows(rows)
    taken = snapshot(FOLDER, text.getvalue().encode(encoding))
    found = table(
        taken, sizes={"block_bytes": block}, delimiter=delimiter, quote=quote, encoding=encoding
    )
    assert good(found) == [tuple(row) for row in rows]
