"""The mean of a table whose rows and columns are both samples: held-out rows, and seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifdkit.stats.columns import MIN_PAIRS, RESAMPLES, Interval, mean_ci95

_RESAMPLES_PER_BATCH = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossedMean:
    """The mean of values by seed and row, with three 95 % intervals."""

    n_seeds: int
    n_rows: int
    """Rows that are defined for every seed."""
    mean: float | None = None
    ci95: Interval | None = None
    """Over seeds and rows: what a repetition with other seeds and other rows would show.
    None for fewer than two seeds."""
    ci95_rows: Interval | None = None
    """Over rows, for the mean over these seeds."""
    ci95_seeds: Interval | None = None
    """Over seeds, for these rows: Student's t. None for fewer than two seeds."""
    per_seed: tuple[float, ...] = ()
    """The mean of each seed."""


def crossed_mean(values: NDArray[np.float64], *, seed: int) -> CrossedMean:
    """Describe values of shape (seeds, rows); rows with a value that is not finite are dropped.

    The interval over both is a percentile bootstrap that draws seeds and rows independently (the
    "pigeonhole" bootstrap; Owen 2007, which is conservative).  With three seeds it is narrow: it
    knows no seed but these, and `ci95_seeds` is wider for this reason.
    """
    table = values[:, np.isfinite(values).all(axis=0)]
    n_seeds, n_rows = table.shape
    if not n_rows or not n_seeds:
        return CrossedMean(n_seeds=n_seeds, n_rows=n_rows)
    means = table.mean(axis=1)
    return CrossedMean(
        n_seeds=n_seeds,
        n_rows=n_rows,
        mean=float(means.mean()),
        ci95=_both(table, seed) if n_seeds > 1 and n_rows >= MIN_PAIRS else None,
        ci95_rows=mean_ci95(table.mean(axis=0), seed=seed),
        ci95_seeds=_student(means),
        per_seed=tuple(means.tolist()),
    )


def _both(table: NDArray[np.float64], seed: int) -> Interval:
    generator = np.random.default_rng(seed)
    n_seeds, n_rows = table.shape
    means: list[float] = []
    while len(means) < RESAMPLES:
        seeds = generator.multinomial(n_seeds, [1 / n_seeds] * n_seeds, _RESAMPLES_PER_BATCH)
        rows = generator.multinomial(n_rows, [1 / n_rows] * n_rows, _RESAMPLES_PER_BATCH)
        means += (np.einsum("bs,sr,br->b", seeds, table, rows) / table.size).tolist()
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _student(means: NDArray[np.float64]) -> Interval | None:
    if len(means) < 2:
        return None
    from scipy import stats

    half = stats.t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means))
    return float(means.mean() - half), float(means.mean() + half)
