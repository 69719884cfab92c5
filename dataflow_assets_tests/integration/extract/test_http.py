from __future__ import annotations

import datetime as dt
import gzip
import socket
import ssl
import threading
import time
import zlib
from email.utils import format_datetime
from ipaddress import ip_address
from pathlib import Path
from traceback import format_exception
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from dataflow_assets.errors import SourceRefusedError, SourceUnavailableError, StorageError
from dataflow_assets.extract.credentials import Credentials, Proof
from dataflow_assets.extract.http import Ask, HttpClient, Limits
from dataflow_assets_tests.http_server import (
    Answer,
    Asked,
    Server,
    dripping,
    json_answer,
    raw_answer,
    serving,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dataflow_assets.errors import DataflowError

QUICK = Limits(connect_s=1, read_s=0.3, total_s=1, most_bytes=1 << 20, tries=3, first_wait_s=0.001)
GOOD = json_answer({"good": True})
OK_HEAD = b"HTTP/1.1 200 OK\r\n"
BOMB = gzip.compress(bytes(64 << 20))


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(lambda _: GOOD) as running:
        yield running


def in_turn(*answers: Answer) -> Callable[[Asked], Answer]:
    """Give each answer once, then the last for ever."""
    waiting = list(answers)
    return lambda _: waiting.pop(0) if len(waiting) > 1 else waiting[0]


class Waits(list[float]):
    """Notes how long it would have been waited."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def gzipped(content: bytes) -> Answer:
    return Answer(content, headers={"Content-Encoding": "gzip"})


def big_body(content: bytes, declared: int) -> Answer:
    return raw_answer(OK_HEAD + f"Content-Length: {declared}\r\n\r\n".encode() + content)


TRANSIENT = {
    "500": Answer(status=500),
    "502": Answer(status=502),
    "503": Answer(status=503),
    "504": Answer(status=504),
    "408": Answer(status=408),
    "425": Answer(status=425),
    "429": Answer(status=429),
    "reset before the answer": raw_answer(b"", reset=True),
    "reset in the head": raw_answer(OK_HEAD + b"Content-Le", reset=True),
    "reset in the body": raw_answer(OK_HEAD + b"Content-Length: 99\r\n\r\n{", reset=True),
    "closed without a word": raw_answer(b""),
    "no HTTP": raw_answer(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "fewer bytes than declared": big_body(b'{"good"', 99),
    "a chunk cut": raw_answer(OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab"),
    "no last chunk": raw_answer(OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n"),
    "gzip cut": gzipped(gzip.compress(b"x" * 5000)[:-10]),
    "gzip cut to nothing": gzipped(gzip.compress(b"x" * 5000)[:5]),
    "gzip that is none": gzipped(b"{}"),
    "gzip spoilt": gzipped(gzip.compress(b"abc" * 500)[:20] + b"\0" * 20),
    "silent": dripping(b"", b"", 0.5, 1),
    "silent in the body": dripping(OK_HEAD + b"Content-Length: 9\r\n\r\n", b"", 0.5, 1),
}


@pytest.mark.parametrize("case", TRANSIENT)
def test_what_may_pass_is_asked_again(server: Server, case: str) -> None:
    server.answer = in_turn(TRANSIENT[case], GOOD)
    assert HttpClient(limits=QUICK).get(server.url).content == GOOD.body
    assert len(server.asked) == 2


@pytest.mark.parametrize("case", ["500", "reset in the body", "gzip cut", "silent"])
def test_what_does_not_pass_is_given_up(server: Server, case: str) -> None:
    server.answer = in_turn(TRANSIENT[case])
    with pytest.raises(SourceUnavailableError) as caught:
        HttpClient(limits=QUICK).get(f"{server.url}/path")
    assert len(server.asked) == 3
    assert f"{server.url}/path" in str(caught.value)
    assert "asked 3 times" in str(caught.value)


PERMANENT = {
    **{str(status): Answer(status=status) for status in (400, 401, 403, 404, 405, 410, 422, 501)},
    "redirect to itself": Answer(status=302, headers={"Location": "/path"}),
    "redirect to another scheme": Answer(status=302, headers={"Location": "file:///etc/passwd"}),
    "redirect to no address": Answer(status=302, headers={"Location": "http://[::bad/"}),
    "unknown encoding": Answer(b"x", headers={"Content-Encoding": "br"}),
    "too big": big_body(bytes(2 << 20), 2 << 20),
    "a bomb": gzipped(BOMB),
}


@pytest.mark.parametrize("case", PERMANENT)
def test_what_stays_is_not_asked_again(server: Server, case: str) -> None:
    server.answer = in_turn(PERMANENT[case])
    with pytest.raises(SourceRefusedError):
        HttpClient(limits=QUICK).get(f"{server.url}/path")
    assert len(server.asked) == 1


def test_a_redirect_without_end_is_followed_for_a_while_only(server: Server) -> None:
    server.answer = lambda asked: Answer(status=302, headers={"Location": f"{asked.path}x"})
    with pytest.raises(SourceRefusedError, match="redirects without end"):
        HttpClient(limits=QUICK).get(f"{server.url}/")
    assert len(server.asked) == 11


def test_redirects_are_followed(server: Server) -> None:
    server.answer = in_turn(
        Answer(status=307, headers={"Location": "/b"}),
        Answer(status=303, headers={"Location": "c?d=e"}),
        GOOD,
    )
    response = HttpClient(limits=QUICK).send(Ask(f"{server.url}/a", "POST", body=b"ask"))
    assert [(one.method, one.body) for one in server.asked] == [
        ("POST", b"ask"),
        ("POST", b"ask"),
        ("GET", b""),
    ]
    assert response.url == f"{server.url}/c?d=e"


@pytest.mark.parametrize(
    "drip",
    [
        dripping(OK_HEAD + b"Content-Length: 9999\r\n\r\n", b"x", 0.05, 40),
        dripping(OK_HEAD + b"\r\n", b"x", 0.05, 40),  # a body that ends with the connection
        dripping(OK_HEAD, b"X-Drip: y\r\n", 0.05, 40),
        dripping(OK_HEAD + b"X-Slow: ", b"z", 0.05, 40),
        dripping(OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.05, 40),
        dripping(OK_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0", 0.05, 40),
    ],
    ids=["body", "endless body", "headers", "one header", "chunks", "a chunk's size"],
)
def test_a_slow_drip_is_cut_off(server: Server, drip: Answer) -> None:
    server.answer = in_turn(drip)
    began = time.monotonic()
    with pytest.raises(SourceUnavailableError, match=r"did not answer within 0\.4 s"):
        HttpClient(limits=Limits(read_s=5, total_s=0.4, tries=1)).get(server.url)
    assert 0.3 < time.monotonic() - began < 3


def test_a_connection_that_was_cut_off_hurts_no_other(server: Server) -> None:
    client = HttpClient(limits=Limits(read_s=5, total_s=0.3, tries=1))
    for _ in range(3):
        server.answer = in_turn(dripping(OK_HEAD + b"\r\n", b"x", 0.05, 20), GOOD)
        with pytest.raises(SourceUnavailableError):
            client.get(server.url)
        for _ in range(5):
            assert client.get(server.url).content == GOOD.body


def test_a_host_that_takes_no_connections_is_asked_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    waits = Waits()
    with pytest.raises(SourceUnavailableError, match="does not take connections; asked 3 times"):
        HttpClient(limits=QUICK, sleep=waits).get(f"http://127.0.0.1:{port}/")
    assert len(waits) == 2


def test_a_host_without_a_name_is_asked_again() -> None:
    with pytest.raises(SourceUnavailableError, match="nobody knows"):
        HttpClient(limits=QUICK).get("http://no-such-host.invalid/")


@pytest.mark.parametrize("url", ["nonsense", "http://", "http://host:99999/"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SourceRefusedError):
        HttpClient(limits=QUICK).get(url)


def after(seconds: float) -> str:
    return format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        (lambda: "7", 7, 7),
        (lambda: after(20), 17, 20),
        (lambda: after(-20), 0, 1),
        (lambda: "0", 0, 1),
        (lambda: "soon", 0, 1),
        (lambda: "-5", 0, 1),
    ],
    ids=["seconds", "date", "past date", "zero", "nonsense", "negative"],
)
def test_a_host_is_given_the_pause_it_asks_for(
    server: Server, status: int, said: Callable[[], str], least: float, most: float
) -> None:
    server.answer = in_turn(Answer(status=status, headers={"Retry-After": said()}), GOOD)
    waits = Waits()
    assert HttpClient(limits=QUICK, sleep=waits).get(server.url).status == 200
    assert len(waits) == 1
    assert least <= waits[0] <= most


@pytest.mark.parametrize("said", ["86400", after(86400)], ids=["seconds", "date"])
def test_a_host_that_wants_peace_for_long_is_left_alone(server: Server, said: str) -> None:
    server.answer = in_turn(Answer(status=429, headers={"Retry-After": said}))
    waits = Waits()
    with pytest.raises(SourceUnavailableError, match="asks to be left alone for 86,"):
        HttpClient(limits=QUICK, sleep=waits).get(server.url)
    assert (waits, len(server.asked)) == ([], 1)


def test_waits_grow_and_differ(server: Server) -> None:
    server.answer = in_turn(Answer(status=500))
    limits = Limits(tries=6, first_wait_s=1, longest_wait_s=10)
    seen: list[Waits] = [Waits(), Waits()]
    for waits in seen:
        with pytest.raises(SourceUnavailableError):
            HttpClient(limits=limits, sleep=waits).get(server.url)
        for wait, longest in zip(waits, (1, 2, 4, 8, 10), strict=True):
            assert longest / 2 <= wait <= longest
    assert seen[0] != seen[1]


SECRET = "s3cr3t/with strange+signs&="  # noqa: S105 - made up


def test_credentials_go_to_their_host_only(server: Server) -> None:
    proof = Proof(headers={"Authorization": f"Bearer {SECRET}"}, params={"api_key": SECRET})
    with serving(lambda _: GOOD) as other:
        client = HttpClient(Credentials(server.url, proof, (SECRET,)), QUICK)
        client.get(f"{server.url}/here", {"page": "1"})
        assert server.asked[0].headers["Authorization"] == f"Bearer {SECRET}"
        assert server.asked[0].params == {"page": "1", "api_key": SECRET}
        server.answer = in_turn(Answer(status=307, headers={"Location": f"{other.url}/there?a=b"}))
        client.get(f"{server.url}/here")
        client.get(f"{other.url}/directly")
    assert len(other.asked) == 2
    for asked in other.asked:
        assert SECRET not in str(asked.headers)
        assert "api_key" not in asked.params


def test_no_error_and_no_log_shows_a_secret(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    proof = Proof(params={"api_key": SECRET})
    client = HttpClient(Credentials(server.url, proof, (SECRET,)), QUICK)
    told: list[DataflowError] = []
    loud = Answer(status=302, headers={"Location": f"/{SECRET.replace(' ', '%20')}?api_key=x"})
    for answer in (Answer(status=500), Answer(status=403), loud, TRANSIENT["reset in the body"]):
        server.answer = in_turn(answer)
        with pytest.raises((SourceUnavailableError, SourceRefusedError)) as caught:
            client.get(f"{server.url}/here", {"api_key": SECRET, "q": SECRET})
        told.append(caught.value)
    assert caplog.text.count("asking again") == 4
    for form in (SECRET, "s3cr3t"):
        assert form not in caplog.text
        assert not [one for one in told if form in "".join(format_exception(one))]
    assert SECRET not in repr(client.__dict__)


def test_a_body_goes_into_a_file_whole_after_failures(server: Server, tmp_path: Path) -> None:
    content = bytes(range(256)) * 2000
    server.answer = in_turn(big_body(content[:-1], len(content)), Answer(content))
    response = HttpClient(limits=QUICK).get(server.url, into=tmp_path / "body")
    assert (tmp_path / "body").read_bytes() == content
    assert (response.content, response.size) == (b"", len(content))


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(b"a" * 99_999)),
        ("x-gzip", gzip.compress(b"a" * 50_000) + gzip.compress(b"a" * 49_999)),
        ("gzip", gzip.compress(b"a" * 99_999) + b"\0" * 512),
        ("deflate", zlib.compress(b"a" * 99_999)),
        ("deflate", zlib.compress(b"a" * 99_999)[2:-4]),
        ("identity", b"a" * 99_999),
    ],
)
def test_compressed_bodies(server: Server, encoding: str, packed: bytes) -> None:
    server.answer = in_turn(Answer(packed, headers={"Content-Encoding": encoding}))
    assert HttpClient(limits=QUICK).get(server.url).content == b"a" * 99_999


def test_an_unchanged_answer_has_no_body(server: Server) -> None:
    server.answer = lambda asked: (
        Answer(status=304, headers={"ETag": '"1"'})
        if asked.headers["If-None-Match"] == '"1"'
        else Answer(b"new", headers={"ETag": '"1"'})
    )
    client = HttpClient(limits=QUICK)
    first = client.get(server.url)
    again = client.get(server.url, headers={"If-None-Match": first.headers["etag"]})
    assert (first.content, again.status, again.content) == (b"new", 304, b"")
    assert server.asked[0].headers["User-Agent"].startswith("dataflow_assets/")


def test_a_connection_is_kept(server: Server) -> None:
    client = HttpClient(limits=QUICK)
    for _ in range(20):
        client.get(server.url)
    assert len({asked.peer for asked in server.asked}) == 1


def test_there_is_something_to_do_while_the_host_thinks(server: Server) -> None:
    done = threading.Event()
    server.answer = lambda _: GOOD if done.wait(5) else Answer(status=500)
    limits = Limits(tries=1)
    assert HttpClient(limits=limits).send(Ask(server.url), meanwhile=done.set).status == 200


@pytest.mark.parametrize("given", ["never sent", "refused", "asked again", "no address"])
def test_what_there_is_to_do_is_done_once_whatever_comes_of_it(server: Server, given: str) -> None:
    done: list[int] = []
    answers = {"refused": Answer(status=404), "asked again": Answer(status=503)}
    server.answer = in_turn(answers.get(given, GOOD))
    urls = {"never sent": "http://127.0.0.1:1/", "no address": "file:///"}
    client = HttpClient(limits=QUICK, sleep=Waits())
    with pytest.raises((SourceRefusedError, SourceUnavailableError)):
        client.send(Ask(urls.get(given, server.url)), meanwhile=lambda: done.append(1))
    assert done == [1]
    assert len(server.asked) == {"refused": 1, "asked again": 3}.get(given, 0)


def test_what_fails_meanwhile_is_told_and_not_taken_for_the_hosts_fault(server: Server) -> None:
    def fail() -> None:
        raise StorageError("there is no room", mend="make some")

    client = HttpClient(limits=QUICK)
    with pytest.raises(StorageError):
        client.send(Ask(server.url), meanwhile=fail)
    assert client.get(server.url).status == 200
    assert len(server.asked) == 2


def test_proxies_of_the_environment_are_used(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://user:word@127.0.0.1:{server.port}")
    HttpClient(limits=QUICK).get("http://far.invalid/path")
    assert server.asked[0].headers["Host"] == "far.invalid"
    assert server.asked[0].headers["Proxy-Authorization"] == "Basic dXNlcjp3b3Jk"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    HttpClient(limits=QUICK).get(f"{server.url}/near")
    assert server.asked[1].headers["Proxy-Authorization"] is None


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, Path]:
    """A certificate for this machine that nobody has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    address = x509.IPAddress(ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context, path


def test_a_certificate_that_cannot_be_trusted_is_refused(
    tls: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, path = tls
    waits = Waits()
    with serving(lambda _: GOOD, context) as server:
        with pytest.raises(SourceRefusedError, match="certificate"):
            HttpClient(limits=QUICK, sleep=waits).get(server.url)
        assert (waits, server.asked) == ([], [])
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        assert HttpClient(limits=QUICK).get(server.url).status == 200


def test_a_host_without_tls_is_refused(server: Server) -> None:
    waits = Waits()
    with pytest.raises(SourceRefusedError, match="TLS"):
        HttpClient(limits=QUICK, sleep=waits).get(server.url.replace("http", "https"))
    assert waits == []


def test_a_tls_answer_that_drips_is_cut_off(
    tls: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    context, path = tls
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    drip = dripping(OK_HEAD + b"\r\n", b"x", 0.05, 60)
    late = pytest.raises(SourceUnavailableError, match=r"did not answer within 0\.5 s")
    with serving(lambda _: drip, context) as server, late:
        HttpClient(limits=Limits(read_s=5, total_s=0.5, tries=1)).get(server.url)


def test_a_full_disk_is_told_as_such(server: Server) -> None:
    server.answer = in_turn(Answer(b"x" * 100_000))
    with pytest.raises(StorageError):
        HttpClient(limits=QUICK).get(server.url, into=Path("/dev/full"))
