"""Curves of IFD and NLL over the position of the tokens in a response."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ifdkit.comparison.result import PositionPoint
from ifdkit.format import interval, number, plural
from ifdkit.report.comparison.figures import Drawing, empty_panel, legend
from ifdkit.report.comparison.svg import Ink, inline_svg
from ifdkit.report.comparison.tips import places_tips
from ifdkit.report.comparison.wording import metric_of

_SIDES = (("before", Ink.BEFORE), ("after", Ink.AFTER))
_MIN_POINTS = 2
"""One point is no curve."""


def position_curves(points: Sequence[PositionPoint]) -> list[Drawing]:
    """One panel for each quantity with at least two positions; the bands are 95 % intervals."""
    quantities = dict.fromkeys(one.quantity for one in points)
    drawn = (_curve(name, [p for p in points if p.quantity == name]) for name in quantities)
    return [one for one in drawn if one is not None]


def _curve(quantity: str, points: Sequence[PositionPoint]) -> Drawing | None:
    by_side = {side: [p for p in points if p.side == side and p.median is not None]
               for side, _ in _SIDES}  # fmt: skip
    if min(map(len, by_side.values())) < _MIN_POINTS:
        return None
    words = metric_of(quantity)
    figure, axes = empty_panel(left_in=0.42)
    axes.set_xscale("log", base=2)
    shown: list[tuple[float, float, str]] = []
    for side, colour in _SIDES:
        one = by_side[side]
        x = np.array([p.stop for p in one], dtype=np.float64)
        y = np.array([p.median for p in one], dtype=np.float64)
        low = np.array([p.ci95[0] if p.ci95 else p.median for p in one], dtype=np.float64)
        high = np.array([p.ci95[1] if p.ci95 else p.median for p in one], dtype=np.float64)
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(x, y, "o-", color=colour, linewidth=1.6, markersize=3.5)
        shown += [(p.stop, p.median or 0.0, _said(p)) for p in one]
    ticks = sorted({p.stop for p in points})
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.set_xticks([], minor=True)
    is_ifd = quantity == "ifd"
    axes.set_xlabel("first response tokens" if is_ifd else "tokens up to this one")
    legend(axes, *((f"{words.short if is_ifd else 'NLL'} {side}", c) for side, c in _SIDES))
    xs, ys, texts = zip(*shown, strict=True)
    svg = inline_svg(
        figure,
        key=f"position-{quantity}",
        title=f"{words.label} over the position in the response",
        description="; ".join(texts),
        tips=places_tips(axes, np.array(xs), np.array(ys), texts),
    )
    return Drawing(svg, f"{words.label}.")


def _said(point: PositionPoint) -> str:
    tokens = f"first {point.stop:,} tokens"
    if point.quantity != "ifd":
        tokens = f"tokens {point.start + 1:,} to {point.stop:,}"
    ends = f" ({interval(point.ci95, number)})" if point.ci95 else ""
    return f"{point.side}, {tokens}: {number(point.median)}{ends}, {plural(point.n_pairs, 'pair')}"
