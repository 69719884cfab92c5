"""What the commands' parsers share."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, NoReturn

from typing_extensions import override

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no other
    """Where commands are added."""

BETWEEN = "..."
"""Between the first and the last of a range."""
FAILED = 1
"""The exit code of whatever goes wrong."""


class Parser(argparse.ArgumentParser):
    """A parser that ends with 1 for wrong arguments; 2 says of `plan` that there are changes."""

    @override
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(FAILED, f"{self.prog}: error: {message}\n")


def add_partitions(parser: argparse.ArgumentParser) -> None:
    """Add the words that choose partitions."""
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument(
        "--partition", metavar="KEY", action="append", help="a partition; may be given repeatedly"
    )
    chosen.add_argument(
        "--partition-range", metavar="FIRST...LAST", help="a range of partitions, both included"
    )
