"""The map of a comparison: each pair as an arrow from its place before to its place after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ifdkit.comparison.result import Summary
from ifdkit.format import plural, signed
from ifdkit.report.comparison.figures import Drawing, empty_panel, legend
from ifdkit.report.comparison.svg import FONT_SIZE, Ink, inline_svg
from ifdkit.report.comparison.tips import places_tips
from ifdkit.visible import one_line

if TYPE_CHECKING:
    import pandas as pd

MAX_ARROWS = 400
"""Pairs that are drawn; of more, this many drawn by the seed."""
_PLACES = ("map_x_before", "map_y_before", "map_x_after", "map_y_after")


def map_words(summary: Summary) -> str:
    """What the axes of the map are."""
    return "a UMAP" if summary.map_layout == "umap" else "the first two principal components"


def topic_map(rows: pd.DataFrame, summary: Summary) -> Drawing | None:
    """The map with the titles of the topics; None if the pairs have no places."""
    if not summary.topics or any(name not in rows for name in (*_PLACES, "topic")):
        return None
    known = rows[rows[list(_PLACES)].notna().all(axis=1)]
    if len(known) < 2:
        return None
    shown = known
    if len(known) > MAX_ARROWS:
        rng = np.random.default_rng(summary.seed)
        shown = known.iloc[np.sort(rng.choice(len(known), MAX_ARROWS, replace=False))]
    x0, y0, x1, y1 = (shown[name].to_numpy(dtype=np.float64) for name in _PLACES)
    figure, axes = empty_panel(3.9)
    nothing = np.full(len(x0), np.nan)
    lines = (np.stack([a, b, nothing], axis=1).ravel() for a, b in ((x0, x1), (y0, y1)))
    axes.plot(*lines, color=Ink.MUTED, linewidth=0.6, alpha=0.45)
    axes.plot(x0, y0, "o", color=Ink.BEFORE, alpha=0.55, markersize=3.2, mew=0)
    axes.plot(x1, y1, "o", color=Ink.AFTER, alpha=0.7, markersize=3.8, mew=0)
    axes.margins(0.06)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines["bottom"].set_visible(False)
    for topic in summary.topics[:8]:
        own = known[known["topic"] == topic.title]
        if len(own):
            middle = (own["map_x_before"].median(), own["map_y_before"].median())
            axes.text(*middle, one_line(topic.title.split(" · ")[0], 24), color=Ink.TEXT,
                      fontsize=FONT_SIZE, ha="center", parse_math=False)  # fmt: skip
    legend(axes, ("before", Ink.BEFORE), ("after", Ink.AFTER))
    change = (
        shown["ifd_after"] - shown["ifd_before"]
        if {"ifd_before", "ifd_after"} <= set(shown)
        else nothing
    )
    texts = [
        f"{one_line(str(name), 60)}, {one_line(str(topic), 60)}: IFD {signed(float(moved))}"
        for name, topic, moved in zip(shown["id"], shown["topic"], change, strict=True)
    ]
    svg = inline_svg(
        figure,
        key="topic-map",
        title="Map of the pairs",
        description=(
            f"{plural(len(shown), 'pair')} on {map_words(summary)} of their embeddings; a line"
            " joins the two sides of a pair."
        ),
        tips=places_tips(axes, x1, y1, texts),
    )
    note = f"{len(shown):,} of {plural(len(known), 'pair')}." if len(shown) < len(known) else ""
    return Drawing(svg, note)
