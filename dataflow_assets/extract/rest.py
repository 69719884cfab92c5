"""REST APIs: the pages of one partition, archived as they were received.

What belongs here: filling in the request, turning its pages until the last, and going on where a
killed run stopped. What does not: HTTP (`http`), ways of cutting pages (`pages`), rows.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from dataflow_assets.declaration.rest import WINDOW, Secret
from dataflow_assets.errors import SourceRefusedError, SourceUnavailableError
from dataflow_assets.extract.authentication import open_credentials
from dataflow_assets.extract.files import FoundFile, take_snapshot
from dataflow_assets.extract.hosts import Budget, HostGuard
from dataflow_assets.extract.http import Ask, HttpClient, Limits, with_params
from dataflow_assets.extract.journal import Journal, KeptPage, folder_name, remove_old
from dataflow_assets.extract.json_marks import shallow
from dataflow_assets.extract.json_objects import object_of
from dataflow_assets.extract.pages import (
    MISSING,
    Page,
    PagesShiftedError,
    Position,
    find,
    open_pager,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from dataflow_assets.declaration.extract import Rest
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.extract.extractor import Reader, Request, Surroundings
    from dataflow_assets.extract.files import Snapshot
    from dataflow_assets.extract.http import Response

TOTAL_SOUGHT = 2
"""Of how many pages, from the last, the total is looked for: an empty last one may not say it."""
READINGS = 4
"""How often a list is read whose rows move while it is read."""
ASKED = {"method", "headers", "pages", "records", "format"}
"""Words of a declaration that decide what is received, beside the request itself."""
LONGEST_NAME = 400
LONGEST_BLANK = 64
"""Bytes up to which a body is looked at for anything but white space."""
NO_CONTENT = 204
"""The status that says that there is nothing, without a body."""
ARCHIVED_AT_ONCE = 8
SECONDS_CODE = re.compile(r"(?<!%)((?:%%)*)%s")


MOST_DEPTH = 100
"""How deep a page is looked into for what leads to the next one, if it is too deep as a whole."""


class RestExtractor:
    """Receives the pages of a REST API.

    Secrets are read from the environment when this is made: by a run, not when declarations load.

    Args:
        source: The declaration.
        rest: What it says of the API.
        open_reader: Gives what reads the bodies of one partition.
        around: Where pages on their way and the state of hosts are kept.

    Raises:
        SettingsError: A variable that the declaration names is not set.
    """

    def __init__(
        self,
        source: SourceDeclaration,
        rest: Rest,
        open_reader: Callable[[], Reader],
        around: Surroundings,
    ) -> None:
        self._open_reader = open_reader
        self.reader = open_reader()
        self._rest = rest
        self._folder = around.scratch / "pages" / source.name
        remove_old(self._folder, rest.resume.total_seconds())
        rate = rest.rate
        interval = rate.per.total_seconds() / rate.requests if rate else 0
        guard = HostGuard(around.shared, Budget(around.scratch / "budgets", interval))
        limits = limits_of(rest)
        self._credentials = open_credentials(rest, limits, guard)
        self._client = HttpClient(self._credentials, limits, guard)
        self._pager = open_pager(rest.pages)
        self._headers: dict[str, str] = {}

    def fetch(self, request: Request) -> Sequence[Snapshot]:
        """Receive the pages of a partition, and archive them when all are there.

        Raises:
            SourceUnavailableError: The host does not answer, or its rows do not stand still.
            SourceRefusedError: The host refuses, or answers other than the declaration says.
            BreakerOpenError: The host is not asked for now.
            StorageError: The pages cannot be kept.
        """
        filler = Filler(request)
        start = self._pager.first(first_position(self._rest, filler))
        self._headers = {
            name: filler.text(text)
            for name, text in self._rest.headers.items()
            if not isinstance(text, Secret)
        }
        journal = Journal(
            self._folder / folder_name(request.partition),
            _digest(start.model_dump_json(), self._rest.model_dump_json(include=ASKED)),
            self._rest.resume.total_seconds(),
            self._credentials,
        )
        for _ in range(READINGS):
            self.reader = self._open_reader()
            try:
                with _Archiving(journal, request.archive, self.reader) as archiving:
                    self._turn_pages(journal, start, archiving)
                    snapshots = archiving.finish()
            except PagesShiftedError:
                journal.clear()
                continue
            journal.remove()
            return snapshots
        raise SourceUnavailableError(
            f"the rows at {self._credentials.shown(start.url)} moved between pages, "
            f"{READINGS} times in a row.",
            mend="Ask for a window that is over, sort by what does not change, or declare "
            "overlap (offset) or a cursor.",
            culprit=self._rest.url,
        )

    def _turn_pages(self, journal: Journal, start: Position, archiving: _Archiving) -> None:
        """Receive all pages that the journal does not hold yet, and archive them meanwhile."""
        seen = {_identity(page.position) for page in journal.pages}
        position: Position | None = journal.pages[-1].following if journal.pages else start
        while position is not None:
            if _identity(position) in seen:
                raise self._endless(position, "leads back to a page that was received already")
            if self._rest.pages is not None and position.number > self._rest.pages.most:
                raise self._endless(position, f"is beyond page {self._rest.pages.most:,}")
            seen.add(_identity(position))
            position = self._receive(journal, position, archiving.catch_up)

    def _receive(
        self, journal: Journal, position: Position, meanwhile: Callable[[], None]
    ) -> Position | None:
        """Receive a page, take note of it, and return where the next one is."""
        path = journal.path(position.number)
        response = self._client.send(self._ask(position), path, meanwhile)
        page = self._page(response, path, self._name(position))
        following = self._pager.after(position, page)
        if following is not None:
            clean = self._credentials.strip(following.url)
            following = following.model_copy(update={"url": clean})
        before = journal.pages[-1].sha256 if journal.pages else None
        if before == response.sha256 and page.records and not position.anchor:
            raise self._endless(position, "holds the very rows of the page before")
        journal.note(
            KeptPage(
                position=position,
                following=following,
                name=page.name,
                size=response.size,
                sha256=response.sha256,
            )
        )
        return following

    def _ask(self, position: Position) -> Ask:
        if self._rest.method == "GET":
            return Ask(position.url, headers=self._headers)
        told = {"Content-Type": "application/json", **self._headers}
        return Ask(position.url, "POST", told, json.dumps(position.body).encode())

    def _page(self, response: Response, path: Path, name: str) -> Page:
        """Return what an answer says, as far as that is needed to go on."""
        if response.status == NO_CONTENT:
            return Page(response.url, name, response.headers, None, (), is_empty=True)
        if self._rest.format == "json" and _is_blank(path):
            raise _without_body(response, name)
        document: Any = None
        records: Sequence[Any] = ()
        if self._rest.format == "json" and self._rest.pages is not None:
            document = self._parsed(path, name)
            records = self._records(document, name)
        return Page(response.url, name, response.headers, document, records)

    def _parsed(self, path: Path, name: str) -> Any:  # noqa: ANN401 - nested JSON
        try:
            return _decoded(path.read_bytes())
        except ValueError as error:
            raise SourceUnavailableError(
                f"{name} answered what is no JSON.",
                mend="Look at what the host answers; some show a page for people when they are "
                "being maintained.",
                culprit=name,
            ) from error

    def _records(self, document: Any, name: str) -> Sequence[Any]:  # noqa: ANN401 - nested JSON
        path = self._rest.records
        records = find(document, path, name) if path else document
        if records is MISSING:
            raise SourceRefusedError(
                f"{name} holds nothing at {path}.",
                mend="Correct records in the declaration.",
                culprit=name,
            )
        if isinstance(records, list):
            return records
        return () if records is None else (records,)

    def _name(self, position: Position) -> str:
        """Return a page's name: its address without scheme and secrets, told apart by number."""
        shown = self._credentials.shown(position.url).partition("://")[2]
        if len(shown) > LONGEST_NAME:
            shown = f"{shown[:LONGEST_NAME]}…{_digest(position.url)}"
        return shown if position.body is None else f"{shown}#{position.number}"

    def _endless(self, position: Position, why: str) -> SourceRefusedError:
        name = self._name(position)
        return SourceRefusedError(
            f"{name} {why}: the pages would never end.",
            mend="Correct pages in the declaration; see which parameter the host understands.",
            culprit=name,
        )


