"""The figures of a comparison as inline SVG.

Every panel is drawn for the width of a phone, so that its text stays readable there; wider pages
put panels side by side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ifdkit.comparison.result import LengthControl
from ifdkit.data.atomic import dumps
from ifdkit.format import interval, number, percent, plural, signed
from ifdkit.report.comparison.scales import (
    Axis,
    Column,
    axis_of,
    change_axis,
    length_columns,
    pair_columns,
)
from ifdkit.report.comparison.svg import FONT_SIZE, RC, Ink, Tip, inline_svg
from ifdkit.report.comparison.tips import bin_tips, line_tips, panel_box, point_tips
from ifdkit.report.comparison.wording import RAW, estimates, metric_of
from ifdkit.report.plotting import load_matplotlib, new_figure
from ifdkit.stats.paired import MetricChange

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH_IN, _HEIGHT_IN = 5.0, 3.05  # 360 × 220 pixels
_TOP_IN, _BOTTOM_IN = 0.25, 0.52  # for the legend; for ticks and the label of the axis
MAX_POINTS = 1500
"""Pairs above which a scatter plot becomes hexagons."""
MIN_PAIRS_FOR_TREND = 100
"""Below this a median within tenths of the pairs is noise."""
_SIDES = (("before", Ink.BEFORE), ("after", Ink.AFTER))


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure, and a note on the values outside its axis."""

    svg: str
    note: str = ""


def empty_panel(height_in: float = _HEIGHT_IN, left_in: float = 0.05) -> tuple[Figure, Axes]:
    """An empty transparent panel.

    Fixed margins draw several times faster than a layout computed for each figure.
    """
    mpl = load_matplotlib()
    with mpl.rc_context(RC):
        figure = new_figure(figsize=(_WIDTH_IN, height_in))
        width, height = _WIDTH_IN - left_in - 0.05, height_in - _TOP_IN - _BOTTOM_IN
        axes = figure.add_axes(
            (left_in / _WIDTH_IN, _BOTTOM_IN / height_in, width / _WIDTH_IN, height / height_in)
        )
    for patch in (figure.patch, axes.patch):
        patch.set_visible(False)
    return figure, axes


def legend(axes: Axes, *parts: tuple[str, str]) -> None:
    """One or two texts above a panel, each in its colour."""
    for x, (text, colour) in zip((0.0, 0.5), parts, strict=False):
        axes.text(
            x,
            1.025,
            text,
            color=colour,
            fontsize=FONT_SIZE,
            transform=axes.transAxes,
            parse_math=False,
        )


def distributions(rows: pd.DataFrame, field: str, metric: MetricChange) -> Drawing | None:
    """Both distributions of a metric; None if no pair defines it."""
    before, after = pair_columns(rows, field)
    if not len(before):
        return None
    words = metric_of(field)
    axis = axis_of((before, after), is_log=words.scale == "log")
    figure, axes = empty_panel()
    binned: list[tuple[Any, Column]] = []
    medians = (metric.before.median, metric.after.median)
    for (_, colour), column, median in zip(_SIDES, (before, after), medians, strict=True):
        counts, edges = np.histogram(column, axis.edges(len(column)))
        shares = counts / len(column)
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.18)
        axes.stairs(shares, edges, color=colour, linewidth=1.4)
        binned.append((counts, edges))
        if median is not None:
            axes.axvline(median, color=colour, linewidth=1.2, linestyle=(0, (4, 3)))
    axis.apply(axes)
    axes.set_yticks([])
    axes.set_xlabel(words.unit)
    parts = zip(_SIDES, medians, strict=True)
    legend(axes, *((f"{side}, median {number(x)}", colour) for (side, colour), x in parts))
    svg = inline_svg(
        figure,
        key=f"dist-{field}",
        title=f"{words.label}: distribution before and after",
        description=(
            f"Histograms over {plural(len(before), 'pair')}. Median {number(medians[0])} before,"
            f" {number(medians[1])} after."
        ),
        tips=bin_tips(axes, binned, ("before", "after")),
    )
    return Drawing(svg, outside_note(axis.n_outside(before, after), "value"))


