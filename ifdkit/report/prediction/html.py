"""The report of a prediction as one HTML file that makes no network request."""

from __future__ import annotations

from ifdkit.prediction.result import Prediction
from ifdkit.report.page import manifest_value, render_page, safe
from ifdkit.report.prediction.figures import areas, calibration_curve
from ifdkit.report.prediction.wording import (
    METHOD,
    area,
    basis,
    combination_sentence,
    partial,
    table_rows,
)
from ifdkit.visible import one_line


def render_prediction_html(prediction: Prediction) -> str:
    """The whole page."""
    combination = prediction.combination
    scores = prediction.manifest.as_json()
    return render_page(
        "prediction.html",
        ("theme.js",),
        p=prediction,
        version=prediction.version,
        basis=basis(prediction),
        rows=[
            (
                row,
                area(row.predictor.auc, row.predictor.ci95),
                area(row.predictor.auc_length_matched, row.predictor.ci95_length_matched),
                partial(row.predictor),
            )
            for row in table_rows(prediction)
        ],
        method=METHOD,
        areas=safe(areas(prediction)),
        combination=combination_sentence(combination) if combination else "",
        calibration=safe(calibration_curve(combination)) if combination else "",
        scores=[(one_line(name, 60), manifest_value(value)) for name, value in scores.items()],
    )
