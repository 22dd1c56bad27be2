"""A comparison on a terminal: the headline, the table, the verdict on length, the findings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ifdkit.comparison.result import Summary
from ifdkit.findings.finding import Finding
from ifdkit.report.comparison.wording import (
    effect,
    finding_kind,
    interval,
    p_value,
    percent,
    signed,
    value,
    wording,
)
from ifdkit.report.format import plural
from ifdkit.report.terminal.screen import Screen
from ifdkit.report.visible import one_line
from ifdkit.stats.paired import Change, MetricChange

_BEFORE, _AFTER = "cyan", "dark_orange"
_MOST_FINDINGS = 12
_WIDE, _MEDIUM = 110, 78
"""Columns from which means, and from which intervals, have room."""


def print_comparison(
    summary: Summary, folder: Path | None = None, *, console: Console | None = None
) -> None:
    """What `ifdkit compare` ends with; `folder` is where the report went."""
    console = console or Screen()
    names = Text(one_line(summary.name_before, 60), _BEFORE)
    names.append(" → ", "default").append(one_line(summary.name_after, 60), _AFTER)
    console.print(names)
    console.print()
    console.print(Text(one_line(summary.headline, 1500), "bold"))
    for warning in summary.warnings[:20]:
        console.print(Text(f"! {one_line(warning)}", "yellow"))
    console.print(_table(summary, console.width))
    for field, control in summary.length_control.items():
        if control.sentence and control.sentence not in summary.headline:
            console.print(
                Text.assemble(("Length held fixed: ", "bold"), one_line(control.sentence))
            )
        elif not control.sentence:
            console.print(f"{wording(field).label}: nothing can be said with length held fixed")
    for finding in summary.findings[:_MOST_FINDINGS]:
        console.print(_finding(finding))
    left = len(summary.findings) - _MOST_FINDINGS
    if left > 0:
        console.print(f"  … and {plural(left, 'more finding')}")
    if folder:
        console.print()
        console.print(Text(f"→ {one_line(str(folder / 'index.html'), 4096)}"), soft_wrap=True)


def _table(summary: Summary, width: int) -> Table:
    """The main table with as many columns as `width` has room for; medians always."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1))
    table.add_column("median (mean)" if width >= _WIDE else "median", overflow="fold")
    styles = {"before": _BEFORE, "after": _AFTER}
    for header in _headers(width):
        table.add_column(Text(header, styles.get(header, "")), justify="right")
    for field, metric in summary.metrics.items():
        table.add_row(Text(wording(field).short), *map(Text, _cells(metric, width)))
    return table


def _headers(width: int) -> Sequence[str]:
    medians = ("before", "after", "change")
    if width < _MEDIUM:
        return medians
    tested = (*medians, "95 % interval", "p")
    return (*tested, "effect", "rose", "pairs") if width >= _WIDE else (*tested, "rose")


def _cells(metric: MetricChange, width: int) -> Sequence[str]:
    before, after, change = metric.before, metric.after, metric.change
    if width >= _WIDE:
        return (
            f"{value(before.median)} ({value(before.mean)})",
            f"{value(after.median)} ({value(after.mean)})",
            *_change(change),
            effect(change.effect),
            percent(change.share_up),
            f"{before.n:,}",
        )
    cells = (value(before.median), value(after.median))
    if width < _MEDIUM:
        return (*cells, signed(change.median))
    return (*cells, *_change(change), percent(change.share_up))


def _change(change: Change) -> tuple[str, str, str]:
    return signed(change.median), interval(change.median_ci95), p_value(change.p_holm)


def _finding(finding: Finding) -> Text:
    side = "" if finding.side == "both" else f" {finding.side}"
    text = Text("· ")
    text.append(one_line(finding_kind(finding.kind), 60), "bold")
    text.append(f"{side}: {plural(finding.count, 'row')} ({percent(finding.share)})")
    if finding.other_count is not None:
        text.append(f", {finding.other_count:,} on the other side")
    quoted = one_line(finding.text, 160)
    text.append(f" · “{quoted}”" if finding.quotes_text else f" · {quoted}", "dim")
    return text
