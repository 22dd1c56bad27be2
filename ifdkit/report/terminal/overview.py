"""Several datasets against a baseline on a terminal: verdicts, and one table of changes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ifdkit.comparison.overview import Compared, Overview
from ifdkit.format import NOTHING, number, plural
from ifdkit.report.comparison.overview import (
    ALPHA,
    change_word,
    counted,
    lead,
    marked_change,
    short_name,
    shown_others,
)
from ifdkit.report.comparison.wording import metric_of
from ifdkit.report.terminal.screen import Screen, number_table
from ifdkit.visible import one_line

_BEFORE, _AFTER = "cyan", "dark_orange"
_LABELS, _COLUMN = 32, 17
"""Columns of the labels with the baseline, and of each dataset."""
_MAX_WARNINGS = 5


def print_overview(
    overview: Overview, folder: Path | None = None, *, console: Console | None = None
) -> None:
    """Print what `ifdkit compare` with several datasets ends with; `folder` has the report."""
    console = console or Screen()
    console.print(Text(one_line(overview.baseline, 60), _BEFORE))
    console.print(Text(lead(overview), "bold"))
    console.print()
    shown = shown_others(overview)
    for i, one in enumerate(shown, 1):
        head = Text(f"{i}  ").append(one_line(one.name, 60), _AFTER).append(f": {counted(one)}")
        console.print(head)
        console.print(Text(f"   {one_line(one.verdict, 400)}", "bold"))
        for warning in one.warnings[:_MAX_WARNINGS]:
            console.print(Text(f"   ! {one_line(warning)}", "yellow"))
        left = len(one.warnings) - _MAX_WARNINGS
        if left > 0:
            console.print(f"   {plural(left, 'more caveat')} in summary.json")
    per_table = max(1, (console.width - _LABELS) // _COLUMN)
    for start in range(0, len(shown), per_table):
        console.print(_table(overview, shown, start, per_table, console.width))
    console.print(
        f"Median {change_word(overview)}; * corrected p < {ALPHA:g}, Holm over"
        f" {plural(overview.n_tests, 'test')}."
    )
    left = len(overview.others) - len(shown)
    if left > 0:
        console.print(f"{plural(left, 'more dataset')} in summary.json")
    if folder:
        console.print()
        console.print(Text(f"→ {one_line(str(folder / 'index.html'), 4096)}"), soft_wrap=True)


def _table(overview: Overview, shown: Sequence[Compared], start: int, n: int, width: int) -> Table:
    """One line per metric: the median of the baseline, and the change of each dataset."""
    part = list(enumerate(shown, 1))[start : start + n]
    headers: list[str | Text] = [
        "median",
        Text("baseline", _BEFORE),
        *(Text(short_name(i, one), _AFTER) for i, one in part),
    ]
    rows = [
        (
            metric_of(field).short,
            _baseline(field, overview),
            *(marked_change(one.metrics.get(field)) for _, one in part),
        )
        for field in overview.fields
    ]
    return number_table(headers, rows, width)


def _baseline(field: str, overview: Overview) -> str:
    """The median of the baseline; over other pairs it may differ a little, and the most count."""
    found = [one.metrics[field].before for one in overview.others if field in one.metrics]
    return number(max(found, key=lambda side: side.n).median) if found else NOTHING
