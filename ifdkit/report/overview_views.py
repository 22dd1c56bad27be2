"""Several datasets against a baseline in a notebook: a small table, and a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ifdkit.comparison.overview import Comparisons
from ifdkit.format import NOTHING
from ifdkit.report.comparison.overview import (
    change_word,
    lead,
    marked_change,
    method,
    short_name,
    shown_others,
)
from ifdkit.report.comparison.wording import metric_of
from ifdkit.report.notebook import draw_whiskers
from ifdkit.report.notebook_html import items, paragraph, table, view
from ifdkit.report.plotting import new_panels
from ifdkit.report.result_figures import chosen_field
from ifdkit.visible import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def overview_view(result: Comparisons) -> str:
    """The verdict of each dataset, and one line per metric."""
    overview = result.overview
    others = list(enumerate(shown_others(overview), 1))
    rows = [
        (
            metric_of(field).label,
            *(
                marked_change(one.metrics[field]) if field in one.metrics else NOTHING
                for _, one in others
            ),
        )
        for field in overview.fields
    ]
    word = f"Median {change_word(overview)}"
    head = (f"{word} (* p < 0.05)", *(short_name(i, one) for i, one in others))
    verdicts = [f"{short_name(i, one)}: {one.verdict}" for i, one in others]
    title = f"{one_line(overview.baseline, 80)}: {lead(overview)}"
    return view(title, [paragraph(method(overview)), table(head, rows), items(verdicts)])


def overview_figure(result: Comparisons, field: str | None) -> Figure:
    """The change of a metric in every dataset with its interval; IFD if no field is named."""
    overview = result.overview
    name = chosen_field(field, overview.fields, "ifd")
    rows = [
        (short_name(i, one), change.median, change.median_ci95)
        for i, one in enumerate(shown_others(overview), 1)
        if name in one.metrics
        for change in (one.metrics[name].change,)
    ]
    figure, (axes,) = new_panels(1, height=1.2 + 0.3 * len(rows))
    label = f"{metric_of(name).label}, median {change_word(overview)}"
    draw_whiskers(axes, rows, label, null=0.0)
    return figure
