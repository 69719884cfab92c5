"""Asking hosts over HTTP: one answer, whole and checked, or an error that says what to do.

What belongs here: requests, time-outs, redirects, decompression, and telling what is transient
(asked again, later each time) from what is permanent (not asked again). What does not: what the
answers mean, secrets (`credentials`), and what runs share about a host (`hosts`).

urllib3 carries the requests. It is imported where a client is made.
"""

from __future__ import annotations

import hashlib
import logging
import random
import socket
import ssl
import threading
import time
import zlib
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import unquote_plus, urlencode, urljoin, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from dataflow_assets.declaration.rest import host_of, origin_of
from dataflow_assets.errors import SourceRefusedError, SourceUnavailableError
from dataflow_assets.extract.credentials import Credentials
from dataflow_assets.extract.storing import storing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    import urllib3

LOG = logging.getLogger(__name__)
USER_AGENT = f"dataflow_assets/{version('dataflow-assets')}"
CHUNK_BYTES = 1 << 16
CONNECTIONS = 8
"""The most connections to one host that are kept for later."""
MOST_REDIRECTS = 10
REDIRECTS = {301, 302, 303, 307, 308}
KEEPING_METHOD = {307, 308}
NOT_MODIFIED = 304
UNAUTHORIZED = 401
SERVER_ERROR = 500
TRANSIENT = {408, 425, 429}
PERMANENT = {501, 505}
"""Answers of a server's own fault that stay the same however often one asks."""
GZIP, ZLIB, DEFLATE = 31, 15, -15
"""How zlib is told what it reads."""
GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True)
class Limits:
    """How long, how often and how much.

    Attributes:
        connect_s: Seconds to reach the host.
        read_s: Seconds for which it may be silent.
        total_s: Seconds for one answer, however steadily it drips.
        most_bytes: The longest body, as sent and as decompressed.
        tries: How often the same is asked, at most.
        first_wait_s: Seconds before the second try; they double with each one.
        longest_wait_s: Seconds before a try at most. A host that asks for a longer pause
            (``Retry-After``) is left alone.
    """

    connect_s: float = 10
    read_s: float = 30
    total_s: float = 300
    most_bytes: int = 256 << 20
    tries: int = 5
    first_wait_s: float = 0.5
    longest_wait_s: float = 60


