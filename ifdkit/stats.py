"""Statistics over one or two columns of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    # Far-off values can overflow a sum or a square; then that number stays undefined.
    with np.errstate(over="ignore", invalid="ignore"):
        return _described(array)


def _described(array: NDArray[np.float64]) -> Description:
    if not len(array):
        return Description(0)
    p5, median, p95 = np.percentile(array, [5, 50, 95])
    return Description(
        n=len(array),
        mean=_finite(array.mean()),
        median=_finite(median),
        sd=_finite(array.std(ddof=1)) if len(array) > 1 else None,
        p5=_finite(p5),
        p95=_finite(p95),
    )


def _finite(value: np.floating[Any]) -> float | None:
    return float(value) if np.isfinite(value) else None


def spearman(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Rank correlation, −1…1; None for fewer than ten pairs or a column that does not vary."""
    if len(a) < _FEWEST_PAIRS or min(a) == max(a) or min(b) == max(b):
        return None
    from scipy import stats

    return float(stats.spearmanr(a, b).statistic)
