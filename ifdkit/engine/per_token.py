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
MIN_LOG_P = -1e4
"""Log-probabilities below it, such as −∞ of a masked token, have a probability of 0 in float32."""


def token_nll(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """NLL of each target, nats, (rows,)."""
    return F.cross_entropy(logits.float(), targets, reduction="none")


def token_statistics(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """NLL, rank, entropy and spread of each row, float32 of shape (rows, 4).

    The NLL has the bits of :func:`token_nll`.  The rank is 1 + the number of tokens with a larger
    logit, so that ties share the better rank.  Entropy is in nats: the mean of −log p over the
    distribution p itself, and the spread is the standard deviation of log p over it (2404.02936,
    eq. 4).  The spread is the root of a mean of squares, never a difference of two large numbers.
    """
    logits = logits.float()  # (rows, vocabulary)
    log_p = F.log_softmax(logits, dim=-1)  # (rows, vocabulary)
    nll = -log_p.gather(1, targets[:, None])[:, 0]  # (rows,)
    rank = 1 + (logits > logits.gather(1, targets[:, None])).sum(-1)  # (rows,)
    p, log_p = log_p.exp(), log_p.clamp_min_(MIN_LOG_P)  # (rows, vocabulary)
    entropy = -torch.linalg.vecdot(p, log_p)  # (rows,)
    log_p += entropy[:, None]
    spread = torch.linalg.vecdot(p, log_p.square_()).sqrt()  # (rows,)
    return torch.stack([nll, rank.float(), entropy, spread], dim=-1)
