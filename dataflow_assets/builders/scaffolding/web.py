"""Samples over HTTP: what an API answers, and feeds.

What belongs here: asking, telling an API from a feed, and seeing whether a guessed next page is
one. What does not: the hints themselves (`extract.sniffing.answers`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlencode, urlsplit

from dataflow_assets.builders.scaffolding.files import decoded, delimited_words, records_path
from dataflow_assets.builders.scaffolding.sample import MOST_BYTES, Sample
from dataflow_assets.builders.scaffolding.writing import scalar
from dataflow_assets.declaration.rest import Endpoint, Pages
from dataflow_assets.errors import DataflowError, SampleError, UnreadableFileError
from dataflow_assets.extract.authentication import open_credentials
from dataflow_assets.extract.extractor import Request
from dataflow_assets.extract.files import archive_bytes
from dataflow_assets.extract.hosts import Budget, HostGuard
from dataflow_assets.extract.http import Ask, HttpClient, Limits, with_params
from dataflow_assets.extract.messages import Message
from dataflow_assets.extract.pages import (
    MISSING,
    Page,
    PagesShiftedError,
    Position,
    find,
    open_pager,
)
from dataflow_assets.extract.rest import Filler
from dataflow_assets.extract.sniffing.answers import guess_address, guess_pages, guess_total
from dataflow_assets.extract.sniffing.encodings import guess_encoding
from dataflow_assets.extract.sniffing.formats import (
    PAGES,
    Head,
    no_data,
    sort_of_bytes,
    sort_of_text,
)
from dataflow_assets.io.lake import Lake

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dataflow_assets.extract.files import Snapshot
    from dataflow_assets.extract.http import Response
    from dataflow_assets.extract.sniffing.answers import AddressGuess, PagesGuess

MOST_TRIES = 8
"""Guesses about pages that are tried by asking."""
LIMITS = Limits(total_s=60, most_bytes=4 * MOST_BYTES, tries=3)
ACCEPTED = (
    "application/json, application/feed+json, application/atom+xml, application/rss+xml, "
    "text/csv;q=0.9, application/xml;q=0.8, */*;q=0.5"
)
DAILY = '{cron: "15 1 * * *"}'
POLLED = '{cron: "*/15 * * * *"}'


@dataclass(frozen=True)
class Asked:
    """A host that has answered.

    Attributes:
        name: Of the source.
        address: The parts of the address.
        auth: Who asks, as the declaration says it.
        client: Asks on.
        answer: What it answered.
        work: A folder for what it answered.
    """

    name: str
    address: AddressGuess
    auth: Mapping[str, Any] | None
    client: HttpClient
    answer: Response
    work: Path

    @property
    def place(self) -> str:
        """The address as people may see it."""
        return self.address.url

    def keep(self, name: str, content: bytes) -> Snapshot:
        """Archive an answer."""
        return archive_bytes(name, content, dt.datetime.now(dt.UTC), self.work, stays=False)


def take_answer(url: str, name: str, token_env: str | None, work: Path) -> Sample:
    """Take what an address answers as the sample.

    Args:
        url: The address.
        name: Of the source.
        token_env: The variable that holds a token for it.
        work: A folder for what it answers.

    Raises:
        SampleError: It is neither a feed nor data.
        SourceUnavailableError: The host does not answer.
        SourceRefusedError: It refuses.
    """
    address = guess_address(url, name)
    secrets, auth, told = _auth(url, name, token_env)
    with _environment({**address.secrets, **secrets}):
        endpoint = Endpoint.model_validate({"url": address.url, "params": _sent(address), **auth})
        guard = HostGuard(Lake(work, 10).shared(".hosts"), Budget(work / "budgets", 0))
        client = HttpClient(open_credentials(endpoint, LIMITS, guard), LIMITS, guard)
        answer = client.get(_first_url(address), headers={"Accept": ACCEPTED})
    asked = Asked(name, address, auth.get("auth"), client, answer, work)
    sample = _feed(asked) or _api(asked)
    prepared = (*address.secrets, *secrets, *sample.prepared)
    kind = next(iter(sample.extract))
    remarks = {**sample.remarks, kind: [*address.remarks, *told, *sample.remarks.get(kind, ())]}
    return Sample(**{**vars(sample), "prepared": prepared, "remarks": remarks})


def _auth(
    url: str, name: str, token_env: str | None
) -> tuple[dict[str, str], dict[str, Any], list[str]]:
    """Return secrets that the address holds itself, who asks, and what to tell of that."""
    parts = urlsplit(url)
    if parts.username is not None:
        words = {"user_env": f"{name}_USER".upper(), "password_env": f"{name}_PASSWORD".upper()}
        values = (unquote(parts.username), unquote(parts.password or ""))
        secrets = dict(zip(words.values(), values, strict=True))
        return secrets, {"auth": {"basic": words}}, ["user and password are not written here"]
    if token_env is not None:
        return {}, {"auth": {"bearer": {"token_env": token_env}}}, []
    return {}, {}, []


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for a while: secrets that stood in an address."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _request(address: AddressGuess) -> Request:
    """Return what is asked for: the window of the address, if it has one."""
    begin = None
    if address.start is not None:
        begin = dt.datetime.combine(address.start, dt.time(), dt.UTC)
    end = None if begin is None else begin + dt.timedelta(days=1)
    key = "all" if begin is None else begin.date().isoformat()
    return Request(key, begin, end, archive=Path(), stays=False, before=lambda: ())


def _sent(address: AddressGuess) -> dict[str, Any]:
    return {name: value for name, value in address.params.items() if isinstance(value, dict)}


def _first_url(address: AddressGuess) -> str:
    filler = Filler(_request(address))
    plain = {n: filler.text(v) for n, v in address.params.items() if not isinstance(v, dict)}
    return with_params(address.url, plain)


def _feed(asked: Asked) -> Sample | None:
    """Return the sample if the answer is a feed."""
    from dataflow_assets.extract.feed import read_feed  # noqa: PLC0415 - only for what may be one

    answer = asked.answer
    begin = decoded(answer.content[:4096], "auto").lstrip()
    is_json_feed = begin[:1] == "{" and "jsonfeed.org/version" in begin
    is_xml = begin[:1] == "<" or "xml" in answer.headers.get("content-type", "")
    if not is_xml and not is_json_feed:
        return None
    if PAGES.match(begin):
        raise no_data(asked.place, "it answers a web page")
    address = answer.url.partition("?")[0]
    message = Message.of({**answer.headers, "Content-Location": address}, answer.content)
    place = asked.place.partition("://")[2]
    try:
        read_feed(message, place)
    except UnreadableFileError as error:
        raise no_data(
            asked.place, f"it answers neither data nor a feed ({error.problem})"
        ) from error
    snapshot = asked.keep(f"{place}/poll.http", message.write())
    today = dt.datetime.now(dt.UTC).date()
    return Sample(
        place=asked.place,
        extract={"feed": _feed_words(asked)},
        partitions={"every": "day", "start": today, "current": True},
        snapshots=[snapshot],
        remarks={"partitions": ["a feed says what is now: its first window is today's"]},
        automation=POLLED,
    )


def _feed_words(asked: Asked) -> dict[str, Any]:
    """Return what a declaration says of a feed: secrets of its query become its key."""
    params = asked.address.params
    secrets = {name: value["env"] for name, value in params.items() if isinstance(value, dict)}
    plain = urlencode({name: value for name, value in params.items() if name not in secrets})
    url = asked.address.url.replace("{", "%7B").replace("}", "%7D")
    words: dict[str, Any] = {"url": f"{url}?{plain}" if plain else url}
    if asked.auth:
        return {**words, "auth": dict(asked.auth)}
    if not secrets:
        return words
    if len(secrets) > 1:
        raise SampleError(
            f"the address of the feed holds several secrets: {', '.join(secrets)}.",
            mend="A feed has one key: write the declaration by hand.",
            culprit=asked.place,
        )
    ((param, variable),) = secrets.items()
    return {**words, "auth": {"api_key": {"key_env": variable, "param": param}}}


def _api(asked: Asked) -> Sample:
    """Return the sample of an API, or of a file that is served."""
    head = Head(asked.place, asked.answer.content, cut=False)
    if sort := sort_of_bytes(head):
        raise no_data(asked.place, f"it answers {sort}, which only files may be: store it first")
    encoding = guess_encoding(head.content, cut=False)
    text = decoded(head.content, encoding.name)
    sort = sort_of_text(urlsplit(asked.place).path, text)
    words: dict[str, Any] = {"url": asked.address.url.replace("{", "%7B").replace("}", "%7D")}
    if asked.address.params:
        words["params"] = {name: _template(value) for name, value in asked.address.params.items()}
    if asked.auth:
        words["auth"] = dict(asked.auth)
    if sort == "json":
        return _pages(asked, words, text)
    if sort != "delimited":
        raise no_data(asked.place, f"it answers {sort}, which only files may be: store it first")
    written = delimited_words(head, encoding)
    if written.words["format"] == "tsv":
        written.words["csv"] = {"delimiter": "\t", **written.words.get("csv", {})}
    words |= {**written.words, "format": "csv"}
    return _sampled(asked, words, [_kept(asked, asked.answer, 1)], written.remarks, written.names)


def _template(value: Any) -> Any:  # noqa: ANN401 - text, or a secret
    """Return a parameter as a declaration may hold it."""
    if isinstance(value, str) and "{" in value and not value.startswith(("{begin:", "{end:")):
        return value.replace("{", "").replace("}", "")
    return value


def _kept(asked: Asked, answer: Response, number: int) -> Snapshot:
    return asked.keep(f"{asked.place.partition('://')[2]}#{number}", answer.content)


def _sampled(
    asked: Asked,
    words: dict[str, Any],
    snapshots: Sequence[Snapshot],
    remarks: Mapping[str, Sequence[str]],
    names: tuple[str, ...] = (),
) -> Sample:
    partitions: dict[str, Any] = {"values": ["all"]}
    told = "no window in the address: one partition, of all that is answered"
    if asked.address.every is not None:
        partitions = {"every": asked.address.every, "start": asked.address.start}
        told = "the address names a day: a partition for each"
    return Sample(
        place=asked.place,
        extract={"rest": words},
        partitions=partitions,
        snapshots=snapshots,
        remarks={"partitions": [told], **remarks},
        names=names,
        automation=DAILY,
    )


def _pages(asked: Asked, words: dict[str, Any], text: str) -> Sample:
    """Find the records of a JSON body, and whether there are more pages."""
    path, told = records_path(text, asked.place)
    if isinstance(path, list):
        raise SampleError(
            f"the records of {asked.place} stand at {path}, a name with a point in it.",
            mend="No declaration of an API can say that; store the answers as files.",
            culprit=asked.place,
        )
    if path:
        words["records"] = path
    document = json.loads(text)
    first = _records(document, path)
    snapshots = [_kept(asked, asked.answer, 1)]
    remarks: dict[str, list[str]] = {"records": told}
    plain = {name: value for name, value in asked.address.params.items() if isinstance(value, str)}
    guesses = guess_pages(plain, asked.answer.headers, document, len(first))
    for guess, _ in zip(guesses, range(MOST_TRIES), strict=False):
        verdict = _tried(asked, guess, document, path)
        if verdict is None:
            continue
        more, remark = verdict
        words["pages"] = dict(guess.words)
        remarks["pages"] = [guess.remark, remark]
        if more is not None:
            snapshots.append(_kept(asked, more, 2))
        _drop_params(words)
        break
    else:
        remarks["pages"] = ["nothing tells of further pages: all is taken to be in one answer"]
    total = guess_total(document, len(first)) if path else None  # else it is one record's own
    if total and not _says_total(words):
        words["total"] = total[0]
        remarks["total"] = [f"{total[1]:,} rows in all: the check rows_complete warns of fewer"]
    sample = _sampled(asked, words, snapshots, remarks)
    return _incomplete(sample, *total, len(first)) if total else sample


def _says_total(words: Mapping[str, Any]) -> bool:
    """Whether pages are turned until a total is reached."""
    said = next(iter(words.get("pages", {"none": {}}).values()))
    return "total" in said or "total_pages" in said


def _incomplete(sample: Sample, path: str, total: int, count: int) -> Sample:
    """Return the sample with a warning, if the answer has not all rows and nothing leads on."""
    if total <= count or "pages" in sample.extract["rest"]:
        return sample
    lacking = (
        f"The answer had {count:,} of {total:,} rows ({path}), and nothing tells how to ask for "
        "the others: see what the API says of pages, and declare them under extract: rest"
    )
    example = {"offset": {"param": "offset", "limit_param": "limit", "limit": count, "total": path}}
    number = {"number": {"param": "page", "size_param": "per_page", "size": count, "total": path}}
    told = [f"MORE ROWS: {lacking}, such as one of these", scalar(example), scalar(number)]
    return replace(sample, remarks={**sample.remarks, "pages": told}, cautions=(f"{lacking}.",))


def _drop_params(words: dict[str, Any]) -> None:
    """Leave out parameters that pages set by themselves."""
    said = next(iter(words["pages"].values()))
    own = {said.get(word) for word in ("param", "limit_param", "size_param")}
    kept = {name: value for name, value in words.get("params", {}).items() if name not in own}
    words.pop("params", None)
    if kept:
        words["params"] = kept


def _records(document: Any, path: str | None) -> Sequence[Any]:  # noqa: ANN401 - nested JSON
    found = find(document, path, "the sample") if path else document
    if isinstance(found, list):
        return found
    return () if found is MISSING or found is None else (found,)


def _tried(
    asked: Asked,
    guess: PagesGuess,
    document: Any,  # noqa: ANN401 - nested JSON
    path: str | None,
) -> tuple[Response | None, str] | None:
    """Ask for the next page that a guess leads to; none if there is no such page.

    Returns:
        The next page, if there is one, and what came of it.
    """
    pager = open_pager(Pages.model_validate(guess.words))
    start = pager.first(Position(url=_first_url(asked.address)))
    answer = asked.answer
    page = Page(answer.url, asked.place, answer.headers, document, _records(document, path))
    try:
        following = pager.after(start, page)
        if following is None:
            return None, "the sample is the last page, so that it was not tried"
        more = asked.client.send(Ask(following.url, headers={"Accept": ACCEPTED}))
        records = _records(json.loads(more.content), path)
    except (DataflowError, PagesShiftedError, ValueError):
        return None
    if _digest(records) == _digest(page.records):
        return None
    if not records:
        return (None, "tried: the next page is empty") if "cursor" not in guess.words else None
    return more, f"tried: the next page has {len(records):,} other records"


def _digest(records: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()
