"""Very many small files on S3 against the same bytes in one file, both into a lake on S3.

Usage: by ``make bench``, or ``python -m dataflow_assets_tests.benchmarks.small_files MANY`` alone.
A run of its own is ``... small_files BUCKET FOLDER DATA``.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from dataflow_assets.builders.receiving import Receiver
from dataflow_assets.builders.resources import build_resources
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.s3 import Bucket, at_once
from dataflow_assets.settings import Settings
from dataflow_assets_tests.benchmarks.data import BYTES_A_ROW, FIRST_DAY, write_file
from dataflow_assets_tests.benchmarks.declarations import SOURCE
from dataflow_assets_tests.benchmarks.memory import peak_mb
from dataflow_assets_tests.s3_server import running_s3

BUCKET = "benchmark"
BYTES = 20_000
PATH = "{date:%Y-%m-%d}*.csv"


def measure_small_files(many: int, folder: Path) -> None:
    """Receive one partition of many small files, and of one big file with the same rows."""
    servers = folder / "s3"
    servers.mkdir()
    with running_s3(servers) as server:
        os.environ |= server.environment
        server.client().create_bucket(Bucket=BUCKET)
        fill(many, folder)
        results = {}
        for turn in range(2):
            for kind in ("one", "many"):
                data = folder / f"{kind}-{turn}"
                results[kind] = in_own_process(kind, data)
    name = "Ceph" if server.is_ceph else "moto"
    say(f"\n{many:,} files of {BYTES / 1e3:.0f} kB on S3 ({name}), received into a lake on S3")
    say(f"{'files':12}{'rows':>12}{'seconds':>9}{'of one':>8}{'cpu s':>8}{'peak MB':>9}")
    for kind, one in results.items():
        ratio = one["seconds"] / results["one"]["seconds"]
        say(
            f"{kind:12}{one['rows']:12,.0f}{one['seconds']:9.1f}{ratio:8.2f}{one['cpu']:8.1f}"
            f"{one['peak_mb']:9.0f}"
        )


def fill(many: int, folder: Path) -> None:
    """Put both kinds of files on S3."""
    rows = BYTES // BYTES_A_ROW
    whole = folder / "whole.csv"
    write_file(whole, rows * many)
    header, *lines = whole.read_bytes().splitlines(keepends=True)
    bucket = Bucket(BUCKET)
    bucket.upload(whole, f"one/{FIRST_DAY}.csv")
    whole.unlink()

    def put(number: int) -> None:
        content = header + b"".join(lines[number * rows : (number + 1) * rows])
        bucket.write(f"many/{FIRST_DAY}-{number:06}.csv", content)

    for _ in at_once(put, range(many)):
        pass


def in_own_process(kind: str, data: Path) -> dict[str, float]:
    """Measure in a process of its own, so that its peak memory is its own."""
    module = "dataflow_assets_tests.benchmarks.small_files"
    command = [sys.executable, "-m", module, BUCKET, kind, str(data)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def receive(bucket: str, folder: str, data: str) -> dict[str, float]:
    """Receive one partition and return what it took."""
    source = SourceDeclaration.model_validate(next(yaml.safe_load_all(SOURCE))["attributes"])
    if source.extract.files is None:
        raise AssertionError("the benchmark's source is one of files")
    files = source.extract.files.model_copy(update={"path": PATH})
    source = source.model_copy(
        update={"extract": source.extract.model_copy(update={"files": files})}
    )
    settings = Settings(
        data_dir=Path(data),
        files_dir=f"s3://{bucket}/{folder}",
        s3_bucket=bucket,
        s3_prefix=f"lakes/{Path(data).name}",
    )
    stores = build_resources(settings)["stores"].open("benchmark")
    began = time.perf_counter()
    with Receiver(source, stores, [str(FIRST_DAY)]) as receiver:
        received = receiver.receive(str(FIRST_DAY))
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": seconds,
        "cpu": used.ru_utime + used.ru_stime,
        "peak_mb": peak_mb(),
        "rows": received.manifest.rows,
    }


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.stdout.write(json.dumps(receive(*sys.argv[1:])) + "\n")
    else:
        with tempfile.TemporaryDirectory() as place:
            measure_small_files(int(sys.argv[1]), Path(place))
