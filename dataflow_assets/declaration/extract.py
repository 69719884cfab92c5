"""Where a source's data comes from, and how its bytes are to be read."""

from __future__ import annotations

import codecs
import re
from difflib import get_close_matches
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, ConfigDict, Field, field_validator, model_validator

from dataflow_assets.declaration.base import TEMPLATE, Declared
from dataflow_assets.declaration.database import Database
from dataflow_assets.declaration.rest import Auth, Endpoint, host_of
from dataflow_assets.plugins import EXTRACTORS, plugin_names

PLACEHOLDER = re.compile(r"\{(date):([^{}]+)\}|\{(partition)\}")
"""What a path may hold: ``{date:%Y-%m-%d}`` or ``{partition}``."""


def check_encoding(encoding: str) -> str:
    """Return an encoding if there is such an encoding of text, or ``auto``.

    Raises:
        ValueError: There is none.
    """
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


Encoding = Annotated[str, AfterValidator(check_encoding)]
"""A Python codec name, or ``auto``, which follows the byte order mark, else takes UTF-8."""


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
    encoding: Encoding = "auto"
    header: bool | Literal["find"] = True
    skip_lines: int = Field(default=0, ge=0)
    comment: str | None = Field(default=None, min_length=1, max_length=8)
    ragged: Literal["quarantine", "fill"] = "quarantine"

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


class Json(Declared):
    """Where the records of JSON files are.

    Attributes:
        records: The names that lead to the records of a document, with dots between them, or as a
            list where a name holds a dot; none: the document is an array of records, or one record.
        encoding: A Python codec name; ``auto`` follows the byte order mark, else UTF-8.
    """

    records: str | tuple[str, ...] = ""
    encoding: Encoding = "auto"

    @property
    def path(self) -> tuple[str, ...]:
        """The names that lead to the records, outermost first."""
        if isinstance(self.records, tuple):
            return self.records
        return tuple(self.records.split(".")) if self.records else ()


class Excel(Declared):
    """Where the rows of a workbook are.

    Attributes:
        sheet: The sheet's name, or its number from 1.
        skip_lines: Rows of preamble before the header.
        header: ``true``: the first row; ``false``: none, columns are the contract's in order.
    """

    sheet: str | int = 1
    skip_lines: int = Field(default=0, ge=0)
    header: bool = True


Format = Literal["csv", "tsv", "json", "jsonl", "parquet", "excel"]
RULE_PREFIXES: dict[Format, str] = {"tsv": "csv", "jsonl": "json"}
"""What stands before the rules about rows that cannot be read, where it is not the format."""


SUFFIX = re.compile(r"\.(\w+)[*?]*(?:\.(?:gz|gzip|zip|zst|zstd))?\Z", re.IGNORECASE)
FORMATS: dict[str, Format] = {
    "csv": "csv",
    "tsv": "tsv",
    "tab": "tsv",
    "json": "json",
    "geojson": "json",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "parquet": "parquet",
    "xlsx": "excel",
    "xlsm": "excel",
    "xls": "excel",
    "ods": "excel",
}
"""The format of files whose path ends so, if none is declared."""
BLOCKS = {"csv": "csv", "tsv": "csv", "json": "document", "jsonl": "document", "excel": "excel"}
"""The option block of each format."""
COMPRESSED_WITHIN = ("parquet", "excel")
TYPED = ("parquet", "excel")
HEADED = ("csv", "tsv", "excel", "parquet")
"""Formats that name all columns; a record of JSON names those in which it has a value."""
"""Formats whose values have types of their own."""


