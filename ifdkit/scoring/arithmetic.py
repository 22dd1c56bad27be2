"""The arithmetic behind the metrics: from the NLLs of tokens to means, perplexities and ratios.

Per-token NLLs are float32; every sum is taken in float64.
"""

from __future__ import annotations

import math

import numpy as np

from ifdkit.records import NLL


def total_nll(nll: NLL) -> float:
    """Sum, nats."""
    # What `nll.sum` calls after a function of Python's.
    return float(np.add.reduce(nll, axis=None, dtype=np.float64))


def mean_nll(nll: NLL | None) -> float | None:
    """Mean nats per token; None if there are no tokens."""
    if nll is None or not len(nll):
        return None
    return total_nll(nll) / len(nll)


def perplexity(mean: float | None) -> float | None:
    """exp(mean NLL): >= 1; None if undefined or too large for a float."""
    if mean is None:
        return None
    try:
        return math.exp(mean)
    except OverflowError:
        return None


def perplexity_ratio(conditional: float | None, direct: float | None) -> float | None:
    """exp(conditional - direct) of two mean NLLs: > 0, below 1 if the context helps."""
    if conditional is None or direct is None:
        return None
    # Perplexities can overflow although their ratio does not.
    return perplexity(conditional - direct)


def loss_ratio(conditional: float | None, direct: float | None) -> float | None:
    """conditional / direct of two mean NLLs: > 0; None if either is 0.

    A conditional NLL of 0 would be the best loss ratio possible, for one token that was copied.
    """
    if not conditional or not direct:
        return None
    return conditional / direct


def first_tokens(nll: NLL | None, skipped: int, window: int) -> NLL | None:
    """NLLs among the first `window` tokens of the target; None if the target is shorter."""
    if nll is None or len(nll) + skipped < window:
        return None
    return nll[: max(0, window - skipped)]


def bits_per_byte(nats: float | None, n_bytes: int) -> float | None:
    """Total NLL in bits over the UTF-8 bytes it covers: comparable across tokenizers."""
    if nats is None or not n_bytes:
        return None
    return nats / math.log(2) / n_bytes
