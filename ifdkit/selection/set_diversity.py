"""How diverse a selection is as a set, and how it covers the input, for the table of its effect.

A measure of diversity depends on the number of rows, so that a selection is compared with random
choices of its size, and both are measured on the same number of their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ifdkit.diversity.measures import DIVERSITY, RowSet, clusters_of, row_set
from ifdkit.diversity.vectors import Places, Vectors, known_rows

MAX_MEASURED = 300
"""Rows of a choice that are measured: with 200 draws more would take longer than the selection."""
MAX_COVERED = 1_000
"""Rows of the input for which the nearest row of a choice is looked for; of more, so many drawn."""
COVERAGE = "coverage"
"""Mean cosine of a row of the input with the nearest of the rows chosen."""


class SetDiversity:
    """The measures of any choice of rows."""

    def __init__(
        self, vectors: NDArray[np.float32], texts: Sequence[str], n_kept: int, seed: int
    ) -> None:
        """`vectors` has shape (rows, dimensions), `texts` are the responses of the rows.

        `n_kept` is the number of rows of the selection and of each random choice.
        """
        self._rows: RowSet = row_set(vectors, texts, reference=vectors, seed=seed)
        self._size, self._seed = min(n_kept, MAX_MEASURED), seed
        self._vectors: Vectors = vectors
        known = known_rows(vectors)
        if len(known) > MAX_COVERED:
            generator = np.random.default_rng(seed)
            known = np.sort(generator.choice(known, MAX_COVERED, replace=False))
        self._covered = vectors[known]
        self._n_clusters = min(max(1, int(self._size**0.5)), clusters_of(self._rows.vectors))
        self._last: tuple[bytes, dict[str, float | None]] = (b"", {})

    @property
    def names(self) -> list[str]:
        """The measures, and the coverage of the input."""
        return [*DIVERSITY, COVERAGE]

    def statistic(self, name: str) -> Callable[[Places], float | None]:
        """One measure of the rows at some places, at most MAX_MEASURED of them."""
        return lambda places: self._measured(places).get(name)

    def _measured(self, places: Places) -> dict[str, float | None]:
        key = places.tobytes()
        if self._last[0] != key:
            self._last = key, self._measure(places)
        return self._last[1]

    def _measure(self, places: Places) -> dict[str, float | None]:
        if len(places) > self._size:
            generator = np.random.default_rng(self._seed)
            places = generator.choice(places, self._size, replace=False)
        found = self._rows.take(places).measure(n_clusters=self._n_clusters, seed=self._seed)
        values = {name: one.value for name, one in found.items()}
        return {**values, COVERAGE: self._coverage(places)}

    def _coverage(self, places: Places) -> float | None:
        if not len(self._covered) or not len(places):
            return None
        return float((self._covered @ self._vectors[places].T).max(axis=1).mean())
