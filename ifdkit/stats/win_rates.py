"""Win rates of pairwise preferences: raw, decided, and with length held fixed.

A preference is a number 0…1: 0 if the first answer of a pair is preferred, 1 if the second is, 0.5
for a tie.  Win rates are those of the second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifdkit.stats.columns import MIN_PAIRS, Column, Interval
from ifdkit.stats.discrimination import Clusters, cluster_standard_error

RESAMPLES = 2_000
_RIDGE = 0.1
"""Penalty on the slope, as a normal prior with a standard deviation of 3.2.  Without one, a judge
that always prefers the longer answer has no finite slope, and the intercept would depend on the few
pairs of nearly equal length.  A hundred ordinary pairs shrink the slope by about 1 %.
"""
_MAX_STEPS = 60
_ONE_STEP_FROM = 20_000
"""Clusters from which on one step of Newton's method fits a resample, if the pairs tell as much of
the intercept as a quarter of so many undecided ones.  It starts from the parameters of all pairs,
from which those of a resample are about 1 ÷ √n away, and leaves an error of about 1 ÷ n: at most
1.5 % of the width of the interval, as much as 2,000 resamples leave."""
_WEIGHTS_PER_BATCH = 2**17
"""Of resamples that are in memory together; half a dozen arrays have as many numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A share with its bootstrap interval; None if it is undefined."""

    n: int
    """Pairs used."""
    value: float | None = None
    """0…1."""
    ci95: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRate:
    """What AlpacaEval prints for a list of annotations, in its own units."""

    win_rate: float
    """Mean preference of the second answer in percent, ties counting half."""
    discrete_win_rate: float
    """The same with each preference rounded to a win, a loss or a tie."""
    standard_error: float | None
    """Of `win_rate`, in percent; None for one annotation."""
    n_wins: int
    n_wins_base: int
    n_draws: int
    n_total: int


def published_win_rate(preferences: Column) -> PublishedRate:
    """AlpacaEval's raw win rate (`metrics/helpers.py`, AbsoluteScoringRule): 100 · mean(p).

    `preferences` are 0…1, without missing ones, which AlpacaEval leaves out.  The standard error is
    that of a mean, with n − 1.  Raises ValueError if there are none.
    """
    n = len(preferences)
    if not n:
        raise ValueError("there are no preferences")
    # As published: p is rounded on the scale 1…2, where numpy rounds 1.5 to 2; but exact ties are
    # taken out before, so that the halves of both roundings cannot meet.
    rounded = np.where(preferences == 0.5, 0.5, np.round(preferences + 1) - 1)
    return PublishedRate(
        win_rate=100 * float(preferences.mean()),
        discrete_win_rate=100 * float(rounded.mean()),
        standard_error=100 * float(preferences.std(ddof=1) / np.sqrt(n)) if n > 1 else None,
        n_wins=int((preferences > 0.5).sum()),
        n_wins_base=int((preferences < 0.5).sum()),
        n_draws=int((preferences == 0.5).sum()),
        n_total=n,
    )


def mean_rate(values: Column, clusters: Clusters, *, seed: int) -> Rate:
    """Mean of values 0…1 with a percentile interval of a bootstrap over clusters."""
    n = len(values)
    if not n:
        return Rate(n=0)
    mean = float(values.mean())
    if n < MIN_PAIRS or cluster_standard_error(values - mean, clusters) is None:
        return Rate(n=n, value=mean)
    sizes, sums = _resampled_sums([np.ones(n), values], clusters, seed)
    return Rate(n=n, value=mean, ci95=_percentiles(sums[sizes > 0] / sizes[sizes > 0]))


def length_controlled_rate(
    preferences: Column, length_difference: Column, clusters: Clusters, *, seed: int
) -> Rate:
    """Win rate of the second answer if both answers had the same length, 0…1.

    AlpacaEval 2's minimal model (2404.04475; `glm_winrate.py`, `length_controlled_minimal`):

        P(second preferred) = σ(intercept + slope · tanh(d ÷ sd(d)))

    fitted to soft labels, where d is the length of the second answer minus that of the first and is
    scaled but not centred.  The rate is σ(intercept), which is d = 0.  Two differences to the
    published code: the penalty on the slope is a weak ridge, where AlpacaEval chooses an L1 penalty
    by cross-validation, and its term for the difficulty of an instruction is absent, because its
    values are published for AlpacaEval's 805 instructions only.  The interval is that of a
    bootstrap over clusters, in which sd(d) stays fixed.  None for fewer than MIN_PAIRS pairs.  If
    all lengths are equal, it is the raw rate.
    """
    n = len(preferences)
    if n < MIN_PAIRS:
        return Rate(n=n)
    scale = float(length_difference.std())
    feature = np.tanh(length_difference / scale) if scale else np.zeros(n)
    whole = _fitted(np.ones((1, n)), feature, preferences, np.zeros((2, 1)))
    value, n_clusters = float(_sigmoid(whole[0])[0]), len(np.unique(clusters))
    if n_clusters < 2:
        return Rate(n=n, value=value)
    # Resamples are close to the whole: from its parameters Newton's method takes a few steps.
    terms = _terms(whole[0] + whole[1] * feature, feature, preferences)
    if min(n_clusters, 16 * terms[2].sum()) >= _ONE_STEP_FROM:
        sums = _resampled_sums(terms, clusters, seed)
        intercepts = whole[0] + _step(*sums, slope=whole[1])[0]
    else:
        counts = _resampled_counts(clusters, seed)
        fits = [_fitted(one[:, clusters], feature, preferences, whole) for one in counts]
        intercepts = np.concatenate([intercept for intercept, _ in fits])
    return Rate(n=n, value=value, ci95=_percentiles(_sigmoid(intercepts)))


def _fitted(
    weights: NDArray[np.float64], feature: Column, y: Column, start: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Intercept and slope of a weighted logistic regression for each row of `weights`: (2, fits).

    Newton's method for all fits at once, from `start`, (2, 1); both parameters are clipped, since a
    sample without a loss has no finite intercept.
    """
    intercept, slope = np.repeat(start, len(weights), axis=1)
    for _ in range(_MAX_STEPS):
        mean = _sigmoid(intercept[:, None] + slope[:, None] * feature)  # (fits, n)
        error, variance = weights * (y - mean), weights * mean * (1 - mean)
        g0, g1 = error.sum(axis=1), error @ feature
        h00, h01, h11 = variance.sum(axis=1), variance @ feature, variance @ feature**2
        steps = _step(g0, g1, h00, h01, h11, slope=slope)
        steps = np.clip(steps, -2, 2)  # far from the optimum a full step may overshoot
        intercept, slope = np.clip([intercept + steps[0], slope + steps[1]], -30, 30)
        if np.abs(steps).max() < 1e-8:
            break
    return np.stack([intercept, slope])


