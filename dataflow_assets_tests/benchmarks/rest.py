"""REST extraction against the sum of the host's latencies, and its memory.

Usage: ``python -m dataflow_assets_tests.benchmarks.rest``. The host is a process of its own, which
waits before each page; extraction is one, too, so that its peak memory is its own.
"""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataflow_assets.builders.receiving import Receiver
from dataflow_assets.builders.resources import build_resources
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.settings import Settings
from dataflow_assets_tests.benchmarks.memory import peak_mb
from dataflow_assets_tests.http_server import Answer, Asked, serving

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

LATENCY_S = 0.05
ROWS_A_PAGE = 100
PAGES = (100, 800)


def serve(told: Connection) -> None:
    """Serve pages, each after the latency, until the parent hangs up."""
    waiting = threading.Event()

    def answer(asked: Asked) -> Answer:
        begin, total = int(asked.params["offset"]), int(asked.params["total"])
        rows = [
            {"id": number, "place": f"place {number % 97}", "at": "2024-01-01T00:00:00Z"}
            for number in range(begin, min(begin + ROWS_A_PAGE, total))
        ]
        body = json.dumps({"items": rows, "total": total}).encode()
        waiting.wait(LATENCY_S)
        return Answer(body)

    with serving(answer) as server:
        told.send(server.url)
        told.poll(None)


def extract(url: str, pages: int, data: Path) -> dict[str, float]:
    """Fetch, and then the whole raw layer, in this process; return seconds and peak memory."""
    source = SourceDeclaration.model_validate(declared(url, pages))
    stores = build_resources(Settings(data_dir=data))["stores"].open("benchmark")
    began, cpu = time.perf_counter(), time.process_time()
    with Receiver(source, stores, ["all"]) as receiver:
        received = receiver.receive("all")
    return {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "rows": received.manifest.rows,
        "peak_mb": peak_mb(),
    }


def declared(url: str, pages: int) -> dict[str, Any]:
    """Return a source of so many pages."""
    return {
        "name": "items",
        "partitions": {"values": ["all"]},
        "extract": {
            "rest": {
                "url": f"{url}/items",
                "params": {"total": pages * ROWS_A_PAGE},
                "records": "items",
                "pages": {"offset": {"limit": ROWS_A_PAGE, "total": "total"}},
            }
        },
        "contract": {"key": ["id"], "columns": {"id": "int64", "place": "string"}},
    }


def measure() -> None:
    """Print what extraction takes beyond the latencies themselves."""
    ours, theirs = multiprocessing.Pipe()
    host = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    host.start()
    url = ours.recv()
    sys.stdout.write(f"\nREST, {LATENCY_S * 1000:.0f} ms a page of {ROWS_A_PAGE} rows\n")
    sys.stdout.write(f"{'pages':>8}{'seconds':>9}{'of latencies':>14}{'cpu s':>8}{'peak MB':>9}\n")
    try:
        for pages in PAGES:
            with tempfile.TemporaryDirectory() as data:
                command = [sys.executable, "-m", __spec__.name, url, str(pages), data]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
            one = json.loads(done.stdout.splitlines()[-1])
            ratio = one["seconds"] / (pages * LATENCY_S)
            sys.stdout.write(
                f"{pages:8}{one['seconds']:9.1f}{ratio:14.2f}{one['cpu']:8.1f}{one['peak_mb']:9.0f}\n"
            )
            sys.stdout.flush()
    finally:
        ours.send("end")
        host.join()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        address, count, folder = sys.argv[1:]
        sys.stdout.write(json.dumps(extract(address, int(count), Path(folder))) + "\n")
    else:
        measure()
