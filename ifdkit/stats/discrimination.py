"""How well a number predicts a binary label: AUC, partial correlation, calibration.

Rows that share a cluster, such as pairs of answers to one instruction, are not independent: the
intervals and p-values here treat clusters as the unit of observation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ifdkit.stats.columns import MIN_PAIRS, Column, Interval

Labels = NDArray[np.bool_]
"""Whether each row is positive, shape (n,)."""
Clusters = NDArray[np.int64]
"""Cluster of each row as a number 0…k − 1, shape (n,)."""

_Z95 = 1.959963984540054
CALIBRATION_BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A statistic with its uncertainty; None if it is undefined."""

    n: int
    """Rows used."""
    value: float | None = None
    ci95: Interval | None = None
    p: float | None = None
    """Two-sided, of no association: AUC 0.5, a difference or a correlation of 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationBin:
    """Rows with similar predicted probabilities."""

    n: int
    predicted: float
    """Their mean predicted probability, 0…1."""
    observed: float
    """Their share of positive labels, 0…1."""
    ci95: Interval
    """Wilson interval of `observed`."""


def cluster_codes(keys: ArrayLike) -> Clusters:
    """Equal keys as equal numbers 0…k − 1."""
    _, codes = np.unique(np.asarray(keys), return_inverse=True)
    return codes.astype(np.int64)


def auc(values: Column, labels: Labels, clusters: Clusters) -> Estimate:
    """P(value of a positive row > value of a negative one), ties counting half, 0…1.

    Interval and p are those of DeLong et al. (1988), extended to clusters by Obuchowski (1997,
    "Nonparametric analysis of clustered ROC curve data", eq. 3–6): the placements of the rows of
    one cluster are summed before their variance is taken.  With one row in every cluster it is
    DeLong's variance.  The interval is made on the logit scale, which keeps it within 0…1 and
    improves its coverage for AUCs near an end (Pepe 2003, 5.2).  A perfect AUC has no interval.
    Raises ValueError if the shapes differ.
    """
    known = _finite(values, labels, clusters)
    found = _placements(*known)
    if found is None:
        return Estimate(n=len(known[0]))
    value, influence = found
    error = _clustered_norm(influence, known[2])
    estimate = _estimate(len(known[0]), value, error, null=0.5)
    if estimate.ci95 is None or not 0 < value < 1:
        return replace(estimate, ci95=None)
    middle, half = math.log(value / (1 - value)), _Z95 * error / (value * (1 - value))
    ends = (1 / (1 + math.exp(half - middle)), 1 / (1 + math.exp(-half - middle)))
    return replace(estimate, ci95=ends)


def auc_difference(first: Column, second: Column, labels: Labels, clusters: Clusters) -> Estimate:
    """AUC of `first` − AUC of `second` over the same rows, −1…1.

    The variance of the difference uses the difference of the placements (DeLong et al. 1988; with
    clusters Obuchowski 1997), since both AUCs are of the same rows.
    """
    both = np.isfinite(first) & np.isfinite(second)
    one = _placements(first[both], labels[both], clusters[both])
    other = _placements(second[both], labels[both], clusters[both])
    if one is None or other is None:
        return Estimate(n=int(both.sum()))
    error = _clustered_norm(one[1] - other[1], clusters[both])
    return _estimate(int(both.sum()), one[0] - other[0], error, null=0.0)


def partial_correlation(
    values: Column, labels: Labels, controls: Sequence[Column], clusters: Clusters
) -> Estimate:
    """Rank correlation of values and labels with the ranks of `controls` removed, −1…1.

    Values and controls are replaced by the normal scores of their ranks, Φ⁻¹(rank ÷ (n + 1)); the
    correlation is that of the residuals of two linear regressions on those of the controls.  Ranks
    themselves would leave some effect of two controls, because their sum is not linear in ranks.
    The interval uses the influence function of a correlation, summed within clusters: the
    regression coefficients do not contribute to first order, because residuals are orthogonal to
    the controls.  What a nonlinear effect of them leaves is not removed.
    """
    known = np.isfinite(np.stack([values, *controls])).all(axis=0)
    n = int(known.sum())
    if n < MIN_PAIRS:
        return Estimate(n=n)
    y = labels[known].astype(np.float64)
    x = _normal_scores(values[known])
    removed = np.column_stack([_normal_scores(one[known]) for one in controls])  # (n, controls)
    residuals = [_residual(column, removed) for column in (x, y)]
    scales = [float(np.sqrt((one**2).mean())) for one in residuals]
    # Rounding leaves residuals of about 1e-13 if a column is a function of a control.
    if min(scales[0] / (x.std() or 1.0), scales[1] / (y.std() or 1.0)) < 1e-9:
        return Estimate(n=n)
    u, v = (one / scale for one, scale in zip(residuals, scales, strict=True))
    r = float((u * v).mean())
    influence = (u * v - r * (u**2 + v**2) / 2) / n
    return _estimate(n, r, cluster_standard_error(influence, clusters[known]), null=0.0)


def calibration(predicted: Column, labels: Labels) -> tuple[CalibrationBin, ...]:
    """Bins of about equal size by predicted probability, at most CALIBRATION_BINS."""
    order = np.argsort(predicted, kind="stable")
    n_bins = min(CALIBRATION_BINS, max(1, len(order) // MIN_PAIRS))
    return tuple(
        CalibrationBin(
            n=len(part),
            predicted=float(predicted[part].mean()),
            observed=float(labels[part].mean()),
            ci95=wilson_ci95(int(labels[part].sum()), len(part)),
        )
        for part in np.array_split(order, n_bins)
        if len(part)
    )


def brier(predicted: Column, labels: Labels) -> float:
    """Mean squared error of predicted probabilities, 0…1; 0.25 for always one half."""
    return float(((predicted - labels) ** 2).mean())


def wilson_ci95(count: int, n: int) -> Interval:
    """Wilson's (1927) interval of a share. Raises ValueError for n = 0."""
    from scipy import stats

    found = stats.binomtest(count, n).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def cluster_standard_error(influence: Column, clusters: Clusters) -> float | None:
    """Standard error of a sum of contributions, independent between clusters only.

    The square root of k ÷ (k − 1) · Σ (contribution of a cluster)²; None for one cluster.
    """
    k = len(np.unique(clusters))
    return math.sqrt(k / (k - 1)) * _clustered_norm(influence, clusters) if k > 1 else None


