"""Progress on stderr: a bar on a terminal, a line every half minute elsewhere."""

from __future__ import annotations

import sys
import time
from bisect import bisect_right
from collections.abc import Sequence
from typing import TextIO

from ifdkit.format import duration, fixed, number
from ifdkit.scoring.progress import Progress

_LINE_EVERY_S = 30.0


class Pace(Progress):
    """Counts finished rows; within a block, in proportion to the tokens scored."""

    def __init__(self) -> None:
        self._rows = 0
        self._ends: Sequence[int] = ()
        self._done_rows = 0
        self._block = (0, 0)
        self._done_examples = 0
        self._missing_tokens = 0
        self._block_tokens = 0
        self._tokens = 0
        self._begin: float | None = None

    def start(self, rows: int) -> None:
        # A comparison scores one dataset after the other.
        self._rows, self._done_rows, self._done_examples, self._tokens = rows, 0, 0, 0
        self._begin, self._ends = None, ()

    def sources(self, ends: Sequence[int]) -> None:
        self._ends = ends

    def begin_block(self, rows: int, examples: int) -> None:
        self._block = (rows, examples)
        self._missing_tokens = self._block_tokens = 0

    def missing(self, tokens: int) -> None:
        self._missing_tokens = tokens
        self._begin = self._begin or time.monotonic()
        self._draw()

    def scored(self, tokens: int) -> None:
        self._block_tokens += tokens
        self._tokens += tokens
        self._draw()

    def end_block(self) -> None:
        rows, examples = self._block
        self._done_rows += rows
        self._done_examples += examples
        self._block, self._missing_tokens = (0, 0), 0
        self._draw()

    def _draw(self) -> None:
        """Show the state."""

    @property
    def _within(self) -> float:
        """Share of the block that is done."""
        return self._block_tokens / self._missing_tokens if self._missing_tokens else 0.0

    @property
    def rows_done(self) -> float:
        return self._done_rows + self._block[0] * self._within

    @property
    def source(self) -> str:
        """`input 3 of 20`, if there are several."""
        n = len(self._ends)
        return f"input {min(n, bisect_right(self._ends, self.rows_done) + 1)} of {n:,}" if n else ""

    @property
    def pace(self) -> str:
        """`input 3 of 20 · 4.1 examples/s · 1,020 tokens/s · 2 min left`."""
        return " · ".join(part for part in (self.source, self.rates, self.time_left) if part)

    @property
    def count(self) -> str:
        """`12 of 1,000 rows`."""
        return f"{fixed(self.rows_done, 0)} of {self._rows:,} rows"

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._begin if self._begin else 0.0

    @property
    def rates(self) -> str:
        """`4.1 examples/s · 1,020 tokens/s`."""
        if not self._tokens or self.elapsed_s < 0.5:
            return ""
        examples = self._done_examples + self._block[1] * self._within
        return (
            f"{number(examples / self.elapsed_s)} examples/s ·"
            f" {number(self._tokens / self.elapsed_s)} tokens/s"
        )

    @property
    def time_left(self) -> str:
        if not 0 < self.rows_done < self._rows or self.elapsed_s < 2:
            return ""
        left_s = self.elapsed_s * (self._rows - self.rows_done) / self.rows_done
        return f"{duration(left_s)} left"


class LineProgress(Pace):
    """Lines for a log: one every half minute, and every note."""

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._stream = stream or sys.stderr
        self._last = time.monotonic()

    def note(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def _draw(self) -> None:
        now = time.monotonic()
        # No rows: a single example is being measured.
        if self._rows and now - self._last >= _LINE_EVERY_S:
            self._last = now
            self.note(" · ".join(part for part in (self.count, self.pace) if part))


class BarProgress(Pace):
    """A live bar for a terminal."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn
        from rich.progress import Progress as RichProgress

        from ifdkit.report.terminal.screen import Screen

        super().__init__()
        self._bar = RichProgress(
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.description}", markup=False),
            console=Screen(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("", total=None, start=False)

    def note(self, text: str) -> None:
        self._bar.console.print(text, style="dim", soft_wrap=True)

    def start(self, rows: int) -> None:
        super().start(rows)
        self._bar.start()
        self._bar.start_task(self._task)
        self._bar.update(self._task, total=rows)

    def _draw(self) -> None:
        self._bar.update(self._task, completed=self.rows_done, description=self.pace)

    def close(self) -> None:
        """Remove the bar from the screen."""
        self._bar.stop()
