"""A comparison on a terminal: headline, table, length control, findings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ifdkit.comparison.result import Summary
from ifdkit.findings.finding import Finding
from ifdkit.format import NOTHING, correlation, interval, number, p_value, percent, plural, signed
from ifdkit.report.comparison.wording import (
    MAX_SOURCES,
    coverage_sentence,
    diversity_measure,
    finding_title,
    group_word,
    metric_of,
    shown_sources,
    source_fields,
)
from ifdkit.report.terminal.screen import Screen, number_table
from ifdkit.stats.paired import Change, MetricChange
from ifdkit.visible import one_line

_BEFORE, _AFTER = "cyan", "dark_orange"
_MAX_FINDINGS = 12
_WIDE, _MEDIUM = 110, 78
"""Columns from which there is room for means, and for intervals."""


def print_comparison(
    summary: Summary, folder: Path | None = None, *, console: Console | None = None
) -> None:
    """Print what `ifdkit compare` ends with; `folder` has the report."""
    console = console or Screen()
    names = Text(one_line(summary.name_before, 60), _BEFORE)
    names.append(" → ", "default").append(one_line(summary.name_after, 60), _AFTER)
    console.print(names)
    console.print()
    console.print(Text(one_line(summary.headline, 1500), "bold"))
    for warning in summary.warnings[:20]:
        console.print(Text(f"! {one_line(warning)}", "yellow"))
    console.print(_table(summary, console.width))
    if summary.sources:
        console.print(_sources(summary, console.width))
        left = len(summary.sources) - MAX_SOURCES
        if left > 0:
            noun = "more group" if summary.group_by else "more input"
            console.print(f"{plural(left, noun)} not shown: summary.json has all")
    for field, control in summary.length_control.items():
        if control.sentence and control.sentence not in summary.headline:
            console.print(
                Text.assemble(("With length held fixed: ", "bold"), one_line(control.sentence))
            )
        elif not control.sentence:
            console.print(f"{metric_of(field).label}: no estimate with length held fixed")
    if summary.diversity:
        console.print(_diversity(summary, console.width))
    if note := coverage_sentence(summary):
        console.print(Text.assemble(("Coverage: ", "bold"), note))
    for finding in summary.findings[:_MAX_FINDINGS]:
        console.print(_finding(finding))
    left = len(summary.findings) - _MAX_FINDINGS
    if left > 0:
        console.print(f"  … and {plural(left, 'more finding')}")
    if folder:
        console.print()
        console.print(Text(f"→ {one_line(str(folder / 'index.html'), 4096)}"), soft_wrap=True)


def _table(summary: Summary, width: int) -> Table:
    """The main table: medians, and as many more columns as `width` has room for."""
    styles = {"before": _BEFORE, "after": _AFTER}
    headers = [Text(header, styles.get(header, "")) for header in _headers(width)]
    rows = [
        (metric_of(field).short, *_cells(metric, width))
        for field, metric in summary.metrics.items()
    ]
    return number_table(headers, rows, width)


def _diversity(summary: Summary, width: int) -> Table:
    """Both sides as sets, a row for each measure; with the header, its name for `--fail-if`."""
    rows = [
        (
            one_line(name, 60),
            number(one.before),
            number(one.after),
            signed(one.change),
            interval(one.change_ci95),
            "larger" if diversity_measure(name).higher_is_more_diverse else "smaller",
        )
        for name, one in summary.diversity.items()
    ]
    headers = ("diversity", Text("before", _BEFORE), Text("after", _AFTER), "change", "95 % CI",
               "more diverse if")  # fmt: skip
    return number_table(headers, rows, width)


def _sources(summary: Summary, width: int) -> Table:
    """The changes of the main metrics, one row for each input."""
    fields = source_fields(summary)
    rows = [
        (
            one_line(one.name, 60),
            f"{one.n_pairs:,}",
            *(signed(one.medians[name][2]) if name in one.medians else NOTHING for name in fields),
        )
        for one in shown_sources(summary)
    ]
    headers = (
        f"change by {group_word(summary)}",
        "pairs",
        *(metric_of(name).short for name in fields),
    )
    return number_table(headers, rows, width)


def _headers(width: int) -> Sequence[str]:
    if width < _MEDIUM:
        return ("median", "before", "after", "change")
    if width < _WIDE:
        return ("median", "before", "after", "change", "95 % CI", "p", "rose")
    return ("median (mean)", "before", "after", "change", "95 % CI", "p", "effect", "rose", "pairs")


def _cells(metric: MetricChange, width: int) -> Sequence[str]:
    before, after, change = metric.before, metric.after, metric.change
    if width >= _WIDE:
        return (
            f"{number(before.median)} ({number(before.mean)})",
            f"{number(after.median)} ({number(after.mean)})",
            *_change(change),
            correlation(change.effect),
            percent(change.share_rose),
            f"{before.n:,}",
        )
    cells = (number(before.median), number(after.median))
    if width < _MEDIUM:
        return (*cells, signed(change.median))
    return (*cells, *_change(change), percent(change.share_rose))


def _change(change: Change) -> tuple[str, str, str]:
    return signed(change.median), interval(change.median_ci95), p_value(change.p_holm)


def _finding(finding: Finding) -> Text:
    side = "" if finding.side == "both" else f" {finding.side}"
    text = Text("· ")
    text.append(one_line(finding_title(finding.kind), 60), "bold")
    text.append(f"{side}: {plural(finding.count, 'row')} ({percent(finding.share)})")
    if finding.other_count is not None:
        text.append(f", {finding.other_count:,} on the other side")
    found = one_line(finding.text, 160)
    text.append(f" · “{found}”" if finding.quotes_text else f" · {found}", "dim")
    return text
