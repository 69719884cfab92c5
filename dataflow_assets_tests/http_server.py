"""A real HTTP server that behaves, or misbehaves, as a test says.

What belongs here: sockets, what was asked, and ways to answer wrongly. What does not: what any one
test serves.
"""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from email.message import Message


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    method: str
    path: str
    params: dict[str, str]
    headers: Message
    body: bytes
    at: float
    peer: tuple[str, int]

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever JSON can hold
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What is answered: a whole answer, unless `raw` writes to the socket by itself."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: Callable[[BaseHTTPRequestHandler], None] | None = None


def json_answer(value: object, status: int = 200, **headers: str) -> Answer:
    given = {name.replace("_", "-"): text for name, text in headers.items()}
    return Answer(json.dumps(value).encode(), status, {"Content-Type": "application/json", **given})


def raw_answer(content: bytes, *, reset: bool = False) -> Answer:
    """Answer these very bytes, then close the connection, or reset it."""

    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(content)
        handler.wfile.flush()
        if reset:
            _reset(handler)

    return Answer(raw=write)


def dripping(head: bytes, drop: bytes, every_s: float, times: int) -> Answer:
    """Answer little by little, never silent for long."""

    def write(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head)
        for _ in range(times):
            handler.wfile.write(drop)
            handler.wfile.flush()
            time.sleep(every_s)

    return Answer(raw=write)


def _reset(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(0.05)  # else the reset overtakes the bytes
    linger = struct.pack("ii", 1, 0)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    handler.connection.close()


class Server:
    """A server that is running.

    Attributes:
        url: Its address.
        asked: What came in, in order.
        answer: What it answers to a request.
    """

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.url = ""
        self.port = 0

    @property
    def paths(self) -> list[str]:
        return [one.path for one in self.asked]


@contextmanager
def serving(
    answer: Callable[[Asked], Answer], tls: ssl.SSLContext | None = None
) -> Iterator[Server]:
    """Serve on a free port of this machine until the test ends."""
    server = Server(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            params = dict(parse_qsl(parts.query, keep_blank_values=True))
            asked = Asked(
                self.command,
                parts.path,
                params,
                self.headers,
                body,
                time.monotonic(),
                self.client_address,
            )
            server.asked.append(asked)
            given = server.answer(asked)
            try:
                _write(self, given)
            except OSError:  # the client has gone, as it may
                self.close_connection = True

        do_GET = do_POST = handle_any  # noqa: N815 - the standard library's names

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 64

        def handle_error(self, *_: object) -> None:
            """Keep quiet: broken connections are what tests make."""

    listening = Quiet(("127.0.0.1", 0), Handler)
    if tls is not None:
        listening.socket = tls.wrap_socket(listening.socket, server_side=True)
    server.port = listening.server_address[1]
    server.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.port}"
    thread = threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()
        thread.join()


def _write(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
    if answer.raw is not None:
        handler.close_connection = True
        answer.raw(handler)
        return
    handler.send_response(answer.status)
    headers = {"Content-Length": str(len(answer.body)), **answer.headers}
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(answer.body)
