"""Facility location: the few rows that stand best for all of them.

Of unit vectors x the set S of n rows is sought that makes

    f(S) = Σᵢ max_{j ∈ S} max(0, xᵢ·xⱼ)

large: every row counts with the chosen one most like it.  This is the diversity step of
Superfiltering.D (2402.00530), whose script measures likeness by 1 / (1 + Euclidean distance); of
unit vectors both put the same pairs first.  f is monotone and submodular, so greedy choice reaches
1 − 1/e of the best possible (Nemhauser, Wolsey and Fisher, Mathematical Programming 14, 1978), and
what a row would add can only fall as S grows: a gain computed once is a bound ever after, and only
rows whose bound leads are looked at again (Minoux, "Accelerated greedy algorithms", 1978;
Mirzasoleiman et al., "Lazier than lazy greedy", 1409.7938).

No library serves.  `apricot-select` and `submodlib`, which the script uses, both hold all n × n
similarities, of 50,000 rows 20 GB as float64; the first wants numba, the second is built from C++,
and both have long stood still.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from ifdkit.errors import InputError, UsageError

Vectors = NDArray[np.float32]
Places = NDArray[np.int64]

_ROWS_A_BLOCK = 4_096
_FEWEST_A_BLOCK = 16
"""Candidates looked at together: reading the vectors costs more than so many products."""
_MOST_A_BLOCK = 256


def facility_location(vectors: Vectors, n: int) -> list[int]:
    """The places of `n` rows in the order of choice, greedily by what each adds to f.

    `vectors` is float32 of shape (rows, dimensions), each of length 1, or 0 for a row without a
    direction, which is like none and chosen last.  Nothing is drawn: equal gains fall to the
    earlier place.  Beside the vectors it needs some MB.  Raises UsageError for an `n` that the
    rows do not allow, InputError for a vector that is not finite.
    """
    _check(vectors, n)
    choice = _Choice(np.ascontiguousarray(vectors, dtype=np.float32))
    chosen: list[int] = []
    while len(chosen) < n and (place := choice.best()) is not None:
        chosen.append(place)
        choice.take(place)
    # What is left adds nothing: copies of chosen rows, and rows without a direction.
    taken = set(chosen)
    rest = (place for place in range(len(vectors)) if place not in taken)
    return chosen + [place for place, _ in zip(rest, range(n - len(chosen)), strict=False)]


def _check(vectors: Vectors, n: int) -> None:
    if n < 0:
        raise UsageError(f"{n} rows cannot be chosen: give a number from 0 on")
    if n > len(vectors):
        raise UsageError(f"{n:,} rows cannot be chosen of {len(vectors):,}: choose fewer")
    broken = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(broken):
        raise InputError(
            f"the embedding of row {broken[0]:,} (counted from 0) is not finite: the embedder"
            " fails on its text; leave the row out or take another embedder"
        )


class _Choice:
    """A growing set, how well every row is covered by it, and what each row can still add."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors
        self._covered = np.zeros(len(vectors), dtype=np.float32)
        self._bounds = np.full(len(vectors), -np.inf)
        """No row adds more than this; −∞ for what is chosen, and for copies, which add nothing."""
        self._n_looked_at = 0
        """Rows whose gain was computed for the last choice."""
        firsts = _first_of_equals(vectors)
        for part in _slices(len(firsts), _MOST_A_BLOCK):
            self._bounds[firsts[part]] = self._gains(firsts[part])

    def best(self) -> int | None:
        """The row that adds most, the first of several; None where none adds anything."""
        is_exact = np.zeros(len(self._bounds), dtype=bool)
        self._n_looked_at = 0
        size = _FEWEST_A_BLOCK
        while len(self._bounds):
            best = int(np.argmax(self._bounds))
            if self._bounds[best] <= 0:
                break
            if is_exact[best]:
                return best
            block = self._leading(is_exact, size)
            self._bounds[block] = self._gains(block)
            is_exact[block] = True
            self._n_looked_at += len(block)
            size = min(2 * size, _MOST_A_BLOCK)
        return None

    def _leading(self, is_exact: NDArray[np.bool_], size: int) -> Places:
        """At most `size` rows with the highest bounds of those that may beat the exact ones."""
        to_beat = self._bounds[is_exact].max(initial=0.0)
        rivals = np.flatnonzero(~is_exact & (self._bounds >= to_beat))
        if len(rivals) <= size:
            return rivals
        return rivals[np.argpartition(-self._bounds[rivals], size - 1)[:size]]

    def take(self, place: int) -> None:
        """Choose a row."""
        likeness = self._vectors @ self._vectors[place]
        closer = np.flatnonzero(likeness > self._covered)
        # One pass over the rows that are now better covered lowers all bounds at once.  It is
        # made where it costs less than the last choice did by looking at rows one by one: so the
        # work stays within twice that of the better way, whatever the data are like.
        if len(closer) < self._n_looked_at:
            self._lower_bounds(closer, likeness[closer])
        self._covered[closer] = likeness[closer]
        self._bounds[place] = -np.inf

    def _gains(self, candidates: Places) -> NDArray[np.float64]:
        """What each candidate would add to f now."""
        gains = np.zeros(len(candidates))
        chosen = self._vectors[candidates]  # (candidates, dimensions)
        for rows in _slices(len(self._vectors), _ROWS_A_BLOCK):
            likeness = chosen @ self._vectors[rows].T  # (candidates, rows)
            likeness -= self._covered[rows]
            gains += np.maximum(likeness, 0, out=likeness).sum(axis=1)
        return gains

    def _lower_bounds(self, rows: Places, covered: NDArray[np.float32]) -> None:
        """Take off every bound what it loses where these rows are now covered so well."""
        for part in _slices(len(rows), _MOST_A_BLOCK):
            better = self._vectors[rows[part]].T  # (dimensions, rows)
            before, after = self._covered[rows[part]], covered[part]
            for some in _slices(len(self._vectors), _ROWS_A_BLOCK):
                likeness = self._vectors[some] @ better  # (candidates, rows)
                lost = np.clip(likeness, before, after)
                lost -= before
                self._bounds[some] -= lost.sum(axis=1)


def _first_of_equals(vectors: Vectors) -> Places:
    """The places of rows that no earlier row equals, ascending."""
    first: dict[bytes, int] = {}
    for place, row in enumerate(vectors):
        first.setdefault(blake2b(row.tobytes(), digest_size=16).digest(), place)
    return np.fromiter(first.values(), dtype=np.int64, count=len(first))


def _slices(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
