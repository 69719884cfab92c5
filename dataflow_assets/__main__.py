"""``dataflow-assets setup``: what must be there before the first run.

What belongs here: the command line. What does not: any statement or request; those are in ``io``
and ``s3``.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from dataflow_assets.errors import DataflowError
from dataflow_assets.settings import get_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflow_assets.settings import Settings

SETUP = (
    "make or mend what the environment names: the lake's bucket, and in Postgres schemas, roles, "
)
SETUP += "rights and declared tables"


def main(arguments: list[str] | None = None) -> int:
    """Run the command, and return 0 if it succeeded.

    Args:
        arguments: What stands behind the command; that of this process if none are given.
    """
    parser = argparse.ArgumentParser(prog="dataflow-assets", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("setup", help=SETUP, description=SETUP)
    parser.parse_args(arguments)
    try:
        for line in _set_up():
            sys.stdout.write(f"{line}\n")
    except DataflowError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _set_up() -> Iterator[str]:
    settings = get_settings()
    yield from _told(settings)
    if settings.s3_bucket is not None:
        from dataflow_assets.s3 import open_bucket  # noqa: PLC0415 - heavy

        made = open_bucket(settings.s3_bucket).make()
        yield f"bucket {settings.s3_bucket}: {'made' if made else 'there'}"
    if settings.database_url is not None and settings.database is not None:
        from dataflow_assets.components.loading import load_tables  # noqa: PLC0415 - heavy
        from dataflow_assets.io.postgres.setup import set_up  # noqa: PLC0415 - heavy

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


if __name__ == "__main__":
    sys.exit(main())
