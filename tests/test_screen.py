"""Tables of numbers on a terminal: what gives way when it is narrow."""

from __future__ import annotations

import pytest
from rich.console import Console

from ifdkit.report.terminal.screen import number_table

HEADERS = ("median", "input", "selection", "random choice", "95 %")
ROWS = [("instruction tokens", "1,234", "0.851", "0.542", "0.385 to 0.725"), ("share by source",)]


def shown(width: int) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(number_table(HEADERS, ROWS, width))
    return capture.get()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_no_number_is_cut(width: int) -> None:
    lines = shown(width).splitlines()
    assert max(map(len, lines)) <= width
    assert any(all(cell in line for cell in ROWS[0][1:]) for line in lines)
    assert "…" not in shown(width)


def test_where_there_is_room_nothing_wraps() -> None:
    assert "random choice" in shown(80)
    assert "instruction tokens" in shown(80)
