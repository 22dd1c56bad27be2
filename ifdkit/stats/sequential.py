"""When a growing sample may stop, so that its interval can still be believed.

Who looks at a 95 % interval after every few rows, and stops when it is narrow, stops more often
when the spread happens to be estimated too small, and misses the true mean more often than once in
twenty.  Here few looks are taken: a first one whose size is fixed, and then each at the number of
rows that the spread seen so far asks for (Stein, Annals of Mathematical Statistics 16, 1945; Hall,
Annals of Statistics 9, 1981).  What stopping costs still is made up for by intervals at ALPHA.
`reports/sampling.md` has the coverage in simulations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ifdkit.stats.sampling import MeanEstimate

ALPHA = 0.03
"""Of each interval, for a coverage of 95 % at the look that was chosen to be the last."""
FIRST_LOOK = 400
"""Rows: with 200, one value in 50 that is far from the others is missed too often."""
MARGIN = 1.05
"""Rows of a look ÷ rows that the spread seen so far asks for, so that it mostly is the last."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """Where a growing sample stopped."""

    rows: int
    estimate: MeanEstimate
    looks: int
    """Looks taken."""
    reached: bool
    """Whether the interval is as narrow as was asked; False if its width is unknown at the end."""


def run_until(half_width: float, n_rows: int, estimate: Callable[[int], MeanEstimate]) -> Stopped:
    """Look at growing samples until the interval of the mean is narrow enough.

    `estimate` scores so many rows, and gives the mean with the half width of its 1 − ALPHA
    interval, which has no width if they are all rows.
    """
    rows, looks = min(FIRST_LOOK, n_rows), 1
    found = estimate(rows)
    while found.half_width > half_width and rows < n_rows:
        rows = next_look(rows, n_rows, found.half_width / half_width)
        looks += 1
        found = estimate(rows)
    return Stopped(rows, found, looks, found.half_width <= half_width)


def next_look(rows: int, n_rows: int, ratio: float) -> int:
    """Rows that make an interval narrower by `ratio` > 1, if the spread stays the same.

    The square of the width goes with 1 ÷ rows − 1 ÷ `n_rows` (finite population correction).
    """
    if not math.isfinite(ratio):  # too few values to know a spread
        return min(n_rows, 2 * rows)
    wanted = 1 / ((1 / rows - 1 / n_rows) / ratio**2 + 1 / n_rows)
    return min(n_rows, max(rows + 1, math.ceil(MARGIN * wanted)))
