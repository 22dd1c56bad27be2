"""The report of a comparison as one HTML file that makes no network request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ifdkit.comparison.result import ExploredPair, LengthControl, Summary
from ifdkit.format import plural
from ifdkit.report.comparison import figures
from ifdkit.report.comparison.explorer import pairs_data
from ifdkit.report.comparison.figures import Drawing
from ifdkit.report.comparison.position_figures import position_curves
from ifdkit.report.comparison.sparkline import sparkline
from ifdkit.report.comparison.topic_map import map_words, topic_map
from ifdkit.report.comparison.wording import (
    LengthEstimate,
    coverage_sentence,
    diversity_measure,
    estimates,
    group_word,
    paper_metrics,
    shown_sources,
    source_fields,
)
from ifdkit.report.explorer import ExplorerData
from ifdkit.report.page import EXPLORER_SCRIPTS, manifest_value, render_page, safe
from ifdkit.stats.columns import MAX_BCA_VALUES
from ifdkit.visible import one_line

if TYPE_CHECKING:
    import pandas as pd

_MAX_FINDINGS = 60


@dataclass(frozen=True, slots=True)
class _MetricSection:
    field: str
    spark: str
    distributions: Drawing | None
    change: Drawing | None


@dataclass(frozen=True, slots=True)
class _LengthSection:
    field: str
    control: LengthControl
    estimates: tuple[LengthEstimate, ...]


@dataclass(frozen=True, slots=True)
class _ManifestLine:
    name: str
    before: str
    after: str

    @property
    def differs(self) -> bool:
        return self.before != self.after


def render_html(
    summary: Summary,
    rows: pd.DataFrame,
    explored: Sequence[ExploredPair] = (),
    *,
    has_text: bool = True,
) -> str:
    """The whole page, of at most about 3 MB.

    The figures are drawn from `rows`, the explorer lists `explored`; `has_text` says whether the
    latter has texts.  At most about 3 MB whatever the input.
    """
    explorer = pairs_data(explored, tuple(summary.metrics), has_text=has_text)
    return render_page(
        "report.html",
        (*EXPLORER_SCRIPTS, "metrics.js", "brush.js"),
        s=summary,
        version=summary.version,
        data=safe(explorer.json),
        has_text=has_text,
        has_tokens=explorer.has_tokens,
        explorer_note=_explorer_note(explorer, summary, has_text=has_text),
        explored_ids=_ids(explored[: explorer.n_rows]),
        findings=summary.findings[:_MAX_FINDINGS],
        manifest=_manifest(summary),
        bca_most=MAX_BCA_VALUES,
        unpaired=_unpaired(summary),
        group_word=group_word(summary),
        groups=shown_sources(summary),
        group_fields=source_fields(summary),
        diversity=[(diversity_measure(name), one) for name, one in summary.diversity.items()],
        coverage_sentence=coverage_sentence(summary),
        **_table(summary),
        **_figures(summary, rows),
    )


def _table(summary: Summary) -> dict[str, Any]:
    published = {field for row in summary.reference for field in row.values}
    return {
        "reference_sources": {(row.model, row.source) for row in summary.reference},
        "reference_fields": [field for field in paper_metrics() if field in published],
    }


def _figures(summary: Summary, rows: pd.DataFrame) -> dict[str, Any]:
    scatter = figures.against_length(rows)
    sections = {
        field: _MetricSection(
            field,
            safe(sparkline(rows, field)),
            _safe_drawing(figures.distributions(rows, field, metric)),
            _safe_drawing(figures.paired_change(rows, field, metric)),
        )
        for field, metric in summary.metrics.items()
    }
    control = summary.length_control.get("ifd")
    first = [field for field in paper_metrics() if field in sections]
    return {
        "paper_sections": [sections[field] for field in first],
        "other_sections": [one for field, one in sections.items() if field not in first],
        "length_sections": [
            _LengthSection(field, control, estimates(control))
            for field, control in summary.length_control.items()
        ],
        "picture": _safe_drawing(figures.length_control("ifd", control)) if control else None,
        "scatter": [_safe_drawing(drawing) for drawing in scatter or ()],
        "curves": [_safe_drawing(one) for one in position_curves(summary.positions)],
        "map_words": map_words(summary),
        "topic_map": _safe_drawing(topic_map(rows, summary)),
        "scatter_note": _scatter_note(len(rows)),
    }


def _scatter_note(n: int) -> str:
    points = (
        "Each point is a row."
        if n <= figures.MAX_POINTS
        else "The stronger the colour of a hexagon, the more rows are in it (log scale)."
    )
    if n < figures.MIN_PAIRS_FOR_TREND:
        return points
    return (
        f"{points} The solid line is the median within tenths of the pairs by length, the dashed"
        " line that of the other side."
    )


def _safe_drawing(drawing: Drawing | None) -> Drawing | None:
    return Drawing(safe(drawing.svg), drawing.note) if drawing else None


def _explorer_note(explorer: ExplorerData, summary: Summary, *, has_text: bool) -> str:
    """What the explorer contains, in a sentence or two."""
    shown, n_pairs = explorer.n_rows, summary.pairing.n_pairs
    if not shown:
        return "No rows were selected; all numbers are in rows.parquet."
    which = plural(shown, "pair")
    if shown < n_pairs:
        which = f"{shown:,} of {plural(n_pairs, 'pair')}: the most notable, and some at random"
    if not has_text:
        return f"{which}. Numbers and ids only: dataset text was omitted."
    return f"{which}. Texts longer than {explorer.characters:,} characters are cut."


def _ids(explored: Sequence[ExploredPair]) -> set[str]:
    return {side.id for pair in explored for side in (pair.before, pair.after)}


def _unpaired(summary: Summary) -> list[tuple[str, tuple[str, ...]]]:
    pairing = summary.pairing
    return [
        ("Unmatched before", pairing.ids_unmatched_before),
        ("Unmatched after", pairing.ids_unmatched_after),
        ("Ambiguous", pairing.ids_ambiguous),
    ]


def _manifest(summary: Summary) -> list[_ManifestLine]:
    before, after = (one.as_json() if one else {} for one in (summary.before, summary.after))
    return [
        _ManifestLine(
            one_line(name, 60),
            manifest_value(before.get(name)),
            manifest_value(after.get(name)),
        )
        for name in dict.fromkeys([*before, *after])
    ]
