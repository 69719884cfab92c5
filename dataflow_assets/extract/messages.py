"""Answers of outside hosts as archived bytes: some headers, and the body.

What belongs here: writing and reading them in the format of HTTP itself (`message/http`), so that
any tool can read them. What does not: asking hosts, and what a body means.

A body alone would not do: its content type decides how it is read, and its ETag is sent with the
next question.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email.parser import BytesHeaderParser
from typing import TYPE_CHECKING

from dataflow_assets.errors import UnreadableFileError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from dataflow_assets.extract.files import Snapshot

KEPT = ("content-type", "content-language", "content-location", "etag", "last-modified")
"""Headers on which the meaning of a body, or the next question, depends."""
FIRST_LINE = b"HTTP/1.1 200 OK\r\n"
END = b"\r\n\r\n"
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Message:
    """An answer as it is archived.

    Attributes:
        body: The bytes, as they are once the transfer's compression is undone.
        headers: By name in lower case.
    """

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, headers: Mapping[str, str], body: bytes) -> Self:
        """Return an answer with those of its headers that matter later on."""
        lowered = {name.lower(): value for name, value in headers.items()}
        return cls(body, {name: lowered[name] for name in KEPT if name in lowered})

    @classmethod
    def read(cls, snapshot: Snapshot) -> Self:
        """Return an answer from the archive.

        Raises:
            UnreadableFileError: The bytes are no such answer.
        """
        head, end, body = snapshot.path.read_bytes().partition(END)
        if not end or not head.startswith(FIRST_LINE.rstrip()):
            raise UnreadableFileError(
                "the archived bytes are no answer of a host.",
                mend="Bring the file back from a backup of the lake.",
                culprit=str(snapshot.path),
            )
        parsed = BytesHeaderParser().parsebytes(head.partition(b"\r\n")[2])
        return cls(body, {name.lower(): str(value) for name, value in parsed.items()})

    def write(self) -> bytes:
        """Return the bytes to archive."""
        lines = [
            f"{name}: {CONTROL.sub('', value)}\r\n".encode("ascii", "backslashreplace")
            for name, value in self.headers.items()
        ]
        return b"".join((FIRST_LINE, *lines, b"\r\n", self.body))
