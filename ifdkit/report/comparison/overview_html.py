"""The overview of several comparisons as one HTML file that makes no network request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ifdkit.comparison.overview import Compared, Comparisons, SideColumns
from ifdkit.report.comparison.overview import (
    ALPHA,
    ChangeCells,
    change_cells,
    change_word,
    counted,
    finding_counts,
    lead,
    method,
    share_word,
    short_name,
    shown_others,
)
from ifdkit.report.comparison.scales import axis_of
from ifdkit.report.comparison.sparkline import drawn_sides
from ifdkit.report.comparison.wording import LengthEstimate, estimates, metric_of
from ifdkit.report.page import manifest_value, render_page, safe
from ifdkit.visible import one_line

_NAME = 40
"""Characters of a name on the page."""
_MANIFEST = ("model", "weights_hash", "protocol", "template", "dtype", "max_length", "input_sha256")


@dataclass(frozen=True, slots=True)
class _Line:
    """One metric of one dataset."""

    name: str
    spark: str
    cells: ChangeCells


@dataclass(frozen=True, slots=True)
class _MetricLines:
    field: str
    lines: tuple[_Line, ...]


@dataclass(frozen=True, slots=True)
class _LengthLine:
    name: str
    estimates: tuple[LengthEstimate, ...]
    sentence: str


def render_overview_html(result: Comparisons) -> str:
    """The whole page."""
    overview = result.overview
    others = list(enumerate(shown_others(overview), 1))
    return render_page(
        "overview.html",
        ("theme.js",),
        o=overview,
        version=overview.version,
        lead=lead(overview),
        method=method(overview),
        change_word=change_word(overview),
        share_word=share_word(overview),
        alpha=ALPHA,
        others=[(i, one, counted(one)) for i, one in others],
        n_more=len(overview.others) - len(others),
        metrics=_metrics(result, others),
        lengths=_lengths(others),
        names=[short_name(i, one) for i, one in others],
        findings=finding_counts(overview),
        manifest=_manifest(result),
    )


def _metrics(result: Comparisons, others: list[tuple[int, Compared]]) -> list[_MetricLines]:
    return [
        _MetricLines(field, tuple(_lines(result, field, others)))
        for field in result.overview.fields
    ]


def _lines(result: Comparisons, field: str, others: list[tuple[int, Compared]]) -> list[_Line]:
    """One line per dataset; the pictures of a metric have one axis."""
    columns = dict(enumerate(result.columns, 1))
    drawn = [columns[i][field] for i, _ in others if _has_values(columns.get(i), field)]
    axis = None
    if drawn:
        is_log = metric_of(field).scale == "log"
        axis = axis_of([one for sides in drawn for one in sides], is_log=is_log)
    found = []
    for i, one in others:
        if field in one.metrics:
            spark = ""
            if axis is not None and _has_values(columns.get(i), field):
                spark = safe(drawn_sides(columns[i][field], axis))
            cells = change_cells(one.metrics[field], is_paired=result.overview.is_paired)
            found.append(_Line(short_name(i, one, _NAME), spark, cells))
    return found


def _has_values(columns: SideColumns | None, field: str) -> bool:
    return columns is not None and field in columns and all(map(len, columns[field]))


def _lengths(others: list[tuple[int, Compared]]) -> list[_LengthLine]:
    return [
        _LengthLine(
            short_name(i, one, _NAME),
            tuple(e for e in estimates(control) if e.change is not None),
            control.sentence,
        )
        for i, one in others
        for control in one.length_control.values()
    ]


def _manifest(result: Comparisons) -> list[tuple[str, list[str]]]:
    """Name of a field → its value for the baseline, and for each of the others."""
    overview = result.overview
    manifests = [overview.baseline_manifest, *(one.manifest for one in shown_others(overview))]
    known: list[dict[str, Any]] = [one.as_json() if one else {} for one in manifests]
    return [
        (one_line(name, 60), [manifest_value(one.get(name)) for one in known])
        for name in _MANIFEST
        if any(name in one for one in known)
    ]
