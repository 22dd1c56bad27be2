"""Statistics over one or two columns of numbers.

A statistic is None if it is undefined: too few numbers, or a result too large for a float.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Interval = tuple[float, float]
"""Lower and upper end of a 95 % confidence interval."""
Column = NDArray[np.float64]
"""Numbers of one column, shape (n,)."""
Numbers = ArrayLike | Sequence[float | None]
"""A column as input: None, NaN and infinities are missing values."""

MIN_PAIRS = 10
"""With fewer pairs there is no interval, p, effect, distance or correlation."""
MAX_BCA_VALUES = 2_000
"""With more values intervals are analytic: the jackknife inside BCa costs n², for no gain."""
RESAMPLES = 2_000
"""Bootstrap resamples: the Monte Carlo error of an interval end is about 4 % of the width."""
_VALUES_PER_BATCH = 2**20
_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Description:
    """Six statistics of one column; all but `n` are None if it is empty."""

    n: int
    mean: float | None = None
    median: float | None = None
    sd: float | None = None
    """Sample standard deviation (n − 1); None for one value."""
    p5: float | None = None
    p95: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SideStats:
    """One metric on one side, over the pairs in which it is defined on both sides."""

    n: int
    mean: float | None = None
    median: float | None = None
    sd: float | None = None
    geometric_mean: float | None = None
    """For perplexities and their ratios: robust to a single outlier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """Distances between the two distributions, ignoring the pairs."""

    ks: float | None = None
    """Kolmogorov–Smirnov: largest gap between the two cumulative distributions, 0…1."""
    wasserstein: float | None = None
    """Mean distance that a value has to move, in the unit of the metric."""


def describe(values: Sequence[float] | Column) -> Description:
    """Describe the defined values of a column."""
    array = np.asarray(values, dtype=np.float64)
    # Huge values can overflow a sum or a square; that statistic is then undefined.
    with np.errstate(over="ignore", invalid="ignore"):
        return _described(array)


def _described(array: Column) -> Description:
    if not len(array):
        return Description(0)
    p5, median, p95 = np.percentile(array, [5, 50, 95])
    return Description(
        n=len(array),
        mean=finite(array.mean()),
        median=finite(median),
        sd=finite(array.std(ddof=1)) if len(array) > 1 else None,
        p5=finite(p5),
        p95=finite(p95),
    )


def finite(value: float | np.floating[Any]) -> float | None:
    """The value as a float; None if it is NaN or infinite."""
    return float(value) if np.isfinite(value) else None


def spearman(a: Sequence[float] | Column, b: Sequence[float] | Column) -> float | None:
    """Rank correlation, −1…1; None for fewer than MIN_PAIRS or a constant column."""
    if len(a) < MIN_PAIRS or min(a) == max(a) or min(b) == max(b):
        return None
    from scipy import stats

    return float(stats.spearmanr(a, b).statistic)


def side_by_side(before: Numbers, after: Numbers) -> Column:
    """Two columns as one array of shape (2, n). Raises ValueError if their lengths differ."""
    old, new = (np.asarray(values, dtype=np.float64) for values in (before, after))
    if old.shape != new.shape or old.ndim != 1:
        raise ValueError(f"shape mismatch: before {old.shape}, after {new.shape}")
    return np.stack([old, new])


def side_stats(values: Numbers, *, geometric: bool) -> SideStats:
    """Mean, median and standard deviation of the finite values.

    `geometric` adds the geometric mean, exp(mean log), for ratio scales such as perplexities and
    IFD; it is None unless all values are positive.
    """
    array = np.asarray(values, dtype=np.float64)
    array = array[np.isfinite(array)]
    known = describe(array)
    has_logs = geometric and len(array) > 0 and bool((array > 0).all())
    return SideStats(
        n=known.n,
        mean=known.mean,
        median=known.median,
        sd=known.sd,
        geometric_mean=math.exp(np.log(array).mean()) if has_logs else None,
    )


