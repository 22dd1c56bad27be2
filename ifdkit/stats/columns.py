"""Statistics over one or two columns of numbers.

Undefined is None: too few numbers to say, or a result too large for a float.
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
"""A column as it comes: None, NaN and infinities are gaps."""

FEWEST_PAIRS = 10
"""Below it no interval, p, effect, distance or correlation is given."""
BCA_MOST_VALUES = 2_000
"""Above it intervals are analytic: the jackknife inside BCa costs n² and more buys nothing."""
RESAMPLES = 2_000
"""Bootstrap resamples: the Monte Carlo error of an end of the interval is some 4 % of its width."""
_BATCH_VALUES = 2**20
_Z95 = 1.959963984540054


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SideStats:
    """One metric on one side, over the pairs in which it is defined on both."""

    n: int
    mean: float | None = None
    median: float | None = None
    sd: float | None = None
    geometric_mean: float | None = None
    """For perplexities and their ratios: the mean that one outlier does not carry away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """How far the two distributions lie apart, pairs ignored."""

    ks: float | None = None
    """Kolmogorov–Smirnov: largest gap between the two cumulative shares, 0…1."""
    wasserstein: float | None = None
    """Mean distance a value has to move, in the metric's own unit."""


def describe(values: Sequence[float] | Column) -> Description:
    """Describe the defined values of a column."""
    array = np.asarray(values, dtype=np.float64)
    # Far-off values can overflow a sum or a square; then that number stays undefined.
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
    """The value as a float, None for NaN and infinities."""
    return float(value) if np.isfinite(value) else None


def spearman(a: Sequence[float] | Column, b: Sequence[float] | Column) -> float | None:
    """Rank correlation, −1…1; None for fewer than ten pairs or a column that does not vary."""
    if len(a) < FEWEST_PAIRS or min(a) == max(a) or min(b) == max(b):
        return None
    from scipy import stats

    return float(stats.spearmanr(a, b).statistic)


def side_by_side(before: Numbers, after: Numbers) -> Column:
    """Two columns as one array of shape (2, n). Raises ValueError where their lengths differ."""
    old, new = (np.asarray(values, dtype=np.float64) for values in (before, after))
    if old.shape != new.shape or old.ndim != 1:
        raise ValueError(f"{old.shape} numbers before cannot stand against {new.shape} after")
    return np.stack([old, new])


def side_stats(values: Numbers, *, geometric: bool) -> SideStats:
    """Mean, median and spread of the finite values; `geometric`: exp(mean log) as well.

    The geometric mean is for ratio scales (perplexities, IFD); None where a value is not > 0.
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
    """How far two distributions lie apart; None for fewer than ten finite values on a side."""
    a, b = (np.asarray(values, dtype=np.float64) for values in (before, after))
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    if min(len(a), len(b)) < FEWEST_PAIRS:
        return Distance()
    from scipy import stats

    with np.errstate(over="ignore", invalid="ignore"):
        return Distance(
            # Only the statistic is wanted; the exact p-value would cost minutes.
            ks=float(stats.ks_2samp(a, b, method="asymp").statistic),
            wasserstein=finite(stats.wasserstein_distance(a, b)),
        )


def mean_ci95(values: Column, *, seed: int) -> Interval | None:
    """95 % interval of the mean of finite values; None for fewer than ten.

    BCa bootstrap (Efron 1987) up to BCA_MOST_VALUES, and above it ABC, its analytic form
    (DiCiccio and Efron 1992): for a mean both correct the normal interval for skewness to second
    order, and ABC costs n.  Skewed columns are covered a little less often than they should be
    (exponential, 40 values: 92 of 100); very heavy tails, such as perplexities of tiny
    responses, fool both, and their mean is not the number to look at.
    """
    return _ci95(values, np.mean, _abc_mean_ci95, seed)


def median_ci95(values: Column, *, seed: int) -> Interval | None:
    """95 % interval of the median of finite values; None for fewer than ten.

    BCa bootstrap up to BCA_MOST_VALUES.  Above it, and where ties leave BCa undefined, the exact
    interval between two order statistics (binomial; Conover 1999, 3.2): it assumes nothing,
    costs a sort, and is a little too wide rather than too narrow.
    """
    return _ci95(values, np.median, _order_median_ci95, seed)


def _ci95(
    values: Column,
    statistic: Callable[..., Any],
    analytic: Callable[[Column], Interval],
    seed: int,
) -> Interval | None:
    if len(values) < FEWEST_PAIRS:
        return None
    low, high = float(values.min()), float(values.max())
    if low == high:
        return low, high  # a column that does not vary has no doubt in it
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns where BCa is undefined; NaN says it too
        interval = _bca_ci95(values, statistic, seed) if len(values) <= BCA_MOST_VALUES else None
        low, high = interval or analytic(values)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def _bca_ci95(values: Column, statistic: Callable[..., Any], seed: int) -> Interval | None:
    from scipy import stats

    found = stats.bootstrap(
        (values,),
        statistic,
        n_resamples=RESAMPLES,
        batch=max(1, _BATCH_VALUES // len(values)),
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
    deviations = deviations / scale  # or squares and cubes could overflow
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
    """Holm's (1979) step-down correction: keeps the chance of one false alarm at the level of p.

    None stays None and is not counted as a test.
    """
    known = sorted((p, name) for name, p in ps.items() if p is not None)
    adjusted: dict[str, float | None] = dict.fromkeys(ps)
    highest = 0.0
    for rank, (p, name) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[name] = highest
    return adjusted