def outside_note(n: int, noun: str) -> str:
    """How many values are outside the axis, in a sentence; empty for none."""
    return f"{plural(n, noun)} outside the axis." if n else ""


def paired_change(rows: pd.DataFrame, field: str, metric: MetricChange) -> Drawing | None:
    """How much each pair changed: a difference, or a factor if the metric has a log axis."""
    before, after = pair_columns(rows, field)
    words = metric_of(field)
    as_factor = words.scale == "log"
    if as_factor:
        positive = (before > 0) & (after > 0)
        before, after = before[positive], after[positive]
    if not len(before):
        return None
    change = after / before if as_factor else after - before
    axis = change_axis(change, is_log=as_factor)
    figure, axes = empty_panel()
    counts, edges = np.histogram(change, axis.edges(len(change)))
    axes.stairs(counts / len(change), edges, fill=True, color=Ink.MUTED, alpha=0.35)
    axes.stairs(counts / len(change), edges, color=Ink.MUTED, linewidth=1.2)
    axes.axvline(1 if as_factor else 0, color=Ink.TEXT, linewidth=1)
    middle = float(np.median(change))
    axes.axvline(middle, color=Ink.TEXT, linewidth=1.2, linestyle=(0, (4, 3)))
    axis.apply(axes)
    axes.set_yticks([])
    axes.set_xlabel("after ÷ before, per pair" if as_factor else "after − before, per pair")
    median = f"× {number(middle)}" if as_factor else signed(middle)
    legend(axes, (f"median {median}", Ink.TEXT))
    up = metric.change.share_rose
    rose = "" if up is None else f" {percent(up)} of the pairs rose."
    svg = inline_svg(
        figure,
        key=f"change-{field}",
        title=f"{words.label}: paired change",
        description=f"Histogram over {plural(len(change), 'pair')}. Median {median}.{rose}",
        tips=bin_tips(axes, [(counts, edges)], ("pairs",)),
    )
    return Drawing(svg, outside_note(axis.n_outside(change), "pair"))


def length_control(field: str, control: LengthControl) -> Drawing | None:
    """The raw change and those with length held fixed, with their intervals."""
    shown = [one for one in estimates(control) if one.change is not None]
    if not shown:
        return None
    texts = [f"{one.name}: {signed(one.change)} ({interval(one.ci95)})" for one in shown]
    figure, axes = empty_panel(0.8 + 0.62 * len(shown))
    for place, one in enumerate(shown):
        change = one.change or 0.0
        colour = Ink.TEXT if one.name == RAW else Ink.AFTER
        axes.vlines(0, place - 0.16, place + 0.3, color=Ink.MUTED, linewidth=1)
        if one.ci95 is not None:
            axes.plot(one.ci95, (place, place), color=colour, linewidth=2, solid_capstyle="round")
        axes.plot(change, place, "o", color=colour, markersize=7)
        # The name is above the line: a phone has no room for a margin of names.
        axes.text(
            0.0,
            place - 0.24,
            texts[place],
            transform=axes.get_yaxis_transform(),
            color=Ink.TEXT,
            fontsize=FONT_SIZE,
            parse_math=False,
        )
    axes.set_ylim(len(shown) - 0.6, -0.75)
    axes.set_yticks([])
    axes.margins(x=0.08)
    label = metric_of(field).label
    axes.set_xlabel(f"median change in {label}")
    tips = line_tips(
        axes, [f"{text}. {one.meaning}" for text, one in zip(texts, shown, strict=True)]
    )
    svg = inline_svg(
        figure,
        key=f"length-{field}",
        title=f"Change in {label} with response length held fixed",
        description=f"Points with 95 % confidence intervals. {'; '.join(texts)}.",
        tips=tips,
    )
    return Drawing(svg)


