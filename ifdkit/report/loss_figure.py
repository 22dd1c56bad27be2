"""The loss curve of a training run as a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence

from ifdkit.engine.recipe import LossPoint
from ifdkit.report.plotting import new_figure

_SMOOTHING = 0.1
"""Weight of the newest step in the moving average, 0…1."""
_MIN_SMOOTHED = 20
"""Steps from which the curve is smoothed."""


def loss_png(losses: Sequence[LossPoint], title: str) -> bytes:
    """The loss of each step and, for long runs, its exponential moving average."""
    figure = new_figure(figsize=(6.4, 3.6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    steps, values = [p.step for p in losses], [p.loss for p in losses]
    is_long = len(losses) >= _MIN_SMOOTHED
    marker = "." if len(losses) < _MIN_SMOOTHED else ""  # a line of one point would be invisible
    colour = "0.7" if is_long else "C0"
    axes.plot(steps, values, color=colour, linewidth=1.0, marker=marker, label="each step")
    if is_long:
        axes.plot(steps, _smoothed(values), color="C0", linewidth=1.6, label="moving average")
        axes.legend(frameon=False)
    axes.set_xlabel("step")
    axes.locator_params("x", integer=True)
    axes.set_ylabel("loss, nats per trained token")
    axes.set_title(title, fontsize=10, parse_math=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _smoothed(values: Sequence[float]) -> list[float]:
    average, found = values[0], []
    for value in values:
        average += _SMOOTHING * (value - average)
        found.append(average)
    return found
