"""Which Requests share a forward pass: integers in, integers out.

The plan is a function of the lengths alone, never of what happens to be scored already, so that
an interrupted run that goes on makes the same batches and the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that one forward pass may hold."""

    tokens: int
    """Tokens, padding included."""
    max_padding: float = 0.03
    """Share of a batch's tokens that may be padding."""


def plan(lengths: Sequence[int], budget: Budget) -> list[list[int]]:
    """Batches of positions into `lengths`, longest first, each position exactly once.

    Sorting by length keeps padding small; longest first lets memory run out at the start or not
    at all.  A sequence longer than the budget gets a batch of its own.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    batches: list[list[int]] = []
    batch: list[int] = []
    used = 0
    for i in order:
        longest = lengths[batch[0]] if batch else lengths[i]
        padded = longest * (len(batch) + 1)
        too_large = padded > budget.tokens
        too_loose = padded - used - lengths[i] > budget.max_padding * padded
        if batch and (too_large or too_loose):
            batches.append(batch)
            batch, used = [], 0
        batch.append(i)
        used += lengths[i]
    if batch:
        batches.append(batch)
    return batches


def padding_share(lengths: Sequence[int], batches: Sequence[Sequence[int]]) -> float:
    """Share of the planned tokens that is padding, 0…1."""
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in batches)
    return 1 - sum(lengths) / padded if padded else 0.0
