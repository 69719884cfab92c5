"""Conservation: every row received is loaded, quarantined, duplicate or filtered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflow_assets.errors import ConservationError

if TYPE_CHECKING:
    from dataflow_assets.io.ledger import Counts


def conservation_failure(counts: Counts) -> ConservationError | None:
    """Return an error if rows are unaccounted for."""
    if counts.lost == 0:
        return None
    return ConservationError(
        f"{counts.lost:,} rows are unaccounted for: received {counts.received or 0:,}, "
        f"loaded {counts.loaded or 0:,}, quarantined {counts.quarantined or 0:,}, "
        f"duplicate {counts.duplicate or 0:,}, filtered {counts.filtered or 0:,}.",
        mend="This is a bug in dataflow_assets; nothing was published. Please report it.",
    )