def distance(before: Numbers, after: Numbers) -> Distance:
    """Distances of two distributions; None for fewer than MIN_PAIRS finite values on a side."""
    a, b = (np.asarray(values, dtype=np.float64) for values in (before, after))
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    if min(len(a), len(b)) < MIN_PAIRS:
        return Distance()
    from scipy import stats

    with np.errstate(over="ignore", invalid="ignore"):
        return Distance(
            # Only the statistic is used; the exact p-value would take minutes.
            ks=float(stats.ks_2samp(a, b, method="asymp").statistic),
            wasserstein=finite(stats.wasserstein_distance(a, b)),
        )


def mean_ci95(values: Column, *, seed: int) -> Interval | None:
    """95 % interval of the mean of finite values; None for fewer than MIN_PAIRS.

    BCa bootstrap (Efron 1987) up to MAX_BCA_VALUES, and above that ABC, its analytic form
    (DiCiccio and Efron 1992): for a mean both correct the normal interval for skewness to second
    order, and ABC costs n.  The coverage for skewed columns is slightly low (exponential, 40
    values: 92 %).  Both fail for very heavy tails, such as perplexities of tiny responses, whose
    mean is not informative anyway.
    """
    return _ci95(values, np.mean, _abc_mean_ci95, seed)


def median_ci95(values: Column, *, seed: int) -> Interval | None:
    """95 % interval of the median of finite values; None for fewer than MIN_PAIRS.

    BCa bootstrap up to MAX_BCA_VALUES.  Above that, and if ties leave BCa undefined, the exact
    interval between two order statistics (binomial; Conover 1999, 3.2): it is free of assumptions,
    costs a sort, and is slightly conservative.
    """
    return _ci95(values, np.median, _order_median_ci95, seed)


def _ci95(
    values: Column,
    statistic: Callable[..., Any],
    analytic: Callable[[Column], Interval],
    seed: int,
) -> Interval | None:
    if len(values) < MIN_PAIRS:
        return None
    low, high = float(values.min()), float(values.max())
    if low == high:
        return low, high  # a constant column has no uncertainty
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns if BCa is undefined, and returns NaN
        interval = _bca_ci95(values, statistic, seed) if len(values) <= MAX_BCA_VALUES else None
        low, high = interval or analytic(values)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def _bca_ci95(values: Column, statistic: Callable[..., Any], seed: int) -> Interval | None:
    from scipy import stats

    found = stats.bootstrap(
        (values,),
        statistic,
        n_resamples=RESAMPLES,
        batch=max(1, _VALUES_PER_BATCH // len(values)),
        vectorized=True,
        method="BCa",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    low, high = float(found.low), float(found.high)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def _abc_mean_ci95(values: Column) -> Interval:
    """DiCiccio and Efron (1992): mean + s·w/(1 − a·w)², w = a ± 1.96, a = Σd³ ÷ 6(Σd²)^1.5.

    For a mean the bias correction z₀ equals the acceleration a.
    """
    mean = float(values.mean())
    deviations = values - mean
    scale = float(np.abs(deviations).max())
    deviations = deviations / scale  # else squares and cubes could overflow
    squares = float((deviations**2).sum())
    acceleration = float((deviations**3).sum()) / (6 * squares * math.sqrt(squares))
    standard_error = scale * math.sqrt(squares) / len(values)

    def end(z: float) -> float:
        w = acceleration + z
        return mean + standard_error * w / (1 - acceleration * w) ** 2

    return end(-_Z95), end(_Z95)


def _order_median_ci95(values: Column) -> Interval:
    from scipy import stats

    found = stats.quantile_test(values, p=0.5).confidence_interval(0.95)
    return float(found.low), float(found.high)


def holm(ps: Mapping[str, float | None]) -> dict[str, float | None]:
    """Holm's (1979) step-down correction, which controls the family-wise error rate.

    None stays None and does not count as a test.
    """
    known = sorted((p, name) for name, p in ps.items() if p is not None)
    adjusted: dict[str, float | None] = dict.fromkeys(ps)
    highest = 0.0
    for rank, (p, name) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[name] = highest
    return adjusted