def _decoded(content: bytes) -> Any:  # noqa: ANN401 - nested JSON
    """Return a document; what is too deep in it says nothing of the next page, and is null."""
    try:
        return json.loads(content, object_pairs_hook=object_of)
    except RecursionError:
        text = content.decode(json.detect_encoding(content), "surrogatepass")
        told = shallow(text.encode("utf-8", "surrogatepass"), MOST_DEPTH)
        return json.loads(told, object_pairs_hook=object_of)


def _is_blank(path: Path) -> bool:
    return path.stat().st_size <= LONGEST_BLANK and not path.read_bytes().strip()


def _without_body(response: Response, name: str) -> SourceRefusedError:
    """Return what to say of an empty body; it came whole, so that asking again would not help."""
    return SourceRefusedError(
        f"{name} answered {response.status} with an empty body, which is no JSON.",
        mend="Look at the address and the parameters in the declaration, and ask those who keep "
        "the host; one that has no rows answers [] or the status 204.",
        culprit=name,
    )


def total_of(rest: Rest, snapshots: Sequence[Snapshot]) -> int | None:
    """Return how many rows there are, as the last page says; none if it does not say.

    Args:
        rest: The declaration, which says where that stands.
        snapshots: The pages.

    Raises:
        SourceRefusedError: A name on the way there is in the page twice.
    """
    for snapshot in reversed(snapshots[-TOTAL_SOUGHT:]) if rest.total else ():
        try:
            document = _decoded(snapshot.path.read_bytes())
        except ValueError:  # such as an empty page; the reader says what is wrong with others
            continue
        said = find(document, rest.total or "", snapshot.file.name)
        if isinstance(said, str) and said.isdecimal():
            return int(said)
        if isinstance(said, int) and not isinstance(said, bool):
            return said
    return None


