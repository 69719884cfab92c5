"""The peak memory of this process alone.

`ru_maxrss` will not do: a process begins with the peak of the one that it was forked from.
"""

from __future__ import annotations

import re
from pathlib import Path

PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def peak_mb() -> float:
    """Return the most memory, in MB, that this process has held since its program began."""
    match = PEAK.search(Path("/proc/self/status").read_text(encoding="ascii"))
    if match is None:
        raise RuntimeError("the kernel does not say how much memory a process has held")
    return int(match[1]) / 1024
