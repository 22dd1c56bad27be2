"""The rows whose embeddings are nearest to that of one row, or of every row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ifdkit.topics.layouts import Vectors

_ROWS_PER_BATCH = 512
_ROWS_COMPARED = 16_384
"""Rows made float32 at once: the viewer keeps 16 bits."""


def nearest(
    vectors: Vectors | NDArray[np.float16], row: int, count: int
) -> list[tuple[int, float]]:
    """At most `count` other rows with their cosines, the nearest first.

    `vectors`: rows of length 1, or of zeros, which have no neighbors; any float type.
    """
    if not vectors[row].any():
        return []
    own = vectors[row].astype(np.float32)
    starts = range(0, len(vectors), _ROWS_COMPARED)
    cosines = np.concatenate(
        [vectors[begin : begin + _ROWS_COMPARED].astype(np.float32) @ own for begin in starts]
    )
    cosines = np.where(np.isfinite(cosines), cosines, -2.0)
    cosines[row] = -2.0
    order = _largest(cosines[None, :], count)[0].tolist()
    return [(i, float(cosines[i])) for i in order if cosines[i] > -2.0 and vectors[i].any()]


def all_nearest(vectors: Vectors, count: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Positions of the `count` nearest other rows of every row, and 1 − cosine.

    Shapes (rows, count); exact, so the time grows with the square of the rows.
    """
    count = min(count, max(0, len(vectors) - 1))
    rows = np.zeros((len(vectors), count), dtype=np.int64)
    distances = np.zeros((len(vectors), count), dtype=np.float32)
    for begin in range(0, len(vectors), _ROWS_PER_BATCH):
        part = slice(begin, begin + _ROWS_PER_BATCH)
        cosines = vectors[part] @ vectors.T
        own = np.arange(len(cosines))
        cosines[own, begin + own] = -np.inf
        found = _largest(cosines, count)
        rows[part] = found
        distances[part] = 1 - np.take_along_axis(cosines, found, axis=1)
    return rows, distances


def _largest(cosines: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Columns of the largest values of each row, the largest first; ties by position."""
    count = min(count, cosines.shape[1])
    part = np.sort(np.argpartition(-cosines, count - 1, axis=1)[:, :count], axis=1)
    values = np.take_along_axis(cosines, part, axis=1)
    return np.take_along_axis(part, np.argsort(-values, axis=1, kind="stable"), axis=1)