def _terms(logits: Column, feature: Column, y: Column) -> list[Column]:
    """What each pair adds to the sums of a step: two of the gradient, three of the Hessian."""
    mean = _sigmoid(logits)
    error, variance = y - mean, mean * (1 - mean)
    return [error, error * feature, variance, variance * feature, variance * feature**2]


def _step(
    g0: Column, g1: Column, h00: Column, h01: Column, h11: Column, *, slope: Column
) -> NDArray[np.float64]:
    """A step of Newton's method for each fit, with the penalty on its slope: (2, fits)."""
    g1, h00, h11 = g1 - _RIDGE * slope, h00 + 1e-9, h11 + _RIDGE
    return np.stack([h11 * g0 - h01 * g1, h00 * g1 - h01 * g0]) / (h00 * h11 - h01**2)


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = 0.5 * (1 + np.tanh(x / 2))
    return result


def _resampled_counts(clusters: Clusters, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each cluster is in each resample of clusters.

    In batches of shape (resamples, clusters), which together have RESAMPLES resamples.
    """
    k, generator = int(clusters.max()) + 1, np.random.default_rng(seed)
    per_batch = max(1, _WEIGHTS_PER_BATCH // len(clusters))
    for start in range(0, RESAMPLES, per_batch):
        drawn = generator.integers(k, size=(min(per_batch, RESAMPLES - start), k))
        yield np.array([np.bincount(one, minlength=k) for one in drawn], dtype=np.float64)


def _resampled_sums(
    columns: Sequence[Column], clusters: Clusters, seed: int
) -> NDArray[np.float64]:
    """The sum of each column over the rows of each resample: (columns, RESAMPLES)."""
    sums = np.stack([np.bincount(clusters, weights=one) for one in columns], axis=1)
    return np.concatenate([one @ sums for one in _resampled_counts(clusters, seed)]).T


def _percentiles(values: Column) -> Interval:
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