def against_length(rows: pd.DataFrame, field: str = "ifd") -> tuple[Drawing, Drawing] | None:
    """A metric against response tokens, one panel for each side on the same axes.

    None if no pair defines both.
    """
    columns = length_columns(rows, field)
    if columns is None:
        return None
    lengths, values = columns[:2], columns[2:]
    x = axis_of(lengths, is_log=True)
    y = axis_of(values, is_log=False)
    drawings = []
    for i, (side, colour) in enumerate(_SIDES):
        figure, axes = empty_panel(3.4, left_in=0.42)
        draw = _points if len(lengths[i]) <= MAX_POINTS else _hexagons
        draw(axes, lengths[i], values[i], x, y, colour)
        if len(lengths[i]) >= MIN_PAIRS_FOR_TREND:
            dashed: Any = (0, (4, 3))
            axes.plot(*_trend(lengths[i], values[i]), color=Ink.TEXT, linewidth=1.8)
            other = _trend(lengths[1 - i], values[1 - i])
            axes.plot(*other, color=Ink.MUTED, linewidth=1.2, linestyle=dashed)
        x.apply(axes)
        axes.set_ylim(y.low, y.high)
        axes.set_xlabel("response tokens")
        legend(axes, (f"{metric_of(field).label} {side}", colour))
        tips = point_tips(axes, lengths[i], values[i], metric_of(field).label)
        brush = {
            "side": side,
            "box": [round(one, 1) for one in panel_box(axes)],
            "tokens": [x.low, x.high],
            "values": [y.low, y.high],
        }
        n = len(lengths[i])
        drawings.append(Drawing(_scatter_svg(figure, field, side, n, tips, dumps(brush))))
    n_outside = x.n_outside(*lengths) + y.n_outside(*values)
    return Drawing(drawings[0].svg, outside_note(n_outside, "value")), drawings[1]


def _scatter_svg(
    figure: Figure, field: str, side: str, n: int, tips: Sequence[Tip], brush: str
) -> str:
    label = metric_of(field).label
    return inline_svg(
        figure,
        key=f"scatter-{side}",
        title=f"{label} against response length, {side}",
        description=(
            f"{plural(n, 'pair')}; the line, from {MIN_PAIRS_FOR_TREND} pairs on, is the median of"
            f" {label} within tenths of the pairs by length."
        ),
        tips=tips,
        attributes={"data-brush": brush},
    )


def _points(axes: Axes, lengths: Column, values: Column, x: Axis, y: Axis, colour: str) -> None:
    inside = (lengths >= x.low) & (lengths <= x.high) & (values >= y.low) & (values <= y.high)
    axes.plot(lengths[inside], values[inside], "o", color=colour, alpha=0.45, markersize=3.4, mew=0)


def _hexagons(axes: Axes, lengths: Column, values: Column, x: Axis, y: Axis, colour: str) -> None:
    """Counts in hexagons, one colour whose opacity grows with the logarithm of the count."""
    from matplotlib.colors import LinearSegmentedColormap

    rgb = tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    ramp = LinearSegmentedColormap.from_list("opacity", [(*rgb, 0.12), (*rgb, 1.0)])
    axes.hexbin(
        lengths,
        values,
        gridsize=(34, 20),
        xscale="log",
        bins="log",
        mincnt=1,
        cmap=ramp,
        edgecolors="none",
        linewidths=0,
        extent=(math.log10(x.low), math.log10(x.high), y.low, y.high),
    )


def _trend(lengths: Column, values: Column) -> tuple[Column, Column]:
    """Medians of length and value within tenths of the pairs by length, shapes (≤ 10,)."""
    order = np.argsort(lengths, kind="stable")
    groups = [group for group in np.array_split(order, 10) if len(group)]
    middle_of: Any = np.median
    return (
        np.array([middle_of(lengths[group]) for group in groups]),
        np.array([middle_of(values[group]) for group in groups]),
    )
