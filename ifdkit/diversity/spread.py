"""Intervals of the difference in diversity between two paired sets.

A bootstrap draws rows with replacement, and every measure takes the copies for a loss of diversity.
So half of the pairs are drawn without replacement: the spread of a statistic over such halves is
the standard error of that of all pairs (delete-d jackknife with d = n ÷ 2; Shao and Wu 1989).
Inertia is a mean over rows, whose centres move little with the rows: its error is that of the mean.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ifdkit.diversity.measures import DIVERSITY, RowSet, squared_distances

DRAWS = 100
MAX_PAIRS = 600
"""Pairs that are halved; of more, so many are drawn, and their error is scaled by the root of n."""
MIN_PAIRS = 30
"""Halves of fewer pairs say little, as for topics."""
_Z95 = 1.959963984540054


def change_errors(
    before: RowSet,
    after: RowSet,
    *,
    n_clusters: int,
    names: Sequence[str] = tuple(DIVERSITY),
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, float]:
    """Standard error of after − before by measure; empty for fewer than MIN_PAIRS pairs.

    Rows with one `origin` are a pair; both sets must have the same ones.
    """
    n = len(before)
    if n < MIN_PAIRS:
        return {}
    generator = np.random.default_rng(seed)
    pairs = np.sort(before.origin)
    if n > MAX_PAIRS:
        pairs = generator.choice(pairs, MAX_PAIRS, replace=False)
    found: dict[str, list[float]] = {name: [] for name in names if name != "cluster_inertia"}
    for _ in range(draws):
        half = generator.choice(pairs, len(pairs) // 2, replace=False)
        old = before.take(half).measure(names=tuple(found), seed=seed)
        new = after.take(half).measure(names=tuple(found), seed=seed)
        for name, values in found.items():
            first, second = (side[name].value if name in side else None for side in (old, new))
            if first is not None and second is not None:
                values.append(second - first)
    scale = math.sqrt(len(pairs) / n)
    errors = {
        name: scale * float(np.std(values, ddof=1)) for name, values in found.items() if values
    }
    if "cluster_inertia" in names:
        squares = [
            squared_distances(one.vectors, n_clusters, seed)[np.argsort(one.origin)]
            for one in (before, after)
        ]
        errors["cluster_inertia"] = float(np.std(squares[1] - squares[0], ddof=1)) / math.sqrt(n)
    return errors


def interval_of(change: float, error: float) -> tuple[float, float]:
    """The 95 % interval of a change with this standard error."""
    return change - _Z95 * error, change + _Z95 * error