def limits_of(rest: Rest) -> Limits:
    """Return a declaration's patience as the client takes it."""
    patience = rest.patience
    return Limits(
        connect_s=patience.connect.total_seconds(),
        read_s=patience.silence.total_seconds(),
        total_s=patience.answer.total_seconds(),
        most_bytes=rest.most_bytes,
        tries=patience.tries,
        longest_wait_s=patience.longest_wait.total_seconds(),
    )


def first_position(rest: Rest, filler: Filler) -> Position:
    """Return what to ask for a partition, before pages come into it."""
    url = WINDOW.sub(lambda match: quote(filler.value(match), safe=""), rest.url)
    params = {
        name: filler.text(value)
        for name, value in rest.params.items()
        if not isinstance(value, Secret)
    }
    return Position(url=with_params(url, params), body=filler.nested(rest.body))


class Filler:
    """Puts a partition's window and key into texts."""

    def __init__(self, request: Request) -> None:
        moments = {"begin": request.begin, "end": request.end}
        if request.end is not None:
            moments["last"] = request.end - dt.timedelta(microseconds=1)
        self._moments = moments
        self._partition = request.partition

    def value(self, match: re.Match[str]) -> str:
        """Return what a placeholder stands for."""
        moment = self._moments.get(match[1])
        if moment is None:
            return self._partition
        seconds = str(int(moment.timestamp()))  # %s of Python means the machine's own zone
        return moment.strftime(SECONDS_CODE.sub(rf"\g<1>{seconds}", match[2]))

    def text(self, value: str | float) -> str:
        """Return a parameter as it is sent."""
        if isinstance(value, bool):
            return "true" if value else "false"
        return WINDOW.sub(self.value, value) if isinstance(value, str) else str(value)

    def nested(self, value: Any) -> Any:  # noqa: ANN401 - nested JSON
        """Return a body as it is sent."""
        if isinstance(value, dict):
            return {name: self.nested(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.nested(item) for item in value]
        return self.text(value) if isinstance(value, str) else value


class _Archiving:
    """Copies the pages of a journal into the archive, several at once, while others are received.

    They are also shown to their reader, which may find their rows long before it is asked for them.

    Args:
        journal: The pages.
        archive: The source's folder in the archive.
        reader: Reads them later.
    """

    def __init__(self, journal: Journal, archive: Path, reader: Reader) -> None:
        self._journal = journal
        self._archive = archive
        self._reader = reader
        self._shown = 0
        self._taken: list[Future[Snapshot]] = []
        self._pool = ThreadPoolExecutor(ARCHIVED_AT_ONCE, thread_name_prefix="archive")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def catch_up(self) -> None:
        """Begin to archive what was noted since the last time, mostly one page; show another."""
        for page in self._journal.pages[len(self._taken) :]:
            path = self._journal.path(page.position.number)
            file = FoundFile(path, page.name, page.size, path.stat().st_mtime_ns)
            self._taken.append(self._pool.submit(take_snapshot, file, self._archive))
        if self._shown < len(self._taken) and self._taken[self._shown].done():
            self._reader.schema(self._taken[self._shown].result())
            self._shown += 1

    def finish(self) -> list[Snapshot]:
        """Archive the rest, and return all."""
        self.catch_up()
        return [one.result() for one in self._taken]


def _identity(position: Position) -> str:
    return _digest(position.url, json.dumps(position.body, sort_keys=True))


def _digest(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]
