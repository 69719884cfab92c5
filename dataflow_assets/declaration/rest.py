"""A REST API: what to ask for, who asks, and how its answers are cut into pages."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, JsonValue, StringConstraints, model_validator

from dataflow_assets.declaration.base import TEMPLATE, Declared, Duration

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_PORTS = {"http": 80, "https": 443}
WINDOW = re.compile(r"\{(begin|end|last):([^{}]+)\}|\{(partition)\}")
"""What stands for a partition in a request: moments of its window in UTC, or its key."""
LIKE_PLACEHOLDER = re.compile(r"\{[A-Za-z_]+(:[^{}]*)?\}")
CREDENTIALS_IN_URL = re.compile(r"^https?://[^/]*@")
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""The name of a variable of the environment."""
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")]


def origin_of(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of an address.

    Raises:
        ValueError: It is none.
    """
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    return parts.scheme, parts.hostname or "", port


def host_of(url: str) -> str:
    """Return the host of an address, with its port unless that is the usual one."""
    scheme, host, port = origin_of(url)
    return host if port == DEFAULT_PORTS.get(scheme) else f"{host}:{port}"


def _check_placeholders(text: str) -> str:
    mistaken = LIKE_PLACEHOLDER.search(WINDOW.sub("", text))
    if mistaken is not None:
        raise ValueError(
            f"{mistaken[0]!r} is no placeholder; allowed are {{begin:%Y-%m-%d}}, {{end:...}}, "
            "{last:...} (any strftime codes, in UTC) and {partition}"
        )
    return text


def _check_url(url: str) -> str:
    if TEMPLATE.search(url):  # it is looked at once it is filled in
        return url
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r} must begin with https:// or http://")
    if CREDENTIALS_IN_URL.match(url):
        raise ValueError("an address holds no password: name the variable that does under auth")
    if "{" in urlsplit(url).netloc:
        raise ValueError(f"the host of {url!r} must be the same for all partitions")
    host_of(url)
    rest = WINDOW.sub("", url)
    if "{" in rest or "}" in rest or " " in url:
        raise ValueError(
            f"{url!r} holds a blank, or a brace that is no placeholder; allowed are "
            "{begin:%Y-%m-%d}, {end:...}, {last:...} (any strftime codes, in UTC) and {partition}"
        )
    return url


Url = Annotated[str, AfterValidator(_check_url)]
Template = Annotated[str, AfterValidator(_check_placeholders)]
Path = Annotated[str, StringConstraints(pattern=r"^[^.\s]+(\.[^.\s]+)*$")]
"""Where something stands in a JSON document: names and positions, parted by points."""


class Secret(Declared):
    """A value that only the environment knows.

    Attributes:
        env: The variable that holds it.
    """

    env: Variable


class Basic(Declared):
    """A user and a password.

    Attributes:
        user_env: The variable that holds the user.
        password_env: The variable that holds the password.
    """

    user_env: Variable
    password_env: Variable


class Bearer(Declared):
    """A token in the header ``Authorization``.

    Attributes:
        token_env: The variable that holds it.
    """

    token_env: Variable


class ApiKey(Declared):
    """A key in a header or in the query.

    Attributes:
        key_env: The variable that holds it.
        header: The header.
        param: The parameter of the query.
    """

    key_env: Variable
    header: HeaderName | None = None
    param: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.header is None) == (self.param is None):
            raise ValueError("give either header or param: where the key goes")
        return self


class OAuth2(Declared):
    """Client credentials of OAuth 2, for which a token is given for a while.

    Attributes:
        token_url: Where tokens are given.
        client_id_env: The variable that holds the client's name.
        client_secret_env: The variable that holds its secret.
        scope: What is asked for.
        audience: Whom the token is for, where the host wants to know.
        send: Whether name and secret go into a header (``header``) or the form (``body``).
    """

    token_url: Url
    client_id_env: Variable
    client_secret_env: Variable
    scope: str | None = None
    audience: str | None = None
    send: Literal["header", "body"] = "header"


def _one_of(model: Declared, names: Iterator[str]) -> None:
    known = list(names)
    given = [name for name in known if getattr(model, name) is not None]
    if len(given) != 1:
        told = " and ".join(given) or "none"
        raise ValueError(f"give exactly one of {', '.join(known)}, not {told}")


class Auth(Declared):
    """Who asks: exactly one way to prove it.

    Attributes:
        basic: A user and a password.
        bearer: A token.
        api_key: A key in a header or in the query.
        oauth2: Client credentials of OAuth 2.
    """

    basic: Basic | None = None
    bearer: Bearer | None = None
    api_key: ApiKey | None = None
    oauth2: OAuth2 | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        _one_of(self, iter(type(self).model_fields))
        return self


class LinkPages(Declared):
    """The header ``Link`` leads to the next page (``rel="next"``).

    Attributes:
        rel: The relation that leads there.
    """

    rel: str = "next"


class NextPages(Declared):
    """The body holds the address of the next page.

    Attributes:
        path: Where; a page without one is the last.
    """

    path: Path


class CursorPages(Declared):
    """The body holds what to ask for the next page with.

    Attributes:
        path: Where; a page without one is the last.
        param: The parameter that takes it.
        more: Where the body says whether there are more; if it says no, the page is the last.
    """

    path: Path
    param: str = Field(min_length=1)
    more: Path | None = None


class OffsetPages(Declared):
    """A page is asked for by the number of rows before it.

    Attributes:
        param: The parameter for that number.
        limit_param: The parameter for the rows of a page.
        limit: Rows of a page; a host may give fewer.
        total: Where the body says how many rows there are in all.
        overlap: Rows of the page before that are asked for again, to see that none moved away
            unseen.
    """

    param: str = Field(default="offset", min_length=1)
    limit_param: str | None = Field(default="limit", min_length=1)
    limit: int = Field(default=100, ge=1)
    total: Path | None = None
    overlap: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _overlap_is_less(self) -> Self:
        if self.overlap >= self.limit:
            raise ValueError(f"overlap {self.overlap} must be less than limit {self.limit}")
        return self


class NumberPages(Declared):
    """A page is asked for by its number.

    Attributes:
        param: The parameter for the number.
        first: The number of the first page.
        size_param: The parameter for the rows of a page.
        size: Rows of a page.
        total: Where the body says how many rows there are in all.
        total_pages: Where the body says how many pages there are.
    """

    param: str = Field(default="page", min_length=1)
    first: int = Field(default=1, ge=0)
    size_param: str | None = Field(default=None, min_length=1)
    size: int = Field(default=100, ge=1)
    total: Path | None = None
    total_pages: Path | None = None


class Pages(Declared):
    """How answers are cut into pages: exactly one way.

    Attributes:
        link: By the header ``Link``.
        next: By an address in the body.
        cursor: By a cursor in the body.
        offset: By the number of rows before.
        number: By the number of the page.
        most: The most pages of a partition; more are refused, as they may never end.
    """

    link: LinkPages | None = None
    next: NextPages | None = None
    cursor: CursorPages | None = None
    offset: OffsetPages | None = None
    number: NumberPages | None = None
    most: int = Field(default=100_000, ge=1)

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        _one_of(self, (name for name in type(self).model_fields if name != "most"))
        return self


class Rate(Declared):
    """How often a host may be asked, by all runs of a machine together.

    Attributes:
        requests: How many requests.
        per: In which time; they are spread over it evenly.
    """

    requests: int = Field(ge=1)
    per: Duration = dt.timedelta(seconds=1)


class Patience(Declared):
    """How long a host is waited for, and how often it is asked again.

    Attributes:
        connect: How long it may take to reach it.
        silence: How long it may say nothing amid an answer.
        answer: How long one answer may take in all.
        tries: How often the same is asked where trying again may help.
        longest_wait: The longest pause between two tries. A host that asks for a longer one
            (``Retry-After``) is left alone.
    """

    connect: Duration = dt.timedelta(seconds=10)
    silence: Duration = dt.timedelta(seconds=30)
    answer: Duration = dt.timedelta(minutes=5)
    tries: int = Field(default=5, ge=1, le=20)
    longest_wait: Duration = dt.timedelta(seconds=60)


class Endpoint(Declared):
    """What is asked of a REST API.

    Texts of `url`, `params`, `headers` and `body` may hold ``{begin:%Y-%m-%dT%H:%M:%SZ}``,
    ``{end:...}`` and ``{last:...}`` (the window's begin, its end and the moment just before its
    end, in UTC, written with strftime codes) and ``{partition}`` (the key).

    Attributes:
        url: The address.
        method: GET, or POST with `body`; then the parameters of pages go into the body.
        params: Parameters of the query; ``{env: NAME}`` takes a secret from the environment.
        headers: Headers; ``{env: NAME}`` takes a secret from the environment.
        body: What is sent with POST, as JSON.
        auth: Who asks.
        pages: How answers are cut into pages; unset, there is one.
        records: Where the rows stand in a body of JSON; unset, the body is the list of them.
        total: Where a body of JSON says how many rows there are in all pages: a check compares the
            last page's number with the rows received.
        rate: How often the host may be asked.
        patience: How long it is waited for.
        most_bytes: The longest body, as sent and as decompressed.
        resume: For how long the pages that a killed run received are good for the next.
    """

    url: Url
    method: Literal["GET", "POST"] = "GET"
    params: dict[str, Template | int | float | bool | Secret] = Field(default_factory=dict)
    headers: dict[HeaderName, Template | Secret] = Field(default_factory=dict)
    body: JsonValue | None = None
    auth: Auth | None = None
    pages: Pages | None = None
    records: Path | None = None
    total: Path | None = Field(default=None, exclude_if=lambda said: said is None)
    rate: Rate | None = None
    patience: Patience = Patience()
    most_bytes: int = Field(default=64 << 20, ge=1)
    resume: Duration = dt.timedelta(hours=6)

    @property
    def placeholders(self) -> set[str]:
        """The words of all placeholders."""
        found = (WINDOW.finditer(text) for text in self._texts())
        return {match[1] or match[3] for matches in found for match in matches}

    def _texts(self) -> Iterator[str]:
        yield self.url
        yield from _texts_of([*self.params.values(), *self.headers.values(), self.body])

    @model_validator(mode="after")
    def _body_belongs_to_post(self) -> Self:
        if self.body is not None and self.method != "POST":
            raise ValueError("body needs method: POST")
        for text in _texts_of(self.body):
            _check_placeholders(text)
        in_body = self.pages and (self.pages.cursor or self.pages.offset or self.pages.number)
        if self.method == "POST" and in_body and not isinstance(self.body, dict):
            raise ValueError("with POST the parameters of pages go into body: give it, as a map")
        return self


def _texts_of(value: Any) -> Iterator[str]:  # noqa: ANN401 - nested JSON
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts_of(item)
