"""Progress in a notebook: one bar that is drawn again, and the notes of the run below it."""

from __future__ import annotations

import time
from html import escape
from typing import Any

from ifdkit.report.terminal.progress import Pace
from ifdkit.visible import one_line

_DRAW_EVERY_S = 0.2
_MAX_NOTES = 12


class NotebookProgress(Pace):
    """A bar in the output of a cell, which stays with the count of rows when the run is over."""

    def __init__(self) -> None:
        super().__init__()
        self._notes: list[str] = []
        self._handle: Any = None
        self._drawn = 0.0

    def note(self, text: str) -> None:
        """A line below the bar."""
        self._notes.append(one_line(text, 500))
        self._show()

    def start(self, rows: int) -> None:
        """A dataset of so many rows follows."""
        super().start(rows)
        self._show()

    def _draw(self) -> None:
        is_over = self.rows_done >= self._rows
        if is_over or time.monotonic() - self._drawn >= _DRAW_EVERY_S:
            self._show()

    def _show(self) -> None:
        from IPython.display import HTML, display

        self._drawn = time.monotonic()
        if self._handle is None:
            self._handle = display(HTML(self.html()), display_id=True)
        else:
            self._handle.update(HTML(self.html()))

    def html(self) -> str:
        """The bar and the last notes; every text is escaped."""
        bar = ""
        if self._rows:
            told = " · ".join(part for part in (self.count, self.pace) if part)
            bar = (
                f'<progress max="{self._rows}" value="{self.rows_done:.0f}"'
                f' aria-label="rows scored"></progress> {escape(told)}'
            )
        notes = "".join(f"<div>{escape(one)}</div>" for one in self._notes[-_MAX_NOTES:])
        return f"<div>{bar}</div><small>{notes}</small>"
