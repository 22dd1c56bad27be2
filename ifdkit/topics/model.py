"""Clusters and a map of sentence embeddings: fitted on a sample, applied to any number of rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ifdkit.topics.layouts import FittedLayout, LayoutName, Vectors, fit_layout

Labels = NDArray[np.int32]
"""Cluster of each row, shape (rows,); −1 if the row has no embedding."""

MIN_ROWS = 30
"""Fewer rows have no topics: an interval needs ten rows, and clusters are of unlike size."""
MAX_TOPICS = 20
MAX_FITTED = 20_000
"""Rows that the model is fitted on; of more, this many drawn by the seed."""
_ROWS_PER_BATCH = 8192


def n_topics(n_rows: int) -> int:
    """2 to MAX_TOPICS, with the square root of the rows: 7 for 400 rows, 20 from 3,200 on."""
    return max(2, min(MAX_TOPICS, math.isqrt(n_rows // 8)))


@dataclass(frozen=True, eq=False)
class TopicModel:
    """Centres of the clusters, the largest first, and the layout of the map."""

    centres: Vectors
    """(topics, dimensions), each of length 1."""
    layout: FittedLayout

    def labels(self, vectors: Vectors) -> Labels:
        """The nearest centre of each row; −1 for rows of zeros or not finite."""
        found = np.full(len(vectors), -1, dtype=np.int32)
        for part in _batches(len(vectors)):
            rows = vectors[part]
            known = _is_known(rows)
            found[part][known] = (_unit(rows[known]) @ self.centres.T).argmax(axis=1)
        return found

    def positions(self, vectors: Vectors) -> Vectors:
        """Places on the map, shape (rows, 2); NaN for rows of zeros or not finite."""
        found = np.full((len(vectors), 2), np.nan, dtype=np.float32)
        for part in _batches(len(vectors)):
            rows = vectors[part]
            known = _is_known(rows)
            found[part][known] = self.layout(_unit(rows[known]))
        return found


def fit(vectors: Vectors, *, seed: int, layout: LayoutName = "pca") -> TopicModel | None:
    """Fit k-means (MiniBatchKMeans) and the layout of the map on rows of embeddings.

    None for under MIN_ROWS rows with an embedding, or if all are the same.

    The vectors are brought to length 1, so that the distance of k-means is that of the cosine.
    The same vectors and seed give the same model.
    """
    known = np.flatnonzero(_is_known(vectors))
    if len(known) < MIN_ROWS:
        return None
    if len(known) > MAX_FITTED:
        drawn = np.random.default_rng(seed).choice(known, MAX_FITTED, replace=False)
        known = np.sort(drawn)
    rows = _unit(vectors[known])
    if not np.ptp(rows, axis=0).any():
        return None
    return TopicModel(_centres(rows, seed), fit_layout(layout, rows, seed=seed))


def _centres(rows: Vectors, seed: int) -> Vectors:
    from sklearn.cluster import MiniBatchKMeans

    means = MiniBatchKMeans(
        n_clusters=n_topics(len(rows)), random_state=seed, n_init=5, batch_size=2048
    )
    labels: Any = means.fit_predict(rows)
    sizes = np.bincount(labels, minlength=means.n_clusters)
    order = np.argsort(-sizes, kind="stable")[: int((sizes > 0).sum())]
    return _unit(np.asarray(means.cluster_centers_, dtype=np.float32)[order])


def _is_known(rows: Vectors) -> NDArray[np.bool_]:
    return np.logical_and(np.isfinite(rows).all(axis=1), rows.any(axis=1))


def _unit(rows: Vectors) -> Vectors:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norms > 0, norms, 1), dtype=np.float32)


def _batches(n: int) -> Iterator[slice]:
    return (slice(begin, begin + _ROWS_PER_BATCH) for begin in range(0, n, _ROWS_PER_BATCH))
