"""Axes and data of the figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ifdkit.format import as_written

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

Column = NDArray[np.float64]

_MAX_BINS = 40
_TAIL_PERCENT = 0.5  # at either end outside the axis, and counted


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of values, drawn linearly or by their logarithm."""

    low: float
    high: float
    is_log: bool

    def edges(self, n: int) -> Column:
        """Edges of 12 to 40 bins for `n` values: a few more than Rice's rule, 2·n^⅓."""
        bins = int(np.clip(2.5 * n ** (1 / 3), 12, _MAX_BINS))
        space = np.geomspace if self.is_log else np.linspace
        return np.asarray(space(self.low, self.high, bins + 1))

    def n_outside(self, *columns: Column) -> int:
        """Number of values outside the axis."""
        return sum(int(((c < self.low) | (c > self.high)).sum()) for c in columns)

    def apply(self, axes: Axes) -> None:
        """Set the x axis of a panel."""
        if self.is_log:
            axes.set_xscale("log")
            ticks = _log_ticks(self.low, self.high)
            axes.set_xticks(ticks, [as_written(tick) for tick in ticks])
            axes.set_xticks([], minor=True)
        axes.set_xlim(self.low, self.high)


def axis_of(columns: Sequence[Column], *, is_log: bool) -> Axis:
    """The range of all values of some columns but their tails."""
    both = np.concatenate(columns)
    both = both[both > 0] if is_log else both
    low, high = (
        np.percentile(both, [_TAIL_PERCENT, 100 - _TAIL_PERCENT]) if len(both) else (1.0, 1.0)
    )
    if is_log:
        return Axis(low / 1.1, high * 1.1, is_log=True)
    margin = 0.03 * (high - low) or max(abs(high), 1.0) * 0.05
    return Axis(low - margin, high + margin, is_log=False)


def _log_ticks(low: float, high: float) -> list[float]:
    """Round numbers on a log axis, at most about six of them."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**decade for decade in decades for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= 6:
            break
    if len(ticks) < 3:  # the axis spans less than a factor of two or so: evenly spaced ticks do
        from matplotlib.ticker import MaxNLocator

        ticks = [tick for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
    return ticks[:: math.ceil(len(ticks) / 6) or 1]


def pair_columns(rows: pd.DataFrame, field: str) -> tuple[Column, Column]:
    """A metric before and after, over the pairs that define it on both sides, shapes (n,)."""
    if f"{field}_before" not in rows or f"{field}_after" not in rows:
        return np.empty(0), np.empty(0)
    before, after = (
        rows[f"{field}_{side}"].to_numpy(dtype=np.float64, na_value=np.nan)
        for side in ("before", "after")
    )
    defined = np.isfinite(before) & np.isfinite(after)
    return before[defined], after[defined]


def change_axis(change: Column, *, is_log: bool) -> Axis:
    """An axis that always includes no change: a factor of 1, or a difference of 0."""
    axis, neutral = axis_of((change,), is_log=is_log), 1.0 if is_log else 0.0
    return Axis(min(axis.low, neutral / 1.1), max(axis.high, neutral * 1.1), is_log)


def length_columns(rows: pd.DataFrame, field: str) -> tuple[Column, ...] | None:
    """Length before and after, metric before and after, over pairs with all four, shapes (n,)."""
    names = [
        f"{name}_{side}" for name in ("response_tokens", field) for side in ("before", "after")
    ]
    if any(name not in rows for name in names):
        return None
    columns = rows[names].to_numpy(dtype=np.float64, na_value=np.nan)  # (pairs, 4)
    columns = columns[np.isfinite(columns).all(axis=1) & (columns[:, :2] > 0).all(axis=1)]
    return tuple(columns.T) if len(columns) else None
