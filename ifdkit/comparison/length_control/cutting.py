"""IFD over the beginning of responses, for many of them at once, from their tokens' NLLs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifdkit.records import NLL
from ifdkit.stats.columns import Column, Numbers

Indices = NDArray[np.intp]
TokenNLLs = Sequence[NLL | Sequence[float] | None]
"""NLLs of each response's scored tokens, nats; None where they are not to be had."""

_CHUNK = 4096
"""Responses laid end to end at a time: some 130 MB of them at the very longest."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoredSide:
    """What length control needs to know of one side; row i of both sides is one pair.

    The published protocols may score the first response token in the conditional pass only.
    Then `skipped_direct` is 1, and among the first k response tokens the direct pass has k − 1.
    It is `Pass.skipped`; where only NLLs are left, `direct_tokens_skipped` reads it off them.
    """

    ifd: Numbers
    """(n,), > 0; None or NaN where undefined."""
    response_tokens: Numbers
    """(n,), tokens of the whole response."""
    token_nll_direct: TokenNLLs | None = None
    token_nll_conditional: TokenNLLs | None = None
    skipped_direct: int = 0
    """Response tokens before the first one that the direct pass scores."""
    skipped_conditional: int = 0


def direct_tokens_skipped(direct: TokenNLLs, conditional: TokenNLLs) -> int:
    """1 where the direct pass leaves out the first response token and the conditional does not.

    Decided by the median row: joined tokenisation and truncation shift the counts of some rows.
    """
    missing = [
        len(c) - len(d)
        for d, c in zip(direct, conditional, strict=True)
        if d is not None and c is not None
    ]
    return int(bool(missing) and np.median(missing) >= 1)


def scored_tokens(side: ScoredSide, rows: Indices) -> Indices:
    """How many of the first response tokens both passes cover, shape (rows,); 0 for no NLLs."""
    direct, conditional = side.token_nll_direct, side.token_nll_conditional
    if direct is None or conditional is None:
        return np.zeros(len(rows), dtype=np.intp)
    covered = np.zeros(len(rows), dtype=np.intp)
    for i, row in enumerate(rows.tolist()):
        d, c = direct[row], conditional[row]
        if d is not None and c is not None and len(d) and len(c):
            covered[i] = min(len(d) + side.skipped_direct, len(c) + side.skipped_conditional)
    return covered


def ifd_of_first(side: ScoredSide, rows: Indices, counts: Indices) -> Column:
    """IFD over the first counts[i] tokens of response rows[i], shape (rows,).

    NaN where counts[i] leaves nothing to score.  counts[i] is at most `scored_tokens`.
    exp(mean conditional NLL − mean direct NLL), 2402.10110 eq. 2, over those tokens.
    """
    n_direct, n_conditional = counts - side.skipped_direct, counts - side.skipped_conditional
    known = np.flatnonzero((n_direct > 0) & (n_conditional > 0))
    ifd = np.full(len(rows), np.nan)
    if not len(known) or side.token_nll_direct is None or side.token_nll_conditional is None:
        return ifd
    conditional = _means_of_first(side.token_nll_conditional, rows[known], n_conditional[known])
    direct = _means_of_first(side.token_nll_direct, rows[known], n_direct[known])
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = np.exp(conditional - direct)
    ifd[known] = np.where(np.isfinite(ratio), ratio, np.nan)
    return ifd


def _means_of_first(nlls: TokenNLLs, rows: Indices, counts: Indices) -> Column:
    """Mean of the first counts[i] ≥ 1 values of nlls[rows[i]], summed in float64."""
    means = np.empty(len(rows))
    for start in range(0, len(rows), _CHUNK):
        part = slice(start, start + _CHUNK)
        pieces = [
            nll[:count]
            for row, count in zip(rows[part].tolist(), counts[part].tolist(), strict=True)
            if (nll := nlls[row]) is not None
        ]
        flat = np.concatenate(pieces, dtype=np.float32, casting="same_kind")
        begins = np.cumsum(counts[part]) - counts[part]
        means[part] = np.add.reduceat(flat, begins, dtype=np.float64) / counts[part]
    return means
