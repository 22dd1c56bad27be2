"""IFD and NLL over the position of the tokens in a response, before and after.

IFD is that of the first k tokens, for k = 4, 8, 16, …; NLL is the mean of the tokens between two
of these positions.  A point is over the pairs of which both responses have so many tokens, so that
both sides of a point are about the same pairs; points further right are about longer responses.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ifdkit.comparison.length_control.cutting import (
    Indices,
    ScoredSide,
    TokenNLLs,
    ifd_of_first,
    means_of_first,
    scored_tokens,
)
from ifdkit.comparison.result import PositionPoint
from ifdkit.findings.finding import SideName
from ifdkit.stats.columns import Column, finite, median_ci95

FIRST = 4
"""IFD of fewer tokens is noise."""
MIN_PAIRS_PER_POINT = 20


def position_points(
    before: ScoredSide, after: ScoredSide, n_pairs: int, *, seed: int
) -> tuple[PositionPoint, ...]:
    """The points of all curves, by quantity, side and position; none without NLLs of tokens."""
    rows = np.arange(n_pairs)
    sides: tuple[tuple[SideName, ScoredSide], ...] = (("before", before), ("after", after))
    covered = np.minimum(*(scored_tokens(side, rows) for _, side in sides))
    found: list[PositionPoint] = []
    start, stop = 0, FIRST
    while True:
        used = np.flatnonzero(covered >= stop)
        if len(used) < MIN_PAIRS_PER_POINT:
            break
        for word, side in sides:
            ifd = ifd_of_first(side, used, np.full(len(used), stop))
            found.append(_point("ifd", word, 0, stop, ifd, seed))
            for quantity, nlls, skipped in (
                ("nll_response_direct", side.token_nll_direct, side.skipped_direct),
                ("nll_response_conditional", side.token_nll_conditional, side.skipped_conditional),
            ):
                assert nlls is not None, "tokens are covered"
                nll = _mean_between(nlls, used, start - skipped, stop - skipped)
                found.append(_point(quantity, word, start, stop, nll, seed))
        start, stop = stop, 2 * stop
    return tuple(sorted(found, key=lambda one: (one.quantity, one.side == "after", one.stop)))


def _mean_between(nlls: TokenNLLs, rows: Indices, start: int, stop: int) -> Column:
    """Mean NLL of the scored tokens start … stop − 1 of each response, shape (rows,)."""
    up_to_stop = means_of_first(nlls, rows, np.full(len(rows), stop)) * stop
    if start <= 0:
        return up_to_stop / stop
    up_to_start = means_of_first(nlls, rows, np.full(len(rows), start)) * start
    return (up_to_stop - up_to_start) / (stop - start)


def _point(
    quantity: str, side: SideName, start: int, stop: int, values: NDArray[np.float64], seed: int
) -> PositionPoint:
    known = values[np.isfinite(values)]
    return PositionPoint(
        quantity=quantity,
        side=side,
        start=start,
        stop=stop,
        n_pairs=len(known),
        median=finite(np.median(known)) if len(known) else None,
        ci95=median_ci95(known, seed=seed),
    )
