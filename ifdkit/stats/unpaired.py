"""The difference of one metric between two samples whose rows are not paired.

Every function drops the values that are NaN, infinite or None, on each side by itself.
"""

from __future__ import annotations

import math

import numpy as np

from ifdkit.stats.columns import (
    MAX_BCA_VALUES,
    MIN_PAIRS,
    Column,
    Interval,
    Numbers,
    distance,
    mean_ci95,
    median_ci95,
    side_stats,
)
from ifdkit.stats.paired import Change, MetricChange

PERMUTATIONS = 9_999
"""The smallest p is 1 ÷ 10,000."""
_VALUES_PER_BATCH = 2**20


def compare_unpaired(
    before: Numbers, after: Numbers, *, geometric: bool, seed: int
) -> MetricChange:
    """All statistics of one metric except `p_holm`, which needs all metrics.

    The two samples may differ in size.  `geometric` adds the geometric means of the sides.
    """
    old, new = _finite(before), _finite(after)
    return MetricChange(
        before=side_stats(old, geometric=geometric),
        after=side_stats(new, geometric=geometric),
        change=unpaired_change(old, new, seed=seed),
        distance=distance(old, new),
    )


def unpaired_change(before: Numbers, after: Numbers, *, seed: int) -> Change:
    """After − before for two independent samples, with 95 % intervals, p and effect.

    The fields of :class:`Change` have other meanings than for pairs: `mean` and `median` are
    differences of means and of medians; `share_up` is the probability that a random value after is
    above a random value before, a tie counting half; `effect` is Cliff's delta, 2·share_up − 1;
    `share_unchanged` is None.  p is a two-sided permutation test of the rank sum, that is of equal
    distributions: PERMUTATIONS random assignments up to MAX_BCA_VALUES values in all, and above
    that the normal limit of the same distribution (Mann-Whitney, corrected for ties).  An interval
    combines the bootstrap intervals of both sides (MOVER; Zou and Donner 2008).  Intervals, p and
    effect need MIN_PAIRS values on each side.
    """
    old, new = _finite(before), _finite(after)
    if not len(old) or not len(new):
        return Change()
    with np.errstate(over="ignore", invalid="ignore"):
        means, medians = (old.mean(), new.mean()), (np.median(old), np.median(new))
    mean, median = _difference(means), _difference(medians)
    higher = probability_higher(old, new)
    if min(len(old), len(new)) < MIN_PAIRS:
        return Change(mean=mean, median=median, share_up=higher)
    of_mean = mean_ci95(old, seed=seed), mean_ci95(new, seed=seed + 1)
    of_median = median_ci95(old, seed=seed), median_ci95(new, seed=seed + 1)
    return Change(
        mean=mean,
        mean_ci95=_combined(means, of_mean),
        median=median,
        median_ci95=_combined(medians, of_median),
        p=_rank_sum_p(old, new, seed),
        effect=2 * higher - 1,
        share_up=higher,
    )


def probability_higher(before: Column, after: Column) -> float:
    """P(value after > value before), a tie counting half, 0…1, for finite non-empty columns."""
    ascending = np.sort(before)
    below = np.searchsorted(ascending, after, side="left")
    not_above = np.searchsorted(ascending, after, side="right")
    return float((below + not_above).mean()) / (2 * len(before))


def _finite(values: Numbers) -> Column:
    array = np.asarray(values, dtype=np.float64)
    return array[np.isfinite(array)]


def _difference(values: tuple[float, float]) -> float | None:
    found = float(values[1]) - float(values[0])
    return found if math.isfinite(found) else None


def _combined(
    estimates: tuple[float, float], intervals: tuple[Interval | None, Interval | None]
) -> Interval | None:
    """The interval of a difference from the intervals of its two independent estimates."""
    (old, new), (of_old, of_new) = map(float, estimates), intervals
    if of_old is None or of_new is None:
        return None
    down = math.hypot(new - of_new[0], of_old[1] - old)
    up = math.hypot(of_new[1] - new, old - of_old[0])
    low, high = new - old - down, new - old + up
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None


def _rank_sum_p(old: Column, new: Column, seed: int) -> float:
    from scipy import stats

    values = np.concatenate([old, new])
    if values.min() == values.max():
        return 1.0  # nothing differs, which is no evidence of a difference
    if len(values) > MAX_BCA_VALUES:
        return float(stats.mannwhitneyu(old, new, method="asymptotic").pvalue)
    ranks = stats.rankdata(values)
    # Ranks are whole or half numbers, so that sums are exact and equal ones count as equal.
    expected = len(new) * (len(values) + 1) / 2
    observed = abs(float(ranks[len(old) :].sum()) - expected)
    generator, done, as_far = np.random.default_rng(seed), 0, 0
    while done < PERMUTATIONS:
        n = min(PERMUTATIONS - done, max(1, _VALUES_PER_BATCH // len(values)))
        shuffled = generator.permuted(np.tile(ranks, (n, 1)), axis=1)  # (n, values)
        sums = shuffled[:, : len(new)].sum(axis=1)
        as_far += int((np.abs(sums - expected) >= observed).sum())
        done += n
    return (1 + as_far) / (1 + PERMUTATIONS)
