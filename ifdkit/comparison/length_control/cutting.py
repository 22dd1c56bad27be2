"""IFD over the first tokens of responses, for many at once, from the NLLs of their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifdkit.records import NLL
from ifdkit.stats.columns import Column, Numbers

Indices = NDArray[np.intp]
TokenNLLs = Sequence[NLL | Sequence[float] | None]
"""NLLs of each response's scored tokens, nats; None if they are not available."""

_CHUNK = 4096
"""Responses concatenated at a time: about 130 MB if all have the maximum length."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ScoredSide:
    """The input of length control from one side; row i of both sides is one pair.

    The published protocols may score the first response token in the conditional pass only.
    `skipped_direct` is then 1, and of the first k response tokens the direct pass has k − 1.
    It is the `skipped` of a :class:`~ifdkit.records.Pass`; if only the NLLs are known,
    `tokens_skipped` infers it from them.
    """

    ifd: Numbers
    """(n,), > 0; None or NaN if undefined."""
    response_tokens: Numbers
    """(n,), tokens of the whole response, truncated or not."""
    token_nll_direct: TokenNLLs | None = None
    token_nll_conditional: TokenNLLs | None = None
    skipped_direct: int = 0
    """Response tokens before the first one that the direct pass scores: 0 or 1."""
    skipped_conditional: int = 0


def tokens_skipped(n_tokens: Column, n_nlls: NDArray[np.int64]) -> int:
    """Response tokens before the first one that a pass scores: 0, or 1 if it is only context.

    `n_tokens`: response tokens within the maximum length, shape (n,); `n_nlls`: how many of them
    the pass has scored, 0 if unknown.  A scores file does not record the difference, so the median
    row decides: joined tokenization shifts the counts of some rows by one token.
    """
    missing = (n_tokens - n_nlls)[n_nlls > 0]
    return int(len(missing) > 0 and np.median(missing) >= 1)


def scored_tokens(side: ScoredSide, rows: Indices) -> Indices:
    """How many of the first response tokens both passes cover, shape (rows,); 0 without NLLs."""
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

    exp(mean conditional NLL − mean direct NLL), 2402.10110 eq. 2, over these tokens.  counts[i]
    must be at most `scored_tokens`; NaN if it leaves a pass without a token.
    """
    n_direct, n_conditional = counts - side.skipped_direct, counts - side.skipped_conditional
    known = np.flatnonzero((n_direct > 0) & (n_conditional > 0))
    ifd = np.full(len(rows), np.nan)
    if not len(known) or side.token_nll_direct is None or side.token_nll_conditional is None:
        return ifd
    conditional = means_of_first(side.token_nll_conditional, rows[known], n_conditional[known])
    direct = means_of_first(side.token_nll_direct, rows[known], n_direct[known])
    with np.errstate(over="ignore", invalid="ignore"):
        ratio = np.exp(conditional - direct)
    ifd[known] = np.where(np.isfinite(ratio), ratio, np.nan)
    return ifd


def means_of_first(nlls: TokenNLLs, rows: Indices, counts: Indices) -> Column:
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
