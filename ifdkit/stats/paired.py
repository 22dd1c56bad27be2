"""The paired change of one metric: its size, its uncertainty, and how many pairs share it.

Every function drops the pairs in which either side is NaN, infinite or None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ifdkit.stats.columns import (
    MIN_PAIRS,
    Column,
    Distance,
    Interval,
    Numbers,
    SideStats,
    distance,
    finite,
    holm,
    mean_ci95,
    median_ci95,
    side_by_side,
    side_stats,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The paired change after − before of one metric; None if there are too few pairs."""

    mean: float | None = None
    mean_ci95: Interval | None = None
    """As :func:`ifdkit.stats.columns.mean_ci95`."""
    median: float | None = None
    """Median of the paired differences, not difference of the medians."""
    median_ci95: Interval | None = None
    p: float | None = None
    """Wilcoxon signed-rank, two-sided."""
    p_holm: float | None = None
    """p with Holm's correction over the metrics of the table."""
    effect: float | None = None
    """Matched-pairs rank-biserial correlation, −1…1."""
    share_up: float | None = None
    """Share of the pairs that rose, 0…1; a tie counts as half."""
    share_unchanged: float | None = None
    """Share of the pairs that are equal on both sides, 0…1."""

    @property
    def share_rose(self) -> float | None:
        """Share of the pairs that did rise, 0…1: without half of the ties, unlike `share_up`."""
        if self.share_up is None:
            return None
        return max(0.0, self.share_up - (self.share_unchanged or 0.0) / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricChange:
    """All statistics of one metric."""

    before: SideStats
    after: SideStats
    change: Change
    distance: Distance


def compare_metric(before: Numbers, after: Numbers, *, geometric: bool, seed: int) -> MetricChange:
    """All statistics of one metric except `p_holm`, which needs all metrics: see `with_holm`.

    `before[i]` is paired with `after[i]`; `geometric` adds the geometric means of the sides.
    """
    old, new = finite_pairs(before, after)
    return MetricChange(
        before=side_stats(old, geometric=geometric),
        after=side_stats(new, geometric=geometric),
        change=paired_change(old, new, seed=seed),
        distance=distance(old, new),
    )


def with_holm(metrics: Mapping[str, MetricChange]) -> dict[str, MetricChange]:
    """The same metrics, with p corrected for their number."""
    corrected = holm({name: metric.change.p for name, metric in metrics.items()})
    return {
        name: replace(metric, change=replace(metric.change, p_holm=corrected[name]))
        for name, metric in metrics.items()
    }


def finite_pairs(before: Numbers, after: Numbers) -> tuple[Column, Column]:
    """The pairs that are finite on both sides. Raises ValueError if the lengths differ."""
    pairs = side_by_side(before, after)
    old, new = pairs[:, np.isfinite(pairs).all(axis=0)]
    return old, new


def paired_change(before: Numbers, after: Numbers, *, seed: int) -> Change:
    """Change after − before over the pairs, with its 95 % intervals, p and effect.

    Mean, median and shares need one pair; intervals, p and effect need MIN_PAIRS.  p is the
    two-sided Wilcoxon signed-rank test with Pratt's (1959) treatment of zeros: unchanged pairs are
    ranked and then left out, so that many of them weaken the evidence of the changed ones.
    (Wilcoxon's own treatment drops them before ranking, so that one rise among a thousand unchanged
    rows looks like a rise everywhere.)  The effect is the matched-pairs rank-biserial correlation
    (Kerby 2014): rank sum of the rises minus that of the falls, divided by the sum of all ranks,
    unchanged pairs included; the ranks are those of the test.
    """
    old, new = finite_pairs(before, after)
    n = len(old)
    if not n:
        return Change()
    with np.errstate(over="ignore", invalid="ignore"):
        difference = new - old
        mean, median = finite(difference.mean()), finite(np.median(difference))
    share_unchanged = float((difference == 0).mean())
    share_up = float((difference > 0).mean()) + share_unchanged / 2
    if n < MIN_PAIRS:
        return Change(mean=mean, median=median, share_up=share_up, share_unchanged=share_unchanged)
    return Change(
        mean=mean,
        mean_ci95=None if mean is None else mean_ci95(difference, seed=seed),
        median=median,
        median_ci95=None if median is None else median_ci95(difference, seed=seed),
        p=_signed_rank_p(difference),
        effect=_rank_biserial(difference),
        share_up=share_up,
        share_unchanged=share_unchanged,
    )


def _signed_rank_p(difference: Column) -> float:
    if not difference.any():
        return 1.0  # nothing changed, which is no evidence of a change
    from scipy import stats

    # With ties scipy would enumerate all 2ⁿ signs: a second per metric at 13 pairs.
    is_tied = len(np.unique(np.abs(difference))) < len(difference) or not difference.all()
    method = "asymptotic" if is_tied else "auto"
    return float(stats.wilcoxon(difference, zero_method="pratt", method=method).pvalue)


def _rank_biserial(difference: Column) -> float:
    from scipy import stats

    n = len(difference)
    ranks = stats.rankdata(np.abs(difference))
    return float((np.sign(difference) * ranks).sum() / (n * (n + 1) / 2))
