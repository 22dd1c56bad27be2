"""DataFrames of scores: what is in them at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ifdkit.data.views import MetricView
from ifdkit.errors import InputError
from ifdkit.format import plural
from ifdkit.scoring.metrics import METRICS
from ifdkit.scoring.rows import ScoreRow
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


def keep_index(data: object, scores: pd.DataFrame) -> None:
    """Give scores the index of the DataFrame that was scored; one that only counts is left out."""
    import pandas as pd

    if isinstance(data, pd.DataFrame) and not isinstance(data.index, pd.RangeIndex):
        scores.index = data.index.take(scores["row"].to_numpy(dtype=int))


def frame_of(rows: Sequence[ScoreRow], names: Sequence[str]) -> pd.DataFrame:
    """Rows of scores as a DataFrame with these columns."""
    import pandas as pd

    cells = [[row.column(name) for name in names] for row in rows]
    frame: pd.DataFrame = pd.DataFrame(cells, columns=list(names))
    metrics = [metric for name, metric in METRICS.items() if name in names]
    frame = frame.astype({one.name: "float64" for one in metrics if not one.is_integer})
    # pandas' own type for integers of which some are missing, as those of an instruction can be.
    missing = [one.name for one in metrics if one.is_integer and frame[one.name].isna().any()]
    frame = frame.astype(dict.fromkeys(missing, "Int64"))
    return frame
