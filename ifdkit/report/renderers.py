"""What renders each file of a report, and what a notebook shows of each result.

Importing it registers them.  It imports all results, so it is loaded when the first is rendered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ifdkit.auditing.result import Audit
from ifdkit.comparison.overview import Comparisons
from ifdkit.comparison.result import Comparison
from ifdkit.data.atomic import json_file
from ifdkit.data.report_folder import encoded, renders
from ifdkit.data.views import draws, draws_metrics, tabulates
from ifdkit.generation.result import Generated
from ifdkit.judging.result import Judgement
from ifdkit.prediction.result import Prediction
from ifdkit.prediction.training_prediction import TrainingPrediction
from ifdkit.reflection.result import Recycled
from ifdkit.scoring.frames import FrameSummary
from ifdkit.selection.result import Selected
from ifdkit.training.result import Trained
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


@renders(Comparisons, "index.html")
def _overview_html(result: Comparisons) -> bytes:
    from ifdkit.report.comparison.overview_html import render_overview_html

    return encoded(render_overview_html(result))


@renders(Comparisons, "report.md")
def _overview_markdown(result: Comparisons) -> bytes:
    from ifdkit.report.comparison.overview_markdown import render_overview_markdown

    return encoded(render_overview_markdown(result.overview))


@tabulates(Comparisons)
def _overview_view(result: Comparisons) -> str:
    from ifdkit.report.overview_views import overview_view

    return overview_view(result)


@draws_metrics(Comparisons)
def _overview_figure(result: Comparisons, field: str | None) -> Figure:
    from ifdkit.report.overview_views import overview_figure

    return overview_figure(result, field)


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


@tabulates(Comparison)
def _comparison_view(result: Comparison) -> str:
    from ifdkit.report.result_views import comparison_view

    return comparison_view(result)


@draws_metrics(Comparison)
def _comparison_figure(result: Comparison, field: str | None) -> Figure:
    from ifdkit.report.result_figures import comparison_figure

    return comparison_figure(result, field)


@tabulates(Audit)
def _audit_view(result: Audit) -> str:
    from ifdkit.report.result_views import audit_view

    return audit_view(result)


@draws(Audit)
def _audit_figure(result: Audit) -> Figure:
    from ifdkit.report.result_figures import audit_figure

    return audit_figure(result)


@tabulates(Selected)
def _selection_view(result: Selected) -> str:
    from ifdkit.report.result_views import selection_view

    return selection_view(result)


@draws(Selected)
def _selection_figure(result: Selected) -> Figure:
    from ifdkit.report.result_figures import selection_figure

    return selection_figure(result)


@tabulates(FrameSummary)
def _scores_view(result: FrameSummary) -> str:
    from ifdkit.report.result_views import scores_view

    return scores_view(result)


@draws_metrics(FrameSummary)
def _scores_figure(result: FrameSummary, field: str | None) -> Figure:
    from ifdkit.report.result_figures import scores_figure

    return scores_figure(result, field)


@renders(TrainingPrediction, "index.html")
def _training_prediction_html(prediction: TrainingPrediction) -> bytes:
    from ifdkit.report.prediction.training import render_training_html

    return encoded(render_training_html(prediction))


@renders(TrainingPrediction, "report.md")
def _training_prediction_markdown(prediction: TrainingPrediction) -> bytes:
    from ifdkit.report.prediction.training import render_training_markdown

    return encoded(render_training_markdown(prediction))


@draws(Trained)
def _training_figure(result: Trained) -> Figure:
    from ifdkit.report.notebook import training_figure

    return training_figure(result)


@tabulates(Trained)
def _training_table(result: Trained) -> str:
    from ifdkit.report.notebook import training_html

    return training_html(result)


@draws(Judgement)
def _judgement_figure(result: Judgement) -> Figure:
    from ifdkit.report.notebook import judgement_figure

    return judgement_figure(result)


@tabulates(Judgement)
def _judgement_table(result: Judgement) -> str:
    from ifdkit.report.notebook import judgement_html

    return judgement_html(result)


@draws(Prediction)
def _prediction_figure(result: Prediction) -> Figure:
    from ifdkit.report.notebook import prediction_figure

    return prediction_figure(result)


@tabulates(Prediction)
def _prediction_table(result: Prediction) -> str:
    from ifdkit.report.notebook import prediction_html

    return prediction_html(result)


@draws(TrainingPrediction)
def _training_prediction_figure(result: TrainingPrediction) -> Figure:
    from ifdkit.report.notebook import training_prediction_figure

    return training_prediction_figure(result)


@tabulates(TrainingPrediction)
def _training_prediction_table(result: TrainingPrediction) -> str:
    from ifdkit.report.notebook import training_prediction_html

    return training_prediction_html(result)


@draws(Recycled)
def _reflection_figure(result: Recycled) -> Figure:
    from ifdkit.report.notebook import reflection_figure

    return reflection_figure(result)


@tabulates(Recycled)
def _reflection_table(result: Recycled) -> str:
    from ifdkit.report.notebook import reflection_html

    return reflection_html(result)


@draws(Generated)
def _generation_figure(result: Generated) -> Figure:
    from ifdkit.report.notebook import generation_figure

    return generation_figure(result)


@tabulates(Generated)
def _generation_table(result: Generated) -> str:
    from ifdkit.report.notebook import generation_html

    return generation_html(result)