class Files(Declared):
    """Files in a folder.

    Attributes:
        path: Where the files are, below ``FILES_DIR`` unless absolute. ``*``, ``?`` and ``**`` are
            wildcards; ``{date:%Y-%m-%d}`` (any strptime codes) assigns a file to the window of time
            it falls into, ``{partition}`` to the key of a fixed list.
        format: How the files are written; by default as the path's suffix says, else ``csv``.
        csv: The dialect of CSV files, and of TSV files, whose fields a tab parts.
        document: Where the records of JSON files are; ``json`` in YAML.
        excel: Where the rows of a workbook are (xlsx, xls, ods).
        compression: ``auto`` looks at the first bytes; or gzip, zip, zstd, none.
    """

    path: str = Field(min_length=1)
    format: Format = "csv"
    csv: CsvDialect = CsvDialect()
    document: Json = Field(default=Json(), alias="json")
    excel: Excel = Excel()
    compression: Literal["auto", "gzip", "zip", "zstd", "none"] = "auto"

    @property
    def dialect(self) -> CsvDialect:
        """How CSV or TSV files are written."""
        if self.format == "tsv" and "delimiter" not in self.csv.model_fields_set:
            return self.csv.model_copy(update={"delimiter": "\t"})
        return self.csv

    @model_validator(mode="before")
    @classmethod
    def _format_from_path(cls, declared: Any) -> Any:  # noqa: ANN401 - whatever the YAML says
        """Take the format that the path's suffix names, if none is declared."""
        if not isinstance(declared, dict) or "format" in declared:
            return declared
        suffix = SUFFIX.search(str(declared.get("path", "")))
        known = suffix and FORMATS.get(suffix[1].lower())
        return {**declared, "format": known} if known else declared

    @model_validator(mode="after")
    def _words_fit_the_format(self) -> Self:
        allowed = BLOCKS.get(self.format)
        for field in ("csv", "document", "excel"):
            if field in self.model_fields_set and field != allowed:
                word = type(self).model_fields[field].alias or field
                raise ValueError(f"{word} does not apply to files of format {self.format}")
        if self.format == "jsonl" and self.document.path:
            raise ValueError("records does not apply to jsonl, where each line is a record")
        if self.format in COMPRESSED_WITHIN and self.compression not in ("auto", "none"):
            raise ValueError(
                f"{self.format} files are compressed within: {self.compression} does not apply"
            )
        return self

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

    @property
    def bodies(self) -> Files:
        """How the bodies are written, as if they were files."""
        of_format = {"csv": self.csv, "json": Json(records=self.records or "")}
        return Files.model_validate(
            {
                "path": "body",
                "format": self.format,
                self.format: of_format[self.format],
                "compression": self.compression,
            }
        )

    @model_validator(mode="after")
    def _pages_can_be_read(self) -> Self:
        if self.format == "json":
            return self
        for word in ("records", "total"):
            if getattr(self, word) is not None:
                raise ValueError(f"{word} belongs to format: json")
        if self.pages is not None and self.pages.link is None:
            raise ValueError(f"format: {self.format} can be cut into pages by link only")
        return self


FEED_COLUMNS = (
    *("id", "id_from", "title", "link", "published", "published_at", "updated", "updated_at"),
    *("author", "summary", "content", "categories", "enclosures", "more"),
    *("feed_title", "feed_link", "feed_language", "feed_format", "feed_problem", "polled_at"),
)
"""The columns of every feed, all text."""


class Feed(Declared):
    """An RSS, Atom, CDF or JSON feed, polled over HTTP.

    Attributes:
        url: Its address; ``{partition}`` stands for the key of a fixed list.
        auth: Who asks.
        most_bytes: The longest feed that is read.
    """

    url: str = Field(min_length=1)
    auth: Auth | None = None
    most_bytes: int = Field(default=16 << 20, gt=0)

    @field_validator("url")
    @classmethod
    def _is_address(cls, url: str) -> str:
        if TEMPLATE.search(url):  # it is looked at once it is filled in
            return url
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "{" in parts.netloc:
            raise ValueError(f"{url!r} is no address, such as https://example.org/feed.xml")
        if parts.username or parts.password:
            raise ValueError("url holds a user or a password, which everybody could read here")
        rest = url.replace("{partition}", "")
        if "{" in rest or "}" in rest:
            raise ValueError(
                f"{url!r} holds a brace that is no placeholder; allowed: {{partition}}"
            )
        return url

    def url_of(self, partition: str) -> str:
        """Return the address for a partition."""
        return self.url.replace("{partition}", quote(partition, safe=""))

    def place_of(self, partition: str) -> str:
        """Return host and path of the address: what may be shown of it."""
        parts = urlsplit(self.url_of(partition))
        return f"{parts.netloc}{parts.path}".rstrip("/")


READING = {
    "files": {"format", "csv", "document", "excel", "compression"},
    "rest": {"csv", "compression", "rate", "patience", "most_bytes", "resume"},
    "feed": {"most_bytes"},
    "database": {"timeout"},
}
"""Words of each kind that do not decide which bytes are received."""
READING_ONE_BODY = {"format", "records"}
"""The same of an API without pages; where there are, they also say where the next one is."""


