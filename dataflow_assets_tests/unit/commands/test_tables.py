"""Tables of texts from data, in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dataflow_assets.commands.tables import WIDTH, write_table

if TYPE_CHECKING:
    import pytest


def test_what_would_steer_a_terminal_is_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    write_table(("value", "row"), [("\x1b[31mred\u202edne\0", "a\nb\tc"), (None, "x" * 100)])

    shown = capsys.readouterr().out
    assert "\ufffd[31mred\ufffddne\ufffd" in shown
    assert "a⏎b→c" in shown
    assert f"{'x' * (WIDTH - 1)}…\n" in shown
    assert "\x1b" not in shown