def _clustered_norm(influence: Column, clusters: Clusters) -> float:
    return float(np.sqrt((np.bincount(clusters, weights=influence) ** 2).sum()))


def _finite(values: Column, labels: Labels, clusters: Clusters) -> tuple[Column, Labels, Clusters]:
    if not values.shape == labels.shape == clusters.shape:
        raise ValueError(f"shape mismatch: {values.shape}, {labels.shape}, {clusters.shape}")
    known = np.isfinite(values)
    return values[known], labels[known], clusters[known]


def _placements(values: Column, labels: Labels, clusters: Clusters) -> tuple[float, Column] | None:
    """The AUC, and the contribution of each row to its error; None if a class has no row.

    The placement of a positive row is the share of the negative rows below it, that of a negative
    row the share of the positive rows above it.  Both follow from ranks (Sun and Xu 2014).
    """
    from scipy import stats

    n_positive, n_negative = int(labels.sum()), int((~labels).sum())
    if not n_positive or not n_negative:
        return None
    ranks = stats.rankdata(values)
    placements = np.empty(len(values))
    placements[labels] = (ranks[labels] - stats.rankdata(values[labels])) / n_negative
    placements[~labels] = 1 - (ranks[~labels] - stats.rankdata(values[~labels])) / n_positive
    area = float(placements[labels].mean())
    influence = (placements - area) / np.where(labels, n_positive, n_negative)
    # Each class has its own correction for a small number of clusters.
    for one in (labels, ~labels):
        k = len(np.unique(clusters[one]))
        influence[one] *= math.sqrt(k / (k - 1)) if k > 1 else 1.0
    return area, influence


def _normal_scores(column: Column) -> Column:
    from scipy import stats

    scores: Column = stats.norm.ppf(stats.rankdata(column) / (len(column) + 1))
    return scores


def _residual(column: Column, controls: NDArray[np.float64]) -> Column:
    """What a linear regression on controls of shape (n, k) leaves of a column of shape (n,)."""
    column, controls = column - column.mean(), controls - controls.mean(axis=0)
    coefficients = np.linalg.lstsq(controls, column)[0]
    residual: Column = column - controls @ coefficients
    return residual


def _estimate(n: int, value: float, error: float | None, *, null: float) -> Estimate:
    """A normal interval and p; none of them for few rows, or without variation."""
    from scipy import stats

    if n < MIN_PAIRS or error is None or error < 1e-12:
        return Estimate(n=n, value=value)
    p = float(2 * stats.norm.sf(abs(value - null) / error))
    return Estimate(n=n, value=value, ci95=(value - _Z95 * error, value + _Z95 * error), p=p)
