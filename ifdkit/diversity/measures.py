"""The measures of diversity: what each is, and the arithmetic.

    NovelSum          mean over rows i of ρᵢ · Σ_r d₍ᵣ₎ ÷ r ÷ Σ_r 1 ÷ r          2502.17184
    Vendi score       exp of the entropy of the eigenvalues of X Xᵀ ÷ n          2210.02410
    nearest distance  mean over rows of the distance to the nearest other row
    cluster inertia   mean squared distance to the nearest of k centres
    self-repetition   :mod:`ifdkit.diversity.repetition`                         2210.08145

d₍ᵣ₎ is the distance, 1 − cosine, of row i to the r-th nearest other row, and ρᵢ its density: one
over the root of the mean squared Euclidean distance to its ten nearest rows of a reference.  As in
the published code of NovelSum the density is that of row i (the paper's formula has that of the
other row), α is 1 and β 0.5; unlike there, a row is not compared with itself.

Every measure depends on the number of rows, so that only sets of one size are compared.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ifdkit.diversity.repetition import Sequences
from ifdkit.diversity.vectors import (
    Column,
    Places,
    Vectors,
    canonical_order,
    distance_blocks,
    distinct,
    known_rows,
    unit,
)

MAX_ROWS = 20_000
"""Of more rows, so many are drawn."""
MAX_DISTANCES = 40_000_000
"""Of more than 6,324 rows, so many distances are computed: those of a sample to all others."""
MAX_REFERENCE = 5_000
"""Different rows that densities are relative to; of more, so many are drawn."""
MAX_CLUSTERS = 20
N_NEIGHBORS = 10
_DENSITY_POWER = 0.5
_EPSILON = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class DiversityMeasure:
    """One measure of a set of rows."""

    name: str
    label: str
    short: str
    unit: str
    definition: str
    source: str = ""
    higher_is_more_diverse: bool = True
    needs_texts: bool = False


DIVERSITY = {
    one.name: one
    for one in (
        DiversityMeasure(
            name="novelsum",
            label="NovelSum",
            short="NovelSum",
            unit="distance × density",
            definition="Mean novelty of a row: its distances to all others, the nearest weighted"
            " most, times the root of the density around it.",
            source="arXiv 2502.17184",
        ),
        DiversityMeasure(
            name="vendi",
            label="Vendi score",
            short="Vendi score",
            unit="rows, 1 to n",
            definition="The effective number of different rows: exp of the entropy of the"
            " eigenvalues of their cosines.",
            source="arXiv 2210.02410",
        ),
        DiversityMeasure(
            name="nearest_distance",
            label="Distance to the nearest row",
            short="nearest distance",
            unit="1 − cosine, 0 to 2",
            definition="Mean over rows of the distance to the nearest other row.",
        ),
        DiversityMeasure(
            name="cluster_inertia",
            label="Cluster inertia",
            short="cluster inertia",
            unit="squared distance",
            definition="Mean squared distance of a row to the nearest of at most 20 centres"
            " (k-means).",
            source="Du and Black 2019",
        ),
        DiversityMeasure(
            name="self_repetition",
            label="Self-repetition",
            short="self-repetition",
            unit="log of a count",
            definition="Mean over rows of ln(1 + how often other rows have one of its sequences of"
            " four words).",
            source="arXiv 2210.08145",
            higher_is_more_diverse=False,
            needs_texts=True,
        ),
    )
}
"""Name → measure, in the order of tables."""


@dataclass(frozen=True, slots=True)
class SetValue:
    """A measure of one set."""

    value: float | None
    """None for fewer than two rows."""
    standard_error: float = 0.0
    """Of the sample that it was computed on; 0 if no row was left out."""


@dataclass(frozen=True, eq=False)
class RowSet:
    """Embedded rows, and what the measures need of each, in canonical order."""

    vectors: Vectors
    densities: Column
    origin: Places
    """Position of each row in the input."""
    sequences: Sequences | None
    """Of the texts; None without texts."""
    places: Places
    """Of each row among `sequences`."""

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, chosen: Places) -> RowSet:
        """The rows at these positions of the input, as far as the set has them."""
        rows = np.flatnonzero(np.isin(self.origin, chosen))
        return RowSet(
            self.vectors[rows],
            self.densities[rows],
            self.origin[rows],
            self.sequences,
            self.places[rows],
        )

    def measure(
        self,
        *,
        n_clusters: int | None = None,
        max_distances: int = MAX_DISTANCES,
        names: Sequence[str] = tuple(DIVERSITY),
        seed: int = 0,
    ) -> dict[str, SetValue]:
        """The measures of the set, of those in `names`.

        `n_clusters` must be the same for sets that are compared; None is that of the set.
        """
        if len(self) < 2:
            return {name: SetValue(None) for name in names}
        found: dict[str, SetValue] = {}
        if {"novelsum", "nearest_distance"} & set(names):
            found |= self._neighborhoods(max_distances, seed)
        if "vendi" in names:
            found["vendi"] = SetValue(vendi_score(self.vectors))
        if "cluster_inertia" in names:
            k = n_clusters or clusters_of(self.vectors)
            squares = squared_distances(self.vectors, k, seed)
            found["cluster_inertia"] = SetValue(float(squares.mean()))
        if "self_repetition" in names and self.sequences is not None:
            found["self_repetition"] = SetValue(self.sequences.repetition(self.places))
        return {name: found[name] for name in names if name in found}

    def _neighborhoods(self, max_distances: int, seed: int) -> dict[str, SetValue]:
        n = len(self)
        rows = np.arange(n)
        if n * n > max_distances:
            n_drawn = max(2, max_distances // n)
            rows = np.sort(np.random.default_rng(seed).choice(n, n_drawn, replace=False))
        novelty, nearest = neighborhoods(self.vectors, rows)
        return {
            "novelsum": _mean_of_sample(novelty * self.densities[rows], n),
            "nearest_distance": _mean_of_sample(nearest, n),
        }


def row_set(
    vectors: Vectors,
    texts: Sequence[str] | None = None,
    *,
    reference: Vectors | None = None,
    seed: int = 0,
) -> RowSet:
    """The rows that have an embedding; of more than MAX_ROWS, as many drawn by the seed.

    `vectors` has shape (rows, dimensions), any length; `texts` are those of the rows.  Densities
    are relative to the rows of `reference`, such as the pool that a set was chosen from, or else to
    the set itself.
    """
    known = known_rows(vectors)
    rows = unit(vectors[known])
    order = canonical_order(rows)
    if len(order) > MAX_ROWS:
        drawn = np.random.default_rng(seed).choice(len(order), MAX_ROWS, replace=False)
        order = order[np.sort(drawn)]
    chosen, places = rows[order], known[order]
    around = chosen if reference is None else unit(reference[known_rows(reference)])
    return RowSet(
        vectors=chosen,
        densities=densities(chosen, around, seed),
        origin=places,
        sequences=None if texts is None else Sequences([texts[i] for i in places.tolist()]),
        places=np.arange(len(chosen)),
    )


def densities(vectors: Vectors, reference: Vectors, seed: int = 0) -> Column:
    """ρ of every row, shape (rows,), at least 0; 0 if the reference has only copies of the row."""
    others, _ = distinct(reference)
    if len(others) > MAX_REFERENCE:
        drawn = np.random.default_rng(seed).choice(len(others), MAX_REFERENCE, replace=False)
        others = others[np.sort(drawn)]
    found = np.zeros(len(vectors))
    for part, distances in distance_blocks(vectors, others):
        distances[distances == 0] = np.inf  # the row itself, and its copies
        count = min(N_NEIGHBORS, distances.shape[1])
        if not count:
            continue
        near = np.partition(distances, count - 1, axis=1)[:, :count].astype(np.float64)
        is_other = np.isfinite(near)
        sums = 2 * np.where(is_other, near, 0).sum(axis=1)  # squared Euclidean distances
        means = sums / np.maximum(1, is_other.sum(axis=1))
        found[part] = np.where(is_other.any(axis=1), (means + _EPSILON) ** -_DENSITY_POWER, 0)
    return found


def neighborhoods(vectors: Vectors, rows: Places) -> tuple[Column, Column]:
    """Of some rows: Σ_r d₍ᵣ₎ ÷ r over Σ_r 1 ÷ r, and d₍₁₎; shapes (len(rows),). At least two rows.

    Distances are 1 − cosine to every other row of `vectors`.
    """
    weights = 1 / np.arange(1, len(vectors), dtype=np.float64)
    weights /= weights.sum()
    novelty, nearest = np.zeros(len(rows)), np.zeros(len(rows))
    for part, distances in distance_blocks(vectors[rows], vectors):
        distances[np.arange(len(distances)), rows[part]] = np.inf
        distances.sort(axis=1)  # the row itself comes last
        novelty[part] = distances[:, :-1] @ weights
        nearest[part] = distances[:, 0]
    return novelty, nearest


def vendi_score(vectors: Vectors) -> float:
    """1 to the number of rows; exact for any number of rows.

    The eigenvalues of X Xᵀ ÷ n are those of Xᵀ X ÷ n, which has dimensions × dimensions numbers.
    """
    n, dimensions = vectors.shape
    if n < dimensions:
        rows = vectors.astype(np.float64)
        kernel = rows @ rows.T
    else:
        kernel = np.zeros((dimensions, dimensions))
        for begin in range(0, n, 4096):
            rows = vectors[begin : begin + 4096].astype(np.float64)
            kernel += rows.T @ rows
    values = np.linalg.eigvalsh(kernel)
    values = values[values > 1e-9 * values.max()]
    shares = values / values.sum()
    return math.exp(max(0.0, -float((shares * np.log(shares)).sum())))


def clusters_of(vectors: Vectors) -> int:
    """How many centres: the root of the number of different rows, at most MAX_CLUSTERS."""
    return max(1, min(MAX_CLUSTERS, math.isqrt(len(distinct(vectors)[0]))))


def squared_distances(vectors: Vectors, n_clusters: int, seed: int = 0) -> Column:
    """Squared Euclidean distance of each row to the nearest centre, 0…4; shape (rows,).

    k-means from one start.  Different rows enter once, weighted by how often they occur.
    """
    rows, counts = distinct(vectors)
    if len(rows) <= n_clusters:
        return np.zeros(len(vectors))
    centres = _centres(rows, counts / counts.sum() * len(rows), n_clusters, seed)
    found = np.zeros(len(vectors))
    for begin in range(0, len(vectors), 4096):
        part = vectors[begin : begin + 4096].astype(np.float64)
        squares = (part**2).sum(axis=1)[:, None] - 2 * part @ centres.T + (centres**2).sum(axis=1)
        found[begin : begin + 4096] = np.maximum(squares.min(axis=1), 0)
    return found


def _centres(rows: Vectors, weights: Column, n_clusters: int, seed: int) -> NDArray[np.float64]:
    if n_clusters == 1:
        return np.average(rows.astype(np.float64), axis=0, weights=weights)[None, :]
    from sklearn.cluster import KMeans

    means = KMeans(n_clusters=n_clusters, n_init=1, max_iter=50, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that nearly equal rows leave a cluster empty
        return np.asarray(means.fit(rows, sample_weight=weights).cluster_centers_, np.float64)


def _mean_of_sample(values: Column, n: int) -> SetValue:
    """The mean over all n rows, estimated from those drawn without replacement."""
    left_out = 1 - len(values) / n
    error = math.sqrt(left_out * float(values.var(ddof=1)) / len(values)) if left_out else 0.0
    return SetValue(float(values.mean()), error)
