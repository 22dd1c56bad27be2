"""How much of the change of any metric goes with the change of response length.

Within each side a metric is regressed on log length.  What the change of length predicts with the
mean slope of both sides is taken from the change of each pair, and the median of the rest is the
change at equal length.  Assumes that a metric depends on length within a side as it would depend on
the length of a rewrite, and about linearly on its log.  Fails if length is a proxy for something
else, such as the kind of question.  The interval leaves the error of the slope out.  IFD, whose
value at another length can be computed, has better estimates in `length_control`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ifdkit.comparison.result import LengthOfMetric
from ifdkit.scoring.metrics import METRICS
from ifdkit.stats.columns import MIN_PAIRS, Column, median_ci95

LENGTH = "response_tokens"
LENGTHS = (LENGTH, "instruction_tokens")
MOSTLY = 0.5
"""Share of a change from which on it is mostly length."""
_TAILS = (1.0, 99.0)
"""Percentiles beyond which values count as these: ratios of tiny responses can be in the
thousands."""

Sides = tuple[Column, Column]


def length_of_metrics(values: Mapping[str, Sides], seed: int) -> dict[str, LengthOfMetric]:
    """Metric → its change, and what is left of it at equal length.

    `values`: metric → its column before and after, one entry per pair, NaN if undefined; it must
    have `response_tokens`.  Metrics of the instruction alone and those with too few pairs are left
    out.
    """
    if LENGTH not in values:
        return {}
    lengths = _logs(values[LENGTH])
    found = {}
    for name, sides in values.items():
        metric = METRICS[name]
        if name in LENGTHS or metric.passes == ("instruction_direct",):
            continue
        one = _of_metric(_logs(sides) if metric.is_multiplicative else sides, lengths, seed,
                         is_log=metric.is_multiplicative)  # fmt: skip
        if one is not None:
            found[name] = one
    return found


def mostly_length(found: Mapping[str, LengthOfMetric]) -> list[str]:
    """A sentence about the metrics whose change is mostly length; empty if there are none."""
    names = [METRICS[name].label for name, one in found.items() if one.is_mostly_length]
    if not names:
        return []
    return [
        f"mostly length: the changes of {', '.join(names)} go with the change of response length by"
        " half or more"
    ]


def _of_metric(sides: Sides, lengths: Sides, seed: int, *, is_log: bool) -> LengthOfMetric | None:
    defined = np.isfinite(np.stack([*sides, *lengths])).all(axis=0)
    if defined.sum() < MIN_PAIRS:
        return None
    before, after, short, long = (one[defined] for one in (*sides, *lengths))
    slope = (_slope(before, short) + _slope(after, long)) / 2
    raw = after - before
    rest = raw - slope * (long - short)
    change, at_equal = float(np.median(raw)), float(np.median(rest))
    interval = median_ci95(raw, seed=seed)
    is_clear = interval is not None and (interval[0] > 0 or interval[1] < 0)
    share = 1 - at_equal / change if is_clear and change else None
    return LengthOfMetric(
        n_pairs=int(defined.sum()),
        is_log=is_log,
        raw_change=change,
        raw_ci95=interval,
        equal_length_change=at_equal,
        equal_length_ci95=median_ci95(rest, seed=seed),
        share_due_to_length=share,
        is_mostly_length=share is not None and share >= MOSTLY,
    )


def _slope(values: Column, lengths: Column) -> float:
    """Least-squares slope of the values without their tails on log length; 0 at one length."""
    values = np.clip(values, *np.percentile(values, _TAILS))
    x = lengths - lengths.mean()
    square = float(x @ x)
    return float(x @ (values - values.mean())) / square if square > 1e-12 else 0.0


def _logs(sides: Sides) -> Sides:
    """Logarithms, NaN for what is not positive."""
    before, after = (np.log(np.where(one > 0, one, np.nan)) for one in sides)
    return before, after
