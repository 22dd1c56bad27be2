"""Embeddings as the measures of diversity see them.

Rows are put into an order that depends on their vectors alone, so that neither the order of a file
nor a draw from it changes a measure.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""Unit vectors, shape (rows, dimensions)."""
Places = NDArray[np.int64]
Column = NDArray[np.float64]

SAME = 1e-6
"""Rows at a smaller distance are copies: float32 gives equal vectors a cosine of 1 ± 1e-7."""
_DISTANCES_PER_BLOCK = 2**20


def known_rows(vectors: NDArray[np.float32]) -> Places:
    """Places of the rows that have an embedding: finite, and not all zeros."""
    return np.flatnonzero(np.isfinite(vectors).all(axis=1) & vectors.any(axis=1))


def unit(vectors: NDArray[np.float32]) -> Vectors:
    """The same rows, none of which is zero, with length 1."""
    scaled = vectors / np.abs(vectors).max(axis=1, keepdims=True, initial=0)  # squares are in range
    norms = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.ascontiguousarray(scaled / norms, dtype=np.float32)


def canonical_order(vectors: Vectors) -> Places:
    """Places in the order of the digests of the vectors; equal vectors are adjacent."""
    return np.argsort(_digests(vectors), kind="stable")


def distinct(vectors: Vectors) -> tuple[Vectors, Places]:
    """The different rows in their canonical order, and how often each occurs."""
    _, firsts, counts = np.unique(_digests(vectors), return_index=True, return_counts=True)
    return vectors[firsts], counts


def distance_blocks(rows: Vectors, others: Vectors) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """1 − cosine of `rows` with all `others`, a block of rows at a time; copies are at 0.

    Each block has shape (rows of the slice, others).
    """
    size = max(1, _DISTANCES_PER_BLOCK // max(1, len(others)))
    for begin in range(0, len(rows), size):
        part = slice(begin, begin + size)
        distances = 1 - rows[part] @ others.T
        distances[distances < SAME] = 0
        yield part, distances


def _digests(vectors: Vectors) -> NDArray[np.bytes_]:
    rows = np.ascontiguousarray(vectors + np.float32(0))  # which turns −0.0 into 0.0
    digests = [blake2b(row.tobytes(), digest_size=16).digest() + b"." for row in rows]
    return np.array(digests, dtype="S17")  # the dot: numpy drops zero bytes at the end
