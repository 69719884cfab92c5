"""``python -m dataflow_assets.warehouse setup``: schemas, roles, rights and tables in Postgres.

What belongs here: the command line. What does not: any statement; those are in ``io``.
"""

from __future__ import annotations

import argparse
import sys

from dataflow_assets.errors import DataflowError, SettingsError
from dataflow_assets.settings import get_settings


def main(arguments: list[str] | None = None) -> int:
    """Run the command, and return 0 if it succeeded.

    Args:
        arguments: What stands behind the command; that of this process if none are given.
    """
    parser = argparse.ArgumentParser(
        prog="python -m dataflow_assets.warehouse", description=__doc__
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("setup", help="make or mend schemas, roles, rights and declared tables")
    parser.parse_args(arguments)
    try:
        for line in _set_up():
            sys.stdout.write(f"{line}\n")
    except DataflowError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _set_up() -> list[str]:
    settings = get_settings()
    if settings.database_url is None or settings.database is None:
        raise SettingsError(
            "DATABASE_URL is not set; the embedded warehouse needs no set-up.",
            mend="Set it to the database, with a user who may make roles and schemas.",
            culprit="DATABASE_URL",
        )
    from dataflow_assets.components.loading import load_tables  # noqa: PLC0415 - heavy
    from dataflow_assets.io.postgres.setup import set_up  # noqa: PLC0415 - heavy

    return set_up(settings.database_url, settings.database, load_tables(), settings.lock_timeout_s)


if __name__ == "__main__":
    sys.exit(main())
