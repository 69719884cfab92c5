"""``dataflow-assets``: what people and CI do from the command line, beside Dagster's own commands.

What belongs here: choosing the command, and telling of its failure. What does not: any command;
each is a module of ``commands``.
"""

from __future__ import annotations

import os
import sys

from dataflow_assets.commands import drift, plan, quarantine, replay, report, setup
from dataflow_assets.commands.parsing import FAILED, Parser
from dataflow_assets.errors import DataflowError

COMMANDS = (setup, plan, quarantine, replay, drift, report)
READER_GONE = 141
"""What a shell says of a process whose reader had enough (128 + SIGPIPE)."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command, and return its exit code: 0 if all went well, 1 if it failed.

    Args:
        arguments: What stands behind the command; that of this process if none are given.
    """
    parser = Parser(prog="dataflow-assets", description="Look after declared sources.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    options = parser.parse_args(arguments)
    try:
        code = int(options.run(options))
        sys.stdout.flush()
    except BrokenPipeError:
        # What is buffered still would fail once more when Python flushes it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return READER_GONE
    except DataflowError as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    return code


if __name__ == "__main__":
    sys.exit(main())
