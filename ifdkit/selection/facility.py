"""Facility location: the few rows that represent all of them best.

For unit vectors x, find a set S of n rows with a large

    f(S) = Σᵢ max_{j ∈ S} max(0, xᵢ·xⱼ)

that is, the sum over all rows of the similarity to the most similar chosen row.  This is the
diversity step of Superfiltering.D (2402.00530), whose script uses the similarity
1 / (1 + Euclidean distance), which ranks pairs of unit vectors in the same order.  f is monotone
and submodular.  The greedy algorithm therefore reaches 1 − 1/e of the optimum (Nemhauser, Wolsey
and Fisher, Mathematical Programming 14, 1978), and the gain of a row can only fall as S grows: a
gain computed once remains an upper bound, and only rows with the highest bounds are evaluated again
(Minoux, "Accelerated greedy algorithms", 1978; Mirzasoleiman et al., "Lazier than lazy greedy",
1409.7938).

Existing libraries do not scale to this: `apricot-select` and `submodlib`, which the script uses,
keep all n × n similarities, 20 GB of float64 for 50,000 rows.  The first needs numba, the second a
C++ build, and neither is maintained.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ifdkit.errors import InputError, UsageError

Vectors = NDArray[np.float32]
Places = NDArray[np.int64]

_ROWS_PER_BLOCK = 4_096
_MIN_CANDIDATES = 16
"""Candidates evaluated first: reading the vectors takes longer than 16 products with each."""
_MAX_CANDIDATES = 256


def facility_location(vectors: Vectors, n: int) -> list[int]:
    """The places of `n` rows in the order in which the greedy algorithm chooses them.

    `vectors` is float32 of shape (rows, dimensions).  Each vector has length 1, or 0 for a row
    without a direction, which resembles no row and is chosen last.  The result is deterministic: of
    equal gains the earlier place wins.  Besides the vectors it needs a few MB.  Raises UsageError
    if `n` is negative or exceeds the rows, InputError if a vector is not finite.
    """
    _check(vectors, n)
    greedy = _GreedyChoice(np.ascontiguousarray(vectors, dtype=np.float32))
    chosen: list[int] = []
    while len(chosen) < n and (place := greedy.best()) is not None:
        chosen.append(place)
        greedy.add(place)
    # The remaining rows add nothing: copies of chosen rows, and rows without a direction.
    seen = set(chosen)
    rest = (place for place in range(len(vectors)) if place not in seen)
    return chosen + list(islice(rest, n - len(chosen)))


def _check(vectors: Vectors, n: int) -> None:
    if n < 0:
        raise UsageError(f"{n} rows cannot be chosen: the number must not be negative")
    if n > len(vectors):
        raise UsageError(f"{n:,} rows cannot be chosen from {len(vectors):,}: choose fewer")
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise InputError(
            f"the embedding of row {broken[0]:,} (counted from 0) is not finite: the embedder"
            " fails on its text; leave the row out or use another embedder"
        )


class _GreedyChoice:
    """A growing set, the similarity of every row to it, and a bound on the gain of every row."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors
        self._covered = np.zeros(len(vectors), dtype=np.float32)
        """Similarity of each row to the most similar chosen row, at least 0."""
        self._bounds = np.full(len(vectors), -np.inf)
        """Upper bound of each row's gain; −∞ for chosen rows, and for copies, which add nothing."""
        self._n_evaluated = 0
        """Rows whose gain was computed for the last choice."""
        firsts = _first_of_equals(vectors)
        for part in _slices(len(firsts), _MAX_CANDIDATES):
            self._bounds[firsts[part]] = self._gains(firsts[part])

    def best(self) -> int | None:
        """The row with the largest gain, the first of equal ones; None if no row has a gain."""
        is_exact = np.zeros(len(self._bounds), dtype=bool)
        self._n_evaluated = 0
        size = _MIN_CANDIDATES
        while len(self._bounds):
            best = int(np.argmax(self._bounds))
            if self._bounds[best] <= 0:
                break
            if is_exact[best]:
                return best
            block = self._leading(is_exact, size)
            self._bounds[block] = self._gains(block)
            is_exact[block] = True
            self._n_evaluated += len(block)
            size = min(2 * size, _MAX_CANDIDATES)
        return None

    def _leading(self, is_exact: NDArray[np.bool_], size: int) -> Places:
        """At most `size` rows: the highest bounds that may beat the gains known exactly."""
        to_beat = self._bounds[is_exact].max(initial=0.0)
        rivals = np.flatnonzero(~is_exact & (self._bounds >= to_beat))
        if len(rivals) <= size:
            return rivals
        return rivals[np.argpartition(-self._bounds[rivals], size - 1)[:size]]

    def add(self, place: int) -> None:
        """Add a row to the set."""
        similarity = self._vectors @ self._vectors[place]
        closer = np.flatnonzero(similarity > self._covered)
        # One pass over the rows that are now better covered lowers all bounds at once.  It is made
        # if it costs less than evaluating rows one by one cost for the last choice, so that the
        # work is at most twice that of the better strategy, whatever the data.
        if len(closer) < self._n_evaluated:
            self._lower_bounds(closer, similarity[closer])
        self._covered[closer] = similarity[closer]
        self._bounds[place] = -np.inf

    def _gains(self, candidates: Places) -> NDArray[np.float64]:
        """The gain of each candidate: what it would add to f now."""
        gains = np.zeros(len(candidates))
        chosen = self._vectors[candidates]  # (candidates, dimensions)
        for rows in _slices(len(self._vectors), _ROWS_PER_BLOCK):
            similarity = chosen @ self._vectors[rows].T  # (candidates, rows)
            similarity -= self._covered[rows]
            gains += np.maximum(similarity, 0, out=similarity).sum(axis=1)
        return gains

    def _lower_bounds(self, rows: Places, covered: NDArray[np.float32]) -> None:
        """Subtract from every bound what these rows, now covered so well, no longer add."""
        for part in _slices(len(rows), _MAX_CANDIDATES):
            better = self._vectors[rows[part]].T  # (dimensions, rows)
            before, after = self._covered[rows[part]], covered[part]
            for some in _slices(len(self._vectors), _ROWS_PER_BLOCK):
                similarity = self._vectors[some] @ better  # (candidates, rows)
                lost = np.clip(similarity, before, after)
                lost -= before
                self._bounds[some] -= lost.sum(axis=1)


def _first_of_equals(vectors: Vectors) -> Places:
    """The places of the first of equal rows, ascending."""
    first: dict[bytes, int] = {}
    for place, row in enumerate(vectors):
        first.setdefault(blake2b(row.tobytes(), digest_size=16).digest(), place)
    return np.fromiter(first.values(), dtype=np.int64, count=len(first))


def _slices(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
