"""What a random sample of a dataset's rows says about the whole dataset, with intervals.

Rows are drawn without replacement, so the row is the unit that is independent: the examples of a
row, such as the turns of a conversation, are a cluster.  Numbers of examples are estimated from
clusters (Cochran, Sampling Techniques, 1977, chapter 9), and the part of the dataset that was drawn
is known (finite population correction).  Rows of one source may resemble each other too; that does
not matter for what is said about this dataset, whose rows are drawn one by one, only for what is
said about others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifdkit.stats.columns import MIN_PAIRS, Column, Interval

RESAMPLES = 1_000
_VALUES_PER_BATCH = 2**22
_Z95 = 1.959963984540054
Clusters = NDArray[np.int64]
"""The row of each example, shape (examples,)."""


@dataclass(frozen=True, slots=True)
class Intervals:
    """95 % intervals of the statistics of one column, in the whole dataset."""

    mean: Interval
    median: Interval
    sd: Interval
    p5: Interval
    p95: Interval


@dataclass(frozen=True, slots=True)
class MeanEstimate:
    """The mean of a column in the whole dataset, estimated from a sample."""

    mean: float
    half_width: float
    """Of its confidence interval; ∞ for fewer than MIN_PAIRS clusters."""
    n_clusters: int


def mean_estimate(
    values: Column, clusters: Clusters, drawn: float, alpha: float = 0.05
) -> MeanEstimate:
    """The mean of finite values, and the half width of its 1 − alpha interval.

    A ratio of two means over clusters, of the sum of the values and of their number, with its
    linearized variance and the t distribution (Cochran 1977, 6.4).  `drawn` is the share of the
    dataset's rows that the sample has, 0…1, whether they have a value or not.
    """
    from scipy.special import stdtrit

    _, number = np.unique(clusters, return_inverse=True)
    n = int(number.max(initial=-1)) + 1
    mean = float(values.mean()) if n else math.nan
    if n < MIN_PAIRS:
        return MeanEstimate(mean, math.inf, n)
    residuals = np.bincount(number, values - mean)
    error = math.sqrt(n / (n - 1) * float((residuals**2).sum())) / len(values)
    rest = max(0.0, 1 - drawn)
    t = float(stdtrit(n - 1, 1 - alpha / 2))
    return MeanEstimate(mean, t * error * math.sqrt(rest), n)


def share_ci95(flags: NDArray[np.bool_], clusters: Clusters, drawn: float) -> Interval:
    """The 95 % interval of the share of examples with a flag, in the whole dataset.

    Wilson's interval (JASA 22, 1927) for the number of independent examples that would give the
    same variance (Korn and Graubard, Survey Methodology 24, 1998).  If all or none are flagged the
    variance is unknown, and every cluster counts as one example.
    """
    share, rest = float(flags.mean()), max(0.0, 1 - drawn)
    if not rest:
        return share, share
    return wilson(share, len(flags) / design_effect(flags, clusters) / rest)


def design_effect(flags: NDArray[np.bool_], clusters: Clusters) -> float:
    """The variance of a share in whole clusters ÷ that in as many independent examples.

    If it is unknown, because all or none are flagged: as if a cluster were one example.
    """
    _, number = np.unique(clusters, return_inverse=True)
    n, share = int(number.max()) + 1, float(flags.mean())
    residuals = np.bincount(number, flags - share)
    variance = n / max(n - 1, 1) * float((residuals**2).sum()) / len(flags) ** 2
    if variance <= 0:
        return len(flags) / n
    return variance / (share * (1 - share) / len(flags))


def wilson(share: float, n: float) -> Interval:
    """The 95 % interval of a share by Wilson (JASA 22, 1927); `n` need not be whole."""
    z2 = _Z95**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def cluster_intervals(
    columns: Mapping[str, tuple[Column, Clusters]], drawn: float, seed: int
) -> dict[str, Intervals]:
    """95 % intervals of the statistics of several columns, each with the rows of its values.

    A bootstrap of whole clusters (Davison and Hinkley 1997, 3.8): deviations from the estimate,
    widened as t against z, and narrowed by the finite population correction.  Columns with fewer
    than MIN_PAIRS clusters have no intervals.
    """
    found = {}
    for number, (name, (values, clusters)) in enumerate(columns.items()):
        n = len(np.unique(clusters))
        if n >= MIN_PAIRS:
            generator = np.random.default_rng([seed, number])
            found[name] = _intervals(values, clusters, drawn, generator)
    return found


def _intervals(
    values: Column, clusters: Clusters, drawn: float, generator: np.random.Generator
) -> Intervals:
    from scipy.special import stdtrit

    order = np.argsort(values, kind="stable")
    ordered = values[order]
    _, number = np.unique(clusters[order], return_inverse=True)
    n = int(number.max()) + 1
    center, scale = float(ordered.mean()), float(ordered.std()) or 1.0
    standard = (ordered - center) / scale  # so that squares lose no digits
    sizes = np.bincount(number).astype(np.float64)
    sums: Column = np.bincount(number, standard).astype(np.float64)
    squares: Column = np.bincount(number, standard**2).astype(np.float64)
    per_batch = max(1, _VALUES_PER_BATCH // max(n, len(values)))
    resampled = []
    for start in range(0, RESAMPLES, per_batch):
        n_resamples = min(per_batch, RESAMPLES - start)
        weights = generator.multinomial(n, np.full(n, 1 / n), size=n_resamples).astype(np.float64)
        resampled.append(_statistics(weights, sizes, sums, squares, ordered, number, center, scale))
    one = np.ones((1, n))
    (estimate,) = _statistics(one, sizes, sums, squares, ordered, number, center, scale)
    low, high = np.percentile(np.concatenate(resampled), [2.5, 97.5], axis=0)
    rest = max(0.0, 1 - drawn)
    wider = math.sqrt(rest * n / (n - 1)) * float(stdtrit(n - 1, 0.975)) / _Z95
    ends = estimate + wider * (np.stack([low, high]) - estimate)
    return Intervals(*((float(a), float(b)) for a, b in ends.T))


def _statistics(
    weights: NDArray[np.float64],
    sizes: Column,
    sums: Column,
    squares: Column,
    ordered: Column,
    number: Clusters,
    center: float,
    scale: float,
) -> NDArray[np.float64]:
    """Mean, median, sd, 5 % and 95 % of resamples, shape (resamples, 5).

    `weights` is how often each cluster is drawn, shape (resamples, clusters).
    """
    n = weights @ sizes
    mean = weights @ sums / n
    variance = (weights @ squares - n * mean**2) / np.maximum(n - 1, 1)
    cumulated = np.cumsum(weights[:, number], axis=1)  # (resamples, examples)
    quantiles = [
        ordered[
            [
                min(int(np.searchsorted(one, share * total)), len(ordered) - 1)
                for one, total in zip(cumulated, n, strict=True)
            ]
        ]
        for share in (0.5, 0.05, 0.95)
    ]
    sd = scale * np.sqrt(np.maximum(variance, 0))
    return np.stack([center + scale * mean, quantiles[0], sd, quantiles[1], quantiles[2]], axis=1)
