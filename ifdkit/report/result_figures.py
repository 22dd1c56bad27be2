"""Figures of results with several numbers, which open no window."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ifdkit.auditing.result import Audit
from ifdkit.comparison.result import Comparison
from ifdkit.errors import UsageError, unknown
from ifdkit.report.audit.wording import title
from ifdkit.report.comparison.scales import Axis, axis_of, pair_columns
from ifdkit.report.comparison.wording import metric_of
from ifdkit.report.plotting import new_panels
from ifdkit.scoring.frames import FrameSummary
from ifdkit.selection.result import Selected

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_BEFORE, _AFTER, _MUTED = "#2c5f96", "#a54a06", "#8a8f98"
_MAX_BARS = 15


def chosen_field(field: str | None, known: Iterable[str], default: str) -> str:
    """The field to draw, by default `default`. Raises UsageError for one that is not known."""
    names = list(known)
    if not names:
        raise UsageError("plot(): there is no metric to draw")
    chosen = field or (default if default in names else names[0])
    if chosen not in names:
        raise UsageError(f"plot(): {unknown('field', chosen, names)}")
    return chosen


def comparison_figure(result: Comparison, field: str | None) -> Figure:
    """The distributions of a metric before and after; IFD if no field is named."""
    name = chosen_field(field, result.summary.metrics, "ifd")
    columns, words = pair_columns(result.rows, name), metric_of(name)
    axis = axis_of(columns, is_log=words.scale == "log")
    figure, (axes,) = new_panels(1, height=3.2)
    for side, column, colour in zip(("before", "after"), columns, (_BEFORE, _AFTER), strict=True):
        _histogram(axes, column, axis, colour, side)
    axis.apply(axes)
    axes.set(xlabel=f"{words.label} ({words.unit})", ylabel="share of the pairs")
    axes.legend(frameon=False)
    return figure


def scores_figure(summary: FrameSummary, field: str | None) -> Figure:
    """The distribution of a metric; IFD if no field is named."""
    name = chosen_field(field, summary.columns, "ifd")
    words, column = metric_of(name), summary.columns[name]
    axis = axis_of((column,), is_log=words.scale == "log")
    figure, (axes,) = new_panels(1, height=3.2)
    _histogram(axes, column, axis, _BEFORE, "")
    axis.apply(axes)
    axes.set(xlabel=f"{words.label} ({words.unit})", ylabel="share of the examples")
    return figure


def _histogram(axes: Axes, column: Any, axis: Axis, colour: str, label: str) -> None:
    counts, edges = np.histogram(column, axis.edges(len(column)))
    shares = counts / max(1, len(column))
    axes.stairs(shares, edges, fill=True, color=colour, alpha=0.25)
    axes.stairs(shares, edges, color=colour, label=label or None)
    if len(column):
        axes.axvline(float(np.median(column)), color=colour, linestyle="--", linewidth=1)


def audit_figure(result: Audit) -> Figure:
    """The share of rows that each rule finds, with the largest share that passes."""
    rules = [rule for rule in result.rules if rule.count and rule.share is not None][:_MAX_BARS]
    figure, (axes,) = new_panels(1, height=1.2 + 0.3 * max(1, len(rules)))
    for place, rule in enumerate(rules):
        colour = _AFTER if rule.fails or rule.warns else _MUTED
        axes.barh(place, 100 * (rule.share or 0.0), color=colour, height=0.6)
        axes.plot([100 * rule.most] * 2, [place - 0.4, place + 0.4], color="black", linewidth=1.5)
    axes.set_yticks(range(len(rules)), [title(rule) for rule in rules])
    axes.invert_yaxis()
    axes.set_xlabel("% of the rows; the line is the largest share that passes")
    return figure


def selection_figure(result: Selected) -> Figure:
    """How many rows were kept, and why the others were dropped."""
    counts = {"kept": result.kept, **result.dropped}
    figure, (axes,) = new_panels(1, height=1.0 + 0.35 * len(counts))
    colours = [_AFTER, *[_MUTED] * len(result.dropped)]
    axes.barh(range(len(counts)), list(counts.values()), color=colours, height=0.6)
    axes.set_yticks(range(len(counts)), list(counts))
    axes.invert_yaxis()
    axes.set_xlabel("rows")
    return figure
