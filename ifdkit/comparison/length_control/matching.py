"""The change in IFD after reweighting both sides to the lengths that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ifdkit.comparison.length_control.verdict import PointEstimate
from ifdkit.stats.columns import MIN_PAIRS, Column

MIN_OVERLAP = 0.1
"""Of the length distributions; with less overlap the change depends on their tails alone."""
_RESPONSES_PER_BIN = 40
_MAX_BINS = 50
RESAMPLED_VALUES = 5 * 10**7
"""Most numbers that one bootstrap draws: for 100,000 pairs 500 resamples, not 2,000."""


@dataclass(frozen=True, eq=False)
class _Side:
    """One side, sorted by IFD."""

    ifd: Column
    """(n,), ascending."""
    pair: NDArray[np.intp]
    """(n,), the pair of each response."""
    bin: NDArray[np.intp]
    """(n,), the length bin of each response."""


def matched_change(ifd: Column, tokens: Column, seed: int) -> tuple[PointEstimate | None, float]:
    """Difference of weighted medians after − before, and the overlap of the lengths, 0…1.

    `ifd` and `tokens`: shape (2, n), before and after.  Responses are binned between quantiles of
    the pooled lengths.  If p and q are the shares of the two sides in a bin, its responses have the
    weight min(p, q)/p before and min(p, q)/q after, so that both sides have the distribution
    min(p, q); overlap = Σ min(p, q).  By chance alone the overlap of few rows is below 1.  The
    interval is a percentile bootstrap over pairs, which recomputes the weights.  The change is None
    if the overlap is below MIN_OVERLAP, or covers fewer than MIN_PAIRS pairs.
    """
    edges = _edges(tokens)
    n_bins = len(edges) + 1
    sides = [_sorted_side(i, t, edges) for i, t in zip(ifd, tokens, strict=True)]
    n = ifd.shape[1]
    change, overlap = _change(sides, np.ones(n), n_bins)
    if overlap < MIN_OVERLAP or overlap * n < MIN_PAIRS:
        return None, overlap
    rng = np.random.default_rng(seed)
    resampled = [_change(sides, _times(rng, n), n_bins)[0] for _ in range(resamples(n))]
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return PointEstimate(change, (float(low), float(high)), n), overlap


def matched_difference(
    ifd: Sequence[Column], tokens: Sequence[Column], seed: int
) -> tuple[PointEstimate | None, float]:
    """As :func:`matched_change` for two sides that are not paired and may differ in size.

    Each side is resampled by itself.
    """
    edges = _edges(np.concatenate(tokens))
    n_bins = len(edges) + 1
    first, second = (_sorted_side(i, t, edges) for i, t in zip(ifd, tokens, strict=True))
    n_first, n_second = len(first.ifd), len(second.ifd)
    # Responses are counted as if they were pairs of their own: those after follow those before.
    sides = [first, replace(second, pair=second.pair + n_first)]
    change, overlap = _change(sides, np.ones(n_first + n_second), n_bins)
    n = min(n_first, n_second)
    if overlap < MIN_OVERLAP or overlap * n < MIN_PAIRS:
        return None, overlap
    rng = np.random.default_rng(seed)
    resampled = [
        _change(sides, np.concatenate([_times(rng, n_first), _times(rng, n_second)]), n_bins)[0]
        for _ in range(resamples(n_first + n_second))
    ]
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return PointEstimate(change, (float(low), float(high)), n), overlap


def resamples(n: int) -> int:
    """Bootstrap resamples for n pairs: 2,000, fewer if there are many pairs, at least 200."""
    return min(2_000, max(200, RESAMPLED_VALUES // n))


def _times(rng: np.random.Generator, n: int) -> Column:
    """How often each of n pairs is drawn in n draws."""
    return np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64)


def _edges(tokens: Column) -> Column:
    n_bins = min(_MAX_BINS, max(2, tokens.size // _RESPONSES_PER_BIN))
    inner = np.arange(1, n_bins) / n_bins
    return np.unique(np.quantile(tokens, inner))


def _sorted_side(ifd: Column, tokens: Column, edges: Column) -> _Side:
    order = np.argsort(ifd, kind="stable")
    return _Side(ifd[order], order, np.searchsorted(edges, tokens, side="right")[order])


def _change(sides: list[_Side], times: Column, n_bins: int) -> tuple[float, float]:
    """Change and overlap with pair i counted times[i] times; NaN if nothing overlaps."""
    counts = [times[side.pair] for side in sides]
    shares = [
        np.bincount(side.bin, weights=count, minlength=n_bins) / count.sum()
        for side, count in zip(sides, counts, strict=True)
    ]
    common = np.minimum(*shares)
    overlap = min(1.0, float(common.sum()))
    if not overlap:
        return float("nan"), 0.0
    before, after = (
        _weighted_median(side.ifd, count * _ratio(common, share)[side.bin])
        for side, count, share in zip(sides, counts, shares, strict=True)
    )
    return after - before, overlap


def _ratio(part: Column, whole: Column) -> Column:
    """part ÷ whole, 0 for an empty bin."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _weighted_median(ascending: Column, weights: Column) -> float:
    """The value with half of the weight below it, or the midpoint if that is between two."""
    cumulative = np.cumsum(weights)
    half = cumulative[-1] / 2
    # Sums of weights are rounded: whether half of it is exactly between two values needs a margin.
    low = np.searchsorted(cumulative, half * (1 - 1e-12))
    high = np.searchsorted(cumulative, half * (1 + 1e-12))
    return float((ascending[low] + ascending[min(high, len(ascending) - 1)]) / 2)
