"""The figures of an audit: what each check found, and the numbers of the examples it found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ifdkit.auditing.result import AuditedColumn, RuleResult
from ifdkit.format import number, plural
from ifdkit.report.audit.wording import allowed, rate, title
from ifdkit.report.comparison.figures import Drawing, empty_panel, legend, outside_note
from ifdkit.report.comparison.scales import axis_of
from ifdkit.report.comparison.svg import FONT_SIZE, Ink, inline_svg
from ifdkit.report.comparison.tips import bin_tips, line_tips
from ifdkit.report.comparison.wording import metric_of

MAX_LINES = 12
_LOWEST = 1e-4
"""Shares at and below it are drawn at the left end of the axis."""
_TICKS = ((1e-4, "0.01 %"), (1e-3, "0.1 %"), (1e-2, "1 %"), (0.1, "10 %"), (1.0, "100 %"))


def shares(rules: Sequence[RuleResult]) -> Drawing | None:
    """The share of each check that found something, on a log axis; None if none did.

    A tick marks the largest share that passes, unless none is allowed.
    """
    shown = [one for one in rules if one.count and one.share][:MAX_LINES]
    if not shown:
        return None
    texts = [f"{title(one)}: {rate(one.share)}, allowed {allowed(one)}" for one in shown]
    figure, axes = empty_panel(0.8 + 0.46 * len(shown))
    axes.set_xscale("log")
    axes.set_xlim(_LOWEST * 0.8, 1.4)
    for place, (one, text) in enumerate(zip(shown, texts, strict=True)):
        colour = Ink.AFTER if one.fails or one.warns else Ink.MUTED
        share = max(_LOWEST, one.share or 0.0)
        axes.plot((_LOWEST, share), (place, place), color=colour, linewidth=3)
        axes.plot(share, place, "o", color=colour, markersize=6)
        if one.most > 0:
            most = max(_LOWEST, one.most)
            axes.vlines(most, place - 0.2, place + 0.2, color=Ink.TEXT, linewidth=1.5)
        # The name is above the line: a phone has no room for a margin of names.
        axes.text(
            0.0,
            place - 0.26,
            text,
            transform=axes.get_yaxis_transform(),
            color=Ink.TEXT,
            fontsize=FONT_SIZE,
            parse_math=False,
        )
    axes.set_ylim(len(shown) - 0.6, -0.8)
    axes.set_yticks([])
    axes.set_xticks([x for x, _ in _TICKS], [label for _, label in _TICKS])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("share of the rows")
    svg = inline_svg(
        figure,
        key="shares",
        title="Share of the rows that each check found, and the largest share that passes",
        description=". ".join(texts),
        tips=line_tips(axes, texts),
    )
    left = sum(bool(one.count and one.share) for one in rules) - len(shown)
    return Drawing(svg, f"{left:,} more in the table." if left else "")


def distribution(measured: AuditedColumn) -> Drawing:
    """The number of examples at each value, and of those with a finding to fix."""
    words = metric_of(measured.field)
    axis = axis_of((measured.values,), is_log=words.scale == "log")
    edges = axis.edges(len(measured.values))
    parts = [("all examples", Ink.MUTED, measured.values)]
    if measured.is_found.any():
        parts.append(("with a finding", Ink.AFTER, measured.values[measured.is_found]))
    figure, axes = empty_panel()
    binned = []
    for _, colour, values in parts:
        counts, _ = np.histogram(values, edges)
        axes.stairs(counts, edges, fill=True, color=colour, alpha=0.25)
        axes.stairs(counts, edges, color=colour, linewidth=1.4)
        binned.append((counts, edges))
    axis.apply(axes)
    axes.set_ylim(bottom=0)
    axes.set_yticks([])
    axes.set_xlabel(words.unit)
    medians = [f"{name}, median {number(np.median(values))}" for name, _, values in parts]
    legend(axes, *zip(medians, (colour for _, colour, _ in parts), strict=True))
    n = plural(len(measured.values), "example")
    svg = inline_svg(
        figure,
        key=f"dist-{measured.field}",
        title=f"{words.label}: distribution",
        description=f"Histogram over {n}: {'; '.join(medians)}.",
        tips=bin_tips(axes, binned, [name for name, _, _ in parts]),
    )
    return Drawing(svg, outside_note(axis.n_outside(measured.values), "value"))