class Extract(Declared):
    """Where a source's data comes from: exactly one kind.

    Another word is the name of a plug-in, and what stands below it are its own words: `plugin`.

    Attributes:
        files: Files in a folder or on S3.
        rest: A REST API.
        feed: An RSS, Atom, CDF or JSON feed.
        database: A table or a query of a database.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, dict[str, Any]]

    files: Files | None = None
    rest: Rest | None = None
    database: Database | None = None
    feed: Feed | None = None

    @model_validator(mode="before")
    @classmethod
    def _plugins_exist(cls, given: Any) -> Any:  # noqa: ANN401 - Pydantic hands over what the YAML says
        words = (
            [] if not isinstance(given, dict) else [w for w in given if w not in cls.model_fields]
        )
        known = (*cls.model_fields, *(plugin_names(EXTRACTORS) if words else ()))
        for word in words:
            if word not in known:
                near = get_close_matches(str(word), known, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise ValueError(
                    f"there is no kind of source {word!r}.{hint} "
                    f"Kinds are {', '.join(known)}; packages may add others"
                )
        return given

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        given += self.model_extra or {}
        if len(given) != 1:
            allowed = ", ".join(type(self).model_fields)
            raise ValueError(f"give exactly one of {allowed}, not {' and '.join(given) or 'none'}")
        return self

    @property
    def plugin(self) -> tuple[str, dict[str, Any]] | None:
        """The name of the plug-in that does it, and its parameters; none of a built-in kind."""
        return next(iter((self.model_extra or {}).items()), None)

    @property
    def asked(self) -> dict[str, Any]:
        """The words that decide which bytes are received; of a plug-in, all."""
        reading = dict(READING)
        if self.rest is not None and self.rest.pages is None:
            reading["rest"] = READING["rest"] | READING_ONE_BODY
        return self.model_dump(mode="json", exclude=reading)

    @property
    def kind(self) -> str:
        """How the data is written, as the Dagster UI shows it."""
        if self.plugin is not None:
            return self.plugin[0]
        if self.database is not None:
            return self.database.system
        if self.rest is not None:
            return self.rest.format
        return self.files.format if self.files is not None else "feed"

    @property
    def rejects(self) -> str:
        """What stands before the rules about rows that cannot be read, such as ``csv``."""
        if self.database is not None:
            return "database"
        if self.files is None:
            return self.kind
        return RULE_PREFIXES.get(self.files.format, self.files.format)

    @property
    def overlaps(self) -> bool:
        """Whether a row may be in two windows."""
        window = None if self.database is None else self.database.window
        return window is not None and bool(window.overlap)

    @property
    def typed(self) -> bool:
        """Whether values arrive with types, not as text."""
        if self.files is None:
            return self.database is not None
        return self.files.format in TYPED

    @property
    def is_headerless(self) -> bool:
        """Whether columns are known by their order alone."""
        written = self.files or self.rest
        return written is not None and written.csv.header is False

    @property
    def has_headers(self) -> bool:
        """Whether what is received names all columns that there are, even those without values."""
        written = self.rest if self.files is None else self.files
        return self.database is not None or (written is not None and written.format in HEADED)

    @property
    def infers_types(self) -> bool:
        """Whether the type of a column is that which its values happen to have."""
        return self.files is not None and self.files.format == "excel"

    @property
    def place(self) -> str:
        """Where the data is, without secrets."""
        if self.database is not None:
            return f"{self.database.name} of {self.database.url_env}"
        if self.rest is not None:
            return self.rest.url
        if self.feed is not None:
            return self.feed.place_of("{partition}")
        return self.files.path if self.files is not None else self.kind

    @property
    def host(self) -> str | None:
        """The outside host that is asked over HTTP, with its port unless that is the usual one."""
        asked = self.rest or self.feed
        return host_of(asked.url) if asked is not None else None

    @property
    def known_columns(self) -> tuple[str, ...]:
        """Columns that are received whatever the source; a contract may leave them unnamed."""
        return FEED_COLUMNS if self.feed else ()

    @property
    def tells_of_now(self) -> bool:
        """Whether it says what is now, so that a window of time is filled while it runs."""
        return self.feed is not None
