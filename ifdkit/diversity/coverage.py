"""How much of one set of rows another set is near to.

A row is covered if the other set has a row at least as near to it as its fifth nearest other row of
its own set (coverage of Naeem et al. 2020, 2002.09797).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ifdkit.diversity.measures import MAX_DISTANCES, MAX_ROWS
from ifdkit.diversity.vectors import (
    SAME,
    Vectors,
    canonical_order,
    distance_blocks,
    known_rows,
    unit,
)

N_NEIGHBORS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How a set of rows is covered by another."""

    share: float
    """Covered rows, 0…1."""
    mean_cosine: float
    """Mean cosine of a row with the nearest row of the other set, −1…1."""
    n_rows: int
    """Rows that this was computed for: all, or a sample."""


def coverage(rows: Vectors, by: Vectors, *, seed: int = 0) -> Coverage | None:
    """Coverage of `rows` by the rows of `by`; None if either has too few rows with an embedding.

    Shapes (rows, dimensions); rows of zeros have no embedding.  Of many rows some are drawn by the
    seed: at most MAX_ROWS of each set, and as many of `rows` as give MAX_DISTANCES distances.
    """
    own, others = _prepared(rows, seed), _prepared(by, seed)
    if len(own) <= N_NEIGHBORS or not len(others):
        return None
    chosen = np.arange(len(own))
    n_queries = MAX_DISTANCES // max(len(own), len(others))
    if len(own) > n_queries:
        chosen = np.sort(np.random.default_rng(seed).choice(len(own), n_queries, replace=False))
    radius, nearest = np.zeros(len(chosen)), np.zeros(len(chosen))
    for part, distances in distance_blocks(own[chosen], own):
        distances[np.arange(len(distances)), chosen[part]] = np.inf
        radius[part] = np.partition(distances, N_NEIGHBORS - 1, axis=1)[:, N_NEIGHBORS - 1]
    for part, distances in distance_blocks(own[chosen], others):
        nearest[part] = distances.min(axis=1)
    return Coverage(
        share=float((nearest <= radius + SAME).mean()),
        mean_cosine=float(1 - nearest.mean()),
        n_rows=len(chosen),
    )


def _prepared(vectors: Vectors, seed: int) -> Vectors:
    rows = unit(vectors[known_rows(vectors)])
    rows = rows[canonical_order(rows)]
    if len(rows) > MAX_ROWS:
        drawn = np.random.default_rng(seed).choice(len(rows), MAX_ROWS, replace=False)
        rows = rows[np.sort(drawn)]
    return rows
