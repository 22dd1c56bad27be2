"""DataFrames of scores: what is in them at a glance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ifdkit.data.views import MetricView
from ifdkit.errors import InputError
from ifdkit.format import plural
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.table import has_score_columns
from ifdkit.stats.columns import Column, Description, describe

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class FrameSummary(MetricView):
    """What `ifdkit.summary` returns: its notebook view is a table, `plot()` a histogram."""

    n_examples: int
    statuses: Mapping[str, int]
    """Status → examples, the most frequent first."""
    metrics: Mapping[str, Description]
    columns: Mapping[str, Column]
    """Metric → its defined values."""

    def __repr__(self) -> str:
        """One line: examples and metrics."""
        return f"<Scores of {plural(self.n_examples, 'example')}: {', '.join(self.metrics)}>"


def summary(scores: pd.DataFrame) -> FrameSummary:
    """Describe a DataFrame that `ifdkit.score` made. Raises InputError if it is none."""
    if not has_score_columns([str(name) for name in scores]):
        raise InputError("this DataFrame has no scores: make it with ifdkit.score")
    columns: dict[str, Column] = {}
    for name in METRICS:
        if name in scores:
            values = scores[name].to_numpy(dtype=np.float64, na_value=np.nan)
            columns[name] = values[np.isfinite(values)]
    counts = scores["status"].value_counts()
    return FrameSummary(
        n_examples=len(scores),
        statuses={str(name): int(n) for name, n in counts.items()},
        metrics={name: describe(column) for name, column in columns.items() if len(column)},
        columns={name: column for name, column in columns.items() if len(column)},
    )
