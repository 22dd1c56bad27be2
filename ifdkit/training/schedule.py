"""Which rows each optimizer step sees: a function of their number, the recipe and the seed.

Rows are drawn in permutations: each row is seen once before any is seen again.  Two datasets of the
same length under one seed get the same order, so that a row and its rewritten version are trained
in the same step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ifdkit.engine.recipe import Recipe
from ifdkit.errors import UsageError, unknown
from ifdkit.records import Request

Budget = Literal["examples", "tokens"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long a run is."""

    steps: int
    batch_size: int
    """Examples per step."""

    @property
    def n_examples(self) -> int:
        """Examples over all steps, repetitions included."""
        return self.steps * self.batch_size


def schedule_of(n_rows: int, recipe: Recipe) -> Schedule:
    """The schedule of one dataset: the recipe's epochs, or its steps."""
    batch_size = min(recipe.batch_size, n_rows)
    steps = recipe.steps or max(1, round(recipe.epochs * n_rows / batch_size))
    return Schedule(steps, batch_size)


def matched(
    base: Schedule, requests: Sequence[Request], other: Sequence[Request], budget: Budget
) -> Schedule:
    """The schedule of another dataset under the budget of the first, with as many steps.

    With a budget of examples both see the same number.  With one of tokens the batch of the other
    is larger or smaller, so that a step trains on as many response tokens on average.
    """
    if budget not in get_args(Budget):
        raise UsageError(unknown("budget", budget, get_args(Budget)))
    if budget == "examples":
        return base
    ratio = mean_trained(requests) / mean_trained(other)
    return Schedule(base.steps, max(1, round(base.batch_size * ratio)))


def mean_trained(requests: Sequence[Request]) -> float:
    """Mean number of tokens with a loss."""
    return sum(request.n_scored for request in requests) / len(requests)


def order_of(requests: Sequence[Request], schedule: Schedule, seed: int) -> list[int]:
    """Positions of the rows in the order of training, shape (steps × batch_size,).

    Within a step the rows are sorted by length: the gradient of a step does not depend on their
    order, and batches in memory then need little padding.
    """
    n_epochs = -(-schedule.n_examples // len(requests))
    epochs = [
        np.random.default_rng([seed, epoch]).permutation(len(requests)) for epoch in range(n_epochs)
    ]
    drawn = np.concatenate(epochs)[: schedule.n_examples].tolist()
    size = schedule.batch_size
    steps = (drawn[begin : begin + size] for begin in range(0, len(drawn), size))
    return [i for step in steps for i in sorted(step, key=lambda i: (-requests[i].stop, i))]
