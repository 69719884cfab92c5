"""The demo: make sample files, run the main job on them as CI would, and show what came of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent))

from make_samples import DAYS, FIRST_DAY, write_samples

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = Path(__file__).parent.parent
DATA = ROOT / "data"
SELECTION = "group:coastal_network or group:alpine_network or group:seismic_events"
COUNTS = """
    select asset, partition, received, loaded, quarantined, duplicate, filtered
    from dataflow.ledger where layer in ('cleaned', 'normalized') order by layer, asset, partition
"""
REASONS = "select rule, count(*) from quarantined, unnest(rules) as broken(rule) group by all"
QUERY = (
    "select _source, count(*), max(magnitude) from normalized.seismic_events group by all order by 1"
)


def main() -> int:
    """Run the demo and return the exit code."""
    say("1. Sample files: two networks, one week, with dirt of every kind")
    inbox = DATA / "inbox"
    for name in ("coastal", "alpine"):
        shutil.rmtree(inbox / name, ignore_errors=True)
    paths = write_samples(inbox)
    print(f"   {len(paths)} files below {inbox.relative_to(ROOT)}")
    say("2. dagster asset materialize, one run over the whole week")
    code = materialize()
    if code:
        return code
    say("3. What came of it")
    show_counts()
    show_next()
    return 0
