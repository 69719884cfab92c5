"""S3 for tests: a real server of one machine, and a way to make it fail.

What belongs here: starting Ceph's S3 server, or moto's where Ceph is not installed, on free ports
of this machine, and a proxy that spoils answers. What does not: any expectation of one test.
"""

from __future__ import annotations

import base64
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import boto3
from typing_extensions import override

from dataflow_assets_tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ACCESS_KEY, SECRET_KEY = "HARBOURMASTER", "lighthouse-on-the-mole"
KMS_KEY = "lake-key"
CEPH = ("ceph", "ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "monmaptool", "ceph-authtool")
START_S = 60
CEPH_CONF = """
[global]
fsid = {fsid}
mon host = v1:127.0.0.1:{mon_port}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr2 = false
auth cluster required = none
auth service required = none
auth client required = none
mon allow pool size one = true
mon data avail crit = 1
mon max pg per osd = 2000
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 4294967296
osd memory target = 939524096
mon data = {folder}/mon
osd data = {folder}/osd
run dir = {folder}
admin socket = {folder}/$name.$pid.asok
pid file = {folder}/$name.pid
log file = {folder}/$name.log
crash dir = {folder}
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw data = {folder}/rgw
rgw thread pool size = 32
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = {kms_key}={kms_secret}
"""


@dataclass(frozen=True)
class S3Server:
    """A server of S3.

    Attributes:
        endpoint: Its address.
        is_ceph: Whether it is a real one, which checks signatures.
    """

    endpoint: str
    is_ceph: bool

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which it is found and entered."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
        }

    def client(self) -> Any:  # noqa: ANN401 - boto3 has no types
        """Return another implementation's view of it."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
        )


@contextmanager
def running_s3(folder: Path) -> Iterator[S3Server]:
    """Start a server of S3, and end it in the end.

    Args:
        folder: An empty folder for its files.
    """
    has_ceph = all(shutil.which(command) for command in CEPH)
    if has_ceph and os.environ.get("TEST_S3_SERVER") != "moto":
        with _running_ceph(folder) as server:
            yield server
    else:
        with _running_moto(folder) as server:
            yield server


@contextmanager
def _running_moto(folder: Path) -> Iterator[S3Server]:
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-p", str(port)]
    with _process(command, folder / "moto.log", {}):
        _wait_for(port)
        yield S3Server(f"http://127.0.0.1:{port}", is_ceph=False)


@contextmanager
def _running_ceph(folder: Path) -> Iterator[S3Server]:
    """Start a monitor, a store in memory and the gateway: a whole cluster, on one machine."""
    mon_port, port, fsid = free_port(), free_port(), str(uuid.uuid4())
    for name in ("mon", "osd", "rgw"):
        (folder / name).mkdir()
    conf, monmap, keyring = folder / "ceph.conf", folder / "monmap", folder / "keyring"
    secret = base64.b64encode(b"0123456789abcdef" * 2).decode()
    conf.write_text(
        CEPH_CONF.format(
            folder=folder,
            fsid=fsid,
            mon_port=mon_port,
            port=port,
            kms_key=KMS_KEY,
            kms_secret=secret,
        )
    )
    environment = {"CEPH_CONF": str(conf)}

    def run(*command: object) -> None:
        subprocess.run(
            list(map(str, command)),
            env=os.environ | environment,
            check=True,
            capture_output=True,
            timeout=START_S,
        )

    address = f"[v1:127.0.0.1:{mon_port}]"
    run("monmaptool", "--create", "--addv", "a", address, "--fsid", fsid, monmap)
    run(
        "ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "*"
    )
    run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring)
    with ExitStack() as running:

        def start(*command: str) -> None:
            log = folder / f"{command[0]}.out"
            running.enter_context(_process([*command, "-f"], log, environment))

        osd = str(uuid.uuid4())
        start("ceph-mon", "-i", "a")
        _try_until_done(lambda: run("ceph", "osd", "new", osd))
        run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        # A store may ask before it has learnt which cluster it belongs to, and end for that.
        again = "for try in 1 2 3 4 5; do ceph-osd -i 0 -f; sleep 0.2; done"
        running.enter_context(_process(["sh", "-c", again], folder / "osd.out", environment))
        start("radosgw", "-n", "client.rgw")
        _wait_for(port)
        user = ("--uid", "tests", "--display-name", "tests")
        keys = ("--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY)
        run("radosgw-admin", "-n", "client.rgw", "user", "create", *user, *keys)
        yield S3Server(f"http://127.0.0.1:{port}", is_ceph=True)


@contextmanager
def _process(command: list[str], log: Path, environment: dict[str, str]) -> Iterator[None]:
    with (
        log.open("wb") as out,
        subprocess.Popen(
            command, env=os.environ | environment, stdout=out, stderr=out, start_new_session=True
        ) as process,
    ):
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # nothing of it is wanted any more


def _try_until_done(work: Callable[[], None]) -> None:
    """Try again and again: a monitor that has just begun refuses what it grants a moment later."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            work()
        except subprocess.CalledProcessError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        try:
            with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                connection.request("GET", "/")
                connection.getresponse().read()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"the S3 server at port {port} has not come up in {START_S} s")


