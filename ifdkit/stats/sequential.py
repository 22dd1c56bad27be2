"""When a growing sample may stop: intervals that hold at every look, not only at a fixed one.

Who looks at a 95 % interval again and again, and stops when it is narrow, stops more often when the
spread happens to be estimated too small, and misses the true mean more often than once in twenty.
Here the looks are fixed beforehand by the number of rows alone, and each has its part of the error
(alpha spending: Lan and DeMets, Biometrika 70, 1983).  By the union bound all intervals of a run
contain the mean with probability 1 − ALPHA, so the one at which it stops does too, however it was
chosen.  A look may be left out, which can only help.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ifdkit.stats.sampling import MeanEstimate

ALPHA = 0.05
FIRST_LOOK = 200
"""Rows: with fewer, the spread is not known well enough."""
GROWTH = 1.5
"""Rows of a look ÷ rows of the one before."""


@dataclass(frozen=True, slots=True)
class Look:
    """A number of rows after which the interval is looked at."""

    rows: int
    alpha: float
    """Its part of the error, 0…1."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """Where a growing sample stopped."""

    look: Look
    estimate: MeanEstimate
    looks: int
    """Looks taken."""
    reached: bool
    """Whether the interval is as narrow as was asked; False if the rows came to an end."""


def looks(n_rows: int) -> list[Look]:
    """The looks at a dataset of so many rows: fixed before the first row is scored.

    The last one has all rows, and no error left: its interval has no width.
    """
    sizes = []
    size = float(FIRST_LOOK)
    while size < n_rows:
        sizes.append(math.ceil(size))
        size *= GROWTH
    return [Look(rows, ALPHA / len(sizes)) for rows in sizes] + [Look(n_rows, ALPHA)]


def run_until(half_width: float, n_rows: int, estimate: Callable[[Look], MeanEstimate]) -> Stopped:
    """Look at growing samples until the interval of the mean is narrow enough.

    `estimate` scores the rows of a look, and gives the mean with the half width of its interval.
    Looks that the last one shows to be hopeless are left out: the next one is that at which the
    interval would be narrow enough if the spread stayed the same.
    """
    planned, taken, wanted = looks(n_rows), 0, 0.0
    found: Stopped | None = None
    for look in planned:
        if look.rows < wanted and look is not planned[-1]:
            continue
        taken += 1
        one = estimate(look)
        found = Stopped(look, one, taken, one.half_width <= half_width)
        if found.reached:
            return found
        ratio = one.half_width / half_width
        wanted = look.rows * ratio**2 if math.isfinite(ratio) else 0.0
    assert found is not None, "there is at least one look"
    return found