@dataclass(frozen=True)
class Ask:
    """One request.

    Attributes:
        url: The address, without secrets.
        method: GET or POST.
        headers: What is told to the host, and to those that it redirects to: no secrets.
        body: What is sent.
    """

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True)
class Response:
    """An answer with status 2xx, or 304.

    Attributes:
        url: The address that answered, after redirects, without secrets.
        status: The status.
        headers: The headers; their names are found in any case.
        content: The body, decompressed; empty where it went into a file.
        size: Bytes of the body.
        sha256: Hash of the body, in hex.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    content: bytes
    size: int
    sha256: str


class Guard(Protocol):
    """What is known of hosts beyond one client: their budgets, and whether they answer at all."""

    def admit(self, host: str) -> float:
        """Return how many seconds to wait before the next request.

        Raises:
            BreakerOpenError: The host is not asked for now.
        """

    def answered(self, host: str) -> None:
        """Take note that a host works."""

    def failed(self, host: str, why: str) -> None:
        """Take note that a host does not work."""

    def leave_alone(self, host: str, seconds: float, why: str) -> None:
        """Take note that a host asks not to be asked for some seconds."""


class Unguarded(Guard):
    """Knows nothing of hosts, and lets every request pass."""

    def admit(self, host: str) -> float:  # noqa: ARG002 - nothing is known of it
        """Let it pass at once."""
        return 0

    def answered(self, host: str) -> None:
        """Forget it."""

    def failed(self, host: str, why: str) -> None:
        """Forget it."""

    def leave_alone(self, host: str, seconds: float, why: str) -> None:
        """Forget it."""


class _Transient(Exception):  # noqa: N818 - it never leaves this module
    """One try failed in a way that the next may not.

    Args:
        why: What happened, to follow the address in a sentence.
        wait_s: Seconds that the host asks to wait.
    """

    def __init__(self, why: str, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.wait_s = wait_s


class HttpClient:
    """Asks hosts, and asks again where that may help. Threads may share it.

    Proxies are those of the usual variables (``HTTPS_PROXY``, ``HTTP_PROXY``, ``NO_PROXY``),
    trusted certificates those of the system or of ``SSL_CERT_FILE``.

    Args:
        credentials: Who asks.
        limits: How long, how often and how much.
        guard: What runs share about hosts.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        credentials: Credentials | None = None,
        limits: Limits | None = None,
        guard: Guard | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._credentials = credentials or Credentials()
        self._limits = limits or Limits()
        self._guard = guard or Unguarded()
        self._sleep = sleep
        self._pools: dict[tuple[str, str, int], urllib3.PoolManager] = {}

    def get(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        into: Path | None = None,
    ) -> Response:
        """Ask for what stands at an address; see `send`.

        Args:
            url: The address.
            params: What is added to its query.
            headers: What is told beyond the usual, such as ``If-None-Match``.
            into: The file for the body; it is overwritten.
        """
        return self.send(Ask(with_params(url, params or {}), headers=headers or {}), into)

    def send(
        self, ask: Ask, into: Path | None = None, meanwhile: Callable[[], None] | None = None
    ) -> Response:
        """Send a request, as often as that may help, and return the answer.

        Args:
            ask: The request.
            into: The file for the body; it is overwritten.
            meanwhile: What else there is to do, once, when there is waiting to do for the first
                time: mostly while the host thinks. It is done whatever comes of the request.

        Raises:
            BreakerOpenError: The host has failed so often that it is left alone for now.
            SourceUnavailableError: The host could not be reached, or did not answer as it should,
                at the last try either.
            SourceRefusedError: The host refuses, or answers what no further try would change.
            StorageError: The file cannot be written.
        """
        errand = _Errand(meanwhile)
        try:
            return self._send(ask, into, errand)
        finally:
            errand.run()

    def _send(self, ask: Ask, into: Path | None, errand: _Errand) -> Response:
        self._check_address(ask)
        host = host_of(ask.url)
        for tried in range(1, self._limits.tries + 1):
            self._wait(self._guard.admit(host), errand)
            try:
                response = self._try(ask, into, errand)
            except _Transient as failure:
                why = self._credentials.redact(failure.why)
                self._guard.failed(host, why)
                self._wait(self._pause(ask, tried, failure, why), errand)
            except SourceRefusedError:
                self._guard.answered(host)
                raise
            else:
                self._guard.answered(host)
                return response
        raise AssertionError("the last try returns or raises")

    def _wait(self, seconds: float, errand: _Errand) -> None:
        if seconds > 0:
            self._sleep(max(0.0, seconds - errand.run()))

    def _pause(self, ask: Ask, tried: int, failure: _Transient, why: str) -> float:
        """Return how many seconds to wait before the next try.

        Raises:
            SourceUnavailableError: There is none, or the host wants none for long.
        """
        url, limits = self._credentials.shown(ask.url), self._limits
        asked = failure.wait_s
        if asked is not None and asked > limits.longest_wait_s:
            self._guard.leave_alone(host_of(ask.url), asked, why)
            why = f"{why} and asks to be left alone for {asked:,.0f} s"
        elif tried < limits.tries:
            doubled = min(limits.first_wait_s * 2 ** (tried - 1), limits.longest_wait_s)
            wait: float = max(asked or 0, doubled * random.uniform(0.5, 1))  # noqa: S311 - jitter
            LOG.warning("%s %s; asking again in %.1f s", url, why, wait)
            return wait
        raise SourceUnavailableError(
            f"{url} {why}; asked {tried} {'time' if tried == 1 else 'times'}.",
            mend="Run again later; if it stays so, ask those who keep the host.",
            culprit=host_of(ask.url),
        ) from failure

    def _try(self, ask: Ask, into: Path | None, errand: _Errand) -> Response:
        """Ask once; where a host refuses what proves who asks, prove it anew and ask again."""
        with _Deadline(self._limits.total_s, errand) as deadline:
            response = self._follow(ask, into)
            if response.status == UNAUTHORIZED and self._credentials.renew():
                response = self._follow(ask, into)
            deadline.check()
        _check_status(response, self._credentials.shown(ask.url))
        return response

    def _follow(self, ask: Ask, into: Path | None) -> Response:
        """Ask, and follow where one is sent."""
        seen: set[tuple[str, str]] = set()
        while True:
            response = self._ask_once(ask, into)
            to = response.headers.get("Location")
            if response.status not in REDIRECTS or to is None:
                return response
            seen.add((ask.method, ask.url))
            ask = self._redirected(ask, response.status, to)
            if (ask.method, ask.url) in seen or len(seen) > MOST_REDIRECTS:
                raise self._refused(ask, "redirects without end")
            self._check_address(ask)

    def _redirected(self, ask: Ask, status: int, to: str) -> Ask:
        try:
            url = urlsplit(urljoin(ask.url, to))._replace(fragment="").geturl()
        except ValueError as error:
            raise self._refused(ask, "redirects to what is no address") from error
        if status in KEEPING_METHOD:
            return replace(ask, url=url)
        return replace(ask, url=url, method="GET", body=None)

    def _check_address(self, ask: Ask) -> None:
        try:
            scheme, host, _ = origin_of(ask.url)
        except ValueError:
            scheme = host = ""
        if scheme not in ("http", "https") or not host:
            raise SourceRefusedError(
                f"{self._credentials.redact(ask.url)} is no address over HTTP.",
                mend="Write https://host/path in the declaration, or ask those who keep the host "
                "that redirects there.",
                culprit=self._credentials.redact(ask.url),
            )

    def _ask_once(self, ask: Ask, into: Path | None) -> Response:
        import urllib3

        proof = self._credentials.proof_for(ask.url)
        limits = self._limits
        with self._failures_told(ask):
            answer = self._pool(ask.url).urlopen(
                ask.method,
                with_params(ask.url, proof.params),
                body=ask.body,
                headers={
                    "User-Agent": USER_AGENT,
                    "Accept": "*/*",
                    "Accept-Encoding": "gzip",
                    **ask.headers,
                    **proof.headers,
                },
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
                timeout=urllib3.Timeout(connect=limits.connect_s, read=limits.read_s),
            )
            try:
                return self._receive(ask, answer, into)
            except BaseException:
                answer.close()  # what is left of it would be taken for the next answer
                raise
            finally:
                DEADLINE.get().watch(None)  # the connection may soon be another request's
                answer.release_conn()

    def _receive(self, ask: Ask, answer: urllib3.BaseHTTPResponse, into: Path | None) -> Response:
        wanted = answer.status // 100 == 2  # noqa: PLR2004 - success
        body = _Body(into if wanted else None)
        with body:
            for chunk in self._decoded(ask, answer):
                body.write(chunk)
                if body.size > self._limits.most_bytes:
                    raise self._refused(
                        ask, f"answers more than {self._limits.most_bytes:,} bytes", TOO_BIG
                    )
        return Response(
            url=self._credentials.strip(ask.url),
            status=answer.status,
            headers=answer.headers,
            content=body.content,
            size=body.size,
            sha256=body.digest.hexdigest(),
        )

    def _decoded(self, ask: Ask, answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        encoding = answer.headers.get("Content-Encoding", "identity").strip().lower()
        chunks = answer.stream(CHUNK_BYTES, decode_content=False)
        if encoding in ("", "identity"):
            return iter(chunks)
        if encoding in ("gzip", "x-gzip", "deflate"):
            return _inflated(chunks, encoding)
        raise self._refused(ask, f"answers in the encoding {encoding}, which nobody asked for")

    def _pool(self, url: str) -> urllib3.PoolManager:
        """Return the connections to an address: direct ones, or those of its proxy."""
        import urllib3

        scheme, host, _ = origin = origin_of(url)
        if origin not in self._pools:
            proxy = None if proxy_bypass(host) else getproxies().get(scheme)
            options: dict[str, Any] = {"maxsize": CONNECTIONS}
            if scheme == "https":
                options["ssl_context"] = ssl.create_default_context()
            self._pools[origin] = (
                urllib3.PoolManager(**options)
                if proxy is None
                else urllib3.ProxyManager(proxy, proxy_headers=_proxy_headers(proxy), **options)
            )
            self._pools[origin].pool_classes_by_scheme = _watched_pools()
        return self._pools[origin]

    def _refused(self, ask: Ask, why: str, mend: str | None = None) -> SourceRefusedError:
        return SourceRefusedError(
            f"{self._credentials.shown(ask.url)} {self._credentials.redact(why)}.",
            mend=mend or "Correct the address in the declaration, or ask those who keep the host.",
            culprit=host_of(ask.url),
        )

    @contextmanager
    def _failures_told(self, ask: Ask) -> Iterator[None]:
        """Tell what failed on the way: transient, or permanent."""
        from urllib3.exceptions import HTTPError

        try:
            yield
        except (HTTPError, OSError, zlib.error) as error:
            cause = _innermost(error)
            if isinstance(cause, ssl.SSLCertVerificationError):
                why = f"shows a certificate that cannot be trusted: {cause.verify_message}"
                raise self._refused(ask, why, CERTIFICATE) from error
            if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
                why = f"does not speak TLS as it should: {cause.reason}"
                raise self._refused(ask, why, CERTIFICATE) from error
            raise _Transient(_what_happened(error, cause)) from error


TOO_BIG = "Ask for less at once, such as fewer rows a page, or raise the limit if it is right."
CERTIFICATE = "Have the host's certificate mended, or name its authority in SSL_CERT_FILE."
PERMANENT_MENDS = {
    400: "Look at the parameters in the declaration; the host does not understand them.",
    401: "Look at auth in the declaration and at the variables that it names.",
    403: "Ask those who keep the host for the right to read this.",
    404: "Correct the address in the declaration.",
    410: "It is gone for good: name the address to which it has moved, or remove the source.",
}


def _check_status(response: Response, url: str) -> None:
    status = response.status
    if status // 100 == 2 or status == NOT_MODIFIED:  # noqa: PLR2004 - success
        return
    if status in TRANSIENT or (status >= SERVER_ERROR and status not in PERMANENT):
        raise _Transient(f"answered {status}", _retry_after(response.headers))
    raise SourceRefusedError(
        f"{url} answered {status}.",
        mend=PERMANENT_MENDS.get(status, "Correct the request in the declaration."),
        culprit=host_of(url),
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return how many seconds a host asks to wait, whichever way it says so."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    then, now = _date(text), _date(headers.get("Date", "")) or datetime.now(UTC)
    return None if then is None else max(0.0, (then - now).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def with_params(url: str, params: Mapping[str, str]) -> str:
    """Return an address with parameters added to its query; those of one name are replaced."""
    if not params:
        return url
    parts = urlsplit(url)
    waiting = dict(params)
    pairs = []
    for pair in filter(None, parts.query.split("&")):
        name = _name_of(pair)
        if name not in params:
            pairs.append(pair)
        elif name in waiting:
            pairs.append(urlencode({name: waiting.pop(name)}))
    pairs += [urlencode({name: value}) for name, value in waiting.items()]
    return urlunsplit(parts._replace(query="&".join(pairs)))


def _name_of(pair: str) -> str:
    return unquote_plus(pair.partition("=")[0])


class _Body:
    """Where a body goes while it comes: into a file, or into memory."""

    def __init__(self, into: Path | None) -> None:
        self._into = into
        self._pieces: list[bytes] = []
        self.size = 0
        self.digest = hashlib.sha256()

    def __enter__(self) -> None:
        with storing("what was received", self._into):
            self._file = self._into.open("wb") if self._into else None

    def __exit__(self, *_: object) -> None:
        if self._file:
            with storing("what was received", self._into):
                self._file.close()

    def write(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self.digest.update(chunk)
        if self._file is None:
            self._pieces.append(chunk)
            return
        with storing("what was received", self._into):
            self._file.write(chunk)

    @property
    def content(self) -> bytes:
        return b"".join(self._pieces)


def _inflated(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Yield what was compressed, little by little: a few bytes may stand for gigabytes."""
    inflater: Any = None
    ended = False
    for chunk in chunks:
        rest = chunk
        while rest:
            if inflater is None:
                inflater = zlib.decompressobj(_window(encoding, rest))
            yield inflater.decompress(rest, CHUNK_BYTES)
            rest = inflater.unconsumed_tail
            ended = inflater.eof
            if ended:
                rest = inflater.unused_data
                inflater = None
                if not rest.startswith(GZIP_MAGIC):
                    return
    if not ended:
        raise zlib.error("it ends in the middle")


def _window(encoding: str, head: bytes) -> int:
    if encoding != "deflate":
        return GZIP
    is_zlib = head[0] & 0x0F == zlib.DEFLATED and int.from_bytes(head[:2], "big") % 31 == 0
    return ZLIB if is_zlib else DEFLATE


def _innermost(error: BaseException) -> BaseException:
    """Return the failure that others only pass on."""
    while True:
        passed = [getattr(error, "reason", None), *error.args, error.__cause__]
        inner = next((one for one in passed if isinstance(one, BaseException)), None)
        if inner is None or inner is error:
            return error
        error = inner


def _what_happened(error: BaseException, cause: BaseException) -> str:
    from urllib3 import exceptions

    name = getattr(cause, "strerror", None) or type(cause).__name__
    kinds: list[tuple[type[BaseException] | tuple[type[BaseException], ...], str]] = [
        (socket.gaierror, f"has a host that nobody knows: {name}"),
        (ConnectionRefusedError, "does not take connections"),
        (exceptions.ProxyError, "cannot be reached through the proxy"),
        (zlib.error, f"answered what cannot be decompressed: {cause}"),
        (exceptions.NewConnectionError, f"cannot be reached: {name}"),
        ((exceptions.TimeoutError, TimeoutError), "did not answer in time"),
    ]
    for kind, what in kinds:
        if isinstance(error, kind) or isinstance(cause, kind):
            return what
    return f"broke off its answer: {name}"


def _proxy_headers(proxy: str) -> dict[str, str]:
    from urllib3.util import make_headers, parse_url

    user = parse_url(proxy).auth
    return dict(make_headers(proxy_basic_auth=user)) if user else {}


class _Errand:
    """What else there is to do while a request is under way; it is done once."""

    def __init__(self, work: Callable[[], None] | None) -> None:
        self._work = work

    def run(self) -> float:
        """Do it if it is not done yet, and return how many seconds that took."""
        work, self._work = self._work, None
        if work is None:
            return 0
        began = time.monotonic()
        work()
        return time.monotonic() - began


class _Deadline:
    """Cuts off a connection whose answer takes too long in all, however steadily it drips."""

    def __init__(self, seconds: float, errand: _Errand) -> None:
        self.ends_at = time.monotonic() + seconds
        self._seconds = seconds
        self._errand = errand
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._expired = False

    def __enter__(self) -> Self:
        self._token = DEADLINE.set(self)
        WATCH.add(self)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        WATCH.remove(self)
        DEADLINE.reset(self._token)
        if isinstance(error, _Transient):
            self.check()

    def sent(self, connection: socket.socket) -> None:
        """Take note that a request is on its way, and use the time."""
        self.watch(connection)
        self._errand.run()

    def watch(self, connection: socket.socket | None) -> None:
        with self._lock:
            self._socket = connection
        if self._expired:
            self.cut()

    def check(self) -> None:
        if self._expired:
            raise _Transient(f"did not answer within {self._seconds:g} s")

    def cut(self) -> None:
        with self._lock:
            self._expired = True
            if self._socket is None:
                return
            try:
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            except OSError:  # it is closed already
                LOG.debug("the connection was closed before its time was over")


class _Watch:
    """Lets deadlines act when their time has come: one thread for all, which ends when idle."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._deadlines: set[_Deadline] = set()
        self._thread: threading.Thread | None = None
        self._wakes_at = 0.0

    def add(self, deadline: _Deadline) -> None:
        with self._changed:
            self._deadlines.add(deadline)
            if self._thread is None or not self._thread.is_alive():  # a forked process has none
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()
            elif deadline.ends_at < self._wakes_at:
                self._changed.notify()

    def remove(self, deadline: _Deadline) -> None:
        with self._changed:
            self._deadlines.discard(deadline)

    def _run(self) -> None:
        with self._changed:
            while self._deadlines:
                now = time.monotonic()
                for late in [one for one in self._deadlines if one.ends_at <= now]:
                    self._deadlines.remove(late)
                    late.cut()
                self._wakes_at = min((one.ends_at for one in self._deadlines), default=now)
                self._changed.wait(self._wakes_at - now)
            self._thread = None


WATCH = _Watch()
DEADLINE: ContextVar[_Deadline] = ContextVar("deadline")


def _is_of_others(_: logging.LogRecord) -> bool:
    """Whether urllib3 does not speak of a request of ours: it shows whole addresses."""
    return DEADLINE.get(None) is None


@cache
def _watched_pools() -> dict[str, Any]:
    """Return urllib3's pools, with connections that tell the deadline of their sockets."""
    from urllib3 import connection, connectionpool

    connectionpool.log.addFilter(_is_of_others)

    class Plain(connection.HTTPConnection):
        def getresponse(self) -> Any:  # noqa: ANN401 - urllib3's own
            DEADLINE.get().sent(self.sock)
            return super().getresponse()

    class Tls(connection.HTTPSConnection):
        def getresponse(self) -> Any:  # noqa: ANN401 - urllib3's own
            DEADLINE.get().sent(self.sock)
            return super().getresponse()

    class PlainPool(connectionpool.HTTPConnectionPool):
        ConnectionCls = Plain

    class TlsPool(connectionpool.HTTPSConnectionPool):
        ConnectionCls = Tls

    return {"http": PlainPool, "https": TlsPool}