@dataclass
class Spoiled:
    """What a proxy does with the answers to some requests.

    Attributes:
        times: How many requests it still spoils.
        status: Answer with this status at once; 0: pass the request on.
        cut_after: Send so many bytes of the body, then cut the connection; -1: send all.
        wait_s: Wait before the answer.
        method: Only requests of this kind; empty: all.
        contains: Only requests whose target holds this text.
    """

    times: int
    status: int = 0
    cut_after: int = -1
    wait_s: float = 0
    method: str = ""
    contains: str = ""


@dataclass
class Proxy:
    """A proxy before a server of S3, which spoils what it is told to.

    Attributes:
        server: The server as seen through it.
        spoiled: What it spoils; the first that fits counts.
        requests: Method and target of all requests.
        before: Called with method and target before a request is passed on.
    """

    server: S3Server
    spoiled: list[Spoiled] = field(default_factory=list)
    requests: list[tuple[str, str]] = field(default_factory=list)
    before: Callable[[str, str], None] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, method: str, contains: str = "") -> int:
        """Return how many requests of a kind there were."""
        return sum(one[0] == method and contains in one[1] for one in self.requests)

    def take(self, method: str, target: str) -> Spoiled | None:
        """Note a request, and return what is to be done with it."""
        with self.lock:
            self.requests.append((method, target))
            for one in self.spoiled:
                if one.times and one.method in ("", method) and one.contains in target:
                    one.times -= 1
                    return one
        return None


class _Spoiler(BaseHTTPRequestHandler):
    """Passes requests on, but for those that the proxy spoils."""

    protocol_version = "HTTP/1.1"
    proxy: Proxy
    upstream: str

    @override
    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:  # the client has gone
            self.close_connection = True

    def pass_on(self) -> None:
        spoiled = self.proxy.take(self.command, self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if spoiled is not None:
            time.sleep(spoiled.wait_s)
            if spoiled.status:
                code = {503: "SlowDown", 500: "InternalError"}.get(spoiled.status, "Refused")
                content = f"<Error><Code>{code}</Code></Error>".encode()
                self.answer(spoiled.status, {}, content)
                return
        if self.proxy.before is not None:
            self.proxy.before(self.command, self.path)
        cut_after = -1 if spoiled is None else spoiled.cut_after
        self.answer(*self.ask(body), cut_after=cut_after)

    def ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        with closing(http.client.HTTPConnection(self.upstream, timeout=60)) as upstream:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, headers, answer.read()

    def answer(
        self, status: int, headers: dict[str, str], content: bytes, cut_after: int = -1
    ) -> None:
        length = headers.pop("content-length", "0") if self.command == "HEAD" else len(content)
        self.send_response_only(status)
        for name, value in headers.items():
            if name not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if cut_after < 0:
            self.wfile.write(content)
            return
        self.wfile.write(content[:cut_after])
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on  # noqa: N815 - as the base class

    @override
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def proxied(server: S3Server) -> Iterator[Proxy]:
    """Put a proxy before a server."""

    class Handler(_Spoiler):
        upstream = server.endpoint.removeprefix("http://")

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        endpoint = f"http://127.0.0.1:{listening.server_port}"
        Handler.proxy = proxy = Proxy(S3Server(endpoint, server.is_ceph))
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        try:
            yield proxy
        finally:
            listening.shutdown()
