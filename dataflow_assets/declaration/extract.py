"""Where a source's data comes from, and how its bytes are to be read."""

from __future__ import annotations

import codecs
import re
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from dataflow_assets.declaration.base import Declared
from dataflow_assets.declaration.rest import Endpoint, host_of

PLACEHOLDER = re.compile(r"\{(date):([^{}]+)\}|\{(partition)\}")
"""What a path may hold: ``{date:%Y-%m-%d}`` or ``{partition}``."""
TEMPLATE = re.compile(r"\{\{[^{}]*\}\}")
"""What is filled in before the path is used, such as ``{{ env.NAME }}``."""


class CsvDialect(Declared):
    r"""How a CSV file is written.

    Attributes:
        delimiter: What stands between two fields: one character or several.
        quote: What encloses a field that holds delimiters or line ends; null where nothing does.
        escape: What stands before a quote inside a quoted field, besides doubling it.
        encoding: A Python codec name; ``auto`` follows the byte order mark, else UTF-8.
        header: ``true``: the first line; ``false``: none, columns are the contract's in order;
            ``find``: the first of the first 100 lines that names all required columns.
        skip_lines: Lines of preamble before the header.
        comment: Lines that begin with this are not data.
        ragged: What becomes of a row with too few fields, or with empty fields too many:
            ``quarantine``, or ``fill`` (missing fields are null, empty extra ones dropped).
    """

    delimiter: str = Field(default=",", min_length=1, max_length=8)
    quote: str | None = Field(default='"', min_length=1, max_length=1)
    escape: str | None = Field(default=None, min_length=1, max_length=1)
    encoding: str = "auto"
    header: bool | Literal["find"] = True
    skip_lines: int = Field(default=0, ge=0)
    comment: str | None = Field(default=None, min_length=1, max_length=8)
    ragged: Literal["quarantine", "fill"] = "quarantine"

    @field_validator("encoding")
    @classmethod
    def _encoding_exists(cls, encoding: str) -> str:
        if encoding == "auto":
            return encoding
        try:
            info = codecs.lookup(encoding)
        except LookupError as error:
            message = f"{encoding!r} is no encoding, such as utf-8, cp1252 or utf-16"
            raise ValueError(message) from error
        if not getattr(info, "_is_text_encoding", True):
            raise ValueError(f"{encoding!r} is no text encoding")
        return encoding

    @model_validator(mode="after")
    def _marks_differ(self) -> Self:
        marks = [mark for mark in (self.delimiter, self.quote, self.escape) if mark]
        if len(set(marks)) != len(marks):
            raise ValueError("delimiter, quote and escape must be different characters")
        for word, mark in (("delimiter", self.delimiter), ("quote", self.quote or "")):
            if "\n" in mark or "\r" in mark or "\0" in mark:
                raise ValueError(f"{word} cannot be a line end or a NUL byte")
        for word, ascii_mark in (("quote", self.quote), ("escape", self.escape)):
            if ascii_mark is not None and not ascii_mark.isascii():
                raise ValueError(f"{word} must be an ASCII character, not {ascii_mark!r}")
        return self


class Files(Declared):
    """Files in a folder.

    Attributes:
        path: Where the files are, below ``FILES_DIR`` unless absolute. ``*``, ``?`` and ``**`` are
            wildcards; ``{date:%Y-%m-%d}`` (any strptime codes) assigns a file to the window of time
            it falls into, ``{partition}`` to the key of a fixed list.
        format: How the files are written.
        csv: The dialect of CSV files.
        compression: ``auto`` looks at the first bytes; or gzip, zip, zstd, none.
    """

    path: str = Field(min_length=1)
    format: Literal["csv"] = "csv"
    csv: CsvDialect = CsvDialect()
    compression: Literal["auto", "gzip", "zip", "zstd", "none"] = "auto"

    @field_validator("path")
    @classmethod
    def _placeholders_known(cls, path: str) -> str:
        rest = PLACEHOLDER.sub("", TEMPLATE.sub("", path))
        if "{" in rest or "}" in rest:
            raise ValueError(
                f"{path!r} holds a brace that is no placeholder; "
                "allowed are {date:%Y-%m-%d} (any strptime codes) and {partition}"
            )
        codes = "".join(match[2] or "" for match in PLACEHOLDER.finditer(path))
        if codes and not any(year in codes for year in ("%Y", "%y", "%s")):
            raise ValueError(
                f"{path!r} says no year: a date needs %Y (or %y) somewhere in the path"
            )
        if ".." in path.split("/"):
            raise ValueError(f"{path!r} leaves its folder: '..' is not allowed")
        return path


class Rest(Endpoint):
    """A REST API, and how its answers are written.

    Attributes:
        format: How the bodies are written.
        csv: The dialect of bodies that are CSV.
        compression: Of bodies that are compressed files; ``auto`` looks at the first bytes.
    """

    format: Literal["json", "csv"] = "json"
    csv: CsvDialect = CsvDialect()
    compression: Literal["auto", "gzip", "zip", "zstd", "none"] = "auto"

    @model_validator(mode="after")
    def _pages_can_be_read(self) -> Self:
        if self.format == "json":
            return self
        if self.records is not None:
            raise ValueError("records belongs to format: json")
        if self.pages is not None and self.pages.link is None:
            raise ValueError(f"format: {self.format} can be cut into pages by link only")
        return self


class Extract(Declared):
    """Where a source's data comes from: exactly one kind.

    Attributes:
        files: Files in a folder or on S3.
        rest: A REST API.
    """

    files: Files | None = None
    rest: Rest | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            allowed = ", ".join(type(self).model_fields)
            raise ValueError(f"give exactly one of {allowed}, not {' and '.join(given) or 'none'}")
        return self

    @property
    def kind(self) -> str:
        """How the data is written, as the Dagster UI shows it."""
        if self.rest is not None:
            return self.rest.format
        return self.files.format if self.files is not None else ""

    @property
    def place(self) -> str:
        """Where the data is, without secrets."""
        if self.rest is not None:
            return self.rest.url
        return self.files.path if self.files is not None else ""

    @property
    def host(self) -> str | None:
        """The outside host that is asked over HTTP, with its port unless that is the usual one."""
        return host_of(self.rest.url) if self.rest is not None else None
