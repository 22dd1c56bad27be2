"""Rendering of results: HTML, Markdown, LaTeX, SARIF and terminal. It computes nothing.

Importing it registers the files of the reports, so that `result.save()` can write them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ifdkit.auditing.result import Audit
from ifdkit.comparison.result import Comparison
from ifdkit.data.atomic import json_file
from ifdkit.data.notebook import draws, views
from ifdkit.data.report_folder import encoded, renders
from ifdkit.prediction.result import Prediction
from ifdkit.scoring.frames import FrameSummary
from ifdkit.selection.result import Selected
from ifdkit.training.trained_model import TrainedModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The renderers import Jinja and matplotlib, so they are loaded when a report is saved.


@renders(Comparison, "index.html")
def _comparison_html(comparison: Comparison) -> bytes:
    from ifdkit.report.comparison.html import render_html

    page = render_html(
        comparison.summary, comparison.rows, comparison.explored, has_text=comparison.has_text
    )
    return encoded(page)


@renders(Comparison, "report.md")
def _comparison_markdown(comparison: Comparison) -> bytes:
    from ifdkit.report.comparison.markdown import render_markdown

    return encoded(render_markdown(comparison.summary))


@renders(Comparison, "table.tex")
def _comparison_latex(comparison: Comparison) -> bytes:
    from ifdkit.report.comparison.latex import render_latex

    return encoded(render_latex(comparison.summary))


@renders(Audit, "index.html")
def _audit_html(audit: Audit) -> bytes:
    from ifdkit.report.audit.html import render_audit_html

    return encoded(render_audit_html(audit))


@renders(Audit, "report.md")
def _audit_markdown(audit: Audit) -> bytes:
    from ifdkit.report.audit.markdown import render_audit_markdown

    return encoded(render_audit_markdown(audit))


@renders(Audit, "audit.sarif")
def _audit_sarif(audit: Audit) -> bytes:
    from ifdkit.report.audit.sarif import as_sarif

    return json_file(as_sarif(audit))


@renders(TrainedModel, "loss.png")
def _loss_png(model: TrainedModel) -> bytes:
    from ifdkit.report.loss_figure import loss_png

    return loss_png(model.losses, f"{model.model} on {model.input}, seed {model.seed}")


@renders(Prediction, "index.html")
def _prediction_html(prediction: Prediction) -> bytes:
    from ifdkit.report.prediction.html import render_prediction_html

    return encoded(render_prediction_html(prediction))


@renders(Prediction, "report.md")
def _prediction_markdown(prediction: Prediction) -> bytes:
    from ifdkit.report.prediction.markdown import render_prediction_markdown

    return encoded(render_prediction_markdown(prediction))


@views(Comparison)
def _comparison_view(result: Comparison) -> str:
    from ifdkit.report.notebook.views import comparison_view

    return comparison_view(result)


@draws(Comparison)
def _comparison_figure(result: Comparison, field: str | None) -> Figure:
    from ifdkit.report.notebook.figures import comparison_figure

    return comparison_figure(result, field)


@views(Audit)
def _audit_view(result: Audit) -> str:
    from ifdkit.report.notebook.views import audit_view

    return audit_view(result)


@draws(Audit)
def _audit_figure(result: Audit, field: str | None) -> Figure:
    from ifdkit.report.notebook.figures import audit_figure

    return audit_figure(result, field)


@views(Selected)
def _selection_view(result: Selected) -> str:
    from ifdkit.report.notebook.views import selection_view

    return selection_view(result)


@draws(Selected)
def _selection_figure(result: Selected, field: str | None) -> Figure:
    from ifdkit.report.notebook.figures import selection_figure

    return selection_figure(result, field)


@views(FrameSummary)
def _scores_view(result: FrameSummary) -> str:
    from ifdkit.report.notebook.views import scores_view

    return scores_view(result)


@draws(FrameSummary)
def _scores_figure(result: FrameSummary, field: str | None) -> Figure:
    from ifdkit.report.notebook.figures import scores_figure

    return scores_figure(result, field)
