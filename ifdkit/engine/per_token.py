"""What is kept of each row of logits: the NLL of its target, or statistics of the distribution too.

A chunk of logits is reduced to a few numbers per row as soon as it exists, so that nothing of the
size of the vocabulary is kept.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

PerToken = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Logits (rows, vocabulary) and targets (rows,) → float32 of shape (rows,) or (rows, n)."""
ROWS_PER_BLOCK = 4
"""Rows reduced at once on a CPU: 0.8 MB of logits of 49,152 tokens stay in its cache."""
LOGITS_PER_BLOCK = ROWS_PER_BLOCK * 49_152
"""The same for NLLs alone, where many rows of a small vocabulary are reduced at once."""
MIN_LOG_P = -1e4
"""Log-probabilities below it, such as −∞ of a masked token, have a probability of 0 in float32."""


def token_nll(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """NLL of each target, nats, (rows,).

    Each row is reduced on its own, so that the size of a block does not change the bits.
    """
    n_rows, vocabulary = logits.shape
    size = max(1, LOGITS_PER_BLOCK // vocabulary) if logits.device.type == "cpu" else n_rows
    parts = [
        F.cross_entropy(logits[i : i + size].float(), targets[i : i + size], reduction="none")
        for i in range(0, n_rows, size)
    ]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def token_statistics(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """NLL, rank, entropy and spread of each row, float32 of shape (rows, 4).

    The NLL has the bits of :func:`token_nll`.  The rank is 1 + the number of tokens with a larger
    logit, so that ties share the better rank.  Entropy is in nats: the mean of −log p over the
    distribution p itself, and the spread is the standard deviation of log p over it (2404.02936,
    eq. 4).  The spread is the root of a mean of squares, never a difference of two large numbers.
    """
    size = ROWS_PER_BLOCK if logits.device.type == "cpu" else len(logits)
    scratch = logits.new_empty((size, logits.shape[1]), dtype=torch.float32)
    parts = [
        _statistics(logits[i : i + size], targets[i : i + size], scratch)
        for i in range(0, len(logits), size)
    ]
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _statistics(logits: torch.Tensor, targets: torch.Tensor, scratch: torch.Tensor) -> torch.Tensor:
    """The same of a few rows; `scratch` (at least as many rows, vocabulary) is overwritten."""
    logits, scratch, targets = logits.float(), scratch[: len(logits)], targets[:, None]
    log_p = F.log_softmax(logits, dim=-1)  # (rows, vocabulary)
    nll = -log_p.gather(1, targets)[:, 0]  # (rows,)
    # Sums of 0 and 1 in float32 are exact up to 2**24, and five times faster than of booleans.
    rank = 1 + torch.gt(logits, logits.gather(1, targets), out=scratch).sum(-1)  # (rows,)
    p = torch.exp(log_p, out=scratch)  # (rows, vocabulary)
    log_p.clamp_min_(MIN_LOG_P)
    entropy = -torch.linalg.vecdot(p, log_p)  # (rows,)
    log_p += entropy[:, None]
    spread = torch.linalg.vecdot(p, log_p.square_()).sqrt()  # (rows,)
    return torch.stack([nll, rank, entropy, spread], dim=-1)
