"""The surprise of a document along its tokens: perplexities of its parts, and where it jumps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ifdkit.records import NLL
from ifdkit.scoring.arithmetic import mean_nll, perplexity

PROFILE_TOKENS = 256
"""Scored tokens of each part of the profile; the last part may have fewer."""
JUMP_TOKENS = 64
"""Tokens before and after a jump. Over fewer, a rare name is a jump."""


def perplexity_profile(nll: NLL | None) -> list[float | None] | None:
    """The perplexity of each part of PROFILE_TOKENS tokens, in order; None if there are no tokens.

    An entry is None if it is too large for a float.
    """
    if nll is None or not len(nll):
        return None
    parts = (nll[begin : begin + PROFILE_TOKENS] for begin in range(0, len(nll), PROFILE_TOKENS))
    return [perplexity(mean_nll(part)) for part in parts]


class Jump(NamedTuple):
    """A rise of the mean NLL."""

    position: int
    """Of the first token after it, among the scored tokens."""
    nats: float
    """Mean NLL of the JUMP_TOKENS tokens from there on − that of as many before."""


def largest_jump(nll: NLL | None) -> Jump | None:
    """The largest rise, the first of equal ones; None for fewer than 2 · JUMP_TOKENS tokens."""
    if nll is None or len(nll) < 2 * JUMP_TOKENS:
        return None
    sums = np.concatenate([[0.0], np.cumsum(nll, dtype=np.float64)])
    means = (sums[JUMP_TOKENS:] - sums[:-JUMP_TOKENS]) / JUMP_TOKENS
    rises = means[JUMP_TOKENS:] - means[:-JUMP_TOKENS]
    first = int(np.argmax(rises))
    return Jump(first + JUMP_TOKENS, float(rises[first]))
