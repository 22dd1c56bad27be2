"""The report as one HTML file that asks nothing of any network.

Everything is inlined, and the page's own content-security-policy forbids every request and every
script and style but the two whose hashes it names.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from ifdkit.compared import ExploredPair, LengthControl, Summary
from ifdkit.report import figures
from ifdkit.report.explorer import ExplorerData, explorer_data
from ifdkit.report.figures import Drawing
from ifdkit.report.numbers import plural
from ifdkit.report.visible import one_line
from ifdkit.report.wording import (
    NOTHING,
    PAPER_FIELDS,
    Estimate,
    effect,
    estimates,
    finding_kind,
    interval,
    p_value,
    percent,
    printed,
    sentence,
    signed,
    value,
    wording,
)
from ifdkit.stats import BCA_MOST_VALUES
from ifdkit.writing import dumps

if TYPE_CHECKING:
    import pandas as pd
    from jinja2 import Environment

_MOST_FINDINGS = 60
_MANIFEST_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class _MetricSection:
    field: str
    distributions: Drawing | None
    change: Drawing | None


@dataclass(frozen=True, slots=True)
class _LengthSection:
    field: str
    control: LengthControl
    estimates: tuple[Estimate, ...]
    figure: Drawing | None


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
    """The whole page.

    `rows` feeds the figures, `explored` the explorer; `has_text` says whether the latter holds
    texts.  At most about 3 MB whatever comes in.
    """
    style, script = _style(), _template_file("report.js")
    explorer = explorer_data(explored, tuple(summary.metrics), has_text=has_text)
    return (
        _environment()
        .get_template("report.html")
        .render(
            s=summary,
            policy=content_security_policy(script, style),
            style=_safe(style),
            script=_safe(script),
            data=_safe(explorer.json),
            has_text=has_text,
            has_tokens=explorer.has_tokens,
            explorer_words=_explorer_words(explorer, summary, has_text=has_text),
            explored_ids=_ids(explored[: explorer.n_pairs]),
            findings=summary.findings[:_MOST_FINDINGS],
            manifest=_manifest(summary),
            bca_most=BCA_MOST_VALUES,
            unpaired=_unpaired(summary),
            **_table(summary),
            **_figures(summary, rows),
        )
    )


def content_security_policy(script: str, style: str) -> str:
    """A policy under which nothing is fetched and only this script and this style count."""
    return (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}';"
        " img-src data:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _template_file(name: str) -> str:
    folder = importlib.resources.files("ifdkit.report") / "templates"
    return (folder / name).read_text(encoding="utf-8")


def _style() -> str:
    return _template_file("style.css").replace(
        "{{ palette_dark }}", _template_file("palette_dark.css")
    )


def _safe(markup: str) -> Any:
    """Markup of our own making (our files, JSON without < > &), which is not to be escaped."""
    from markupsafe import Markup

    return Markup(markup)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        loader=FunctionLoader(_template_file), autoescape=True, undefined=StrictUndefined
    )
    filters: dict[str, Callable[..., str]] = {
        "definition": lambda field: wording(field).definition,
        "effect": effect,
        "interval": interval,
        "kind": lambda kind: one_line(finding_kind(kind), 60),
        "label": lambda field: one_line(wording(field).label, 60),
        "one_line": one_line,
        "p_value": p_value,
        "percent": percent,
        "printed": printed,
        "sentence": sentence,
        "plural": plural,
        "signed": signed,
        "unit": _table_unit,
        "value": value,
    }
    environment.filters |= filters
    return environment


def _table_unit(field: str) -> str:
    """The unit where a label does not tell it already."""
    unit = wording(field).unit
    return unit if unit in {"tokens", "cosine"} else ""


def _table(summary: Summary) -> dict[str, Any]:
    metrics = summary.metrics
    known = [field for field in PAPER_FIELDS if field in metrics]
    published = {field for row in summary.reference for field in row.values}
    means = [side.geometric_mean for one in metrics.values() for side in (one.before, one.after)]
    return {
        "paper_fields": known,
        "other_fields": [field for field in metrics if field not in known],
        "reference_sources": {(row.model, row.source) for row in summary.reference},
        "reference_fields": [field for field in PAPER_FIELDS if field in published],
        "has_geometric": any(mean is not None for mean in means),
    }


def _figures(summary: Summary, rows: pd.DataFrame) -> dict[str, Any]:
    scatter = figures.against_length(rows)
    return {
        "metric_sections": [
            _MetricSection(
                field,
                _safe_drawing(figures.distributions(rows, field, metric)),
                _safe_drawing(figures.paired_change(rows, field, metric)),
            )
            for field, metric in summary.metrics.items()
        ],
        "length_sections": [
            _LengthSection(
                field,
                control,
                estimates(control),
                _safe_drawing(figures.length_control(field, control)),
            )
            for field, control in summary.length_control.items()
        ],
        "scatter": [_safe_drawing(drawing) for drawing in scatter or ()],
        "scatter_words": (
            "Each point is a row."
            if len(rows) <= figures.MOST_POINTS
            else "The deeper a hexagon’s colour, the more rows lie in it (logarithmic)."
        ),
    }


def _safe_drawing(drawing: Drawing | None) -> Drawing | None:
    return Drawing(_safe(drawing.svg), drawing.note) if drawing else None


def _explorer_words(explorer: ExplorerData, summary: Summary, *, has_text: bool) -> str:
    """What the explorer holds, in a sentence or two."""
    of = f" of {summary.pairing.n_pairs:,}" if explorer.n_pairs < summary.pairing.n_pairs else ""
    if not explorer.n_pairs:
        return "No rows were chosen for reading; all numbers are in rows.parquet."
    words = f"{explorer.n_pairs:,} pairs{of}, the most telling and some at random."
    if not has_text:
        return f"{words} Numbers and ids only: this report holds no text of the datasets."
    return f"{words} Each text is cut at {explorer.characters:,} characters."


def _ids(explored: Sequence[ExploredPair]) -> set[str]:
    return {side.id for pair in explored for side in (pair.before, pair.after)}


def _unpaired(summary: Summary) -> list[tuple[str, tuple[str, ...]]]:
    pairing = summary.pairing
    return [
        ("Without a partner, before", pairing.ids_unmatched_before),
        ("Without a partner, after", pairing.ids_unmatched_after),
        ("Ambiguous", pairing.ids_ambiguous),
    ]


def _manifest(summary: Summary) -> list[_ManifestLine]:
    names = dict.fromkeys([*summary.before, *summary.after])
    return [
        _ManifestLine(
            one_line(name, 60),
            _manifest_value(summary.before.get(name)),
            _manifest_value(summary.after.get(name)),
        )
        for name in names
    ]


def _manifest_value(x: Any) -> str:
    if x is None:
        return NOTHING
    return one_line(x if isinstance(x, str) else dumps(x), _MANIFEST_CHARACTERS)
