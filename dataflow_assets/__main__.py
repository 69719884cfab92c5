"""``dataflow-assets``: what people and CI do from the command line, beside Dagster's own commands.

What belongs here: choosing the command, and telling of its failure. What does not: any command;
each is a module of ``commands``.
"""

from __future__ import annotations

import sys

from dataflow_assets.commands import plan, quarantine, replay, report, setup
from dataflow_assets.commands.parsing import FAILED, Parser
from dataflow_assets.errors import DataflowError

COMMANDS = (setup, plan, quarantine, replay, report)


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
        return int(options.run(options))
    except DataflowError as error:
        sys.stderr.write(f"{error}\n")
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
