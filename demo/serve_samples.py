"""Serve the demo's samples over HTTP: an API in pages that wants a key, and an Atom feed.

What belongs here: two more made-up earthquake networks, and the server that tells of them. What
does not: sample files (`make_samples`). A day's answer depends on the day alone, whoever asks and
how often. The oddities are placed, not random; each says why it is odd.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import random
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Iterator

USUAL_PORT = 8470
"""The port of the declarations' default; where it is taken, another one."""
KEY = "not-a-secret"
ISLAND_ROWS = 120
OCEAN_ENTRIES = 40
PAGE_ROWS = 50
ISLANDS = ("Stora Holm", "Gull Rock", "Kelp Sound", "Outer Skerry")
SEAS = ("Middle Ridge", "Deep Fennel", "Northern Shelf")
ATOM = "http://www.w3.org/2005/Atom"


def island_events(day: dt.date) -> list[dict[str, Any]]:
    """Return what the island network tells of a day, dirt included."""
    dice = _dice("island", day)
    events = [_island_event(day, number, dice) for number in range(ISLAND_ROWS)]
    odd = [_island_event(day, 900 + number, dice) for number in range(4)]
    odd[0]["id"] = None  # no id
    odd[1]["position"]["lat"] = 95.0  # north of the pole
    odd[2]["magnitude"]["value"] = "strong"  # no number
    odd[3]["magnitude"]["scale"] = "mx"  # an unknown scale
    events[20:20] = odd
    events.insert(PAGE_ROWS, events[PAGE_ROWS - 1])  # the last of a page comes again with the next
    return events


def _island_event(day: dt.date, number: int, dice: random.Random) -> dict[str, Any]:
    place = dice.choice(ISLANDS)
    if number % 30 == 0:
        place = f"Border {day:%m-%d}/{number // 30}"  # the other networks report these too
    return {
        "id": f"is{day:%Y%m%d}{number:03}",
        "time": _moment(day, dice),
        "magnitude": {"value": round(dice.gauss(2, 1), 1), "scale": dice.choice(("ml", "mw"))},
        "position": {
            "lat": round(dice.uniform(55, 65), 4),
            "lon": round(dice.uniform(-25, -5), 4),
            "depth": round(dice.uniform(0, 80), 1),
        },
        "place": place,
    }


def ocean_feed(day: dt.date) -> bytes:
    """Return the feed of the ocean network as it is on a day, dirt included."""
    dice = _dice("ocean", day)
    feed = ET.Element("feed", xmlns=ATOM)
    _add(feed, id="tag:ocean.example,2026:feed", title="Ocean network", updated=f"{day}T00:00:00Z")
    entries = [_ocean_entry(day, number, dice) for number in range(OCEAN_ENTRIES)]
    edited = {**entries[3], "updated": f"{day}T23:59:59Z"}  # the same event twice, once corrected
    nameless = {**_ocean_entry(day, 900, dice), "id": ""}  # no id: its link has to do
    vague = {**_ocean_entry(day, 901, dice), "title": "Something shook the ship"}  # no magnitude
    for fields in (*entries, edited, nameless, vague):
        entry = ET.SubElement(feed, "entry")
        ET.SubElement(entry, "link", href=f"/events/{fields['link']}")
        _add(entry, **{name: text for name, text in fields.items() if text and name != "link"})
    content: bytes = ET.tostring(feed, encoding="utf-8", xml_declaration=True)
    return content


def _ocean_entry(day: dt.date, number: int, dice: random.Random) -> dict[str, str]:
    place = dice.choice(SEAS)
    if number % 20 == 0:
        place = f"Border {day:%m-%d}/{number // 20}"  # the other networks report these too
    moment = _moment(day, dice)
    return {
        "id": f"tag:ocean.example,{day}:{number:03}",
        "title": f"M {max(0.0, dice.gauss(3, 1)):.1f}, {place}",
        "published": moment,
        "updated": moment,
        "summary": f"At {dice.uniform(30, 50):.3f}, {dice.uniform(-50, -20):.3f}",
        "link": f"{day}-{number:03}",
    }


def _add(parent: ET.Element, **fields: str) -> None:
    for name, text in fields.items():
        ET.SubElement(parent, name).text = text


def _moment(day: dt.date, dice: random.Random) -> str:
    moment = dt.datetime.combine(day, dt.time()) + dt.timedelta(seconds=dice.randrange(86_400))
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _dice(network: str, day: dt.date) -> random.Random:
    return random.Random(f"20260105 {network} {day}")  # noqa: S311 - sample data, nothing secret


class Handler(BaseHTTPRequestHandler):
    """Answers `/v1/events` in pages, and `/ocean.atom`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer one request."""
        parts = urlsplit(self.path)
        if parts.path == "/v1/events":
            self._tell_events({name: values[-1] for name, values in parse_qs(parts.query).items()})
        elif parts.path == "/ocean.atom":
            self._tell_feed()
        else:
            self._send(404, b"")

    def _tell_events(self, asked: dict[str, str]) -> None:
        if self.headers.get("X-Api-Key") != KEY:
            self._send(401, b'{"error": "the key is wrong"}')
            return
        day, until = (dt.datetime.fromisoformat(asked[name]).date() for name in ("from", "to"))
        events = []
        while day < until:
            events += island_events(day)
            day += dt.timedelta(days=1)
        first = int(asked.get("after", 0))
        last = first + PAGE_ROWS
        body: dict[str, Any] = {"data": events[first:last]}
        if last < len(events):
            body["next"] = str(last)
        self._send(200, json.dumps(body).encode())

    def _tell_feed(self) -> None:
        content = ocean_feed(dt.datetime.now(dt.UTC).date())
        tag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        if self.headers.get("If-None-Match") == tag:
            self._send(304, b"", ETag=tag)
        else:
            self._send(200, content, "application/atom+xml", ETag=tag)

    def _send(
        self, status: int, content: bytes, kind: str = "application/json", **headers: str
    ) -> None:
        self.send_response(status)
        for name, text in {"Content-Type": kind, **headers}.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's word
        """Keep silent: the demo's output is about something else."""


@contextmanager
def serving_samples() -> Iterator[str]:
    """Serve in threads until the end.

    Yields:
        The server's address.
    """
    with _bound() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def _bound() -> ThreadingHTTPServer:
    try:
        return ThreadingHTTPServer(("127.0.0.1", USUAL_PORT), Handler)
    except OSError:
        return ThreadingHTTPServer(("127.0.0.1", 0), Handler)


def main() -> None:
    """Serve until Ctrl+C, for a look at the two sources in the Dagster UI."""
    with serving_samples() as url:
        sys.stdout.write(f"Beside this, run: SAMPLE_HOST={url} SAMPLE_KEY={KEY} make dev\n")
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            sys.stdout.write("\n")


if __name__ == "__main__":
    main()
