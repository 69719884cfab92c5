"""``dataflow-assets setup``: what must be there before the first run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from dataflow_assets.settings import get_settings

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from dataflow_assets.commands.parsing import Commands
    from dataflow_assets.settings import Settings

SETUP = (
    "make or mend what the environment names: the lake's bucket, and in Postgres schemas, roles, "
    "rights and declared tables"
)


def add(commands: Commands) -> None:
    """Add the command."""
    commands.add_parser("setup", help=SETUP, description=SETUP).set_defaults(run=_run)


def _run(_: argparse.Namespace) -> int:
    for line in _set_up():
        sys.stdout.write(f"{line}\n")
    return 0


def _set_up() -> Iterator[str]:
    settings = get_settings()
    yield from _told(settings)
    if settings.s3_bucket is not None:
        from dataflow_assets.s3 import open_bucket

        made = open_bucket(settings.s3_bucket).make()
        yield f"bucket {settings.s3_bucket}: {'made' if made else 'there'}"
    if settings.database_url is not None and settings.database is not None:
        from dataflow_assets.components.loading import load_tables
        from dataflow_assets.io.postgres.setup import set_up

        url, place = settings.database_url, settings.database
        yield from set_up(url, place, load_tables(), settings.lock_timeout_s)
    if settings.s3_bucket is None and settings.database_url is None:
        yield "Neither S3_BUCKET nor DATABASE_URL is set: the embedded default needs no set-up."


def _told(settings: Settings) -> Iterator[str]:
    """Say which warehouse and lake it is about, in a line each, without secrets.

    A variable that is set to nothing counts as not set: that is seen here.
    """
    url, place, bucket = settings.database_url, settings.database, settings.s3_bucket
    if url is None:
        yield f"warehouse: DuckDB, {settings.warehouse} (DATABASE_URL is not set)"
    elif place is not None:
        yield f"warehouse: Postgres, {place}"
    if bucket is None:
        yield f"lake: {settings.lake} (S3_BUCKET is not set)"
    else:
        yield f"lake: S3, {bucket}"
