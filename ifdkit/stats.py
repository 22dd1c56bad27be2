"""Statistics over one or two columns of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_FEWEST_PAIRS = 10


@dataclass(frozen=True, slots=True)
class Description:
    """One column in six numbers; all but `n` are None where there is nothing to describe."""

    n: int
    mean: float | None = None
    median: float | None = None
    sd: float | None = None
    """Sample standard deviation (n − 1); None for one value."""
    p5: float | None = None
    p95: float | None = None


def describe(values: Sequence[float]) -> Description:
    """Describe the defined values of a column."""
    array = np.asarray(values, dtype=np.float64)
    if not len(array):
        return Description(0)
    p5, median, p95 = np.percentile(array, [5, 50, 95])
    return Description(
        n=len(array),
        mean=float(array.mean()),
        median=float(median),
        sd=float(array.std(ddof=1)) if len(array) > 1 else None,
        p5=float(p5),
        p95=float(p95),
    )


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Rank correlation, −1…1; None for fewer than ten pairs or a column that does not vary."""
    if len(a) < _FEWEST_PAIRS or min(a) == max(a) or min(b) == max(b):
        return None
    from scipy import stats

    return float(stats.spearmanr(a, b).statistic)
