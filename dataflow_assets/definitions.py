"""The code location: everything that Dagster loads."""

import dagster as dg

from dataflow_assets.components.loading import load_location


@dg.definitions
def defs() -> dg.Definitions:
    """Return all that the declarations say."""
    return load_location()
