"""The figures of a prediction as inline SVG: AUCs with their intervals, and the calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ifdkit.format import fixed
from ifdkit.prediction.result import Combination, Prediction
from ifdkit.report.comparison.figures import empty_panel, legend
from ifdkit.report.comparison.svg import FONT_SIZE, Ink, inline_svg
from ifdkit.report.prediction.wording import area, table_rows
from ifdkit.stats.columns import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def areas(prediction: Prediction) -> str:
    """The AUC of every score, on all pairs and on length-matched ones."""
    rows = [row for row in table_rows(prediction) if row.predictor.auc is not None]
    figure, axes = empty_panel(0.9 + 0.5 * len(rows))
    texts = []
    for place, row in enumerate(rows):
        one = row.predictor
        _whisker(axes, place + 0.02, one.auc, one.ci95, Ink.BEFORE)
        _whisker(axes, place + 0.22, one.auc_length_matched, one.ci95_length_matched, Ink.AFTER)
        # The name is above the lines: a phone has no room for a margin of names.  The short one
        # mostly ends before the vertical lines.
        axes.text(0.0, place - 0.2, row.short, transform=axes.get_yaxis_transform(),
                  color=Ink.TEXT, fontsize=FONT_SIZE, parse_math=False)  # fmt: skip
        texts.append(f"{row.label}: {area(one.auc, one.ci95)}, length-matched"
                     f" {area(one.auc_length_matched, one.ci95_length_matched)}")  # fmt: skip
    axes.axvline(0.5, color=Ink.MUTED, linewidth=1)
    if (length := prediction.baseline.auc) is not None:
        axes.axvline(length, color=Ink.TEXT, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_ylim(len(rows) - 0.5, -0.6)
    axes.set_yticks([])
    axes.margins(x=0.05)
    axes.set_xlabel("AUC; dashed: length in tokens")
    legend(axes, ("all pairs", Ink.BEFORE), ("length-matched pairs", Ink.AFTER))
    return inline_svg(
        figure,
        key="areas",
        title="AUC of each score",
        description=f"Points with 95 % confidence intervals. {'; '.join(texts)}.",
    )


def _whisker(
    axes: Axes, place: float, value: float | None, ci95: Interval | None, colour: str
) -> None:
    if value is None:
        return
    if ci95 is not None:
        axes.plot(ci95, (place, place), color=colour, linewidth=2, solid_capstyle="round")
    axes.plot(value, place, "o", color=colour, markersize=5)


def calibration_curve(one: Combination) -> str:
    """Observed against predicted shares of the cross-validated combination."""
    figure, axes = empty_panel(3.4, left_in=0.42)
    axes.plot((0, 1), (0, 1), color=Ink.MUTED, linewidth=1, linestyle=(0, (4, 3)))
    for bin_ in one.calibration:
        axes.plot((bin_.predicted,) * 2, bin_.ci95, color=Ink.AFTER, linewidth=1.4)
    predicted, observed = ([getattr(b, name) for b in one.calibration]
                           for name in ("predicted", "observed"))  # fmt: skip
    axes.plot(predicted, observed, "o-", color=Ink.AFTER, markersize=5, linewidth=1)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("predicted probability that the second answer is preferred")
    legend(axes, ("observed share", Ink.AFTER))
    points = "; ".join(f"{fixed(x, 2)}: {fixed(y, 2)}" for x, y in zip(predicted, observed,
                                                                    strict=True))  # fmt: skip
    return inline_svg(
        figure,
        key="calibration",
        title="Calibration of the combination",
        description=f"Observed share by predicted probability. {points}.",
    )
