"""Rank correlations of a few values, with p-values by permutation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ifdkit.stats.columns import MIN_PAIRS, Column
from ifdkit.stats.discrimination import Estimate

_MAX_RESAMPLES = 9_999
"""Up to 7 values have fewer arrangements, and all of them are counted."""
_ALPHA = 0.05


def rank_correlation(values: Column, outcomes: Column, *, seed: int) -> Estimate:
    """Spearman's correlation of the rows that are finite in both, −1…1.

    p is two-sided, the share of arrangements with at least as strong a correlation: exact for up to
    7 rows, from 9,999 random arrangements above.  None for fewer than three rows, or for a constant
    column.
    """
    from scipy import stats

    known = np.isfinite(values) & np.isfinite(outcomes)
    return _permuted(stats.rankdata(values[known]), stats.rankdata(outcomes[known]), seed)


def partial_rank_correlation(
    values: Column, outcomes: Column, controls: Sequence[Column], *, seed: int
) -> Estimate:
    """Spearman's correlation with the ranks of `controls` removed, −1…1.

    The correlation of the residuals of two regressions of ranks on ranks; p permutes residuals
    (Kennedy 1995), which is approximate.  None for fewer than MIN_PAIRS rows.
    """
    from scipy import stats

    known = np.isfinite(np.stack([values, outcomes, *controls])).all(axis=0)
    n = int(known.sum())
    if n < MIN_PAIRS:
        return Estimate(n=n)
    ones = np.ones(n)
    removed = np.column_stack([ones, *(stats.rankdata(one[known]) for one in controls)])
    columns = (stats.rankdata(one[known]) for one in (values, outcomes))
    x, y = (one - removed @ np.linalg.lstsq(removed, one)[0] for one in columns)
    return _permuted(x, y, seed)


def least_rows(n_tests: int) -> int:
    """The fewest rows from which the strongest of `n_tests` correlations can have p < 0.05.

    After Holm's correction: its p is at least 2 ÷ n!, times the number of tests.
    """
    n = 3
    while 2 / math.factorial(n) * max(1, n_tests) >= _ALPHA:
        n += 1
    return n


def _permuted(x: Column, y: Column, seed: int) -> Estimate:
    from scipy import stats

    n = len(x)
    # Rounding leaves residuals of about 1e-13 if a column is a function of the controls.
    if n < 3 or min(x.std(), y.std()) < 1e-9:
        return Estimate(n=n)
    v = (y - y.mean()) / (y.std() * n)

    def statistic(column: Any, axis: int = -1) -> Any:
        return ((column - column.mean(axis=axis, keepdims=True)) @ v) / x.std()

    found = stats.permutation_test(
        (x,),
        statistic,
        permutation_type="pairings",
        vectorized=True,
        n_resamples=_MAX_RESAMPLES,
        rng=np.random.default_rng(seed),
    )
    return Estimate(n=n, value=float(found.statistic), p=float(min(1.0, found.pvalue)))
