"""Parts of a figure that show their numbers when the pointer is over them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ifdkit.format import number, percent
from ifdkit.report.comparison.scales import Column
from ifdkit.report.comparison.svg import Tip

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_POINTS = 500
"""Points that show their own numbers; of more, the parts of a grid show how many are in them."""
_GRID = (12, 8)
_POINT = 9.0  # pixels around a point


def _pixels(axes: Axes, x: Any, y: Any) -> tuple[Column, Column]:
    """Data coordinates → pixels of the SVG, whose y axis goes down, shapes (n,)."""
    found = axes.transData.transform(np.column_stack([x, y]))
    return found[:, 0], axes.figure.bbox.height - found[:, 1]


def panel_box(axes: Axes) -> tuple[float, float, float, float]:
    """Pixels of the SVG: left, top, width and height of the panel."""
    box: Any = axes.bbox
    return box.x0, axes.figure.bbox.height - box.y1, box.width, box.height


def bin_tips(
    axes: Axes, binned: Sequence[tuple[Any, Column]], names: Sequence[str]
) -> tuple[Tip, ...]:
    """One part per bin of histograms with the same edges; empty bins have none."""
    edges = binned[0][1]
    counts = np.stack([one for one, _ in binned])  # (sides, bins)
    xs, _ = _pixels(axes, edges, np.zeros(len(edges)))
    _, top, _, height = panel_box(axes)
    totals = counts.sum(axis=1)
    tips = []
    for i in np.flatnonzero(counts.sum(axis=0)).tolist():
        shares = (
            f"{name} {int(n[i]):,} ({percent(n[i] / total)})"
            for name, n, total in zip(names, counts, totals, strict=True)
            if total
        )
        text = f"{number(edges[i])} to {number(edges[i + 1])}: {', '.join(shares)}"
        tips.append(Tip(xs[i], top, xs[i + 1] - xs[i], height, text))
    return tuple(tips)


def line_tips(axes: Axes, texts: Sequence[str]) -> tuple[Tip, ...]:
    """One part per line, which is at y = 0, 1, …"""
    _, ys = _pixels(axes, np.ones(len(texts)), np.arange(len(texts)))
    left, _, width, _ = panel_box(axes)
    step = abs(ys[1] - ys[0]) if len(ys) > 1 else 40.0
    return tuple(
        Tip(left, y - 0.55 * step, width, step * 0.95, text)
        for y, text in zip(ys, texts, strict=True)
    )


def places_tips(axes: Axes, x: Column, y: Column, texts: Sequence[str]) -> tuple[Tip, ...]:
    """One part around each point, shapes (n,)."""
    xs, ys = _pixels(axes, x, y)
    half = _POINT / 2
    return tuple(
        Tip(px - half, py - half, _POINT, _POINT, text)
        for px, py, text in zip(xs, ys, texts, strict=True)
    )


def point_tips(axes: Axes, lengths: Column, values: Column, label: str) -> tuple[Tip, ...]:
    """The numbers of each point, or of many points how many are in each part of a grid."""
    xs, ys = _pixels(axes, lengths, values)
    left, top, width, height = panel_box(axes)
    is_inside = (xs >= left) & (xs <= left + width) & (ys >= top) & (ys <= top + height)
    if len(xs) <= MAX_POINTS:
        inside = np.flatnonzero(is_inside)
        pairs = zip(lengths[inside].tolist(), values[inside].tolist(), strict=True)
        texts = [f"{number(length)} tokens, {label} {number(value)}" for length, value in pairs]
        return places_tips(axes, lengths[inside], values[inside], texts)
    ranges = ((left, left + width), (top, top + height))
    counts, across, down = np.histogram2d(xs[is_inside], ys[is_inside], _GRID, ranges)
    tips = []
    for i, j in np.argwhere(counts).tolist():
        corners = [(across[i], down[j + 1]), (across[i + 1], down[j])]
        pixels = [(x, axes.figure.bbox.height - y) for x, y in corners]
        (x0, y0), (x1, y1) = axes.transData.inverted().transform(pixels)
        text = (
            f"{int(counts[i, j]):,} rows: {number(round(x0))} to {number(round(x1))} tokens,"
            f" {label} {number(y0)} to {number(y1)}"
        )
        size = (across[i + 1] - across[i], down[j + 1] - down[j])
        tips.append(Tip(across[i], down[j], *size, text))
    return tuple(tips)
