"""Two distributions in the space of a word: the picture of a metric in a row of the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ifdkit.report.comparison.scales import Axis, Column, axis_of, pair_columns
from ifdkit.report.comparison.wording import metric_of

if TYPE_CHECKING:
    import pandas as pd

_WIDTH, _HEIGHT, _BINS = 110, 26, 22


def sparkline(rows: pd.DataFrame, field: str) -> str:
    """An `<svg>` with the histograms of both sides on one axis; empty if no pair has the metric.

    It is hidden from screen readers: the row has the numbers.
    """
    columns = pair_columns(rows, field)
    if not len(columns[0]):
        return ""
    return drawn_sides(columns, axis_of(columns, is_log=metric_of(field).scale == "log"))


def drawn_sides(columns: tuple[Column, Column], axis: Axis) -> str:
    """The same of two columns that are not empty and may differ in size."""
    space = np.geomspace if axis.is_log else np.linspace
    edges = space(axis.low, axis.high, _BINS + 1)
    # Counts of the second side as if it had the size of the first: heights are shares.
    scales = (1.0, len(columns[0]) / len(columns[1]))
    counts = [
        np.histogram(column, edges)[0] * scale
        for column, scale in zip(columns, scales, strict=True)
    ]
    most = max(1.0, *(float(one.max()) for one in counts))
    paths = "".join(
        f'<path class="f-{side} s-{side}" d="{_steps(one / most)}"/>'
        for side, one in zip(("before", "after"), counts, strict=True)
    )
    return (
        f'<svg class="sparkline" viewBox="0 0 {_WIDTH} {_HEIGHT}" aria-hidden="true"'
        f' preserveAspectRatio="none">{paths}</svg>'
    )


def _steps(heights: NDArray[np.floating]) -> str:
    """The outline of a histogram with heights 0…1, as the data of an SVG path."""
    width = _WIDTH / len(heights)
    parts = [f"M0 {_HEIGHT}"]
    for i, height in enumerate(heights.tolist()):
        y = _HEIGHT - 1 - (_HEIGHT - 3) * height if height else _HEIGHT
        parts.append(f"V{y:.1f}H{(i + 1) * width:.1f}")
    return f"{''.join(parts)}V{_HEIGHT}Z"
