"""The command line in this process, in the world of a test."""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING
from unittest import mock

from dataflow_assets.__main__ import main
from dataflow_assets.components.loading import load_location
from dataflow_assets.settings import get_settings

if TYPE_CHECKING:
    from dataflow_assets_tests.scenario import World


@dataclass(frozen=True)
class Done:
    """What came of a command.

    Attributes:
        code: Its exit code.
        out: What it said.
        err: What it said of failures.
    """

    code: int
    out: str
    err: str


def command(world: World, *arguments: str) -> Done:
    """Run ``dataflow-assets`` as a process of its own would."""
    out, err = io.StringIO(), io.StringIO()
    get_settings.cache_clear()
    load_location.cache_clear()
    with (
        mock.patch.dict(os.environ, world.environment),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            code = main(list(arguments))
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        finally:
            get_settings.cache_clear()
            load_location.cache_clear()
    return Done(code, out.getvalue(), err.getvalue())
